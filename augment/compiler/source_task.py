"""The work on one source, in a worker: read and decode it once, render, label and write all its variants.

Files are written under a temporary name and renamed, so that a file under its own name is complete however the worker
ends.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from augment.compiler.counts import Counts
from augment.compiler.inputs import examined
from augment.compiler.journal import JournalEntry
from augment.operations.balance import count_boxes
from augment.operations.labels import Labeller, Labels
from augment.operations.parameters import Original, Recipe
from augment.operations.plan import Variant
from augment.operations.render import render
from datasets import images
from datasets.errors import DataError
from datasets.image_files import Examined, decode
from datasets.images import Pixels, Reading
from datasets.jpeg import Chroma
from datasets.records import Window
from datasets.sources import Source
from datasets.staging import write_file
from datasets.stream import annotation_body

# Unique to this process, also among machines that share the folder.
_SUFFIX = f".{secrets.token_hex(4)}"

_CHROMA: dict[int, Chroma] = {444: "444", 422: "422", 420: "420"}

CHANGED, DAMAGED = -2, -1

DAMAGED_ADVICE = "replace the file and give the same command again, or leave it out: --restart --skip-bad"


class SourceTask(NamedTuple):
    """Everything a worker needs to compile one source; `names` are the file names of its images.

    With `labels_only`, the files exist already.
    """

    source: Source
    variants: list[Variant]
    names: list[str]
    recipe: Recipe
    folder: Path
    unfinished: Path
    link: bool
    labels_only: bool = False


class SourceResult(NamedTuple):
    """The JSON bodies of each variant's annotations; digests and bytes of the files, None and 0 for labels only."""

    annotations: list[list[bytes]]
    counts: Counts
    entry: JournalEntry | None
    bytes: int


def compile_source(task: SourceTask) -> SourceResult:
    """Read and decode one source and write all its variants. Raises DataError naming a file that fails."""
    source, file = task.source, examined(task.source)
    # All labels before any pixel: interleaved, their code and data would be evicted from the caches each time, which
    # cost half a millisecond a source.
    counts, annotations = _label(task)
    if task.labels_only:
        return SourceResult(annotations, counts, None, 0)
    data = _read_unchanged(source.path, file)
    source_sha256 = hashlib.sha256(data).hexdigest()
    digests = []
    size = 0
    made = encode_variants(data, file.reading, task.variants, task.recipe)
    try:
        for encoded, name in zip(made, task.names, strict=True):
            if encoded is None:
                copied = _write_original(task, data, file, name)
                digests.append(source_sha256 if copied is data else hashlib.sha256(copied).hexdigest())
                size += len(copied)
            else:
                _write(task, name, encoded)
                digests.append(hashlib.sha256(encoded).hexdigest())
                size += len(encoded)
    except ValueError as error:
        raise DataError(f"{source.path}: {error}", advice=DAMAGED_ADVICE) from None
    return SourceResult(annotations, counts, JournalEntry(source_sha256, tuple(digests)), size)


class RenderedTask(NamedTuple):
    """A source rendered by an interrupted build, with the files of its images."""

    source: Path
    entry: JournalEntry
    images: list[Path]


def check_rendered(task: RenderedTask) -> int:
    """The bytes of a rendered source's images; CHANGED where the source, DAMAGED where an image has another digest."""
    try:
        if hashlib.sha256(images.read_file(task.source)).hexdigest() != task.entry.source_sha256:
            return CHANGED
        size = 0
        for path, expected in zip(task.images, task.entry.image_sha256s, strict=True):
            data = images.read_file(path)
            if hashlib.sha256(data).hexdigest() != expected:
                return DAMAGED
            size += len(data)
    except ValueError:
        return DAMAGED
    return size


def encode_variants(
    data: bytes, reading: Reading, variants: list[Variant], recipe: Recipe
) -> Iterator[memoryview | None]:
    """The JPEG of each variant of a source file, which is decoded once; None for the original.

    Raises ValueError where the source cannot be decoded.
    """
    # OpenCV's native order, so that crops need no conversion; only albumentations needs RGB.
    bgr = images.decode_sound(data, reading)
    if bgr is None:
        bgr = decode(data, reading, "BGR")
    rgb: Pixels | None = None
    quality = recipe.jpeg_quality
    chroma = images.chroma_of(data, reading) if recipe.chroma == "source" else _CHROMA[recipe.chroma]
    for variant in variants:
        if variant.operation == Original.name:
            yield None
        elif variant.transform is None:
            yield images.encode_jpeg(render(bgr, variant), quality, "BGR", chroma)
        else:
            rgb = images.swapped(bgr) if rgb is None else rgb
            yield images.encode_jpeg(render(rgb, variant), quality, chroma=chroma)


def _label(task: SourceTask) -> tuple[Counts, list[list[bytes]]]:
    """The counts of all variants, and the JSON of each one's annotations, without ids."""
    source = task.source
    labeller = Labeller(source.annotations, source.image, task.recipe.labels)
    counts = Counts.empty()
    counts.before = count_boxes(source.annotations)
    annotations = []
    # Variants with the same window, such as all without one, share their labels and JSON.
    shown: dict[Window | None, tuple[Labels, list[bytes]]] = {}
    for variant in task.variants:
        if variant.window not in shown:
            labels = labeller.show(variant.window)
            shown[variant.window] = labels, [annotation_body(item) for item in labels.annotations]
        labels, bodies = shown[variant.window]
        counts.add_variant(variant.operation, labels)
        annotations.append(bodies)
    return counts, annotations


def _read_unchanged(path: Path, file: Examined) -> bytes:
    """The file's bytes. Raises DataError where it changed since the check."""
    try:
        data = images.read_file(path)
        changed = len(data) != file.size or path.stat().st_mtime_ns != file.mtime_ns
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: changed while the build ran: {error}") from None
    if changed:
        raise DataError(f"{path}: changed while the build ran; give the same command again")
    return data


def _write_original(task: SourceTask, data: bytes, file: Examined, name: str) -> bytes:
    """Copy or link the source file; returns the bytes written, `data` itself where unchanged."""
    if file.reading.strip_orientation:
        data = images.without_orientation(data, file.reading)
    elif task.link:
        source = task.source.path.resolve()
        try:
            _place(task, name, lambda path: os.link(source, path))
        except OSError as error:
            raise DataError(
                f"{source}: cannot be hard-linked into {task.folder} ({error.strerror}); "
                "input and output must lie on one file system, or leave --link out"
            ) from None
        return data
    _write(task, name, data)
    return data


def _write(task: SourceTask, name: str, data: bytes | memoryview) -> None:
    try:
        _place(task, name, lambda path: write_file(path, data))
    except OSError as error:
        raise DataError(f"{task.folder / name}: cannot be written: {error.strerror}") from None


def _place(task: SourceTask, name: str, make: Callable[[str], object]) -> None:
    """Have `make` create a file under a temporary name, then rename it."""
    temporary = f"{task.unfinished}/{name}.{os.getpid()}{_SUFFIX}"
    make(temporary)
    os.replace(temporary, f"{task.folder}/{name}")  # noqa: PTH105  (a Path takes as long as the system's call)
