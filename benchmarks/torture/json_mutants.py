"""Annotation and results files gone wrong: what exports, editors, disks and people do to them, drawn by hypothesis.

A mutant is a few changes of a good document, each to a place of it, and perhaps one to the bytes that hold it.
"""

from __future__ import annotations

import codecs
import copy
import functools
import gzip
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from hypothesis import strategies as st

Path = tuple[str | int, ...]


class Raw(NamedTuple):
    """JSON text that no value of Python is written as."""

    text: str


class Change(NamedTuple):
    """`how` is a name in CHANGES; `value` is what it puts there, if anything."""

    path: Path
    how: str
    value: Any = None

    def __str__(self) -> str:
        value = "" if self.value is None else f" {_shortened(self.value)}"
        return f"{place(self.path)}: {self.how}{value}"


class Mutant(NamedTuple):
    """`damage` is a name in DAMAGES, or None; `where` says where in the bytes, from 0 to 1."""

    changes: tuple[Change, ...]
    damage: str | None = None
    where: float = 0.0

    def __str__(self) -> str:
        damage = [f"bytes: {self.damage} at {self.where:.3f}"] if self.damage else []
        return "; ".join([*map(str, self.changes), *damage])


def place(path: Path) -> str:
    """As the project's messages name it: $.images[3].id."""
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


def _shortened(value: Any) -> str:
    text = value.text if isinstance(value, Raw) else ascii(value)
    return text if len(text) <= 60 else f"{text[:40]}... ({len(text):,} characters)"


# What stands where something else should.
NUMBERS: tuple[Any, ...] = (
    *(0, -1, 1, 0.5, -0.0, 1e-9, 1e9, 1e308, -1e308, 2**31, 2**53, 2**53 + 1, 2**63, 2**64, -(2**63), 65501, 1e5),
    *(float("nan"), float("inf"), float("-inf"), Raw("1e999"), Raw("-1e999"), Raw("1E-400"), Raw("9" * 5000)),
    Raw("01"),
)
TEXTS: tuple[Any, ...] = (
    *("", " ", "0", "1", "1.0", "-1", "1e3", "null", "NaN", "inf", "true", "\x00", "\ud800", "\u202e", "e\u0301"),
    *("x" * 5000, "../x.jpg", "/etc/passwd", "a\\b.jpg", ".", "..", "a/../../x", "~", "%s{0}", "\n\n", "\u0661", "1_0"),
    *("\x1b[2J\x07", "C:\\images\\1.jpg", "images/", "//x", "\udcff.jpg", "1 000", "0x10", "00001"),
)
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [None], [[]], [[[]]], {"a": 1}, [1, 2, 3, 4], [[1, 2], [3, 4]])
DEEP = tuple(Raw("[" * depth + "]" * depth) for depth in (200, 100_000))
VALUES = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(TEXTS),
    st.sampled_from(OTHERS),
    st.sampled_from(DEEP),
    st.integers(-10, 500),
    st.floats(allow_nan=False, width=32),
    st.text(max_size=8),
    st.lists(st.floats(-50, 500), max_size=9),
)
# As masks are written: polygons, runs and COCO's text of runs, with sizes that are true, false and enormous.
MASKS: tuple[Any, ...] = (
    *([], [[]], [[1, 2]], [[1, 2, 3, 4]], [[0, 0, 9, 0, 9, 9]], [0, 0, 9, 0, 9, 9], [[0, 0, 9, 0, 9, 9], [5]]),
    *(
        [[[0, 0], [9, 0], [9, 9]]],
        [[0, 0, 9, 0, float("nan"), 9]],
        [[1e30, 0, 9, 0, 9, 9]],
        [["0", "0", "9", "0", "9"]],
    ),
    [[float(number % 97) for number in range(20_000)]],
    *({"size": [10, 10], "counts": [100]}, {"size": [10, 10], "counts": [0, 100]}, {"size": [10, 10], "counts": []}),
    *({"size": [0, 0], "counts": []}, {"size": [2**31, 2**31], "counts": [2**62]}, {"size": [10**6, 10**6]}),
    *({"size": [60000, 60000], "counts": [0, 3_600_000_000]}, {"size": [240, 320], "counts": [-1, 76801]}),
    *({"size": [240, 320], "counts": "ooooooooooooo"}, {"size": [240, 320], "counts": ""}, {"counts": "PPPPPPP0"}),
    *({"size": [240, 320], "counts": "\u00ff" * 9}, {"size": "240x320", "counts": [1]}, {"size": [240.0, 320]}),
    {"size": [240, 320], "counts": [1, 1] * 38_400},
    {"size": [2**40, 1], "counts": "0" * 1000},
    {"size": [100_000, 10_000], "counts": [1, 1] * 1000},
)


