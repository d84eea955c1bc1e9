"""From the bytes of an annotation file to typed records, each with its place (JSON path).

Two steps: the outer one splits the file into raw records, the inner one parses each into a typed struct. So every
offender is found, with its place, and only one record at a time is held as plain Python objects.
"""

from __future__ import annotations

import codecs
import itertools
import json
import math
import mmap
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec
import numpy as np

from datasets.errors import DataError, Problems
from datasets.records import MAX_ID


class WithId(Protocol):
    @property
    def id(self) -> int: ...


Record = TypeVar("Record", bound=WithId)
Kind = TypeVar("Kind")

_PLACE = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<where>.*)`)?", re.DOTALL)
_BOM = b"\xef\xbb\xbf"
_BLOCK = 1 << 20
# Magic bytes, what they identify, and the way out.
_OTHER_FORMS = (
    (b"\x1f\x8b", "a file compressed by gzip", "unpack it first: gunzip FILE"),
    (b"PK\x03\x04", "a zip archive", "unpack it first: unzip FILE"),
    (b"\xff\xfe", "UTF-16", "convert it first: iconv -f UTF-16 -t UTF-8 FILE"),
    (b"\xfe\xff", "UTF-16", "convert it first: iconv -f UTF-16 -t UTF-8 FILE"),
)
# Records parsed between two releases of the text's memory.
_RELEASE_EVERY = 4096
# Error text of an id that is too large.
TOO_LARGE = "; renumber the records, since JSON tools mix numbers up beyond 2^53"

Buffer = bytes | memoryview


class LeftOut(NamedTuple):
    """Marks a record that is left out and was counted."""


# (raw record that does not parse, its type, its place) -> the record after repair, or the remaining error.
Mend = Callable[[msgspec.Raw, type[Any], str], Any]
# (record with a repeated id, its place) -> the record after repair, LeftOut, or None where it cannot be repaired.
OnRepeat = Callable[[Any, str], Any]


def read_buffer(path: Path, what: str) -> Buffer:
    """The bytes of a file, in memory that `release` can free piece by piece.

    The text of an annotation file is as large as its records, and would otherwise stay until the last one is parsed.
    Raises DataError, which names `what` the file was expected to be, where it cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                # Empty, or not a regular file.
                return file.read()
            # Not a map of the file, since a file truncated meanwhile would kill the process. Private, since freed pages
            # of shared memory are not returned to the system.
            memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            return memoryview(memory)[: file.readinto(memory)].toreadonly()
    except OSError as error:
        raise DataError(f"{path}: the {what} cannot be read: {error.strerror}") from None


def release(record: msgspec.Raw, data: Buffer) -> None:
    """Free the memory of all text before `record` in `data`; it reads as zeros from then on."""
    memory = data.obj if isinstance(data, memoryview) else None
    if isinstance(memory, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        offset = int(np.frombuffer(record, np.uint8).ctypes.data - np.frombuffer(data, np.uint8).ctypes.data)
        memory.madvise(mmap.MADV_DONTNEED, 0, offset // mmap.PAGESIZE * mmap.PAGESIZE)


def read_bytes(path: Path, what: str) -> bytes:
    """The bytes of a file. Raises DataError, which names `what` the file was expected to be, where it cannot be
    read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: the {what} cannot be read: {error.strerror}") from None


def decode(data: Buffer, kind: type[Kind], path: Path) -> Kind:
    """Raises DataError for invalid JSON, msgspec.ValidationError for JSON of another type."""
    for mark, what, remedy in _OTHER_FORMS:
        if data[: len(mark)] == mark:
            raise DataError(f"{path}: expected JSON in UTF-8, found {what}; {remedy}")
    try:
        # msgspec validates UTF-8 only in the strings that it decodes, too late for an error about the whole file.
        _check_utf8(data)
        return msgspec.json.decode(data[len(_BOM) :] if data[: len(_BOM)] == _BOM else data, type=kind)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not valid JSON", [f"expected UTF-8 text: {error}"]) from None
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON", _why_no_json(bytes(data), error)) from None


def _check_utf8(data: Buffer) -> None:
    """Raises UnicodeDecodeError; in blocks, since decoding it all would take the file's size again."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    whole = memoryview(data)
    for start in range(0, len(whole), _BLOCK):
        decoder.decode(whole[start : start + _BLOCK])
    decoder.decode(b"", final=True)


class Document(NamedTuple):
    """An annotation file, split into raw records."""

    info: dict[str, Any]
    licenses: list[dict[str, Any]]
    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]
    categories: list[msgspec.Raw]
    annotated: bool
    """The list of annotations is not empty."""

    @classmethod
    def split(cls, data: Buffer, path: Path, *, images_only: bool = False) -> Document:
        """Raises DataError for invalid JSON, for anything but an object, and where one of the three lists is missing.

        With `images_only`, categories may be missing, and annotations are not split: their list is empty.
        """
        try:
            keys = decode(data, dict[str, msgspec.Raw], path)
        except msgspec.ValidationError as error:
            raise DataError(f"{path}: expected a COCO dataset, a JSON object: {error}") from None
        problems = Problems()
        images = _records(keys, "images", problems)
        # Images without an object are data too.
        annotations = [] if images_only else _records(keys, "annotations", problems, may_be_empty=True)
        annotated = _has_records(keys.get("annotations"))
        categories = _records(keys, "categories", problems, may_lack=images_only, may_be_empty=not annotated)
        problems.raise_if_any(f"{path}: not a COCO dataset")
        return cls(
            _or_empty(keys.get("info"), dict[str, Any], {}),
            _or_empty(keys.get("licenses"), list[dict[str, Any]], []),
            images,
            annotations,
            categories,
            annotated,
        )


def _has_records(raw: msgspec.Raw | None) -> bool:
    # Only the start of the list: one of millions need not be split for that.
    head = b"" if raw is None else bytes(memoryview(raw)[:64])
    return head[:1] == b"[" and head[1:].lstrip()[:1] != b"]"


def _records(
    keys: dict[str, msgspec.Raw],
    name: str,
    problems: Problems,
    *,
    may_lack: bool = False,
    may_be_empty: bool = False,
) -> list[msgspec.Raw]:
    if name not in keys:
        if not may_lack:
            problems.add(f"$: expected the key {name!r}, found only {', '.join(map(repr, keys)) or 'no key'}")
        return []
    try:
        records = msgspec.json.decode(keys[name], type=list[msgspec.Raw])
    except msgspec.ValidationError as error:
        problems.add(f"$.{name}: {error}")
        return []
    if not records and not may_lack and not may_be_empty:
        problems.add(f"$.{name}: expected at least one, found none")
    return records


def _or_empty(raw: msgspec.Raw | None, kind: type[Any], empty: Any) -> Any:
    """The optional `info` and `licenses`; missing or invalid values become empty."""
    try:
        return empty if raw is None else msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError:
        return empty


def _why_no_json(data: bytes, error: Exception) -> list[str]:
    """The reasons, one a line. Python writes NaN and Infinity, which are invalid JSON: each is named by its place."""
    try:
        places = list(not_finite(json.loads(data), "$"))
    except json.JSONDecodeError as found:
        return [f"line {found.lineno}, column {found.colno}: {found.msg}; the file has {len(data):,} bytes"]
    except (UnicodeDecodeError, RecursionError, ValueError) as found:
        return [f"{found}; the file has {len(data):,} bytes"]
    return [f"{json_path}: expected a finite number, found {value}" for json_path, value in places] or [str(error)]


def not_finite(value: Any, json_path: str) -> Iterator[tuple[str, float]]:
    """(place, number) of every non-finite number in a plain JSON value."""
    if isinstance(value, float) and not math.isfinite(value):
        yield json_path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from not_finite(inner, f"{json_path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from not_finite(inner, f"{json_path}[{index}]")


def without_infinities(data: Buffer) -> Buffer:
    """The same JSON with null for every NaN and Infinity, which Python's json writes although JSON lacks them.

    Returns `data` itself where there are none, or where it is invalid for another reason.
    """
    text = bytes(data)
    if not any(word in text for word in (b"NaN", b"Infinity")):
        return data
    try:
        return msgspec.json.encode(json.loads(text, parse_constant=lambda _: None))
    except (ValueError, RecursionError, msgspec.MsgspecError, OverflowError):
        return data


def parse_records(
    raws: Iterable[msgspec.Raw],
    kind: type[Record],
    name: str,
    problems: Problems,
    refused: set[int | None],
    *,
    data: Buffer = b"",
    numbers: Iterable[int] | None = None,
    mend: Mend | None = None,
    on_repeat: OnRepeat | None = None,
) -> Iterator[tuple[str, Record]]:
    """(place, record) of each record that parses and has a new id; `refused` gets the ids of the others.

    Records that do not parse are given to `mend`, those with a repeated id to `on_repeat`. Where `data`, which contains
    the records, is from `read_buffer`, the memory of parsed records is freed. `numbers` are the indices of the records
    in the file, by default counting from 0.
    """
    decoder = msgspec.json.Decoder(kind)
    first_with: dict[int, int] = {}
    for index, raw in zip(itertools.count() if numbers is None else numbers, raws, strict=False):
        if index % _RELEASE_EVERY == _RELEASE_EVERY - 1:
            release(raw, data)
        json_path = f"$.{name}[{index}]"
        try:
            record = decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if not isinstance(error, msgspec.ValidationError):
                problems.add(f"{json_path}: expected a JSON object, found one that is none: {error}")
                refused.add(None)
                continue
            mended = None if mend is None else mend(raw, kind, json_path)
            if isinstance(mended, LeftOut):
                continue
            if mended is None or isinstance(mended, msgspec.ValidationError):
                problems.add(explain(mended or error, raw, json_path))
                refused.add(_id_of(raw))
                continue
            record = mended
        other = first_with.setdefault(record.id, index)
        if other == index:
            yield json_path, record
            continue
        repeated = None if on_repeat is None else on_repeat(record, json_path)
        if repeated is None:
            problems.add(f"{json_path}.id: expected an id of its own, found {record.id}, which $.{name}[{other}] has")
        elif not isinstance(repeated, LeftOut):
            yield json_path, repeated


def _id_of(raw: msgspec.Raw) -> int | None:
    """The id of a record that does not parse, if it has one."""
    try:
        return msgspec.json.decode(raw, type=_OnlyId).id
    except msgspec.ValidationError:
        return None


class _OnlyId(msgspec.Struct):
    id: int


def explain(error: msgspec.ValidationError, raw: msgspec.Raw, json_path: str) -> str:
    """The place in the file, what was expected and what was found."""
    match = _PLACE.fullmatch(str(error))
    what, where = (match["what"], match["where"] or "") if match else (str(error), "")
    try:
        found: Any = json.loads(bytes(raw))
        for key, index in re.findall(r"\.([^.\[]+)|\[(\d+)\]", where):
            found = found[key] if key else found[int(index)]
    except (LookupError, TypeError, ValueError, RecursionError):
        # A repeated key, a number of thousands of digits, thousands of brackets: the place must do.
        return f"{json_path}{where}: {what}"
    shown = json.dumps(found)
    is_large = f"<= {MAX_ID}" in what or f">= {-MAX_ID}" in what
    # In results files, ids are references to other records.
    remedy = TOO_LARGE if is_large and json_path.startswith("$.") else ""
    return f"{json_path}{where}: {what}, found {shown if len(shown) <= 80 else shown[:77] + '...'}{remedy}"
