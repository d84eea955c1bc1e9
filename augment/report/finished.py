"""A finished build as the report reads it: its manifest as typed records, its categories and image records."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from augment.compiler import manifest
from augment.operations.parameters import OPERATION_NAMES, Original, Recipe
from datasets import build_layout
from datasets.errors import DataError, Problems
from datasets.parsing import parse_records
from datasets.records import Category, Image
from datasets.stream import read_head, records

Key = tuple[int, int]
"""(index of the input, id there) of a source image."""

DEGREES = (0, 90, 180, 270)


class OperationCounts(msgspec.Struct):
    """The images that an operation made, and what became of the objects in them."""

    images: int
    kept: int
    ignored: int
    dropped: int
    crowd: int
    pasted: int = 0


class CategoryCounts(msgspec.Struct):
    """The boxes of a category in the source images, and in all images of the build."""

    id: int
    name: str
    before: int
    after: int


class BuildCounts(msgspec.Struct):
    images: int
    operations: dict[str, OperationCounts]
    boxes_per_category: list[CategoryCounts]


class SkippedImage(msgspec.Struct):
    file_name: str
    why: str


class InputFile(msgspec.Struct):
    annotations: str
    images: int
    skipped: list[SkippedImage] = []


class Repaired(msgspec.Struct):
    count: int
    places: list[str] = []


class Manifest(msgspec.Struct):
    """The keys of a manifest that the report shows."""

    scarcedet: str
    recipe: Recipe
    inputs: list[InputFile]
    versions: dict[str, str]
    counts: BuildCounts
    repairs: dict[str, Repaired] = {}
    limit: int | None = None

    @property
    def sources(self) -> int:
        return sum(item.images for item in self.inputs)

    @property
    def has_originals(self) -> bool:
        """Whether what became of each object can be told, by comparison with the original images."""
        return any(isinstance(operation, Original) for operation in self.recipe.operations)


class Finished(NamedTuple):
    folder: Path
    manifest: Manifest
    categories: list[Category]
    images: dict[int, Image]
    """By id, in the order of the file."""

    @property
    def annotations(self) -> Path:
        return self.folder / build_layout.INSTANCES

    @property
    def files(self) -> tuple[Path, ...]:
        """All that a build consists of."""
        names = (*build_layout.METADATA, build_layout.SUMS, build_layout.IMAGES)
        return tuple(self.folder / name for name in names)


def read_finished(folder: Path) -> Finished:
    """Raises DataError where there is no finished build, or its records are not those of one."""
    document = manifest.read(folder)
    try:
        known = msgspec.convert(document, Manifest)
    except msgspec.ValidationError as error:
        raise DataError(f"{folder / build_layout.MANIFEST}: expected the manifest of a build: {error}") from None
    path = folder / build_layout.INSTANCES
    problems = Problems()
    raws = (msgspec.Raw(record) for record in records(path, "images"))
    images: dict[int, Image] = {}
    for json_path, image in parse_records(raws, Image, "images", problems, set()):
        images[image.id] = image
        for fault in _faults(image):
            problems.add(f"{json_path}.{fault}")
    raise_faults(path, folder, problems)
    return Finished(folder, known, read_head(path).categories, images)


def raise_faults(path: Path, folder: Path, problems: Problems) -> None:
    """Raise DataError if there is any problem in the annotation file of a build."""
    advice = f"`python -m augment verify {folder}` finds everything that is wrong with a build"
    problems.raise_if_any(f"{path}: {{n}} record(s) that no build has", advice)


def key_of(image: Image) -> Key:
    """The source that an image was made of."""
    return image.source_input or 0, image.source_id or 0


def _faults(image: Image) -> list[str]:
    faults = []
    if image.operation not in OPERATION_NAMES:
        faults.append(f"operation: expected one of {', '.join(OPERATION_NAMES)}, found {image.operation!r}")
    if image.source_id is None:
        faults.append("source_id: expected the id of a source image, found none")
    if min(image.width, image.height) < 1:
        faults.append(f"width, height: expected at least 1 px, found {image.width} x {image.height}")
    if image.turn is not None and image.turn.degrees not in DEGREES:
        faults.append(f"turn.degrees: expected one of {', '.join(map(str, DEGREES))}, found {image.turn.degrees}")
    return faults