def paths(document: Any, before: Path = ()) -> Iterator[Path]:
    """Every place of a document, the whole first."""
    yield before
    children: Any = ()
    if isinstance(document, dict):
        children = document.items()
    elif isinstance(document, list):
        children = enumerate(document)
    for key, value in children:
        yield from paths(value, (*before, key))


def kinds(document: Any) -> dict[str, list[Path]]:
    """The places by their kind, which does not tell one record from another: `$.images[*].id`."""
    found: dict[str, list[Path]] = {}
    for path in paths(document):
        found.setdefault(re.sub(r"\[\d+\]", "[*]", place(path)), []).append(path)
    return found


def mutants(document: Any) -> st.SearchStrategy[Mutant]:
    """Of each kind of place as often as of any other, however many records there are."""
    by_kind = kinds(document)
    anywhere = st.sampled_from(sorted(by_kind)).flatmap(lambda kind: st.sampled_from(by_kind[kind]))
    put = st.builds(lambda path, value: Change(path, "put", value), anywhere, VALUES)
    without_value = sorted(CHANGES.keys() - {"put"})
    others = st.builds(lambda path, how: Change(path, how), anywhere, st.sampled_from(without_value))
    options = [put, others]
    lists_of_records = [path for path in ((), ("annotations",)) if isinstance(_at(document, path), list)]
    records = [(*path, index) for path in lists_of_records for index in range(len(_at(document, path)))]
    if records:
        masks = st.builds(
            lambda path, value: Change((*path, "segmentation"), "put", value),
            st.sampled_from(records),
            st.sampled_from(MASKS),
        )
        whole = st.builds(
            lambda path, how: Change(path, how), st.sampled_from(lists_of_records), st.sampled_from(sorted(OF_ALL))
        )
        options += [masks, whole]
    damages = st.one_of(st.none(), st.none(), st.none(), st.sampled_from(sorted(DAMAGES)))
    changes = st.lists(st.one_of(options), min_size=1, max_size=3).map(tuple)
    return st.builds(Mutant, changes, damages, st.floats(0, 1))


def applied(document: Any, mutant: Mutant) -> bytes:
    """The bytes of a mutant of `document`, which stays as it is. A change whose place is no longer there is none."""
    root = {"$": copy.deepcopy(document)}
    for change in mutant.changes:
        parent, key = _parent(root, ("$", *change.path))
        if parent is not None and _holds(parent, key, change.how):
            CHANGES[change.how](parent, key, change.value)
    data = encoded(root.get("$", Raw("")))
    return DAMAGES[mutant.damage](data, mutant.where) if mutant.damage else data


def encoded(document: Any) -> bytes:
    """JSON, but for what stands in it raw."""
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


def _at(document: Any, path: Path) -> Any:
    try:
        for part in path:
            document = document[part]
    except (KeyError, IndexError, TypeError):
        return None
    return document


def _parent(root: Any, path: Path) -> tuple[Any, Any]:
    """What holds a place, and its key there; None where nothing does."""
    parent = _at(root, path[:-1])
    return (parent, path[-1]) if isinstance(parent, (dict, list)) else (None, None)


def _holds(parent: Any, key: Any, how: str) -> bool:
    if isinstance(parent, list):
        return isinstance(key, int) and key < len(parent)
    return isinstance(key, str) and (key in parent or how == "put")


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
    """A list 300 times over: what takes the square of its length takes for ever."""
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
# Each changes parent[key]; the third argument is what `put` puts there.
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
    """Members of gzip that grow to what JSON takes for nothing; a gigabyte of it is 1 MB on the disk."""
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
