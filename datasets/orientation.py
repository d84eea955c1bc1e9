"""The EXIF convention of an input: whether its annotations are on stored or on upright pixels.

A file with an orientation of 90 degrees proves the convention by its size, unless it is square: the size in the
annotation file is that of the stored or that of the upright image. Mirrored, 180-degree and square files prove nothing.
An input has one convention, since one tool wrote it; undecided files follow the proven ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from datasets.images import Reading

STORED, UPRIGHT = "stored", "upright"


class Evidence(NamedTuple):
    """The first file that proves each convention, None for none."""

    stored: str | None = None
    upright: str | None = None

    @property
    def contradicts(self) -> bool:
        return self.stored is not None and self.upright is not None

    @property
    def on_stored_pixels(self) -> bool:
        """Whether annotations are on stored pixels; without proof, they are on upright ones, as Detectron2 assumes."""
        return self.stored is not None


def proves(reading: Reading, width: int, height: int) -> str | None:
    """STORED, UPRIGHT or None: what a file proves whose record has this size."""
    if reading.strip_orientation:
        return STORED
    return UPRIGHT if reading.orientation >= 5 and width != height else None


def weigh(files: Iterable[tuple[str, Reading, int, int]]) -> Evidence:
    """The evidence of an input's files, each (name, reading, width, height)."""
    first: dict[str, str] = {}
    for name, reading, width, height in files:
        proof = proves(reading, width, height)
        if proof is not None:
            first.setdefault(proof, name)
    return Evidence(first.get(STORED), first.get(UPRIGHT))


def follow(reading: Reading, width: int, height: int, *, on_stored_pixels: bool) -> Reading:
    """The reading of a file in an input of this convention; only undecided files change."""
    if on_stored_pixels and reading.orientation != 1 and proves(reading, width, height) is None:
        return Reading(reading.format, 1, True)
    return reading


def refusal(evidence: Evidence) -> str:
    """The error for files that contradict each other."""
    return (
        "expected one convention for EXIF orientations, found two: by their sizes in the annotation file, "
        f"{evidence.stored} is annotated as it is stored and {evidence.upright} as it is shown upright; take the tag "
        "out of the files of the first kind (`exiftool -Orientation= FILE`), or make them an input of their own"
    )
