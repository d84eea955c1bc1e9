"""From the bytes of an annotation file to typed records, each with its place in the file.

A file is taken apart in two steps. The outer one splits it into records without looking inside; the inner one parses
record by record into typed structs. So every offender is found, each with its place, and only one record at a time
is held as plain Python objects.
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
# First bytes, what they tell, and the way out.
_OTHER_FORMS = (
    (b"\x1f\x8b", "a file compressed by gzip", "unpack it first: gunzip FILE"),
    (b"PK\x03\x04", "a zip archive", "unpack it first: unzip FILE"),
    (b"\xff\xfe", "UTF-16", "convert it first: iconv -f UTF-16 -t UTF-8 FILE"),
    (b"\xfe\xff", "UTF-16", "convert it first: iconv -f UTF-16 -t UTF-8 FILE"),
)
# So many records are parsed before their text is given back.
_RELEASE_EVERY = 4096
# Said of an id that is too large.
TOO_LARGE = "; number the records anew, since JSON tools mix numbers up beyond 2^53"

Buffer = bytes | memoryview


class LeftOut(NamedTuple):
    """A record that is left out, which was counted."""


# A record that does not parse, its kind and its place -> the record after all, or what is still wrong with it.
Mend = Callable[[msgspec.Raw, type[Any], str], Any]
# A record whose id another has, and its place -> the record after all, LeftOut, or None where it cannot be.
OnRepeat = Callable[[Any, str], Any]


def read_buffer(path: Path, what: str) -> Buffer:
    """The bytes of a file, in memory that `release` can give back before the whole is read.

    An annotation file is as large as its records in memory, and would otherwise stay until the last one is parsed.
    Raises DataError, which says `what` the file was to be, where it cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                # Empty, or no regular file.
                return file.read()
            # Not a map of the file: were that cut short meanwhile, reading on would end the process. Private, since
            # what is given back of shared memory stays with the system.
            memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            return memoryview(memory)[: file.readinto(memory)].toreadonly()
    except OSError as error:
        raise DataError(f"{path}: the {what} cannot be read: {error.strerror}") from None


