"""The categories that a run trains on, where not on all: a list of names, or the most frequent ones.

Objects and crowds of other categories become background, as if they were not labelled.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from datasets import yaml_files
from datasets.errors import DataError
from datasets.records import Category
from datasets.sources import Source

LISTS = Path(__file__).parents[1] / "configs" / "categories"
TOP = "top:"


def choose(wanted: str, categories: Sequence[Category], objects: npt.NDArray[np.int64]) -> list[Category]:
    """The categories that `wanted` selects, in the order of their ids.

    `wanted` is `top:N`, the N with the most objects (ties keep lower ids), the name of a list in
    train/configs/categories/, or a file with one name a line. `objects` are (K,) counts in the order of the ids. Raises
    DataError naming every unknown category.
    """
    known = sorted(categories, key=lambda category: category.id)
    if wanted.startswith(TOP):
        return _most_frequent(wanted, known, objects)
    path = yaml_files.find(wanted, LISTS, option="--categories", suffix=".txt", also="top:N, ")
    names = _read(path)
    problems = [_unknown(line, name, known) for line, name in names if name not in {item.name for item in known}]
    if problems:
        raise DataError(f"{path}: {len(problems)} name(s) that the training data does not have", problems)
    chosen = {name for _, name in names}
    if not chosen:
        raise DataError(f"{path}: expected the name of a category a line, found none")
    return [item for item in known if item.name in chosen]


def _most_frequent(wanted: str, known: list[Category], objects: npt.NDArray[np.int64]) -> list[Category]:
    number = wanted.removeprefix(TOP)
    if not (number.isascii() and number.isdecimal() and 1 <= int(number) <= len(known)):
        raise DataError(f"--categories {wanted}: expected top:1 to top:{len(known)}")
    ranked = sorted(range(len(known)), key=lambda at: (-int(objects[at]), known[at].id))
    return [known[at] for at in sorted(ranked[: int(number)])]


def _read(path: Path) -> list[tuple[int, str]]:
    """(line number, name); empty lines and comments (#) are skipped."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as text: {error}") from None
    named = [(number, line.strip()) for number, line in enumerate(lines, start=1)]
    return [(number, name) for number, name in named if name and not name.startswith("#")]


def _unknown(line: int, name: str, known: list[Category]) -> str:
    near = difflib.get_close_matches(name, [item.name for item in known], n=1)
    return f"line {line}: {name!r}" + (f"; is {near[0]!r} meant?" if near else "")


def restricted(sources: Iterable[Source], categories: Iterable[Category]) -> list[Source]:
    """The same images, with the objects of these categories only."""
    ids = {category.id for category in categories}
    return [
        msgspec.structs.replace(source, annotations=[item for item in source.annotations if item.category_id in ids])
        for source in sources
    ]
