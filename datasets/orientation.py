"""Whether the annotations of an input follow EXIF orientations: what its files prove, and what follows for the others.

A file that is to be turned by 90 degrees proves it by its size, unless it is square: the size in the annotation file
is either that of the stored picture or that of the upright one. Mirrored ones, those turned by 180 degrees and square
ones prove nothing. An input has one convention, since one tool wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from datasets.images import Reading

STORED, UPRIGHT = "stored", "upright"


class Evidence(NamedTuple):
    """The first file that proves each convention, None where none does."""

    stored: str | None = None
    upright: str | None = None

    @property
    def contradicts(self) -> bool:
        return self.stored is not None and self.upright is not None

    @property
    def on_stored_pixels(self) -> bool:
        """Whether the annotations are on stored pixels; without a proof, on upright ones, as Detectron2 has it."""
        return self.stored is not None


def proves(reading: Reading, width: int, height: int) -> str | None:
    """STORED, UPRIGHT or None, of a file that was read for a record of this size with nothing known of the others."""
    if reading.strip_orientation:
        return STORED
    return UPRIGHT if reading.orientation >= 5 and width != height else None


def weigh(files: Iterable[tuple[str, Reading, int, int]]) -> Evidence:
    """What an input's files, (name, reading, width, height) each, prove together."""
    first: dict[str, str] = {}
    for name, reading, width, height in files:
        proof = proves(reading, width, height)
        if proof is not None:
            first.setdefault(proof, name)
    return Evidence(first.get(STORED), first.get(UPRIGHT))


def follow(reading: Reading, width: int, height: int, *, on_stored_pixels: bool) -> Reading:
    """The reading of a file whose input has this convention; only one that proves nothing itself may change."""
    if on_stored_pixels and reading.orientation != 1 and proves(reading, width, height) is None:
        return Reading(reading.format, 1, True)
    return reading


def refusal(evidence: Evidence) -> str:
    """What to say of files that contradict each other."""
    return (
        "expected one convention for EXIF orientations, found two: by their sizes in the annotation file, "
        f"{evidence.stored} is annotated as it is stored and {evidence.upright} as it is shown upright; take the tag "
        "out of the files of the first kind (`exiftool -Orientation= FILE`), or make them an input of their own"
    )