def release(record: msgspec.Raw, data: Buffer) -> None:
    """Give back the memory of all that stands before `record` in `data`; it reads as zeros from then on."""
    memory = data.obj if isinstance(data, memoryview) else None
    if isinstance(memory, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        offset = int(np.frombuffer(record, np.uint8).ctypes.data - np.frombuffer(data, np.uint8).ctypes.data)
        memory.madvise(mmap.MADV_DONTNEED, 0, offset // mmap.PAGESIZE * mmap.PAGESIZE)


def read_bytes(path: Path, what: str) -> bytes:
    """The bytes of a file; raises DataError, which says `what` the file was to be, where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: the {what} cannot be read: {error.strerror}") from None


def decode(data: Buffer, kind: type[Kind], path: Path) -> Kind:
    """Raises DataError for what is not JSON, msgspec.ValidationError for JSON of another kind."""
    for mark, what, remedy in _OTHER_FORMS:
        if data[: len(mark)] == mark:
            raise DataError(f"{path}: expected JSON in UTF-8, found {what}; {remedy}")
    try:
        # msgspec looks at text only where it makes strings of it, which is too late for an error of the whole file.
        _check_utf8(data)
        return msgspec.json.decode(data[len(_BOM) :] if data[: len(_BOM)] == _BOM else data, type=kind)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not valid JSON", [f"expected UTF-8 text: {error}"]) from None
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON", _why_no_json(bytes(data), error)) from None


def _check_utf8(data: Buffer) -> None:
    """Raises UnicodeDecodeError; block by block, since a string of it all would take the file's size again."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    whole = memoryview(data)
    for start in range(0, len(whole), _BLOCK):
        decoder.decode(whole[start : start + _BLOCK])
    decoder.decode(b"", final=True)


class Document(NamedTuple):
    """An annotation file, split into records that were not parsed yet."""

    info: dict[str, Any]
    licenses: list[dict[str, Any]]
    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]
    categories: list[msgspec.Raw]
    annotated: bool
    """There is something in the list of annotations."""

    @classmethod
    def split(cls, data: Buffer, path: Path, *, images_only: bool = False) -> Document:
        """Raises DataError for what is not JSON, not an object, or lacks one of the three lists.

        With `images_only`, categories may be missing or none, and annotations are not looked at: the list is empty.
        """
        try:
            keys = decode(data, dict[str, msgspec.Raw], path)
        except msgspec.ValidationError as error:
            raise DataError(f"{path}: expected a COCO dataset, a JSON object: {error}") from None
        problems = Problems()
        images = _records(keys, "images", problems)
        # Pictures without an object, beside others, are data too.
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
    # What stands first in the list, if it is one; a list of millions need not be taken apart for that.
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
    """`info` and `licenses` serve readers only; where they are missing or odd, the dataset is none the worse."""
    try:
        return empty if raw is None else msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError:
        return empty


def _why_no_json(data: bytes, error: Exception) -> list[str]:
    """The reasons, one a line. NaN and infinity are no JSON, but Python writes them: each is named by its place."""
    try:
        places = list(not_finite(json.loads(data), "$"))
    except json.JSONDecodeError as found:
        return [f"line {found.lineno}, column {found.colno}: {found.msg}; the file has {len(data):,} bytes"]
    except (UnicodeDecodeError, RecursionError, ValueError) as found:
        return [f"{found}; the file has {len(data):,} bytes"]
    return [f"{place}: expected a finite number, found {value}" for place, value in places] or [str(error)]


def not_finite(value: Any, place: str) -> Iterator[tuple[str, float]]:
    """(place, number) of every number in a plain JSON value that is not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        yield place, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from not_finite(inner, f"{place}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from not_finite(inner, f"{place}[{index}]")


def without_infinities(data: Buffer) -> Buffer:
    """The same JSON with null for every NaN and infinity, which Python's json writes though JSON has none.

    Returns `data` itself where it is not JSON for another reason, or has none.
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
    """(place, record) of each record that parses and whose id is new; `refused` gets the ids of those that do not.

    Records that do not parse as they stand are given to `mend`, those whose id another has to `on_repeat`. Where
    `data`, which the records are parts of, is from `read_buffer`, the memory of those that were read is given back.
    `numbers` are the places of the records in the file, which otherwise count from 0.
    """
    decoder = msgspec.json.Decoder(kind)
    first_with: dict[int, int] = {}
    for index, raw in zip(itertools.count() if numbers is None else numbers, raws, strict=False):
        if index % _RELEASE_EVERY == _RELEASE_EVERY - 1:
            release(raw, data)
        place = f"$.{name}[{index}]"
        try:
            record = decoder.decode(raw)
        except msgspec.ValidationError as error:
            mended = None if mend is None else mend(raw, kind, place)
            if isinstance(mended, LeftOut):
                continue
            if mended is None or isinstance(mended, msgspec.ValidationError):
                problems.add(explain(mended or error, raw, place))
                refused.add(_id_of(raw))
                continue
            record = mended
        other = first_with.setdefault(record.id, index)
        if other == index:
            yield place, record
            continue
        repeated = None if on_repeat is None else on_repeat(record, place)
        if repeated is None:
            problems.add(f"{place}.id: expected an id of its own, found {record.id}, which $.{name}[{other}] has")
        elif not isinstance(repeated, LeftOut):
            yield place, repeated


def _id_of(raw: msgspec.Raw) -> int | None:
    """The id of a record that does not parse, where it has one."""
    try:
        return msgspec.json.decode(raw, type=_OnlyId).id
    except msgspec.ValidationError:
        return None


class _OnlyId(msgspec.Struct):
    id: int


def explain(error: msgspec.ValidationError, raw: msgspec.Raw, place: str) -> str:
    """The place in the file, what was expected and what was found."""
    match = _PLACE.fullmatch(str(error))
    what, where = (match["what"], match["where"] or "") if match else (str(error), "")
    try:
        found: Any = json.loads(bytes(raw))
        for key, index in re.findall(r"\.([^.\[]+)|\[(\d+)\]", where):
            found = found[key] if key else found[int(index)]
    except (LookupError, TypeError, ValueError, RecursionError):
        # A key that stands twice, a number of thousands of digits, thousands of brackets: the place must do.
        return f"{place}{where}: {what}"
    shown = json.dumps(found)
    is_large = f"<= {MAX_ID}" in what or f">= {-MAX_ID}" in what
    # Those of results are other records' ids.
    remedy = TOO_LARGE if is_large and place.startswith("$.") else ""
    return f"{place}{where}: {what}, found {shown if len(shown) <= 80 else shown[:77] + '...'}{remedy}"
