"""The changes that JSON mutants are made of: to a record, to a list of records, to the bytes of the file."""

from __future__ import annotations

import codecs
import copy
import functools
import gzip
import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple


class Raw(NamedTuple):
    """JSON text that no value of Python is written as."""

    text: str


def encoded(document: Any) -> bytes:
    """JSON, with Raw parts inserted as they are."""
    raw: list[str] = []

    def keep(item: Any) -> Any:
        if isinstance(item, Raw):
            raw.append(item.text)
            return f"\x01{len(raw) - 1}\x01"
        if isinstance(item, dict):
            return {key: keep(value) for key, value in item.items()}
        return [keep(value) for value in item] if isinstance(item, list) else item

    text = json.dumps(keep(document))
    return re.sub(r'"\\u0001(\d+)\\u0001"', lambda match: raw[int(match[1])], text).encode()


def _put(parent: Any, key: Any, value: Any) -> None:
    parent[key] = copy.deepcopy(value)


def _remove(parent: Any, key: Any, _: Any) -> None:
    del parent[key]


def _twice(parent: Any, key: Any, _: Any) -> None:
    """A list holds it once more; an object has its key twice, which JSON allows and no reader foresees."""
    if isinstance(parent, list):
        parent.insert(key, copy.deepcopy(parent[key]))
    else:
        text = encoded(parent[key]).decode()
        parent[key] = Raw(f'0, "{key}": {text}' if re.fullmatch(r"\w+", key) else text)


def _often(parent: Any, key: Any, _: Any) -> None:
    """A list repeated 300 times: quadratic algorithms take forever."""
    if isinstance(parent[key], list) and len(parent[key]) < 1000:
        parent[key] = parent[key] * 300


def _as_text(parent: Any, key: Any, _: Any) -> None:
    value = parent[key]
    parent[key] = value if isinstance(value, (str, Raw)) else json.dumps(value) if _is_plain(value) else "?"


def _as_list(parent: Any, key: Any, _: Any) -> None:
    parent[key] = [parent[key]]


def _rename(parent: Any, key: Any, _: Any) -> None:
    if isinstance(parent, dict):
        parent[key.upper()] = parent.pop(key)


def _reverse(parent: Any, key: Any, _: Any) -> None:
    value = parent[key]
    if isinstance(value, list):
        value.reverse()
    elif isinstance(value, str):
        parent[key] = value[::-1]


def _shorten(parent: Any, key: Any, _: Any) -> None:
    value = parent[key]
    if isinstance(value, (list, str)):
        parent[key] = value[: len(value) // 2]


def _with_unknown_keys(parent: Any, key: Any, _: Any) -> None:
    if isinstance(parent[key], dict):
        parent[key].update({"attributes": {"deep": [{}]}, "": None, "\ud800": 1, "x" * 300: 2})


def _of_numbers(change: Callable[[Any], Any]) -> Callable[[Any, Any, Any], None]:
    """For a number, and for each of a list."""

    def changed(parent: Any, key: Any, _: Any) -> None:
        value = parent[key]
        if _is_number(value):
            parent[key] = change(value)
        elif isinstance(value, list):
            parent[key] = [change(item) if _is_number(item) else item for item in value]

    return changed


def _of_boxes(change: Callable[[list[Any]], list[Any]]) -> Callable[[Any, Any, Any], None]:
    """For the boxes of all records of a list, as another tool's export has them."""

    def changed(parent: Any, key: Any, _: Any) -> None:
        for record in parent[key] if isinstance(parent[key], list) else ():
            box = record.get("bbox") if isinstance(record, dict) else None
            if isinstance(box, list) and len(box) == 4 and all(map(_is_number, box)):
                record["bbox"] = change(box)

    return changed


def _of_records(change: Callable[[dict[str, Any]], None]) -> Callable[[Any, Any, Any], None]:
    def changed(parent: Any, key: Any, _: Any) -> None:
        for record in parent[key] if isinstance(parent[key], list) else ():
            if isinstance(record, dict):
                change(record)

    return changed


def _shift(name: str, by: int) -> Callable[[dict[str, Any]], None]:
    def shift(record: dict[str, Any]) -> None:
        if _is_number(record.get(name)):
            record[name] += by

    return shift


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, Raw)


