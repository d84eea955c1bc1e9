"""Polygons painted with soft edges, shadows and light; pixels in integers, so they are the same on every processor.

A canvas is (height, width, 3) uint8 RGB. Points are (n, 2), in pixels; pixel i reaches from i to i + 1.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from datasets.images import Pixels
from datasets.masks import Points
from datasets.records import Window

Ints = npt.NDArray[np.int64]

# Sub-pixels along each axis of a pixel, and in all of it.
SUB = 4
FULL = SUB * SUB
# Binary places of coordinates in sub-pixels.
PLACES = 4
# Brightness is in parts of this.
ONE = 256
# What a thing's brightest side has more than its middle.
SHEEN = 40


class Light(NamedTuple):
    """The direction that light comes from, of length `ONE`."""

    x: int
    y: int


def paint(canvas: Pixels, points: Points, colour: Ints, whole: Points, light: Light) -> None:
    """Fill an outline, a part of the `whole`, with a (3,) colour: brighter where the whole is turned to the light."""
    window = _window(points, 1, canvas)
    if window is None:
        return
    lit = colour * _brightness(whole, window, light) // ONE
    part, cover = canvas[_slices(window)], coverage(points, window)
    part[:] = np.clip((part * (FULL - cover) + lit * cover + FULL // 2) // FULL, 0, 255)


def shadow(canvas: Pixels, points: Points, light: Light, height: int, dark: int) -> None:
    """Darken what lies `height` px beneath an outline, with soft edges: by `dark` `ONE`ths in the shadow's middle."""
    cast = points - np.array(light) * height / ONE
    window = _window(cast, 2 * height + 1, canvas)
    if window is None:
        return
    soft = blurred(coverage(cast, window) * ONE, max(1, height // 2))
    part = canvas[_slices(window)]
    part[:] = part * (ONE * FULL - soft * dark // ONE) // (ONE * FULL)


def coverage(points: Points, window: Window) -> Ints:
    """(height, width, 1): how many of each pixel's `FULL` sub-pixels an outline covers."""
    left, top, right, bottom = window
    # OpenCV counts from the middle of the first sub-pixel.
    corners = np.round(((points - (left, top)) * SUB - 0.5) * 2**PLACES).astype(np.int32)
    fine = np.zeros(((bottom - top) * SUB, (right - left) * SUB), dtype=np.uint8)
    cv2.fillPoly(fine, [corners], 1, shift=PLACES)
    counts: Ints = fine.reshape(bottom - top, SUB, right - left, SUB).sum(axis=(1, 3), dtype=np.int64)
    return counts[..., None]


def blurred(values: Ints, radius: int) -> Ints:
    """(height, width, ...) values, averaged twice over 2 * radius + 1 rows and columns: nearly a Gaussian."""
    for axis in (0, 1, 0, 1):
        values = averaged(values, radius, axis)
    return values


def averaged(values: Ints, radius: int, axis: int) -> Ints:
    """Each value's mean with `radius` neighbours on either side along an axis; edges are repeated."""
    width = 2 * radius + 1
    around = [(radius + 1, radius) if axis == index else (0, 0) for index in range(values.ndim)]
    sums = np.cumsum(np.pad(values, around, mode="edge"), axis=axis)
    ends = np.arange(width, sums.shape[axis])
    within: Ints = sums.take(ends, axis) - sums.take(ends - width, axis)
    return within // width


def _window(points: Points, margin: int, canvas: Pixels) -> Window | None:
    """The canvas around an outline; None where the outline is not on it."""
    height, width = canvas.shape[:2]
    (x0, y0), (x1, y1) = _bounds(points)
    left, top, right, bottom = (
        max(0, x0 - margin),
        max(0, y0 - margin),
        min(width, x1 + margin),
        min(height, y1 + margin),
    )
    return (left, top, right, bottom) if left < right and top < bottom else None


def _bounds(points: Points) -> list[list[int]]:
    """The corners of the pixels that an outline touches: [[x0, y0], [x1, y1]]."""
    corners: list[list[int]] = [
        np.floor(points.min(axis=0)).astype(int).tolist(),
        np.ceil(points.max(axis=0)).astype(int).tolist(),
    ]
    return corners


def _slices(window: Window) -> tuple[slice, slice]:
    left, top, right, bottom = window
    return slice(top, bottom), slice(left, right)


def _brightness(whole: Points, window: Window, light: Light) -> Ints:
    """(height, width, 1) of a window, in `ONE`ths; `ONE` in the middle of the whole."""
    (x0, y0), (x1, y1) = _bounds(whole)
    rows, columns = np.mgrid[_slices(window)]
    towards: Ints = (2 * columns - x0 - x1) * light.x + (2 * rows - y0 - y1) * light.y
    return ONE + (towards * SHEEN // (ONE * max(x1 - x0, y1 - y0)))[..., None]
