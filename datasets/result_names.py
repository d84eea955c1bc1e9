"""The names of images and categories in results: id, file name or stem, category name, position."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

from datasets.records import Category, Image

# How a file numbers its categories: by id, or by position in the order of ids, from 0 or 1.
Numbering = Literal["ids", "contiguous0", "contiguous1"]
NUMBERINGS: tuple[Numbering, ...] = ("ids", "contiguous0", "contiguous1")


class NotKnownError(ValueError):
    """A name that is unknown or ambiguous. Its text says what was expected."""


class _Index(NamedTuple):
    """Ids, and the names that stand for them."""

    what: str
    ids: frozenset[int]
    names: tuple[dict[str, dict[int, str]], ...]
    """By descending precision: file name, base name, stem."""

    def id_of(self, name: str) -> int:
        """Raises NotKnownError for a name that is unknown or ambiguous."""
        candidates: dict[int, str] = {}
        for names in self.names:
            candidates = names.get(name, {})
            if candidates:
                break
        number = _number(name)
        if number in self.ids and number not in candidates:
            candidates = {**candidates, number: f"{self.what} {number}"}
        if len(candidates) > 1:
            both = " and of ".join(list(candidates.values())[:2])
            raise NotKnownError(f"expected {self.expected}, found {name!r}, which is that of {both}")
        if candidates:
            return next(iter(candidates))
        if number is not None:
            # An id that the dataset lacks is reported with all the others.
            return number
        raise NotKnownError(f"expected {self.expected}, found {name!r}")

    @property
    def expected(self) -> str:
        return "the id, file name or stem of an image" if len(self.names) > 1 else "the id or the name of a category"


class Names:
    """The names of a dataset's images and categories; without a dataset, only numbers as text are understood."""

    def __init__(self, images: Sequence[Image] = (), categories: Sequence[Category] = ()) -> None:
        kinds: tuple[Callable[[PurePosixPath], str], ...] = (str, lambda path: path.name, lambda path: path.stem)
        self._images = _Index(
            "image",
            frozenset(item.id for item in images),
            tuple(
                _grouped((kind(_path(item.file_name)), item.id, item.file_name) for item in images if item.file_name)
                for kind in kinds
            ),
        )
        self._categories = _Index(
            "category",
            frozenset(item.id for item in categories),
            (_grouped((item.name, item.id, f"category {item.id}") for item in categories),),
        )

    def image_id(self, name: str) -> int:
        """Raises NotKnownError, as `category_id` does."""
        path = _path(name)
        try:
            return self._images.id_of(str(path))
        except NotKnownError:
            if path.name == str(path):
                raise
        # Another folder: tools write paths of their own machine.
        return self._images.id_of(path.name)

    def category_id(self, name: str) -> int:
        return self._categories.id_of(name)


def _path(name: str) -> PurePosixPath:
    return PurePosixPath(name.replace("\\", "/"))


def _grouped(named: Iterable[tuple[str, int, str]]) -> dict[str, dict[int, str]]:
    by_name: dict[str, dict[int, str]] = {}
    for name, id_, shown in named:
        by_name.setdefault(name, {})[id_] = shown
    return by_name


def _number(text: str) -> int | None:
    """The whole number in a text like "139", "000000000139" or "139.0"."""
    digits = text.strip().removesuffix(".0")
    return int(digits) if digits.removeprefix("-").isdecimal() and digits.isascii() and len(digits) <= 20 else None
