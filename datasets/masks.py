"""Polygons and run-length masks: their area, and the part of them that a window keeps.

Shapes: a polygon is (2 n,) x0, y0, x1, y1, ...; a mask is (height, width) of 0 and 1; runs go down the columns.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from datasets.records import Polygons, Rle, Window

Points = npt.NDArray[np.float64]  # (n, 2)

# Pieces of less than this many square pixels are what rounding leaves on a window's border.
MIN_PIECE_AREA = 1e-6
# Coordinates that were cut or moved are rounded to so many decimals.
DECIMALS = 4


def polygon_area(points: Points) -> float:
    """Square pixels inside (n, 2) points, by the shoelace formula; parts that overlap themselves count twice."""
    # Relative to the first point: far from the origin the products would cancel badly.
    x, y = (points - points[0]).T
    return abs(float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1]))) / 2.0


def polygons_area(polygons: Polygons) -> float:
    return sum(polygon_area(polygon.astype(np.float64).reshape(-1, 2)) for polygon in polygons)


def _clip_half_plane(points: Points, axis: int, bound: float, keep_above: bool) -> Points:
    """The part of a polygon on one side of the line `coordinate[axis] == bound`; (0, 2) where nothing is."""
    coordinates = points[:, axis]
    inside = coordinates >= bound if keep_above else coordinates <= bound
    crossed = (inside != np.concatenate((inside[1:], inside[:1]))).nonzero()[0].tolist()
    pieces: list[Any] = []
    start = 0
    # Stretches of points inside, each ended or begun by the place where its edge crosses the line.
    for index in crossed:
        if inside[index]:
            pieces.append(points[start : index + 1])
        begin, end = points[index].tolist(), points[(index + 1) % len(points)].tolist()
        share = (bound - begin[axis]) / (end[axis] - begin[axis])
        crossing = [begin[0] + share * (end[0] - begin[0]), begin[1] + share * (end[1] - begin[1])]
        crossing[axis] = bound
        pieces.append([crossing])
        start = index + 1
    if inside[-1]:
        pieces.append(points[start:])
    return np.concatenate(pieces) if pieces else points[:0]


def clip_polygon(points: Points, window: Window) -> Points | None:
    """(n, 2) points of the polygon's part inside `window`, in the same coordinates; None where nothing is left.

    Sutherland and Hodgman, "Reentrant polygon clipping" (1974). Exact for every polygon, also one that is concave or
    crosses itself, since cutting at a line does not change how often the outline winds around a point inside. Pieces
    of one polygon stay joined by edges of no width along the window's border.
    """
    x0, y0, x1, y1 = window
    left, top = points.min(axis=0).tolist()
    right, bottom = points.max(axis=0).tolist()
    if left >= x1 or right <= x0 or top >= y1 or bottom <= y0:
        return None
    sides = ((left < x0, 0, x0, True), (right > x1, 0, x1, False), (top < y0, 1, y0, True), (bottom > y1, 1, y1, False))
    for reaches_over, axis, bound, keep_above in sides:
        if reaches_over:
            points = _clip_half_plane(points, axis, bound, keep_above)
            if len(points) < 3:
                return None
    return points if polygon_area(points) > MIN_PIECE_AREA else None


class Outlines:
    """The polygons of all objects of an image, side by side in one array, so that a window moves them at once."""

    def __init__(self, objects: Sequence[Polygons]) -> None:
        """`objects` holds each object's polygons, () for one without."""
        flat = [polygon for polygons in objects for polygon in polygons]
        ends = list(itertools.accumulate((len(polygon) // 2 for polygon in flat), initial=0))
        self._slices = list(itertools.pairwise(ends))
        counts = itertools.accumulate(map(len, objects), initial=0)
        self._objects = [range(*pair) for pair in itertools.pairwise(counts)]
        self._points: Points = np.concatenate(flat, dtype=np.float64).reshape(-1, 2) if flat else np.empty((0, 2))
        self._low = np.minimum.reduceat(self._points, ends[:-1]) if flat else self._points
        self._high = np.maximum.reduceat(self._points, ends[:-1]) if flat else self._points

    def crop(self, window: Window) -> Callable[[int], Polygons]:
        """A function: object index -> its polygons' parts inside `window`, in the window's own coordinates, or ().

        Coordinates are rounded to 1e-4 px: moved by whole pixels, the two decimals of COCO stay two decimals.
        """
        corner, far = np.array(window[:2], dtype=np.float64), np.array(window[2:], dtype=np.float64)
        moved = np.round(self._points - corner, DECIMALS)
        inside = np.all((self._low >= corner) & (self._high <= far), axis=1)

        def part(index: int) -> npt.NDArray[np.float64] | None:
            start, end = self._slices[index]
            if inside[index]:
                return moved[start:end].reshape(-1)
            clipped = clip_polygon(self._points[start:end], window)
            return None if clipped is None else np.round(clipped - corner, DECIMALS).reshape(-1)

        return lambda index: tuple(piece for at in self._objects[index] if (piece := part(at)) is not None)


def crop_polygons(polygons: Polygons, window: Window) -> Polygons:
    """One object's polygons inside `window`; see `Outlines.crop`."""
    return Outlines([polygons]).crop(window)(0)


def polygons_to_rle(polygons: Polygons, height: int, width: int) -> Rle:
    """The union of the polygons as runs, rasterised by COCO's own rule."""
    parts = coco_mask.frPyObjects([polygon.tolist() for polygon in polygons], height, width)
    whole = parts[0] if len(parts) == 1 else coco_mask.merge(parts)
    return Rle((height, width), _decompress(whole["counts"].decode("ascii")))


def mask_to_rle(mask: npt.NDArray[np.uint8]) -> Rle:
    """(height, width) of 0 and 1 -> runs."""
    height, width = mask.shape
    columns = mask.reshape(-1, order="F")
    starts = np.flatnonzero(np.diff(columns)) + 1
    bounds = np.concatenate([[0], starts, [columns.size]])
    runs = np.diff(bounds)
    # A mask whose first pixel is set starts with a run of no zeros.
    return Rle((height, width), np.concatenate([[0], runs]) if columns[:1].any() else runs)


def rle_to_mask(rle: Rle) -> npt.NDArray[np.uint8]:
    """Runs -> (height, width) of 0 and 1. Raises ValueError where the runs are no mask of that size."""
    height, width = rle.size
    runs = rle_runs(rle)
    values = np.arange(len(runs), dtype=np.int64) % 2
    return np.repeat(values.astype(np.uint8), runs).reshape(width, height).T


def rle_area(rle: Rle) -> float:
    return float(rle_runs(rle)[1::2].sum())


def crop_rle(rle: Rle, window: Window) -> Rle | None:
    """The part of a mask inside `window`, in the form (runs or string) of the source; None where nothing is left."""
    x0, y0, x1, y1 = window
    mask = rle_to_mask(rle)[y0:y1, x0:x1]
    if not mask.any():
        return None
    cropped = mask_to_rle(mask)
    if isinstance(rle.counts, str):
        return Rle(cropped.size, coco_mask.encode(np.asfortranarray(mask))["counts"].decode("ascii"))
    return cropped


def rle_runs(rle: Rle) -> npt.NDArray[np.int64]:
    """The runs, (n,) int64, in either form. Raises ValueError where they are no mask of `rle.size`.

    pycocotools trusts its input and reads past the end of a bad one, so this stands before every use.
    """
    height, width = rle.size
    runs = _decompress(rle.counts) if isinstance(rle.counts, str) else rle.counts
    if len(runs) and (runs.min() < 0 or runs.max() > height * width):
        raise ValueError("a run is negative or longer than the image")
    total = int(runs.sum())
    if total != height * width:
        raise ValueError(f"runs add up to {total} px, expected {height} x {width} = {height * width} px")
    return runs


def _decompress(counts: str) -> npt.NDArray[np.int64]:
    """COCO's string form (pycocotools `maskApi.c`, rleFrString) -> runs.

    Each character holds five bits, least significant first, and a sixth that says whether more follow; the last
    group's top bit is the sign. From the fourth run on, the difference to the run two places before is stored.
    """
    groups = np.frombuffer(counts.encode("latin-1", "replace"), dtype=np.uint8).astype(np.int64) - 48
    if groups.size == 0:
        return groups
    if groups.min() < 0 or groups.max() > 63 or groups[-1] & 32:
        raise ValueError("the compressed counts are not a whole COCO run-length string")
    ends = np.flatnonzero((groups & 32) == 0)
    lengths = np.diff(ends, prepend=-1)
    if lengths.max() > 8:
        raise ValueError("a run of the compressed counts is longer than any image")
    starts = ends - lengths + 1
    place = np.arange(groups.size) - np.repeat(starts, lengths)
    values = np.add.reduceat((groups & 31) << (5 * place), starts)
    values = np.where(groups[ends] & 16, values - (np.int64(1) << (5 * lengths)), values)
    # Undo the differences: the runs from 1 on form two interleaved series, each a running sum (run 0 stands alone, and
    # runs 1 and 2 are stored as they are).
    for first in (1, 2):
        values[first::2] = np.cumsum(values[first::2])
    return np.asarray(values)
