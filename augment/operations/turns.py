"""Turns: an image mirrored and turned by quarters, and its labels with it, without loss."""

from __future__ import annotations

import functools
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from augment.operations.labels import Labels
from augment.operations.parameters import TurnOver
from datasets import coco_runs
from datasets.images import Pixels
from datasets.masks import DECIMALS, cut_out, rle_bounds
from datasets.records import Annotation, Polygons, Rle, Turn, Window

Points = npt.NDArray[np.floating[Any]]  # (n, 2)
QUARTER = 90


def draw(operation: TurnOver, copy: int, rng: np.random.Generator) -> Turn:
    """The turn of a source's variant number `copy`; `rng` is that of the source, so that no two variants are alike."""
    turns = possible(operation.mirror, operation.rotate)
    return turns[int(rng.permutation(len(turns))[copy])]


@functools.cache
def possible(mirror: bool, rotate: bool) -> tuple[Turn, ...]:
    """The turns that change an image."""
    mirrored = (False, True) if mirror else (False,)
    degrees = (0, 90, 180, 270) if rotate else (0,)
    turns = [Turn(mirrored=which, degrees=angle) for which in mirrored for angle in degrees]
    return tuple(turn for turn in turns if turn.mirrored or turn.degrees)


def size(width: int, height: int, turn: Turn) -> tuple[int, int]:
    """(width, height) of a turned image."""
    return (height, width) if turn.degrees % 180 else (width, height)


def pixels(image: Pixels, turn: Turn) -> Pixels:
    """(height, width, ...) -> the same turned, a view."""
    # numpy turns counterclockwise.
    return np.rot90(image[:, ::-1] if turn.mirrored else image, -turn.degrees // QUARTER)


def labels(shown: Labels, width: int, height: int, turn: Turn) -> Labels:
    """The labels of a width x height image, turned with it."""
    return shown._replace(annotations=[turned(item, width, height, turn) for item in shown.annotations])


def turned(item: Annotation, width: int, height: int, turn: Turn) -> Annotation:
    """An annotation of a width x height image; coordinates are rounded to 1e-4 px, so that turning back is exact."""
    x, y, box_width, box_height = item.bbox
    corners = points(np.array(((x, y), (x + box_width, y + box_height))), width, height, turn)
    mask: Polygons | Rle | None = item.segmentation
    if isinstance(mask, Rle):
        mask = _turned_runs(mask, turn)
    elif mask is not None:
        mask = tuple(points(part.reshape(-1, 2), width, height, turn).reshape(-1) for part in mask)
    new_x, new_y = corners.min(axis=0).tolist()
    sizes = (box_height, box_width) if turn.degrees % 180 else (box_width, box_height)
    new_width, new_height = size(width, height, turn)
    # Only rounding may move a box over the border.
    bbox = (new_x, new_y, min(sizes[0], new_width - new_x), min(sizes[1], new_height - new_y))
    return msgspec.structs.replace(item, bbox=bbox, segmentation=mask)


def _turned_runs(rle: Rle, turn: Turn) -> Rle:
    """Runs turned by way of a bitmap of the object alone, since an image may have hundreds."""
    height, width = rle.size
    x0, y0, x1, y1 = window = _window(rle)
    (left, top), (right, bottom) = np.sort(points(np.array(((x0, y0), (x1, y1))), width, height, turn), axis=0).tolist()
    new_width, new_height = size(width, height, turn)
    region = int(left), int(top), int(right), int(bottom)
    whole = coco_runs.at(pixels(cut_out(rle, window), turn), region, new_height, new_width)
    return coco_runs.to_rle(whole, isinstance(rle.counts, str))


def _window(rle: Rle) -> Window:
    """The pixels that hold a mask; one pixel where it is empty."""
    x0, y0, x1, y1 = map(int, rle_bounds(rle))
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def points(given: Points, width: int, height: int, turn: Turn) -> Points:
    """(n, 2) points of a width x height image -> the same turned with it, rounded to 1e-4 px."""
    x, y = given[:, 0].astype(np.float64), given[:, 1].astype(np.float64)
    if turn.mirrored:
        x = width - x
    for _ in range(turn.degrees // QUARTER):
        x, y, width, height = height - y, x, height, width
    # Not -0.0, which is another text than 0.0.
    return np.stack((x, y), axis=1).round(DECIMALS) + 0.0
