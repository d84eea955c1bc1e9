"""The work on one source, in a worker: read and decode it once, render, label and write all its variants.

Files are written under a temporary name and renamed, so that a file under its own name is complete however the worker
ends.
"""

from __future__ import annotations

import functools
import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from augment.compiler.counts import Counts
from augment.compiler.decoded import DAMAGED_ADVICE, DonorCache, decode_bgr, read_unchanged
from augment.compiler.inputs import examined
from augment.compiler.journal import JournalEntry
from augment.operations.balance import count_boxes
from augment.operations.labels import Labels
from augment.operations.parameters import Recipe
from augment.operations.plan import Variant
from augment.operations.render import render
from augment.operations.variant_labels import Lender, Lent, VariantLabeller
from datasets import images
from datasets.errors import DataError
from datasets.image_files import Examined
from datasets.images import Pixels, Reading
from datasets.jpeg import Chroma
from datasets.records import Donor
from datasets.sources import Source
from datasets.staging import write_file
from datasets.stream import annotation_body

# Unique to this process, also among machines that share the folder.
_SUFFIX = f".{secrets.token_hex(4)}"

_cache = DonorCache()
_CHROMA: dict[int, Chroma] = {444: "444", 422: "422", 420: "420"}

CHANGED, DAMAGED = -2, -1


class SourceTask(NamedTuple):
    """Everything a worker needs to compile one source; `names` are the file names of its images.

    With `labels_only`, the files exist already.
    """

    source: Source
    variants: list[Variant]
    lent: list[Source]
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
    donors = DonorPictures(source, task.lent)
    counts, annotations = _label(task, donors.lender)
    if task.labels_only:
        return SourceResult(annotations, counts, None, 0)
    data = read_unchanged(source.path, file)
    source_sha256 = hashlib.sha256(data).hexdigest()
    digests = []
    size = 0
    made = encode_variants(data, file.reading, task.variants, task.recipe, donors)
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
    entry = JournalEntry(source_sha256, tuple(digests), donors.sha256())
    return SourceResult(annotations, counts, entry, size)


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


class DonorPictures:
    """The pictures that a source's variants take from, decoded when they are asked for."""

    def __init__(self, own: Source, lent: list[Source]) -> None:
        self._own = own.input, own.image.id
        self._sources = {(source.input, source.image.id): source for source in lent}
        self._sha256s: dict[tuple[int, int], str] = {}
        self.lender = lender_of(lent)

    def pixels(self, donor: Donor, own: Pixels) -> Pixels:
        """(height, width, 3) BGR pixels of a donor's whole picture, which may be the source's `own`."""
        key = donor.source_input, donor.source_id
        if key == self._own:
            return own
        decoded = _cache.get(self._sources[key])
        self._sha256s[key] = decoded.sha256
        return decoded.pixels

    def sha256(self) -> str | None:
        """One SHA-256 over those of the files that pixels were taken from, in their order; None without any."""
        return donors_sha256(self._sha256s[key] for key in self._sources)


def lender_of(lent: list[Source]) -> Lender:
    return Lender({(source.input, source.image.id): Lent(source.image, source.annotations) for source in lent})


def donors_sha256(sha256s: Iterable[str]) -> str | None:
    """One SHA-256 over those of some files; None without any."""
    lines = "\n".join(sha256s)
    return hashlib.sha256(lines.encode()).hexdigest() if lines else None


def encode_variants(
    data: bytes, reading: Reading, variants: list[Variant], recipe: Recipe, donors: DonorPictures
) -> Iterator[memoryview | None]:
    """The JPEG of each variant of a source file, which is decoded once; None for one that is the file itself.

    Raises ValueError where the source cannot be decoded, DataError where a donor cannot.
    """
    bgr = decode_bgr(data, reading)
    rgb: Pixels | None = None
    quality = recipe.jpeg_quality
    chroma = images.chroma_of(data, reading) if recipe.chroma == "source" else _CHROMA[recipe.chroma]
    pixels_of = functools.partial(donors.pixels, own=bgr)
    for variant in variants:
        if variant.unchanged:
            yield None
        elif variant.transform is None:
            yield images.encode_jpeg(render(bgr, variant, donors.lender, pixels_of), quality, "BGR", chroma)
        else:
            # Only albumentations needs RGB.
            rgb = images.swapped(bgr) if rgb is None else rgb
            yield images.encode_jpeg(render(rgb, variant), quality, chroma=chroma)


def _label(task: SourceTask, lender: Lender) -> tuple[Counts, list[list[bytes]]]:
    """The counts of all variants, and the JSON of each one's annotations, without ids."""
    source = task.source
    labeller = VariantLabeller(source.annotations, source.image, task.recipe.labels, source.input, lender)
    counts = Counts.empty()
    counts.before = count_boxes(source.annotations)
    annotations = []
    # Variants of the same geometry, such as all without any, share their labels and JSON.
    shown: dict[Variant, tuple[Labels, list[bytes]]] = {}
    for variant in task.variants:
        geometry = variant.geometry
        if geometry not in shown:
            labels = labeller.show(variant)
            shown[geometry] = labels, [annotation_body(item) for item in labels.annotations]
        labels, bodies = shown[geometry]
        counts.add_variant(variant.operation, labels)
        annotations.append(bodies)
    return counts, annotations


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
