"""The pictures to predict on: those that an annotation file lists, or all of a folder; found first, then checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets import cli, coco, orientation, picture_folder
from datasets.errors import DataError
from datasets.file_names import locate
from datasets.image_files import FILES_PER_TASK, ImageFile, check_bad, examine_files
from datasets.parallel import chunks
from datasets.records import Category, Image
from train import compat  # noqa: F401 - before detectron2
from train.data.records import Record, Records

# isort: split
from detectron2.utils import comm


class Asked(NamedTuple):
    """Pictures whose files were not opened yet.

    `images` and `categories` are those of the annotation file; without one, the files are known by their names only.
    """

    annotations: Path | None
    folder: Path
    names: list[str]
    """Of the files, relative to `folder`."""
    images: list[Image] | None = None
    categories: tuple[Category, ...] = ()
    note: str = ""
    """What was left out, for the user."""

    def paths(self) -> Iterator[Path]:
        return (self.folder / name for name in self.names)


def ask(annotations: Path | None, folder: Path) -> Asked:
    """The images that `annotations` lists, or without such a file all of `folder`. Raises DataError."""
    if annotations is None:
        found = picture_folder.find(folder)
        return Asked(None, folder, found.names, note=found.note())
    read = coco.read_images(annotations, folder)
    return Asked(annotations, folder, [item.file_name for item in read.images], read.images, tuple(read.categories))


class Checked(NamedTuple):
    """Pictures that can be read, and what was left out (--skip-bad), a line a file."""

    images: list[Image]
    records: Records
    skipped: list[str]


def check(asked: Asked, progress: cli.Progress | None, *, skip_bad: bool = False) -> Checked:
    """Examine the files. Raises DataError naming every unreadable one; with `skip_bad`, only where none is left.

    Only the process with `progress` reads files; the others are told.
    """
    if not asked.folder.is_dir():
        raise DataError(f"{asked.folder}: expected the folder of the images, found none")
    examined = None if progress is None else _examine(asked, progress, skip_bad)
    listed, skipped, stored = next(item for item in comm.all_gather(examined) if item is not None)
    return Checked(listed, _records(listed, asked.folder, stored), skipped)


class _Examined(NamedTuple):
    images: list[Image]
    skipped: list[str]
    on_stored_pixels: bool = False


def _examine(asked: Asked, progress: cli.Progress, skip_bad: bool) -> _Examined:
    if asked.images is None:
        # Sizes are those of the upright images.
        return _Examined(*picture_folder.read(asked.folder, asked.names, progress, skip_bad=skip_bad))
    problems: list[str] = []
    good: list[Image] = []
    readings = []
    done = 0
    for chunk in chunks(asked.images, FILES_PER_TASK):
        files = [_image_file(item, asked.folder) for item in chunk]
        for item, file, result in zip(chunk, files, examine_files(files, thorough=skip_bad), strict=True):
            if isinstance(result, str):
                problems.append(f"{file.path}: {result}")
            else:
                good.append(item)
                readings.append((str(file.path), result.reading, file.width, file.height))
        done += len(chunk)
        progress("checking images", done, len(asked.images))
    assert asked.annotations is not None
    check_bad(asked.annotations, problems, some_left=bool(good), skip_bad=skip_bad)
    evidence = orientation.weigh(readings)
    if evidence.contradicts:
        raise DataError(f"{asked.annotations}: {orientation.refusal(evidence)}")
    return _Examined(good, problems, evidence.on_stored_pixels)


def _image_file(item: Image, folder: Path) -> ImageFile:
    return ImageFile(locate(folder.absolute(), item.file_name).path, folder.absolute(), item.width, item.height)


def _records(listed: list[Image], folder: Path, stored: bool) -> Records:
    """Records without objects; `stored` is the EXIF convention (see `datasets.orientation`)."""
    return Records(
        Record(
            path=str(locate(folder.absolute(), item.file_name).path),
            image_id=item.id,
            width=item.width,
            height=item.height,
            boxes_xyxy=np.empty((0, 4), dtype=np.float32),
            classes=np.empty(0, dtype=np.int64),
            ignored=np.empty(0, dtype=np.bool_),
            polygons=[],
            on_stored_pixels=stored,
        )
        for item in listed
    )
