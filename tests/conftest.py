"""Small drawn COCO datasets that tests share; every pixel and every number is the same on every run."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Container
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import numpy as np
import numpy.typing as npt
import pytest
from PIL import ExifTags
from PIL import Image as PillowImage
from pycocotools import mask as coco_mask

from datasets.sources import Input
from tests.protocols import Draw

# No test measures time: on a busy machine the first example alone may take long.
hypothesis.settings.register_profile("scarcedet", deadline=None)
hypothesis.settings.load_profile("scarcedet")

CATEGORIES = [
    {"id": 1, "name": "person", "supercategory": "person"},
    {"id": 3, "name": "car", "supercategory": "vehicle"},
    {"id": 18, "name": "dog", "supercategory": "animal"},
    {"id": 90, "name": "toothbrush", "supercategory": "indoor"},
]
LICENSES = [{"id": 1, "name": "CC BY 2.0", "url": "https://creativecommons.org/licenses/by/2.0/"}]


class Drawing(NamedTuple):
    """An image to draw; `width` and `height` are those of its record, `orientation` is the file's EXIF tag."""

    id: int
    file_name: str
    width: int
    height: int
    objects: list[dict[str, Any]] = []  # noqa: RUF012 - never changed
    mode: str = "RGB"
    orientation: int = 1
    turned: bool = False
    """The file stores the image turned, so that only its EXIF tag makes it as wide and high as its record."""


def box(category: int, x: float, y: float, width: float, height: float) -> dict[str, Any]:
    """An object whose polygon is its box."""
    polygon = [x, y, x + width, y, x + width, y + height, x, y + height]
    return {"category_id": category, "bbox": [x, y, width, height], "area": width * height, "segmentation": [polygon]}


def diamond(category: int, x: float, y: float, width: float, height: float) -> dict[str, Any]:
    middle_x, middle_y = x + width / 2, y + height / 2
    polygon = [middle_x, y, x + width, middle_y, middle_x, y + height, x, middle_y]
    return {**box(category, x, y, width, height), "area": width * height / 2, "segmentation": [polygon]}


def crowd(
    category: int, image: tuple[int, int], x: int, y: int, width: int, height: int, text: bool = False
) -> dict[str, Any]:
    """A crowd region that fills its box, as runs or as COCO's compressed text; `image` is (width, height)."""
    mask = np.zeros((image[1], image[0]), dtype=np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    pixels = mask.reshape(-1, order="F")
    runs = np.diff(np.concatenate([[0], np.flatnonzero(np.diff(pixels)) + 1, [pixels.size]])).tolist()
    counts = coco_mask.encode(mask)["counts"].decode() if text else [0] * int(pixels[0]) + runs
    rle = {"size": [image[1], image[0]], "counts": counts}
    return {**box(category, x, y, width, height), "iscrowd": 1, "segmentation": rle}


# Persons are common, dogs are missing, the one toothbrush is rare. The ids have gaps and no order.
DRAWINGS = [
    Drawing(7, "tall.jpg", 60, 80, [box(1, 5, 5, 20, 60), diamond(3, 30.5, 20.25, 29.5, 40)]),
    Drawing(
        3,
        "sub/wide.jpg",
        160,
        120,
        [box(1, 0, 0, 50, 120), box(1, 70, 30, 60, 40), crowd(1, (160, 120), 100, 60, 60, 60)],
    ),
    Drawing(12, "grey.jpg", 90, 71, [diamond(1, 10, 10, 70, 50), box(3, 80, 60, 10, 11)], mode="L"),
    Drawing(20, "upright.jpg", 64, 100, [box(1, 2, 50, 40, 50)]),
    Drawing(21, "exif to ignore.jpg", 100, 64, [box(3, 50, 10, 50, 30)], orientation=6),
    Drawing(30, "empty.jpg", 75, 75),
    Drawing(31, "größe.png", 97, 83, [box(90, 20, 20, 40.5, 30.25), crowd(3, (97, 83), 0, 60, 97, 23, text=True)]),
    # Tiles and, between them, specks: a crop keeps, cuts and loses some of each.
    Drawing(
        40,
        "many.jpg",
        120,
        120,
        [box(1, x, y, 40, 40) for x in (0, 40, 80) for y in (0, 40, 80)]
        + [box(3, x, y, 6, 6) for x in (3, 57, 111) for y in (3, 57, 111)],
    ),
]

# An input has one convention for EXIF orientations: this one would contradict "exif to ignore.jpg".
TURNED = Drawing(20, "turned by exif.jpg", 64, 100, [box(1, 2, 50, 40, 50)], orientation=6, turned=True)


def draw_coco(
    folder: Path,
    drawings: list[Drawing] = DRAWINGS,
    *,
    only: Container[int] | None = None,
    masks: bool = True,
) -> Input:
    """Write annotations.json and images/ into `folder`: the drawings with an id in `only`, else all of them.

    Without `masks` there are boxes only. An image and its annotations are the same in every dataset that has them.
    """
    images, annotations = [], []
    for drawing in drawings:
        if only is not None and drawing.id not in only:
            continue
        path = folder / "images" / drawing.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        _save(drawing, path)
        images.append(
            {
                "id": drawing.id,
                "file_name": drawing.file_name,
                "width": drawing.width,
                "height": drawing.height,
                "license": 1,
                "flickr_url": f"https://example.org/{drawing.id}",
            }
        )
        for index, item in enumerate(drawing.objects):
            record = {"id": drawing.id * 100 + index, "image_id": drawing.id, "iscrowd": 0, **item}
            annotations.append(record if masks else {k: v for k, v in record.items() if k != "segmentation"})
    dataset = {"licenses": LICENSES, "categories": CATEGORIES, "images": images, "annotations": annotations}
    path = folder / "annotations.json"
    path.write_text(json.dumps(dataset), encoding="utf-8")
    return Input(path, folder / "images")


def picture(width: int, height: int, seed: int) -> npt.NDArray[np.uint8]:
    """(height, width, 3) a gradient with some noise: neither flat nor beyond what JPEG can keep."""
    rows, columns = np.mgrid[0:height, 0:width]
    base = np.stack([columns * 255 / width, rows * 255 / height, (rows + columns) % 64 * 2], axis=2)
    noise = np.random.default_rng(seed).normal(0, 12, base.shape)
    return np.clip(base + noise, 0, 255).astype(np.uint8)


def _save(drawing: Drawing, path: Path) -> None:
    image = PillowImage.fromarray(picture(drawing.width, drawing.height, drawing.id)).convert(drawing.mode)
    if drawing.turned:
        image = image.transpose(PillowImage.Transpose.ROTATE_90)
    exif = PillowImage.Exif()
    exif[ExifTags.Base.Orientation] = drawing.orientation
    image.save(path, exif=exif if drawing.orientation != 1 else b"", quality=90)


@pytest.fixture(scope="session")
def draw() -> Draw:
    """`draw_coco`: draw(folder, only=(7, 3), masks=False) writes a dataset and returns where it is."""
    return draw_coco


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Input:
    """The whole drawn dataset. Read-only: every test of the session sees the same files."""
    return draw_coco(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn sample dataset, drawn once for all workers. Read-only: copy what a test changes."""
    from datasets.sample import write_sample

    base = tmp_path_factory.getbasetemp()
    common = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = common / "sample"
    with (common / "sample.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        if not folder.exists():
            write_sample(common / "sample-unfinished")
            (common / "sample-unfinished").rename(folder)
    return folder
