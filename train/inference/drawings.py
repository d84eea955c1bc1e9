"""The folder of `predict --draw`: each picture with its detections, under its own name."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

from datasets import images
from datasets.errors import SHOWN, DataError
from datasets.images import Pixels
from datasets.results import Results
from datasets.staging import staging, write_file
from train import compat  # noqa: F401 - before detectron2
from train.data.mapper import read_pixels
from train.data.records import Categories, Records
from train.inference.detect import taken
from train.inference.draw import Artist

# isort: split
from detectron2.utils import comm

# Of JPEGs, with chroma 444: thin lines and small text in colour keep their edges.
QUALITY = 92

Draw = Callable[[int, Results], None]
"""Draws an image's detections: its id, and they."""


class Plan(NamedTuple):
    """What is to be drawn where; `names` are those of the records, relative to the folder of the images."""

    folder: Path
    records: Records
    names: list[str]
    artist: Artist
    score: float
    """The lowest that is drawn."""


def check_installed() -> None:
    """Raises DataError where the library that draws is not installed; it is not needed for anything else."""
    if importlib.util.find_spec("supervision") is None:
        raise DataError("--draw: expected the package supervision, which draws, found none; pip install supervision")


def check_folder(folder: Path, pictures: Path, results: Path) -> None:
    """Raises DataError for anything but a new or empty folder outside that of the pictures and without the results."""
    output, source = folder.resolve(), pictures.resolve()
    if output in (results.resolve(), *results.resolve().parents):
        raise DataError(f"--draw {folder}: expected a folder for drawings alone, found --output {results} in it")
    if output == source or source in output.parents:
        raise DataError(f"--draw {folder}: expected a folder outside the images, found it in {pictures}")
    if output.exists() and not output.is_dir():
        raise DataError(f"--draw {folder}: expected a folder or nothing, found a file")
    if output.is_dir() and any(output.iterdir()):
        raise DataError(f"--draw {folder}: expected a new or empty folder, found something in it")
    if output.is_mount():
        raise DataError(
            f"--draw {folder}: drawings appear by renaming, which a mount point forbids; name a folder inside it"
        )


def plan(folder: Path, pictures: Path, records: Records, categories: Categories, score: float) -> Plan:
    """Raises DataError where two images have the same file, and would have the same drawing."""
    names = [Path(record.path).relative_to(pictures.absolute()).as_posix() for record in records]
    repeated = [f"{name}: {count} images" for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError("--draw: expected a file for each image, since drawings have their names", repeated)
    return Plan(folder, records, names, Artist(categories), score)


def notes(planned: Plan, found: Results) -> Iterator[str]:
    """Lines for the user."""
    count = int((found.scores >= planned.score).sum())
    remedy = "" if count or not len(found) else f"; the highest is {found.scores.max():.2f}: give a lower --draw-score"
    yield (
        f"{planned.folder}: {len(planned.names):,} pictures with the {count:,} detections of scores from "
        f"{planned.score:g} on{remedy}"
    )
    renamed = [f"{name} is {short}" for name, short in planned.artist.renamed.items()]
    if renamed:
        yield f"drawn by id, for want of letters: {', '.join(renamed[:SHOWN])}" + (", ..." if renamed[SHOWN:] else "")


@contextmanager
def staged(planned: Plan | None) -> Iterator[Draw | None]:
    """A function that draws, for each process; all drawings appear at once when the block succeeds in the first one.

    None without a plan. The first process must end its block last.
    """
    if planned is None:
        yield None
        return
    with staging(planned.folder.resolve()) if comm.is_main_process() else nullcontext() as content:
        folder = next(path for path in comm.all_gather(content) if path is not None)
        numbers = {record.image_id: at for at, record in enumerate(planned.records)}
        yield lambda image_id, found: _draw(planned, folder, numbers[image_id], found)


def _draw(planned: Plan, folder: Path, number: int, found: Results) -> None:
    pixels = read_pixels(planned.records[number], "RGB")
    shown = taken(found, found.scores >= planned.score)
    path = folder / planned.names[number]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(str(path), encoded(planned.artist.draw(pixels, shown), path.name))


def encoded(pixels: Pixels, name: str) -> memoryview:
    """RGB pixels as a PNG or JPEG file, by its name's suffix."""
    if name.lower().endswith(images.SUFFIXES["PNG"]):
        return images.encode_png(pixels)
    return images.encode_jpeg(pixels, QUALITY, chroma="444")
