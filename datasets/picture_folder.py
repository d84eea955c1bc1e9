"""The pictures of a folder without an annotation file, as the image records that such a file would have."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from datasets import coco, images
from datasets.cli import Progress
from datasets.errors import DataError, Problems
from datasets.image_files import check_bad, decode
from datasets.records import Category, Dataset, Image

# Files with another suffix are pictures where they begin like one; those with one of these must be.
SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
_HEADS = (b"\xff\xd8\xff", b"\x89PNG")
_NAMED = 5
# Of the list of images beside results.
LIST_SUFFIX = ".images.json"


class Found(NamedTuple):
    """What lies in a folder and below it; no picture was read yet."""

    names: list[str]
    """The pictures, relative to the folder with `/`, in the order of their names."""
    others: dict[str, int]
    """The number of other files by suffix."""
    hidden: int
    """Files and folders whose names begin with a dot."""

    def note(self) -> str:
        """A line for the user about what was left out; empty for nothing."""
        parts = []
        if self.others:
            ranked = sorted(self.others.items(), key=lambda item: (-item[1], item[0]))
            kinds = ", ".join(f"{number:,} {suffix or 'without a suffix'}" for suffix, number in ranked[:_NAMED])
            more = ", ..." if len(ranked) > _NAMED else ""
            parts.append(f"{sum(self.others.values()):,} files that are no JPEG or PNG ({kinds}{more})")
        if self.hidden:
            parts.append(f"{self.hidden:,} hidden")
        return f"left out: {' and '.join(parts)}" if parts else ""


def find(folder: Path) -> Found:
    """The pictures in a folder and its subfolders, each of which is read once, however many links lead to it.

    Raises DataError for no folder, for subfolders that cannot be read, and where there is no picture.
    """
    if not folder.is_dir():
        found = "a file; for one picture, name its folder" if folder.exists() else "none"
        raise DataError(f"{folder}: expected the folder of the images, found {found}")
    problems = Problems()
    names: list[str] = []
    others: Counter[str] = Counter()
    hidden = 0
    visited: set[tuple[int, int]] = set()

    def unreadable(error: OSError) -> None:
        problems.add(f"{error.filename}: {error.strerror}")

    for root, folders, files in os.walk(folder, followlinks=True, onerror=unreadable):
        status = Path(root).stat()
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        hidden += sum(name.startswith(".") for name in (*folders, *files))
        # Sorted, so that of two ways to a folder the same one is taken everywhere.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(root, name) for name in files if not name.startswith(".")):
            if _is_picture(path):
                names.append(path.relative_to(folder).as_posix())
            else:
                others[path.suffix.lower()] += 1
    problems.raise_if_any(f"{folder}: {{n}} folder(s) that cannot be read")
    found_there = Found(sorted(names), dict(others), hidden)
    if not names:
        note = found_there.note()
        raise DataError(f"{folder}: expected JPEG or PNG files, found none" + (f"; {note}" if note else ""))
    return found_there


def _is_picture(path: Path) -> bool:
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        # A pipe would be waited for.
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(4).startswith(_HEADS)
    except OSError:
        # Named when it is read.
        return True


class Read(NamedTuple):
    """Image records with ids from 1 in the order of the names, and the reason for each file that was left out."""

    images: list[Image]
    skipped: list[str]


def read(folder: Path, names: Sequence[str], progress: Progress, *, skip_bad: bool = False) -> Read:
    """Examine pictures for their sizes, which are those of the upright image.

    Raises DataError naming every file that cannot be used. With `skip_bad`, these are left out, and every file is
    decoded; DataError then means that no picture is left.
    """
    listed: list[Image] = []
    bad: list[str] = []
    for done, name in enumerate(names, start=1):
        try:
            width, height = _size(folder, name, thorough=skip_bad)
            listed.append(Image(id=len(listed) + 1, file_name=name, width=width, height=height))
        except (ValueError, OSError) as error:
            bad.append(f"{folder / name}: {error}")
        progress("checking images", done, len(names))
    check_bad(folder, bad, some_left=bool(listed), skip_bad=skip_bad)
    return Read(listed, bad)


def _size(folder: Path, name: str, *, thorough: bool) -> tuple[int, int]:
    """(width, height) of a picture. Raises ValueError for a file that cannot be used."""
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise ValueError("expected a name in UTF-8, found another encoding, which JSON cannot hold; rename it")
    # Names that are paths elsewhere, such as C:x.jpg, where a file that lists them would be read.
    data = images.read_file(images.path_inside(folder, name))
    width, height = images.upright_size(data)
    reading = images.examine(data, width, height)
    if thorough:
        decode(data, reading)
    return width, height


def list_path(results: Path) -> Path:
    """RESULTS.images.json for RESULTS.json."""
    return results.with_name(results.name.removesuffix(".json") + LIST_SUFFIX)


def forget_list(results: Path, annotations: Path) -> None:
    """Remove the list of an earlier prediction on a folder, unless it is the annotation file of this one."""
    path = list_path(results)
    if path.is_file() and not path.samefile(annotations):
        path.unlink()


def write_list(results: Path, listed: list[Image], categories: list[Category]) -> None:
    """Write the images of results as an annotation file without annotations, by which other tools know their ids."""
    dataset = Dataset(info={}, licenses=[], categories=categories, images=listed, annotations=[])
    coco.write(list_path(results), dataset)
