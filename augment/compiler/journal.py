"""The journal of a build: which sources are finished, in the plan's order, with the digests that tell whether it is so.

A line a source: the id of its first image, the SHA-256 of the source file, and that of each of its images. What a
power cut left of a line is no line; everything before it counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

_LINE = re.compile(rb"(\d{1,20})((?: [0-9a-f]{64})+)\n")
# The most images that a recipe can make of one source, with room.
_MAX_LINE = 1 << 20


class Entry(NamedTuple):
    """SHA-256 of a source file, and of the images made of it."""

    source: str
    images: tuple[str, ...]


class Journal:
    """The file, open for reading and appending: `with Journal(path) as journal`."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b")

    def entries(self, planned: Iterable[tuple[int, int]]) -> Iterator[Entry]:
        """The entries at the journal's beginning that fit the plan: (first image id, number of images) a source."""
        self._file.seek(0)
        for first_id, images in planned:
            match = _LINE.fullmatch(self._file.readline(_MAX_LINE))
            if match is None or int(match[1]) != first_id:
                return
            source, *digests = match[2].decode().split()
            if len(digests) != images:
                return
            yield Entry(source, tuple(digests))

    def keep(self, entries: int) -> None:
        """Cut the journal off behind so many entries; `add` goes on there."""
        self._file.seek(0)
        length = sum(len(self._file.readline(_MAX_LINE)) for _ in range(entries))
        self._file.truncate(length)

    def add(self, first_id: int, entry: Entry) -> None:
        """Append an entry; it outlives this process at once."""
        self._file.write(" ".join([str(first_id), entry.source, *entry.images]).encode() + b"\n")
        self._file.flush()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
