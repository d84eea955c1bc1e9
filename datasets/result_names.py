"""What the images and categories of results may be called: by id, by file name or stem, by name, by position."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

from datasets.records import Category, Image

# How a file numbers its categories: by their ids, or by their positions in the order of the ids, from 0 or from 1.
Numbering = Literal["ids", "contiguous0", "contiguous1"]
NUMBERINGS: tuple[Numbering, ...] = ("ids", "contiguous0", "contiguous1")


class NotKnownError(ValueError):
    """What is no name of an image or a category, or one of several. Its text says what was expected."""


class _Index(NamedTuple):
    """Ids, and names with the ids that they stand for, each with what the user knows it by."""

    what: str
    ids: frozenset[int]
    names: tuple[dict[str, dict[int, str]], ...]
    """Those of the most exact kind first: file name, base name, stem."""

    def id_of(self, name: str) -> int:
        """Raises NotKnownError for what is no name, or that of several."""
        found: dict[int, str] = {}
        for names in self.names:
            found = names.get(name, {})
            if found:
                break
        number = _number(name)
        if number in self.ids and number not in found:
            found = {**found, number: f"{self.what} {number}"}
        if len(found) > 1:
            both = " and of ".join(list(found.values())[:2])
            raise NotKnownError(f"expected {self.expected}, found {name!r}, which is that of {both}")
        if found:
            return next(iter(found))
        if number is not None:
            # An id that the dataset does not have, which is told with all the others.
            return number
        raise NotKnownError(f"expected {self.expected}, found {name!r}")

    @property
    def expected(self) -> str:
        return "the id, file name or stem of an image" if len(self.names) > 1 else "the id or the name of a category"


class Names:
    """The names of a dataset's images and categories; without any, numbers in text alone are understood."""

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
        # Another folder, as tools write paths of their own machine.
        return self._images.id_of(path.name)

    def category_id(self, name: str) -> int:
        return self._categories.id_of(name)


def _path(name: str) -> PurePosixPath:
    return PurePosixPath(name.replace("\\", "/"))


def _grouped(named: Iterable[tuple[str, int, str]]) -> dict[str, dict[int, str]]:
    found: dict[str, dict[int, str]] = {}
    for name, id_, shown in named:
        found.setdefault(name, {})[id_] = shown
    return found


def _number(text: str) -> int | None:
    """The whole number that a text is, as "139", "000000000139" and "139.0"."""
    digits = text.strip().removesuffix(".0")
    return int(digits) if digits.removeprefix("-").isdecimal() and digits.isascii() and len(digits) <= 20 else None
