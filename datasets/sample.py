"""The drawn sample dataset: small, unbalanced, with everything that makes tools stumble over real data.

Eight categories of things on softly lit grounds, among litter that belongs to none; overlapping, truncated and small
objects; polygons and crowd runs; in every split one greyscale image, one with an EXIF orientation, and one without
objects. Drawn in integer arithmetic from seeded generators, so the files have the same bytes everywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from datasets import coco, coco_runs, images
from datasets.errors import DataError
from datasets.images import Pixels
from datasets.masks import Points, clip_polygon, polygon_area
from datasets.records import Annotation, BoxXYWH, Category, Dataset, Image
from datasets.sample_outlines import Drawing
from datasets.sample_scenes import PALETTE, Pose, Scene
from datasets.sample_things import CAR, CUP, FISH, HOUSE, LEAF, STAR, TREE, UMBRELLA
from datasets.staging import staging


class Thing(NamedTuple):
    """A category: its id (with gaps, as COCO's), how common it is, and what it looks like.

    `colours` are rows of `PALETTE`: the body has the one that differs most from the ground. Details may have any, and
    several things share one, so that colour alone does not tell them apart.
    """

    id: int
    name: str
    weight: int
    drawing: Drawing
    colours: tuple[int, int]


THINGS = (
    Thing(1, "leaf", 100, LEAF, (4, 3)),
    Thing(2, "cup", 64, CUP, (12, 6)),
    Thing(3, "fish", 40, FISH, (5, 1)),
    Thing(5, "house", 26, HOUSE, (10, 12)),
    Thing(8, "star", 18, STAR, (2, 9)),
    Thing(13, "car", 13, CAR, (0, 7)),
    Thing(21, "umbrella", 10, UMBRELLA, (8, 10)),
    Thing(34, "tree", 8, TREE, (4, 5)),
)
# What lies in heaps, which are crowds.
HEAPED = THINGS[0]


class Placed(NamedTuple):
    """A thing, where it lies, and the part of its outline in the image."""

    thing: Thing
    pose: Pose
    visible: Points


class Split(NamedTuple):
    """`seed` also offsets image ids, so no two splits share one."""

    name: str
    images: int
    seed: int


SPLITS = (Split("train", 60, 0), Split("val", 20, 1000), Split("test", 20, 2000))
OBJECTS_PER_IMAGE = 5
FEWEST = 3
QUALITY = 92
# With a split's seed, that of colours, light and litter.
LOOKS = 1

# Indices, in every split, of the special images.
GREYSCALE, TURNED, EMPTY, CROWDED = 3, 5, 8, (1, 12)
EXIF_TURN = 6


def write_sample(output: Path) -> None:
    """Draw the dataset: OUTPUT/annotations/instances_{train,val,test}.json and the images of each split.

    Raises DataError where `output` exists and is not empty.
    """
    output = output.resolve()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DataError(f"{output}: expected a new or empty folder, found something in it")
    with staging(output) as folder:
        (folder / "annotations").mkdir()
        for split in SPLITS:
            (folder / split.name).mkdir()
            coco.write(folder / "annotations" / f"instances_{split.name}.json", _draw_split(split, folder / split.name))


def _draw_split(split: Split, folder: Path) -> Dataset:
    """Write the images of a split; returns its records."""
    # What lies where does not depend on what it looks like.
    layout, looks = np.random.default_rng(split.seed), np.random.default_rng((split.seed, LOOKS))
    records: list[Image] = []
    annotations: list[Annotation] = []
    for index, things in enumerate(_deal(split.images, layout)):
        image = _record(split.seed + index + 1, layout)
        heap = _heap(image.width, image.height, layout) if index in CROWDED else []
        crowds = [_crowd(heap, image)] if heap else []
        placed = _arranged(things, [crowd.bbox for crowd in crowds], image, layout)
        for annotation in (*crowds, *(_annotation(item, image) for item in placed)):
            annotation.id = split.seed * 100 + len(annotations) + 1
            annotations.append(annotation)
        picture = _picture(image, [*heap, *placed], looks)
        (folder / image.file_name).write_bytes(_encode(picture, index))
        records.append(image)
    return Dataset(
        info={"description": f"scarcedet's drawn sample, {split.name}"},
        licenses=[{"id": 1, "name": "CC0 1.0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"}],
        categories=[Category(id=thing.id, name=thing.name, supercategory="thing") for thing in THINGS],
        images=records,
        annotations=annotations,
    )


def _record(image_id: int, rng: np.random.Generator) -> Image:
    width, height = int(rng.integers(300, 341)), int(rng.integers(226, 255))
    return Image(id=image_id, file_name=f"{image_id:012d}.jpg", width=width, height=height, license=1)


def _deal(count: int, rng: np.random.Generator) -> list[list[Thing]]:
    """The things of each image, unbalanced by the weights, with at least three of each in a split."""
    total = sum(thing.weight for thing in THINGS)
    shares = [max(FEWEST, OBJECTS_PER_IMAGE * count * thing.weight // total) for thing in THINGS]
    pack = [thing for thing, share in zip(THINGS, shares, strict=True) for _ in range(share)]
    hands: list[list[Thing]] = [[] for _ in range(count)]
    for index in rng.permutation(len(pack)).tolist():
        image = int(rng.integers(count))
        hands[image if image != EMPTY else 0].append(pack[index])
    return hands


def _arranged(things: list[Thing], taken: list[BoxXYWH], image: Image, rng: np.random.Generator) -> list[Placed]:
    """Things in places where they overlap little with others and with the boxes `taken`; some find none."""
    boxes, placed = list(taken), []
    for thing in things:
        for _ in range(20):
            pose = _pose(image, rng)
            visible = _visible(pose.points(thing.drawing.outline), image)
            if visible is not None and all(_overlap(_box(visible), box) < 0.35 for box in boxes):
                boxes.append(_box(visible))
                placed.append(Placed(thing, pose, visible))
                break
    return placed


def _pose(image: Image, rng: np.random.Generator) -> Pose:
    """Anywhere in an image; what lies there may extend beyond it."""
    # One in five is small, below COCO's 32 x 32 px.
    radius = int(rng.integers(8, 14)) if rng.integers(5) == 0 else int(rng.integers(15, 55))
    angle, mirrored = int(rng.integers(-30, 31)), bool(rng.integers(2))
    return Pose(int(rng.integers(image.width)), int(rng.integers(image.height)), radius, angle, mirrored)


def _visible(points: Points, image: Image) -> Points | None:
    """The part of an outline in the image, to 0.01 px; None where it is less than a quarter."""
    visible = clip_polygon(points, (0, 0, image.width, image.height))
    if visible is None or polygon_area(visible) < polygon_area(points) / 4:
        return None
    return np.round(visible, 2)


def _box(points: Points) -> BoxXYWH:
    (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)


def _overlap(box: BoxXYWH, other: BoxXYWH) -> float:
    """Intersection over the smaller of two `xywh` boxes."""
    across = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
    down = min(box[1] + box[3], other[1] + other[3]) - max(box[1], other[1])
    return max(across, 0) * max(down, 0) / min(box[2] * box[3], other[2] * other[3])


def _annotation(item: Placed, image: Image) -> Annotation:
    return Annotation(
        id=0,
        image_id=image.id,
        category_id=item.thing.id,
        bbox=_box(item.visible),
        area=_area(item.visible),
        iscrowd=0,
        segmentation=(item.visible.reshape(-1),),
    )


def _area(points: Points) -> float:
    """Square pixels, summed in hundredths of a pixel as integers: exact, so equal on every processor."""
    x, y = np.round(points.T * 100).astype(np.int64)
    return round(abs(int(x @ np.roll(y, -1) - np.roll(x, -1) @ y)) / 2 / 100**2, 2)


def _heap(width: int, height: int, rng: np.random.Generator) -> list[Placed]:
    """Small leaves, one upon the other, all of them within the image."""
    left, top = int(rng.integers(10, width - 110)), int(rng.integers(10, height - 80))
    placed = []
    for _ in range(24):
        x, y = rng.integers((left + 8, top + 8), (left + 92, top + 62)).tolist()
        pose = Pose(x, y, 8, int(rng.integers(360)), mirrored=False)
        placed.append(Placed(HEAPED, pose, pose.points(HEAPED.drawing.outline)))
    return placed


def _crowd(heap: list[Placed], image: Image) -> Annotation:
    """A heap as one object, by the runs of its pixels."""
    outlines = tuple(item.visible.reshape(-1) for item in heap)
    mask = coco_runs.from_segmentation(outlines, image.height, image.width)
    x0, y0, x1, y1 = coco_runs.bounds(mask)
    return Annotation(
        id=0,
        image_id=image.id,
        category_id=HEAPED.id,
        bbox=(x0, y0, x1 - x0, y1 - y0),
        area=coco_runs.area(mask),
        iscrowd=1,
        segmentation=coco_runs.to_rle(mask, compressed=False),
    )


def _picture(image: Image, placed: list[Placed], rng: np.random.Generator) -> Pixels:
    """(height, width, 3) RGB: later things lie upon earlier ones."""
    scene = Scene(image.width, image.height, rng)
    for item in placed:
        scene.draw(item.thing.drawing, item.pose, PALETTE[list(item.thing.colours)])
    return scene.finished()


def _encode(canvas: Pixels, index: int) -> bytes:
    if index == GREYSCALE:
        grey = cv2.cvtColor(canvas, cv2.COLOR_RGB2GRAY)
        return cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    if index != TURNED:
        return images.encode_jpeg(canvas, QUALITY).tobytes()
    # Stored rotated; orientation 6 tells readers to turn it by 90 degrees clockwise.
    stored = images.encode_jpeg(np.ascontiguousarray(np.rot90(canvas)), QUALITY).tobytes()
    tiff = b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x12\x01\x03\0\x01\0\0\0" + bytes([EXIF_TURN, 0, 0, 0]) + b"\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    return stored[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + stored[2:]
