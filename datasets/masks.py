"""Polygons and run-length masks: their area, and the part of them that a window keeps.

Shapes: a polygon is (2 n,) x0, y0, x1, y1, ...; a mask is (height, width) of 0 and 1; runs go down the columns.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from datasets.records import Polygons, Rle, Window

Points = npt.NDArray[np.float64]  # (n, 2)

# Pieces of less than this many square pixels are what rounding leaves on a window's border.
MIN_PIECE_AREA = 1e-6


def polygon_area(points: Points) -> float:
    """Square pixels inside (n, 2) points, by the shoelace formula; parts that overlap themselves count twice."""
    # Relative to the first point: far from the origin the products would cancel badly.
    x, y = (points - points[0]).T
    return abs(float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1]))) / 2.0


def polygons_area(polygons: Polygons) -> float:
    return sum(polygon_area(polygon.astype(np.float64).reshape(-1, 2)) for polygon in polygons)


def _clip_half_plane(points: Points, axis: int, bound: float, sign: float) -> Points:
    """The part of a polygon where `sign * (coordinate - bound)` is not negative; (0, 2) where nothing is."""
    distance = sign * (points[:, axis] - bound)
    if distance.min() >= 0:
        return points
    following = np.roll(points, -1, axis=0)
    following_distance = np.roll(distance, -1)
    inside = distance >= 0
    crosses = inside != (following_distance >= 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = distance / (distance - following_distance)
        crossings = points + share[:, None] * (following - points)
    crossings[:, axis] = bound
    # Each edge gives its start where that is inside, then its crossing where it has one, in this order.
    candidates = np.stack([points, crossings], axis=1).reshape(-1, 2)
    return np.asarray(candidates[np.stack([inside, crosses], axis=1).reshape(-1)])


def clip_polygon(points: Points, window: Window) -> Points | None:
    """(n, 2) points of the polygon's part inside `window`, in the same coordinates; None where nothing is left.

    Sutherland and Hodgman, "Reentrant polygon clipping" (1974). Exact for every polygon, also one that is concave or
    crosses itself, since cutting at a line does not change how often the outline winds around a point inside. Pieces
    of one polygon stay joined by edges of no width along the window's border.
    """
    x0, y0, x1, y1 = window
    for axis, bound, sign in ((0, x0, 1.0), (0, x1, -1.0), (1, y0, 1.0), (1, y1, -1.0)):
        points = _clip_half_plane(points, axis, bound, sign)
        if len(points) < 3:
            return None
    return points if polygon_area(points) > MIN_PIECE_AREA else None


def crop_polygons(polygons: Polygons, window: Window) -> Polygons:
    """The polygons' parts inside `window`, in the window's own coordinates; empty where nothing is left.

    Coordinates are rounded to 1e-4 px: moved by whole pixels, the two decimals of COCO stay two decimals.
    """
    x0, y0, x1, y1 = window
    cropped = []
    for polygon in polygons:
        points: Points = polygon.reshape(-1, 2).astype(np.float64)
        left, top = points.min(axis=0)
        right, bottom = points.max(axis=0)
        if left < x0 or top < y0 or right > x1 or bottom > y1:
            clipped = clip_polygon(points, window)
            if clipped is None:
                continue
            points = clipped
        points -= (x0, y0)
        cropped.append(np.round(points, 4).reshape(-1))
    return tuple(cropped)


def polygons_to_rle(polygons: Polygons, height: int, width: int) -> Rle:
    """The union of the polygons as runs, rasterised by COCO's own rule."""
    parts = coco_mask.frPyObjects([polygon.astype(np.float64).tolist() for polygon in polygons], height, width)
    return mask_to_rle(coco_mask.decode(coco_mask.merge(parts)))


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
