"""Examining image files, a few per task, in any process: how to read each, or what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from datasets import damage, images
from datasets.errors import DataError
from datasets.file_names import Lookup, is_missing, leads_out

# Examining one file is so quick that a task has several.
FILES_PER_TASK = 32


class ImageFile(NamedTuple):
    """An image file, its image folder, and the size in its record."""

    path: Path
    folder: Path
    width: int
    height: int


class Examined(NamedTuple):
    """How to read an image file, with its size in bytes and modification time, by which a later change is noticed."""

    reading: images.Reading
    size: int
    mtime_ns: int


def examine_files(files: list[ImageFile], *, thorough: bool = False, follow_links: bool = True) -> list[Examined | str]:
    """Examine files; the result of a bad one is a text with the reason.

    Only the head and the end are read, which finds all but rare damage in a hundredth of the time of decoding; with
    `thorough`, files are decoded too. Without `follow_links`, a symbolic link out of the image folder is refused.
    """
    lookup = Lookup()
    return [_examine(file, lookup, thorough, follow_links) for file in files]


def _examine(file: ImageFile, lookup: Lookup, thorough: bool, follow_links: bool) -> Examined | str:
    try:
        if not follow_links and leads_out(file.folder, file.path):
            return (
                "expected a file in the image folder, found a symbolic link that leads out of it; "
                "--follow-links reads it"
            )
        if is_missing(file.path):
            remedy = lookup.remedy(file.folder, file.path)
            return "expected an image file, found none" + (f"; {remedy}" if remedy else "")
        data = images.read_file(file.path)
        reading = images.examine(data, file.width, file.height)
        if thorough:
            decode(data, reading)
        return Examined(reading, len(data), file.path.stat().st_mtime_ns)
    except (ValueError, OSError) as error:
        return str(error)


def check_bad(name: Path, bad: list[str], *, some_left: bool, skip_bad: bool) -> None:
    """Raises DataError, which calls the images `name`, for `bad` files, each with its reason.

    With `skip_bad`, only where no other is left.
    """
    if bad and not (skip_bad and some_left):
        advice = "no image would be left" if skip_bad else "replace these files, or leave these images out: --skip-bad"
        raise DataError(f"{name}: {len(bad)} problem(s) in the image files", bad, advice=advice)


def decode(data: bytes, reading: images.Reading, order: images.Order = "RGB") -> images.Pixels:
    """`images.decode` of a file that may be damaged. Raises ValueError if it is."""
    damage.check_pixels(data, reading.format)
    return images.decode(data, reading, order)
