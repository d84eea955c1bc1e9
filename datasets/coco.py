"""Reading, checking and writing COCO annotation files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, NamedTuple

import msgspec

from datasets import respell
from datasets.as_written import check_as_written
from datasets.build_layout import build_of
from datasets.checks import (
    CATEGORY_REPEATED,
    ID_TAKEN,
    SIZE_FROM_FILE,
    STRICT,
    AnnotationJson,
    Asked,
    Leniency,
    Repairs,
    TracedAnnotationJson,
    check_annotation,
    check_image,
)
from datasets.errors import DataError, Problems
from datasets.file_names import locate
from datasets.images import read_file, upright_size
from datasets.mending import Mending
from datasets.parsing import Buffer, Document, LeftOut, Record, parse_records, read_buffer, without_infinities
from datasets.records import Annotation, Category, CocoImage, Dataset, Image
from datasets.stream import DatasetWriter, annotation_body


class Unsized(NamedTuple):
    """An image record whose size is unknown, and why it could not be read from the file."""

    id: int
    file_name: str
    why: str


class ReadFile(NamedTuple):
    """A checked annotation file, the repairs made, and the SHA-256 of its bytes.

    `unsized` are images that were left out (--skip-bad) since neither the record nor the file tells their size.
    """

    dataset: Dataset
    repairs: Repairs
    sha256: str
    unsized: list[Unsized]


def read(
    path: Path,
    *,
    strict: bool = False,
    provenance: bool = False,
    leniency: Leniency | None = None,
    images: Path | None = None,
    as_written: bool = False,
    masks: bool = False,
) -> ReadFile:
    """Read and check a COCO annotation file (`datasets.sources` checks its image files).

    With `strict`, repairs are errors. With `provenance`, the keys that augment adds are read too; otherwise keys that
    COCO does not define are dropped. `images` is the folder to read missing image sizes from. With `as_written`, for
    evaluation, boxes are neither clipped nor left out, images need neither a name nor a size, and no mask is kept; with
    `masks` too, they are, and images need a size.

    Raises DataError listing every offender with its place, and the option of `leniency` that would help, where the
    caller has it.
    """
    data = read_buffer(path, "annotation file")
    sha256 = hashlib.sha256(data).hexdigest()
    mending = Mending(leniency or STRICT)
    document = _split(data, path)
    kinds = (Image, TracedAnnotationJson) if provenance else (CocoImage, AnnotationJson)
    categories = _categories(document, mending)
    asked = Asked(names=not as_written, sizes=masks or not as_written)
    records = _images(document, kinds[0], images, mending, asked)
    how = _How(as_written, masks)
    annotations = _annotations(document, data, kinds[1], records, categories, mending, how)
    _raise_problems(path, mending.problems, leniency, unsized=bool(records.unsized))
    if strict:
        mending.repairs.as_problems().raise_if_any(f"{path}: {{n}} problem(s) that --strict does not repair")
    dataset = Dataset(
        info=document.info,
        licenses=document.licenses,
        categories=list(categories.records.values()),
        images=_as_images(records.records.values()),
        annotations=annotations,
    )
    return ReadFile(dataset, mending.repairs, sha256, records.unsized)


class _How(NamedTuple):
    """How annotations are read; see `read`."""

    as_written: bool
    masks: bool


def _split(data: Buffer, path: Path, *, images_only: bool = False) -> Document:
    try:
        return Document.split(data, path, images_only=images_only)
    except DataError:
        mended = without_infinities(data)
        if mended is data:
            raise
        # Boxes with a non-finite number are counted one by one.
        return Document.split(mended, path, images_only=images_only)


def _raise_problems(path: Path, problems: Problems, leniency: Leniency | None, *, unsized: bool = False) -> None:
    if problems.count:
        kinds = ["images"] if unsized else []
        if any(problem.startswith("$.annotations[") for problem in problems.kept):
            kinds.append("annotations")
        advice = ""
        if leniency is not None and kinds:
            advice = f"--skip-bad leaves out {' and '.join(kinds)} that cannot be used, and counts them."
        headline = f"{path}: {problems.count} problem(s) in the annotation file"
        raise DataError(headline, problems.kept, problems.count, advice)


class ReadImages(NamedTuple):
    """The images and categories of a checked file, and its SHA-256; `annotated` where it has annotations."""

    images: list[Image]
    categories: list[Category]
    sha256: str
    annotated: bool


def read_images(path: Path, images: Path | None = None, *, named: bool = True) -> ReadImages:
    """Read only the images of a file, for prediction; without `named`, for results, whose images need no file.

    Such files may lack categories (the list is then empty) and annotations (which are never parsed), and file names
    where no image file is opened. For a build, the provenance of its images is read too. `images` is the folder to read
    missing sizes from. Raises DataError as `read` does.
    """
    data = read_buffer(path, "annotation file")
    mending = Mending(STRICT)
    document = _split(data, path, images_only=True)
    categories = _categories(document, mending)
    # Provenance keys are read from builds only; in other files the same keys may mean something else.
    kind = CocoImage if build_of(path) is None else Image
    records = _images(document, kind, images, mending, Asked(names=named))
    _raise_problems(path, mending.problems, None)
    return ReadImages(
        images=_as_images(records.records.values()),
        categories=list(categories.records.values()),
        sha256=hashlib.sha256(data).hexdigest(),
        annotated=document.annotated,
    )


@dataclass(frozen=True)
class _Known(Generic[Record]):
    """Records that others refer to, by id.

    `refused` are the ids of invalid records, so that references to them are not reported too; `unsized` are those whose
    size is unknown.
    """

    records: dict[int, Record]
    refused: set[int | None]
    unsized: list[Unsized] = field(default_factory=list)


def _categories(document: Document, mending: Mending) -> _Known[Category]:
    known: _Known[Category] = _Known({}, set())

    def on_repeat(record: Category, json_path: str) -> LeftOut | None:
        if known.records.get(record.id) != record:
            return None
        mending.repairs.add(CATEGORY_REPEATED, json_path)
        return LeftOut()

    for _, record in parse_records(
        document.categories,
        Category,
        "categories",
        mending.problems,
        known.refused,
        mend=mending.by(respell.category),
        on_repeat=on_repeat,
    ):
        known.records[record.id] = record
    return known


def _images(
    document: Document, kind: type[CocoImage], folder: Path | None, mending: Mending, asked: Asked
) -> _Known[CocoImage]:
    known: _Known[CocoImage] = _Known({}, set())
    mend = mending.by(respell.image if asked.names else respell.unnamed_image)
    for json_path, record in parse_records(document.images, kind, "images", mending.problems, known.refused, mend=mend):
        why = ""
        if folder is not None and min(record.width, record.height) < 1:
            why = _read_size(record, json_path, folder, mending)
        if why:
            known.unsized.append(Unsized(record.id, record.file_name, why))
        if (why and mending.leniency.skip_bad) or not check_image(record, json_path, mending.problems, asked, why):
            known.refused.add(record.id)
        else:
            known.records[record.id] = record
    return known


def _read_size(image: CocoImage, json_path: str, folder: Path, mending: Mending) -> str:
    """Fill in the size that a record lacks from its image file; returns the reason where that fails."""
    try:
        path = locate(folder, image.file_name).path
    except ValueError:
        return ""  # an invalid name is reported elsewhere
    try:
        image.width, image.height = upright_size(read_file(path))
    except ValueError as error:
        return str(error)
    mending.repairs.add(SIZE_FROM_FILE, json_path)
    return ""


def _as_images(records: Iterable[CocoImage]) -> list[Image]:
    return [item if isinstance(item, Image) else Image(**msgspec.structs.asdict(item)) for item in records]


def _annotations(
    document: Document,
    data: Buffer,
    kind: type[AnnotationJson],
    images: _Known[CocoImage],
    categories: _Known[Category],
    mending: Mending,
    how: _How,
) -> list[Annotation]:
    annotations: list[Annotation] = []
    repeated: list[Annotation] = []
    json_paths: set[str] = set()

    def on_repeat(record: AnnotationJson, json_path: str) -> AnnotationJson:
        json_paths.add(json_path)
        return record

    parsed = parse_records(
        document.annotations,
        kind,
        "annotations",
        mending.annotation_problems(),
        set(),
        data=data,
        mend=mending.by(respell.annotation),
        on_repeat=on_repeat,
    )
    problems = Problems()
    for json_path, record in parsed:
        checked = _checked(record, json_path, images, categories, mending, problems, how)
        if problems.count:
            mending.take(json_path, problems)
            problems = Problems()
        elif checked is not None:
            annotations.append(checked)
            if json_path in json_paths:
                mending.repairs.add(ID_TAKEN, json_path)
                repeated.append(checked)
    # Numbered once all other ids are known.
    free = max((item.id for item in annotations), default=0) + 1
    for number, item in enumerate(repeated, start=free):
        item.id = number
    return annotations


def _checked(
    record: AnnotationJson,
    json_path: str,
    images: _Known[CocoImage],
    categories: _Known[Category],
    mending: Mending,
    problems: Problems,
    how: _How,
) -> Annotation | None:
    if record.category_id not in categories.records and record.category_id not in categories.refused:
        problems.add(f"{json_path}.category_id: expected the id of a category, found {record.category_id}")
    if record.image_id in images.refused:
        return None
    image = images.records.get(record.image_id)
    if image is None:
        problems.add(f"{json_path}.image_id: expected the id of an image, found {record.image_id}")
        return None
    if how.as_written:
        return check_as_written(record, json_path, mending.repairs, problems, masks=how.masks)
    return check_annotation(record, json_path, image, mending.repairs, problems, mending.leniency.clip_boxes)


def write(path: Path, dataset: Dataset) -> None:
    """Write a whole dataset; a file at `path` is replaced atomically."""
    with DatasetWriter(path, dataset.info, dataset.licenses, dataset.categories) as writer:
        writer.images(dataset.images)
        for annotation in dataset.annotations:
            writer.annotations(annotation.image_id, annotation.id, [annotation_body(annotation)])
