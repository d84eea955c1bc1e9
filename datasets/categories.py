"""Comparison of two category lists."""

from __future__ import annotations

from collections.abc import Iterable

from datasets.errors import DataError
from datasets.records import Category


def check_same(first: Iterable[Category], first_name: str, second: Iterable[Category], second_name: str) -> None:
    """Raises DataError with every difference where two lists differ in ids or names; their order does not matter."""
    ours, theirs = ({(item.id, item.name) for item in categories} for categories in (first, second))
    problems = [f"{first_name} has {id_} {name!r}, {second_name} has not" for id_, name in sorted(ours - theirs)]
    problems += [f"{second_name} has {id_} {name!r}, {first_name} has not" for id_, name in sorted(theirs - ours)]
    if problems:
        raise DataError("expected the same category ids and names, found differences", problems)
