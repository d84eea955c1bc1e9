"""Reading, checking and writing COCO annotation files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, NamedTuple

import msgspec
import numpy as np
import orjson

from datasets.checks import AnnotationJson, Repairs, TracedAnnotationJson, check_annotation, check_image
from datasets.errors import Problems
from datasets.parsing import Document, Record, parse_records, read_bytes
from datasets.records import Annotation, Category, CocoImage, Dataset, Image, Rle


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
    data = read_bytes(path, "annotation file")
    document = Document.split(data, path)
    problems, repairs = Problems(), Repairs()
    categories = _known(document.categories, Category, "categories", problems)
    images = _known(document.images, Image if provenance else CocoImage, "images", problems, check_image)
    kind = TracedAnnotationJson if provenance else AnnotationJson
    parsed = parse_records(document.annotations, kind, "annotations", problems, set())
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
    return ReadFile(dataset, repairs, hashlib.sha256(data).hexdigest())


class ReadImages(NamedTuple):
    """The images and categories of a checked file, and the SHA-256 of its bytes; `annotated` if it has annotations."""

    images: list[Image]
    categories: list[Category]
    sha256: str
    annotated: bool


def read_images(path: Path) -> ReadImages:
    """Read what a file says of its images, for images that are to be predicted on.

    Such files may lack categories (the list is empty then) and annotations (which are not looked at in any file).
    Raises DataError as `read` does.
    """
    data = read_bytes(path, "annotation file")
    document = Document.split(data, path, images_only=True)
    problems = Problems()
    categories = _known(document.categories, Category, "categories", problems)
    images = _known(document.images, CocoImage, "images", problems, check_image)
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


_encoder = msgspec.json.Encoder()


def annotation_body(annotation: Annotation) -> bytes:
    """An annotation's JSON without its two ids: encoded once, it serves every image that shows the same object.

    orjson, since it writes numpy arrays without making Python numbers of them: four times as fast.
    """
    body: dict[str, Any] = {
        "category_id": annotation.category_id,
        "bbox": annotation.bbox,
        "area": annotation.area,
        "iscrowd": annotation.iscrowd,
    }
    if isinstance(annotation.segmentation, Rle):
        body["segmentation"] = {"size": annotation.segmentation.size, "counts": annotation.segmentation.counts}
    elif annotation.segmentation is not None:
        # As float64: the shortest text of a float32 is another number.
        body["segmentation"] = [polygon.astype(np.float64, copy=False) for polygon in annotation.segmentation]
    if annotation.source_annotation_id is not None:
        body["source_annotation_id"] = annotation.source_annotation_id
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)[1:]


class DatasetWriter:
    """Writes an annotation file record by record, one a line; it appears under its name when it is whole.

    with DatasetWriter(path, info, licenses, categories) as writer:
        writer.images(images)                       # first all images,
        writer.annotations(image_id, 1, bodies)     # then the annotations, image by image
    """

    def __init__(
        self, path: Path, info: dict[str, Any], licenses: list[dict[str, Any]], categories: list[Category]
    ) -> None:
        self._path = path
        self._temporary = path.with_name(f"{path.name}.tmp")
        self._empty = True
        head = _encoder.encode({"info": info, "licenses": licenses, "categories": categories})
        self._file = self._temporary.open("wb")
        self._file.write(head[:-1] + b',\n"images":[')

    def images(self, images: Iterable[Image]) -> None:
        """All images, to be called once."""
        for image in images:
            self._line(_encoder.encode(image))
        self._file.write(b'\n],"annotations":[')
        self._empty = True

    def annotations(self, image_id: int, first_id: int, bodies: list[bytes]) -> None:
        """The annotations of one image, ids counting up from `first_id`."""
        records = [b'{"id":%d,"image_id":%d,%b' % (at, image_id, body) for at, body in enumerate(bodies, first_id)]
        if records:
            self._line(b",\n".join(records))

    def _line(self, record: bytes) -> None:
        self._file.write((b"\n" if self._empty else b",\n") + record)
        self._empty = False

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._file:
                if kind is None:
                    self._file.write(b"\n]}\n")
            if kind is None:
                self._temporary.replace(self._path)
        finally:
            self._temporary.unlink(missing_ok=True)


def write(path: Path, dataset: Dataset) -> None:
    """Write a whole dataset; what stood at `path` is replaced at once or not at all."""
    with DatasetWriter(path, dataset.info, dataset.licenses, dataset.categories) as writer:
        writer.images(dataset.images)
        for annotation in dataset.annotations:
            writer.annotations(annotation.image_id, annotation.id, [annotation_body(annotation)])
