"""The journal of a build: the sources rendered so far, in plan order, with the digests to verify them.

One line per source: the id of its first image, the SHA-256 of the source file, and that of each image; where images
take from other pictures, `|` and one over theirs. An incomplete last line, left by a power cut, is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

_LINE = re.compile(rb"(\d{1,20})((?: [0-9a-f]{64})+)(?: \|([0-9a-f]{64}))?\n")
# Bytes of a line besides its digests, and of each digest.
_LINE_BYTES, _DIGEST_BYTES = 32, 65


class JournalEntry(NamedTuple):
    """SHA-256 of a source file, of the images made of it, and over the files of their donors, None without any."""

    source_sha256: str
    image_sha256s: tuple[str, ...]
    donors_sha256: str | None = None


class Journal:
    """The file, open for reading and appending: `with Journal(path) as journal`."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b")
        self._lengths: list[int] = []

    def entries(self, planned: Iterable[tuple[int, int]]) -> Iterator[JournalEntry]:
        """The leading entries that match the plan: (first image id, number of images) per source."""
        self._file.seek(0)
        self._lengths = []
        for first_id, images in planned:
            line = self._file.readline(_LINE_BYTES + _DIGEST_BYTES * (images + 2))
            match = _LINE.fullmatch(line)
            if match is None or int(match[1]) != first_id:
                return
            source, *digests = match[2].decode().split()
            if len(digests) != images:
                return
            self._lengths.append(len(line))
            yield JournalEntry(source, tuple(digests), match[3].decode() if match[3] else None)

    def keep(self, entries: int) -> None:
        """Truncate the journal behind so many of the entries that were read; `add` continues there."""
        self._file.truncate(sum(self._lengths[:entries]))

    def add(self, first_id: int, entry: JournalEntry) -> None:
        """Append an entry; it survives this process immediately."""
        donors = [] if entry.donors_sha256 is None else [f"|{entry.donors_sha256}"]
        line = " ".join([str(first_id), entry.source_sha256, *entry.image_sha256s, *donors])
        self._file.write(line.encode() + b"\n")
        self._file.flush()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
