"""Reading, checking and writing COCO annotation files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple

import msgspec

from datasets.checks import AnnotationJson, Repairs, TracedAnnotationJson, check_annotation, check_image
from datasets.errors import Problems
from datasets.origins import build_of
from datasets.parsing import Document, Record, parse_records, read_buffer
from datasets.records import Annotation, Category, CocoImage, Dataset, Image
from datasets.stream import DatasetWriter, annotation_body


class ReadFile(NamedTuple):
    """A checked annotation file, what was repaired in it, and the SHA-256 of its bytes."""

    dataset: Dataset
    repairs: Repairs
    sha256: str


def read(path: Path, *, strict: bool = False, provenance: bool = False) -> ReadFile:
    """Read and check a COCO annotation file (`datasets.sources` checks the images that belong to it).

    With `strict`, what would be repaired is an error. With `provenance`, the keys that augment adds are read too;
    otherwise keys that COCO does not have are dropped. Raises DataError, listing every offender by its place.
    """
    data = read_buffer(path, "annotation file")
    sha256 = hashlib.sha256(data).hexdigest()
    document = Document.split(data, path)
    problems, repairs = Problems(), Repairs()
    categories = _known(document.categories, Category, "categories", problems)
    images = _known(document.images, Image if provenance else CocoImage, "images", problems, check_image)
    kind = TracedAnnotationJson if provenance else AnnotationJson
    parsed = parse_records(document.annotations, kind, "annotations", problems, set(), data=data)
    annotations = _annotations(parsed, images, categories, repairs, problems)
    problems.raise_if_any(f"{path}: {{n}} problem(s) in the annotation file")
    if strict:
        repairs.as_problems().raise_if_any(f"{path}: {{n}} problem(s) that --strict does not repair")
    dataset = Dataset(
        info=document.info,
        licenses=document.licenses,
        categories=list(categories.records.values()),
        images=_as_images(images.records.values()),
        annotations=annotations,
    )
    return ReadFile(dataset, repairs, sha256)


class ReadImages(NamedTuple):
    """The images and categories of a checked file, and the SHA-256 of its bytes; `annotated` if it has annotations."""

    images: list[Image]
    categories: list[Category]
    sha256: str
    annotated: bool


def read_images(path: Path) -> ReadImages:
    """Read what a file says of its images, for images that are to be predicted on.

    Such files may lack categories (the list is empty then) and annotations (which are not looked at in any file). Of a
    build, what augment says of its images is read too. Raises DataError as `read` does.
    """
    data = read_buffer(path, "annotation file")
    document = Document.split(data, path, images_only=True)
    problems = Problems()
    categories = _known(document.categories, Category, "categories", problems)
    # Where they come from is not asked of other people's files, which may mean something else by the same keys.
    images = _known(document.images, CocoImage if build_of(path) is None else Image, "images", problems, check_image)
    problems.raise_if_any(f"{path}: {{n}} problem(s) in the annotation file")
    return ReadImages(
        images=_as_images(images.records.values()),
        categories=list(categories.records.values()),
        sha256=hashlib.sha256(data).hexdigest(),
        annotated=document.annotated,
    )


@dataclass(frozen=True)
class _Known(Generic[Record]):
    """Records that others refer to, by id; `refused` are the ids of bad ones, so that no reference is reported too."""

    records: dict[int, Record]
    refused: set[int | None]


def _known(
    raws: list[msgspec.Raw],
    kind: type[Record],
    name: str,
    problems: Problems,
    is_good: Callable[[Record, str, Problems], bool] = lambda *_: True,
) -> _Known[Record]:
    known: _Known[Record] = _Known({}, set())
    for place, record in parse_records(raws, kind, name, problems, known.refused):
        if is_good(record, place, problems):
            known.records[record.id] = record
        else:
            known.refused.add(record.id)
    return known


def _as_images(records: Iterable[CocoImage]) -> list[Image]:
    return [item if isinstance(item, Image) else Image(**msgspec.structs.asdict(item)) for item in records]


def _annotations(
    parsed: Iterator[tuple[str, AnnotationJson]],
    images: _Known[CocoImage],
    categories: _Known[Category],
    repairs: Repairs,
    problems: Problems,
) -> list[Annotation]:
    annotations = []
    for place, record in parsed:
        if record.category_id not in categories.records and record.category_id not in categories.refused:
            problems.add(f"{place}.category_id: expected the id of a category, found {record.category_id}")
        if record.image_id in images.refused:
            continue
        image = images.records.get(record.image_id)
        if image is None:
            problems.add(f"{place}.image_id: expected the id of an image, found {record.image_id}")
            continue
        checked = check_annotation(record, place, image, repairs, problems)
        if checked is not None:
            annotations.append(checked)
    return annotations


def write(path: Path, dataset: Dataset) -> None:
    """Write a whole dataset; what stood at `path` is replaced at once or not at all."""
    with DatasetWriter(path, dataset.info, dataset.licenses, dataset.categories) as writer:
        writer.images(dataset.images)
        for annotation in dataset.annotations:
            writer.annotations(annotation.image_id, annotation.id, [annotation_body(annotation)])
