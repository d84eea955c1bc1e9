"""Tiles: large pictures as a grid of overlapping windows, for training and for prediction alike."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from datasets.records import BoxXYXY, Window


def grid(width: int, height: int, size: int, overlap: float) -> list[Window]:
    """Windows of `size` px that cover a width x height picture, row by row, evenly spread.

    Neighbours share at least `overlap` of a side, 0 <= overlap < 1. A side that is no longer than `size` is covered
    whole, so a picture no larger than a tile has one window.
    """
    rows, columns = _starts(height, size, overlap), _starts(width, size, overlap)
    return [
        (left, top, min(left + size, width), min(top + size, height)) for top, left in itertools.product(rows, columns)
    ]


def count(width: int, height: int, size: int, overlap: float) -> int:
    """The number of windows of `grid`, without making them."""
    return (_steps(width, size, overlap) + 1) * (_steps(height, size, overlap) + 1)


def _starts(length: int, size: int, overlap: float) -> list[int]:
    """Where windows of `size` begin along a side: the first at 0, the last at its end."""
    steps = _steps(length, size, overlap)
    return [(length - size) * at // steps for at in range(steps + 1)] if steps else [0]


def _steps(length: int, size: int, overlap: float) -> int:
    step = max(1, math.floor(size * (1 - overlap)))
    return max(0, math.ceil((length - size) / step))


def around(boxes_xyxy: Sequence[BoxXYXY], kept: Sequence[bool], width: int, height: int, size: int) -> list[Window]:
    """Windows around the boxes that fit into a tile and are not `kept` in any of the grid's.

    An object longer than the overlap can be cut by every tile of a grid. Each such box is at the centre of its
    window, as far as the picture allows; a window that shows further ones whole serves them too.
    """
    windows: list[Window] = []
    for box, is_kept in zip(boxes_xyxy, kept, strict=True):
        x0, y0, x1, y1 = math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])
        if is_kept or max(x1 - x0, y1 - y0) > size or any(holds(window, (x0, y0, x1, y1)) for window in windows):
            continue
        left, top = _around(x0, x1, width, size), _around(y0, y1, height, size)
        windows.append((left, top, min(left + size, width), min(top + size, height)))
    return windows


def _around(start: int, end: int, length: int, size: int) -> int:
    return max(0, min((start + end - size) // 2, length - size))


def holds(window: Window, box_xyxy: BoxXYXY) -> bool:
    """Whether a box lies wholly in a window, its border included."""
    x0, y0, x1, y1 = box_xyxy
    left, top, right, bottom = window
    return left <= x0 and top <= y0 and right >= x1 and bottom >= y1
