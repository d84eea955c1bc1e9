"""The drawn sample dataset: small, unbalanced, with everything that makes tools stumble over real data.

Eight categories of simple shapes on textured ground; overlapping, truncated and small objects; polygons and crowd runs;
in every split one greyscale image, one with an EXIF orientation, and one without objects. Drawn in integer arithmetic
from seeded generators, so the files have the same bytes everywhere.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from datasets import coco, images
from datasets.errors import DataError
from datasets.images import Pixels
from datasets.masks import clip_polygon, mask_to_rle, polygon_area, rle_area
from datasets.records import Annotation, Category, Dataset, Image
from datasets.staging import staging

Points = npt.NDArray[np.float64]  # (n, 2)


def _regular(corners: int, *radii: float) -> list[tuple[float, float]]:
    """A star or polygon around (0, 0): corners at equal angles, with alternating radii."""
    angles = [2 * math.pi * corner / corners - math.pi / 2 for corner in range(corners)]
    scaled = [(radii[corner % len(radii)], angle) for corner, angle in enumerate(angles)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for radius, angle in scaled]


class Shape(NamedTuple):
    """A category: its id (with gaps, as COCO's), and its outline within a circle of radius 1."""

    id: int
    name: str
    weight: int
    outline: list[tuple[float, float]]


SHAPES = (
    Shape(1, "disc", 100, _regular(24, 1.0)),
    Shape(2, "square", 64, [(-0.75, -0.75), (0.75, -0.75), (0.75, 0.75), (-0.75, 0.75)]),
    Shape(3, "triangle", 40, _regular(3, 1.0)),
    Shape(
        5,
        "cross",
        26,
        [
            (-0.3, -0.95), (0.3, -0.95), (0.3, -0.3), (0.95, -0.3), (0.95, 0.3), (0.3, 0.3),
            (0.3, 0.95), (-0.3, 0.95), (-0.3, 0.3), (-0.95, 0.3), (-0.95, -0.3), (-0.3, -0.3),
        ],
    ),
    Shape(8, "star", 18, _regular(10, 1.0, 0.42)),
    Shape(
        13,
        "arrow",
        13,
        [(-0.95, -0.25), (0.1, -0.25), (0.1, -0.7), (0.95, 0.0), (0.1, 0.7), (0.1, 0.25), (-0.95, 0.25)],
    ),
    Shape(21, "ell", 10, [(-0.7, -0.95), (-0.1, -0.95), (-0.1, 0.35), (0.75, 0.35), (0.75, 0.95), (-0.7, 0.95)]),
    Shape(34, "bolt", 8, [(0.15, -1.0), (-0.6, 0.15), (-0.05, 0.15), (-0.25, 1.0), (0.6, -0.2), (0.05, -0.2)]),
)  # fmt: skip


class Split(NamedTuple):
    """`seed` also offsets image ids, so no two splits share one."""

    name: str
    images: int
    seed: int


SPLITS = (Split("train", 60, 0), Split("val", 20, 1000), Split("test", 20, 2000))
OBJECTS_PER_IMAGE = 5
FEWEST = 3
QUALITY = 92

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
    rng = np.random.default_rng(split.seed)
    records: list[Image] = []
    annotations: list[Annotation] = []
    for index, shapes in enumerate(_deal(split.images, rng)):
        width, height = int(rng.integers(300, 341)), int(rng.integers(226, 255))
        image = Image(
            id=split.seed + index + 1,
            file_name=f"{split.seed + index + 1:012d}.jpg",
            width=width,
            height=height,
            license=1,
        )
        canvas = _ground(width, height, rng)
        for annotation in _draw_objects(canvas, shapes, index in CROWDED, rng):
            annotation.id, annotation.image_id = split.seed * 100 + len(annotations) + 1, image.id
            annotations.append(annotation)
        (folder / image.file_name).write_bytes(_encode(canvas, index))
        records.append(image)
    return Dataset(
        info={"description": f"scarcedet's drawn sample, {split.name}"},
        licenses=[{"id": 1, "name": "CC0 1.0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"}],
        categories=[Category(id=shape.id, name=shape.name, supercategory="shape") for shape in SHAPES],
        images=records,
        annotations=annotations,
    )


def _deal(count: int, rng: np.random.Generator) -> list[list[Shape]]:
    """The shapes of each image, unbalanced by the weights, with at least three of each in a split."""
    total = sum(shape.weight for shape in SHAPES)
    shares = [max(FEWEST, OBJECTS_PER_IMAGE * count * shape.weight // total) for shape in SHAPES]
    pack = [shape for shape, share in zip(SHAPES, shares, strict=True) for _ in range(share)]
    hands: list[list[Shape]] = [[] for _ in range(count)]
    for index in rng.permutation(len(pack)).tolist():
        image = int(rng.integers(count))
        hands[image if image != EMPTY else 0].append(pack[index])
    return hands


def _ground(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """Blotches of colour with grain, (height, width, 3)."""
    cell = 32
    coarse = rng.integers(50, 206, (height // cell + 3, width // cell + 3, 3))
    blocks = coarse.repeat(cell, axis=0).repeat(cell, axis=1)
    # A box filter as wide as a cell, by integer running sums, blends neighbouring cells.
    for axis in (0, 1):
        sums = np.cumsum(blocks, axis=axis)
        length = sums.shape[axis] - cell
        blocks = (np.take(sums, range(cell, cell + length), axis) - np.take(sums, range(length), axis)) // cell
    grain = rng.integers(-14, 15, (height, width, 1))
    return np.clip(blocks[:height, :width] + grain, 0, 255).astype(np.uint8)


def _draw_objects(canvas: Pixels, shapes: list[Shape], crowded: bool, rng: np.random.Generator) -> list[Annotation]:
    """Draw onto `canvas`; the annotations have no ids yet."""
    annotations = [_draw_crowd(canvas, rng)] if crowded else []
    taken = [annotation.bbox for annotation in annotations]
    for shape in shapes:
        for _ in range(20):
            points = _placed(shape, canvas, rng)
            visible = _visible(points, canvas)
            if visible is not None and all(_overlap(_box(visible), other) < 0.35 for other in taken):
                _fill(canvas, points, rng)
                taken.append(_box(visible))
                annotations.append(_annotation(shape.id, visible))
                break
    return annotations


def _placed(shape: Shape, canvas: Pixels, rng: np.random.Generator) -> Points:
    """The shape's outline somewhere on the canvas, to 0.01 px; it may extend beyond it."""
    height, width = canvas.shape[:2]
    # One in five is small, below COCO's 32 x 32 px.
    radius = int(rng.integers(7, 13)) if rng.integers(5) == 0 else int(rng.integers(14, 52))
    angle = math.radians(int(rng.integers(-30, 31)))
    cos, sin = radius * math.cos(angle), radius * math.sin(angle)
    x, y = int(rng.integers(width)), int(rng.integers(height))
    return np.round([(x + cos * u - sin * v, y + sin * u + cos * v) for u, v in shape.outline], 2)


def _visible(points: Points, canvas: Pixels) -> Points | None:
    """The part of an outline on the canvas; None where it is less than a quarter."""
    height, width = canvas.shape[:2]
    visible = clip_polygon(points, (0, 0, width, height))
    if visible is None or polygon_area(visible) < polygon_area(points) / 4:
        return None
    return np.round(visible, 2)


def _box(points: Points) -> tuple[float, float, float, float]:
    (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)


def _overlap(box: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """Intersection over the smaller of two `xywh` boxes."""
    across = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
    down = min(box[1] + box[3], other[1] + other[3]) - max(box[1], other[1])
    return max(across, 0) * max(down, 0) / min(box[2] * box[3], other[2] * other[3])


def _fill(canvas: Pixels, points: Points, rng: np.random.Generator) -> None:
    """Fill an outline with one colour and grain, anti-aliased by drawing at twice the size."""
    height, width = canvas.shape[:2]
    double = np.zeros((2 * height, 2 * width), dtype=np.uint8)
    cv2.fillPoly(double, [np.round(points * 2).astype(np.int32)], 1)
    cover = double.reshape(height, 2, width, 2).sum(axis=(1, 3), dtype=np.int64)[..., None]
    # Saturated colours, unlike the ground's, so that shapes can be told apart.
    colour = np.where(rng.integers(0, 2, 3), 235, 20) + rng.integers(-20, 21, 3)
    colour = colour + rng.integers(-18, 19, (height, width, 1))
    canvas[:] = np.clip((canvas * (4 - cover) + colour * cover) // 4, 0, 255)


def _annotation(category_id: int, points: Points) -> Annotation:
    return Annotation(
        id=0,
        image_id=0,
        category_id=category_id,
        bbox=_box(points),
        area=_area(points),
        iscrowd=0,
        segmentation=(points.reshape(-1),),
    )


def _area(points: Points) -> float:
    """Square pixels, summed in hundredths of a pixel as integers: exact, so equal on every processor."""
    x, y = np.round(points.T * 100).astype(np.int64)
    return round(abs(int(x @ np.roll(y, -1) - np.roll(x, -1) @ y)) / 2 / 100**2, 2)


def _draw_crowd(canvas: Pixels, rng: np.random.Generator) -> Annotation:
    """A heap of small discs, annotated as one crowd by the runs of its pixels."""
    height, width = canvas.shape[:2]
    mask = np.zeros((height, width), dtype=np.uint8)
    left, top = int(rng.integers(10, width - 110)), int(rng.integers(10, height - 80))
    disc = np.array(SHAPES[0].outline)
    for _ in range(24):
        center = rng.integers((left + 8, top + 8), (left + 92, top + 62))
        points = np.round(center + 7 * disc, 2)
        _fill(canvas, points, rng)
        cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 1)
    rle = mask_to_rle(mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)).tolist(), np.flatnonzero(mask.any(axis=0)).tolist()
    x, y = columns[0], rows[0]
    return Annotation(
        id=0,
        image_id=0,
        category_id=SHAPES[0].id,
        bbox=(x, y, columns[-1] + 1 - x, rows[-1] + 1 - y),
        area=rle_area(rle),
        iscrowd=1,
        segmentation=rle,
    )


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
