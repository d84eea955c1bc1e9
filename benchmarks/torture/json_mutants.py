"""Mutated annotation and results files: what exports, editors, disks and people do to them, drawn by hypothesis.

A mutant is a few changes of a valid document, each at a JSON path, and perhaps one of the bytes that hold it.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from hypothesis import strategies as st

from benchmarks.torture.json_changes import CHANGES, DAMAGES, OF_ALL, Raw, encoded

Path = tuple[str | int, ...]


class Change(NamedTuple):
    """`how` is a name in CHANGES; `value` is the value that it inserts, if any."""

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


# Values to insert in place of others.
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
    """The bytes of a mutant of `document`, which is not modified. A change whose path no longer exists is skipped."""
    root = {"$": copy.deepcopy(document)}
    for change in mutant.changes:
        parent, key = _parent(root, ("$", *change.path))
        if parent is not None and _holds(parent, key, change.how):
            CHANGES[change.how](parent, key, change.value)
    data = encoded(root.get("$", Raw("")))
    return DAMAGES[mutant.damage](data, mutant.where) if mutant.damage else data


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
