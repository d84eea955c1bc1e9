"""What a worker does: one source, read and decoded once, all its variants rendered, labelled and written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from augment.balance import count_boxes
from augment.counts import Counts
from augment.labels import Labeller
from augment.plan import Variant
from augment.prepare import examined
from augment.recipe import LabelRule, Original
from augment.render import render
from datasets import images
from datasets.coco import annotation_body
from datasets.errors import DataError
from datasets.images import Pixels, Reading
from datasets.records import Image, Window
from datasets.sources import Examined, Source


class SourceTask(NamedTuple):
    """All that a worker needs to make one source's variants."""

    source: Source
    variants: list[Variant]
    records: list[Image]
    rule: LabelRule
    quality: int
    folder: Path
    link: bool


class SourceResult(NamedTuple):
    """`sha256` is the source file's; `annotations` are (image id, JSON bodies); `files` are (name, SHA-256, bytes)."""

    sha256: str
    annotations: list[tuple[int, list[bytes]]]
    files: list[tuple[str, str, int]]
    counts: Counts


def compile_source(task: SourceTask) -> SourceResult:
    """Read and decode one source, once, and write all its variants. Raises DataError naming a file that fails."""
    source, file = task.source, examined(task.source)
    # All labels before any pixel: between pictures their code and data would fall out of the caches each time, which
    # took half a millisecond a source.
    counts, annotations = _label(task)
    data = _read_unchanged(source.path, file)
    source_sha256 = hashlib.sha256(data).hexdigest()
    files = []
    made = encode_variants(data, file.reading, task.variants, task.quality)
    try:
        for encoded, record in zip(made, task.records, strict=True):
            target = task.folder / record.file_name
            if encoded is None:
                copied = _write_original(task, data, file, target)
                sha256 = source_sha256 if copied is data else hashlib.sha256(copied).hexdigest()
                files.append((record.file_name, sha256, len(copied)))
            else:
                target.write_bytes(encoded)
                files.append((record.file_name, hashlib.sha256(encoded).hexdigest(), len(encoded)))
    except ValueError as error:
        raise DataError(f"{source.path}: {error}") from None
    return SourceResult(source_sha256, annotations, files, counts)


def encode_variants(
    data: bytes, reading: Reading, variants: list[Variant], quality: int
) -> Iterator[memoryview | None]:
    """The JPEG bytes of each variant of a source file, which is decoded once; None for the original.

    Raises ValueError where the source cannot be decoded.
    """
    # OpenCV's own order, so that crops need no conversion; only albumentations wants RGB.
    bgr = images.decode(data, reading, "BGR")
    rgb: Pixels | None = None
    for variant in variants:
        if variant.operation == Original.name:
            yield None
        elif variant.transform is None:
            yield images.encode_jpeg(render(bgr, variant), quality, "BGR")
        else:
            rgb = images.swapped(bgr) if rgb is None else rgb
            yield images.encode_jpeg(render(rgb, variant), quality)


def _label(task: SourceTask) -> tuple[Counts, list[tuple[int, list[bytes]]]]:
    """The counts of all variants, and per image id the JSON of its annotations without ids."""
    source = task.source
    labeller = Labeller(source.annotations, source.image, task.rule)
    counts = Counts.empty()
    counts.before = count_boxes(source.annotations)
    annotations = []
    # Variants that show the same window, such as all that cut nothing, have the same JSON.
    bodies: dict[Window | None, list[bytes]] = {}
    for variant, record in zip(task.variants, task.records, strict=True):
        labels = labeller.show(variant.window)
        counts.add_variant(variant.operation, labels)
        if variant.window not in bodies:
            bodies[variant.window] = [annotation_body(item) for item in labels.annotations]
        annotations.append((record.id, bodies[variant.window]))
    return counts, annotations


def _read_unchanged(path: Path, file: Examined) -> bytes:
    """The file's bytes. Raises DataError where it is no longer what was checked."""
    try:
        data = images.read_file(path)
        changed = len(data) != file.size or path.stat().st_mtime_ns != file.mtime_ns
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: changed while the build ran: {error}") from None
    if changed:
        raise DataError(f"{path}: changed while the build ran; give the same command again")
    return data


def _write_original(task: SourceTask, data: bytes, file: Examined, target: Path) -> bytes:
    """Copy or link the source file; returns the bytes written, `data` itself where nothing was changed."""
    if file.reading.strip_orientation:
        data = images.without_orientation(data, file.reading)
    elif task.link:
        try:
            os.link(task.source.path.resolve(), target)
        except OSError as error:
            raise DataError(
                f"{task.source.path}: cannot be hard-linked into {target.parent} ({error.strerror}); "
                "input and output must lie on one file system, or leave --link out"
            ) from None
        return data
    target.write_bytes(data)
    return data