# Changes to a whole list of records, as exports have them.
OF_ALL: dict[str, Callable[[Any, Any, Any], None]] = {
    "all boxes as corners": _of_boxes(lambda box: [box[0], box[1], box[0] + box[2], box[1] + box[3]]),
    "all boxes from their centre": _of_boxes(lambda box: [box[0] + box[2] / 2, box[1] + box[3] / 2, *box[2:]]),
    "all boxes as fractions": _of_boxes(lambda box: [item / 400 for item in box]),
    "all boxes 1 px further out": _of_boxes(lambda box: [box[0] - 1, box[1] - 1, box[2] + 2, box[3] + 2]),
    "all boxes rows first": _of_boxes(lambda box: [box[1], box[0], box[3], box[2]]),
    "all boxes of no width": _of_boxes(lambda box: [box[0], box[1], 0, box[3]]),
    "all categories one up": _of_records(_shift("category_id", 1)),
    "all images one up": _of_records(_shift("image_id", 1)),
    "all crowds": _of_records(lambda record: record.update(iscrowd=1)),
    "all without masks": _of_records(lambda record: record.pop("segmentation", None) and None),
    "all without boxes": _of_records(lambda record: record.pop("bbox", None) and None),
    "all scores the same": _of_records(lambda record: record.update(score=0.5)),
    "all scores in percent": _of_records(lambda record: record.update(score=99.5)),
    "all the same id": _of_records(lambda record: record.update(id=1)),
}
# Each changes parent[key]; the third argument is the value of `put`.
CHANGES: dict[str, Callable[[Any, Any, Any], None]] = {
    "put": _put,
    "remove": _remove,
    "twice": _twice,
    "300 times": _often,
    "as text": _as_text,
    "in a list": _as_list,
    "key in capitals": _rename,
    "reverse": _reverse,
    "shorten": _shorten,
    "unknown keys": _with_unknown_keys,
    "negative": _of_numbers(lambda value: -value),
    "one more": _of_numbers(lambda value: value + 1),
    "1,000 times": _of_numbers(lambda value: value * 1000),
    "a thousandth": _of_numbers(lambda value: value / 1000),
    **OF_ALL,
}


def _cut(data: bytes, where: float) -> bytes:
    return data[: int(where * len(data))]


def _inserted(what: bytes) -> Callable[[bytes, float], bytes]:
    def insert(data: bytes, where: float) -> bytes:
        at = int(where * len(data))
        return data[:at] + what + data[at:]

    return insert


def _flipped(data: bytes, where: float) -> bytes:
    """One bit."""
    if not data:
        return data
    at = min(int(where * len(data)), len(data) - 1)
    return data[:at] + bytes([data[at] ^ 1 << int(where * 8e6) % 8]) + data[at + 1 :]


@functools.cache
def _spaces(gigabytes: int) -> bytes:
    """gzip members that expand to whitespace, which JSON ignores; a gigabyte of it takes 1 MB on disk."""
    return gzip.compress(b" " * (1 << 26), 9, mtime=0) * (16 * gigabytes)


DAMAGES: dict[str, Callable[[bytes, float], bytes]] = {
    "cut": _cut,
    "bit flipped": _flipped,
    "zeros": _inserted(b"\0" * 64),
    "not UTF-8": _inserted(b"\xff\xfe\xc3"),
    "comment": _inserted(b" // a comment\n"),
    "comma": _inserted(b","),
    "opened 100,000 times": _inserted(b"[" * 100_000),
    "byte order mark": lambda data, _: codecs.BOM_UTF8 + data,
    "UTF-16": lambda data, _: data.decode("utf-8", "replace").encode("utf-16"),
    "gzip": lambda data, _: gzip.compress(data, mtime=0),
    "gzip, cut": lambda data, where: _cut(gzip.compress(data, mtime=0), where),
    "gzip of 2 GB": lambda data, _: gzip.compress(data, mtime=0) + _spaces(2),
    "twice": lambda data, _: data + data,
    "in lines": lambda data, _: data.replace(b"}, {", b"}\n{").strip(b"[]"),
    "empty": lambda *_: b"",
    "an HTML page": lambda *_: b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
}
