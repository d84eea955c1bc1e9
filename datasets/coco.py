"""Reading and writing COCO annotation files: the only place that knows the JSON.

A file is taken apart in two steps. The outer one splits it into records without looking inside; the inner one parses
record by record into typed structs. So every offender is found, each with its place, and only one record at a time
is held as plain Python objects.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
import orjson

from datasets.checks import AnnotationJson, Repairs, check_annotation, check_image
from datasets.errors import DataError, Problems
from datasets.records import Annotation, Category, CocoImage, Dataset, Image, Rle

Record = TypeVar("Record", AnnotationJson, Category, CocoImage, Image)

_PLACE = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<where>.*)`)?", re.DOTALL)
_BOM = b"\xef\xbb\xbf"


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
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: the annotation file cannot be read: {error.strerror}") from None
    document = _Document.split(data.removeprefix(_BOM), path)
    problems, repairs = Problems(), Repairs()
    categories = [record for _, record in _parse(document.categories, Category, "categories", problems)]
    images = _images(document.images, provenance, problems)
    annotations = _annotations(document.annotations, images, categories, repairs, problems)
    problems.raise_if_any(f"{path}: {{n}} problem(s) in the annotation file")
    if strict:
        repairs.as_problems().raise_if_any(f"{path}: {{n}} problem(s) that --strict does not repair")
    dataset = Dataset(
        info=document.info, licenses=document.licenses, categories=categories, images=images, annotations=annotations
    )
    return ReadFile(dataset, repairs, hashlib.sha256(data).hexdigest())


class _Document(NamedTuple):
    """An annotation file, split into records that were not parsed yet."""

    info: dict[str, Any]
    licenses: list[dict[str, Any]]
    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]
    categories: list[msgspec.Raw]

    @classmethod
    def split(cls, data: bytes, path: Path) -> _Document:
        """Raises DataError for what is not JSON, not an object, or lacks one of the three lists."""
        try:
            keys = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        except msgspec.ValidationError as error:
            raise DataError(f"{path}: expected a COCO dataset, a JSON object: {error}") from None
        except (msgspec.DecodeError, RecursionError) as error:
            raise DataError(f"{path}: not valid JSON", _why_no_json(data, error)) from None
        problems = Problems()
        lists = {}
        for name in ("images", "annotations", "categories"):
            lists[name] = _records(keys, name, problems)
        problems.raise_if_any(f"{path}: not a COCO dataset")
        return cls(
            _or_empty(keys.get("info"), dict[str, Any], {}),
            _or_empty(keys.get("licenses"), list[dict[str, Any]], []),
            lists["images"],
            lists["annotations"],
            lists["categories"],
        )


def _records(keys: dict[str, msgspec.Raw], name: str, problems: Problems) -> list[msgspec.Raw]:
    if name not in keys:
        problems.add(f"$: expected the key {name!r}, found only {', '.join(map(repr, keys)) or 'no key'}")
        return []
    try:
        records = msgspec.json.decode(keys[name], type=list[msgspec.Raw])
    except msgspec.ValidationError as error:
        problems.add(f"$.{name}: {error}")
        return []
    if not records:
        problems.add(f"$.{name}: expected at least one, found none")
    return records


def _or_empty(raw: msgspec.Raw | None, kind: type[Any], empty: Any) -> Any:
    """`info` and `licenses` serve readers only; where they are missing or odd, the dataset is none the worse."""
    try:
        return empty if raw is None else msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError:
        return empty


def _why_no_json(data: bytes, error: Exception) -> list[str]:
    """The reasons, one a line. NaN and infinity are no JSON, but Python writes them: each is named by its place."""
    try:
        loaded = json.loads(data)
    except json.JSONDecodeError as found:
        return [f"line {found.lineno}, column {found.colno}: {found.msg}; the file has {len(data):,} bytes"]
    except (UnicodeDecodeError, RecursionError, ValueError) as found:
        return [f"{found}; the file has {len(data):,} bytes"]
    places = list(_not_finite(loaded, "$"))
    return [f"{place}: expected a finite number, found {value}" for place, value in places] or [str(error)]


def _not_finite(value: Any, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float) and not math.isfinite(value):
        yield place, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _not_finite(inner, f"{place}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _not_finite(inner, f"{place}[{index}]")


def _parse(raws: list[msgspec.Raw], kind: type[Record], name: str, problems: Problems) -> Iterator[tuple[str, Record]]:
    """(place, record) of each record that parses and whose id is new; `problems` gets the others."""
    decoder = msgspec.json.Decoder(kind)
    first_with: dict[int, int] = {}
    for index, raw in enumerate(raws):
        place = f"$.{name}[{index}]"
        try:
            record = decoder.decode(raw)
        except msgspec.ValidationError as error:
            problems.add(_explain(error, raw, place))
            continue
        first = first_with.setdefault(record.id, index)
        if first != index:
            problems.add(f"{place}.id: expected an id of its own, found {record.id}, which $.{name}[{first}] has")
            continue
        yield place, record


def _explain(error: msgspec.ValidationError, raw: msgspec.Raw, place: str) -> str:
    """The place in the file, what was expected and what was found."""
    match = _PLACE.fullmatch(str(error))
    what, where = (match["what"], match["where"] or "") if match else (str(error), "")
    found: Any = json.loads(bytes(raw))
    for key, index in re.findall(r"\.([^.\[]+)|\[(\d+)\]", where):
        found = found[key] if key else found[int(index)]
    shown = json.dumps(found)
    return f"{place}{where}: {what}, found {shown if len(shown) <= 80 else shown[:77] + '...'}"


def _images(raws: list[msgspec.Raw], provenance: bool, problems: Problems) -> list[Image]:
    images = []
    for place, record in _parse(raws, Image if provenance else CocoImage, "images", problems):
        check_image(record, place, problems)
        images.append(record if isinstance(record, Image) else Image(**msgspec.structs.asdict(record)))
    return images


def _annotations(
    raws: list[msgspec.Raw], images: list[Image], categories: list[Category], repairs: Repairs, problems: Problems
) -> list[Annotation]:
    known_images = {image.id: image for image in images}
    known_categories = {category.id for category in categories}
    annotations = []
    for place, record in _parse(raws, AnnotationJson, "annotations", problems):
        if record.category_id not in known_categories:
            problems.add(f"{place}.category_id: expected the id of a category, found {record.category_id}")
        image = known_images.get(record.image_id)
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
        writer.annotation(1, image_id, body)        # then the annotations
    """

    def __init__(
        self, path: Path, info: dict[str, Any], licenses: list[dict[str, Any]], categories: list[Category]
    ) -> None:
        self._path = path
        self._temporary = path.with_name(f"{path.name}.tmp")
        self._file = self._temporary.open("wb")
        self._empty = True
        head = {"info": info, "licenses": licenses, "categories": categories}
        self._file.write(_encoder.encode(head)[:-1] + b',\n"images":[')

    def images(self, images: Iterable[Image]) -> None:
        """All images, to be called once."""
        for image in images:
            self._line(_encoder.encode(image))
        self._file.write(b'\n],"annotations":[')
        self._empty = True

    def annotation(self, annotation_id: int, image_id: int, body: bytes) -> None:
        self._line(b'{"id":%d,"image_id":%d,%b' % (annotation_id, image_id, body))

    def _line(self, record: bytes) -> None:
        self._file.write((b"\n" if self._empty else b",\n") + record)
        self._empty = False

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._file.write(b"\n]}\n")
        self._file.close()
        if kind is None:
            self._temporary.replace(self._path)
        else:
            self._temporary.unlink(missing_ok=True)


def write(path: Path, dataset: Dataset) -> None:
    """Write a whole dataset; what stood at `path` is replaced at once or not at all."""
    with DatasetWriter(path, dataset.info, dataset.licenses, dataset.categories) as writer:
        writer.images(dataset.images)
        for annotation in dataset.annotations:
            writer.annotation(annotation.id, annotation.image_id, annotation_body(annotation))
