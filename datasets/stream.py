"""An annotation file as a stream, one record a line: written, and read back, in memory that does not grow with it.

{"info":...,"licenses":[...],"categories":[...],
"images":[
{"id":1,...},
...
],"annotations":[
{"id":1,"image_id":1,...},
...
]}
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal

import msgspec
import numpy as np
import orjson

from datasets.errors import DataError
from datasets.records import Annotation, Category, Image, Rle

_IMAGES = b'"images":['
_ANNOTATIONS = b'],"annotations":['
_END = b"]}"
# The polygons of one object, or the runs of one crowd, in a line.
_MAX_LINE = 1 << 28
# An image's annotations are more than Python's usual 8 kB, which would make each a call of the system.
_BUFFER = 1 << 20

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
    if annotation.source_image_id is not None:
        body["source_image_id"] = annotation.source_image_id
        body["source_input"] = annotation.source_input
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
        self._file = self._temporary.open("wb", buffering=_BUFFER)
        self._digest = hashlib.sha256()
        self._write(head[:-1] + b',\n"images":[')

    def images(self, images: Iterable[Image]) -> None:
        """All images, to be called once."""
        for image in images:
            self._line(_encoder.encode(image))
        self._write(b'\n],"annotations":[')
        self._empty = True

    def annotations(self, image_id: int, first_id: int, bodies: list[bytes]) -> None:
        """The annotations of one image, ids counting up from `first_id`."""
        records = [b'{"id":%d,"image_id":%d,%b' % (at, image_id, body) for at, body in enumerate(bodies, first_id)]
        if records:
            self._line(b",\n".join(records))

    def _line(self, record: bytes) -> None:
        self._write((b"\n" if self._empty else b",\n") + record)
        self._empty = False

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)

    @property
    def sha256(self) -> str:
        """The digest of the file, once the writer is closed."""
        return self._digest.hexdigest()

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._file:
                if kind is None:
                    self._write(b"\n]}\n")
            if kind is None:
                self._temporary.replace(self._path)
        finally:
            self._temporary.unlink(missing_ok=True)


class Head(msgspec.Struct):
    """What stands before the records."""

    categories: list[Category]
    info: dict[str, Any] = {}
    licenses: list[dict[str, Any]] = []


def read_head(path: Path) -> Head:
    """The first line of a file that DatasetWriter wrote. Raises DataError for any other."""
    with _opened(path) as file:
        line = _line(file, path, 1)
        try:
            return msgspec.json.decode(line.removesuffix(b",") + b"}", type=Head)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{path} line 1: expected info, licenses and categories: {error}") from None


def records(path: Path, section: Literal["images", "annotations"]) -> Iterator[bytes]:
    """The JSON of each record of a section, in the order of the file, not parsed.

    Raises DataError naming the line where the file is not laid out as DatasetWriter does.
    """
    return (record for _, record in located_records(path, section))


def located_records(path: Path, section: Literal["images", "annotations"]) -> Iterator[tuple[int, bytes]]:
    """As `records`, each with the byte of the file that it begins at, for `records_from`."""
    wanted, number = section == "images", 2
    with _opened(path) as file:
        head = _line(file, path, 1)
        _expect(_IMAGES, _line(file, path, 2), path, 2)
        offset = len(head) + len(_IMAGES) + 2
        for end in (_ANNOTATIONS, _END):
            more = True
            while True:
                number += 1
                start, line = offset, _line(file, path, number)
                offset += len(line) + 1
                if line == end:
                    break
                if not more or not line.startswith(b"{"):
                    _expect(end, line, path, number)
                more = line.endswith(b"},")
                if wanted:
                    yield start, line.removesuffix(b",")
            if wanted:
                return
            wanted = True


def records_from(path: Path, offset: int) -> Iterator[bytes]:
    """The JSON of the records from the one that begins at byte `offset`, up to the end of its section."""
    with _opened(path) as file:
        file.seek(offset)
        while (line := file.readline(_MAX_LINE)).startswith(b"{"):
            yield line.rstrip(b"\n").removesuffix(b",")


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: the annotation file cannot be read: {error.strerror}") from None


def _line(file: BinaryIO, path: Path, number: int) -> bytes:
    line = file.readline(_MAX_LINE)
    if not line.endswith(b"\n"):
        found = "the end of the file" if len(line) < _MAX_LINE else f"one of over {_MAX_LINE:,} bytes"
        raise DataError(f"{path} line {number}: expected a whole line, found {found}")
    return line[:-1]


def _expect(wanted: bytes, found: bytes, path: Path, number: int) -> None:
    if found != wanted:
        shown = found[:60].decode("utf-8", "replace")
        raise DataError(f"{path} line {number}: expected {wanted.decode()!r} or one record a line, found {shown!r}")
