"""Polygon and run-length masks: areas, bounding boxes, and cropping to a window.

Shapes: a polygon is (2 n,) x0, y0, x1, y1, ...; a mask is (height, width) of 0 and 1; runs are column-major.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from datasets.records import Polygons, Rle, Window

Points = npt.NDArray[np.float64]  # (n, 2)

# Pieces of at most this many square pixels come from rounding on a window's border.
MIN_PIECE_AREA = 1e-4
# Points of an image's polygons up to which moving all of them at once is quicker than those that are shown.
MANY_POINTS = 5000
# Decimals that cropped or moved coordinates are rounded to.
DECIMALS = 4


def polygon_area(points: Points) -> float:
    """Square pixels inside (n, 2) points, by the shoelace formula.

    In a self-intersecting outline, parts wound around twice count twice and parts with opposite winding are subtracted,
    as in COCO's own areas.
    """
    # Points as complex numbers: the imaginary part of conj(a) * b is their cross product. Relative to the first point,
    # since far from the origin the products would cancel badly.
    corners = np.ascontiguousarray(points - points[0]).view(np.complex128).reshape(-1)
    return abs(float(np.vdot(corners[:-1], corners[1:]).imag)) / 2.0


def polygons_area(polygons: Polygons) -> float:
    return sum(polygon_area(polygon.astype(np.float64).reshape(-1, 2)) for polygon in polygons)


def _clip_half_plane(points: Points, axis: int, bound: float, keep_above: bool) -> Points:
    """The part of a polygon on one side of the line `coordinate[axis] == bound`; (0, 2) for none."""
    coordinates = points[:, axis]
    inside = coordinates >= bound if keep_above else coordinates <= bound
    crossed = (inside[1:] != inside[:-1]).nonzero()[0].tolist()
    if inside[-1] != inside[0]:
        crossed.append(len(points) - 1)
    pieces: list[Any] = []
    start = 0
    # Runs of points inside, delimited by the points where the outline crosses the line.
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
    """(n, 2) points of the polygon's part inside `window`, in the same coordinates; None for none.

    Sutherland and Hodgman, "Reentrant polygon clipping" (1974). Exact for concave and self-intersecting polygons too,
    since clipping at a line does not change winding numbers inside. Pieces of one polygon stay joined by edges of zero
    width along the window's border.
    """
    clipped = _clip(points, window, points.min(axis=0).tolist(), points.max(axis=0).tolist())
    return None if clipped is None or _is_nothing(clipped, polygon_area(clipped), window) else clipped


def _is_nothing(clipped: Points, area: float, window: Window) -> bool:
    """Whether a clipped polygon only runs along the window's border.

    Area alone does not tell: that of a bow tie is 0 where its wings, of opposite winding, are equal.
    """
    if area > MIN_PIECE_AREA:
        return False
    (left, top), (right, bottom) = clipped.min(axis=0).tolist(), clipped.max(axis=0).tolist()
    if (right - left) * (bottom - top) <= MIN_PIECE_AREA:
        return True
    x0, y0, x1, y1 = window
    # An edge's midpoint lies on the border only where the whole edge does.
    x, y = (clipped + np.roll(clipped, 1, axis=0)).T / 2
    return not ((x > x0) & (x < x1) & (y > y0) & (y < y1)).any()


def _clip(points: Points, window: Window, low: list[float], high: list[float]) -> Points | None:
    """`clip_polygon` of points whose extremes are known; the result may have no area."""
    x0, y0, x1, y1 = window
    if low[0] >= x1 or high[0] <= x0 or low[1] >= y1 or high[1] <= y0:
        return None
    if low[0] < x0:
        points = _clip_half_plane(points, 0, x0, True)
    if high[0] > x1 and len(points) > 2:
        points = _clip_half_plane(points, 0, x1, False)
    if low[1] < y0 and len(points) > 2:
        points = _clip_half_plane(points, 1, y0, True)
    if high[1] > y1 and len(points) > 2:
        points = _clip_half_plane(points, 1, y1, False)
    return points if len(points) > 2 else None


class Piece(NamedTuple):
    """The visible part of a polygon: (n, 2) points, and their area where it was clipped."""

    points: Points
    cut_area: float | None = None

    @property
    def area(self) -> float:
        return polygon_area(self.points) if self.cut_area is None else self.cut_area


class Outlines:
    """The polygons of all objects of an image in one array, so that a window moves all of them at once."""

    def __init__(self, objects: Sequence[Polygons]) -> None:
        """`objects` are each object's polygons, () for one without."""
        flat = [polygon for polygons in objects for polygon in polygons]
        ends = list(itertools.accumulate((len(polygon) // 2 for polygon in flat), initial=0))
        self._slices = list(itertools.pairwise(ends))
        counts = itertools.accumulate(map(len, objects), initial=0)
        self._objects = [range(*pair) for pair in itertools.pairwise(counts)]
        self._points: Points = np.concatenate(flat, dtype=np.float64).reshape(-1, 2) if flat else np.empty((0, 2))
        self._low = np.minimum.reduceat(self._points, ends[:-1]).tolist() if flat else []
        self._high = np.maximum.reduceat(self._points, ends[:-1]).tolist() if flat else []

    def crop(self, window: Window) -> Callable[[int], list[Piece]]:
        """A function: object index -> the parts of its polygons inside `window`, in the window's coordinates.

        Coordinates are rounded to 1e-4 px: moved by whole pixels, COCO's two decimals stay two decimals.
        """
        x0, y0, x1, y1 = window
        corner = np.array((x0, y0), dtype=np.float64)
        # One by one where there are many, of which a window shows few.
        moved = (self._points - corner).round(DECIMALS) if len(self._points) <= MANY_POINTS else None

        def piece(at: int) -> Piece | None:
            low, high = self._low[at], self._high[at]
            if low[0] >= x0 and low[1] >= y0 and high[0] <= x1 and high[1] <= y1:
                here = slice(*self._slices[at])
                return Piece((self._points[here] - corner).round(DECIMALS) if moved is None else moved[here])
            clipped = _clip(self._points[slice(*self._slices[at])], window, low, high)
            if clipped is None:
                return None
            area = polygon_area(clipped)
            return None if _is_nothing(clipped, area, window) else Piece((clipped - corner).round(DECIMALS), area)

        return lambda index: [found for at in self._objects[index] if (found := piece(at)) is not None]


def crop_polygons(polygons: Polygons, window: Window) -> Polygons:
    """One object's polygons inside `window`, () for none; see `Outlines.crop`."""
    return tuple(piece.points.reshape(-1) for piece in Outlines([polygons]).crop(window)(0))


def polygons_to_rle(polygons: Polygons, height: int, width: int) -> Rle | None:
    """The union of the polygons as compressed runs, rasterised by pycocotools; None without a pixel."""
    whole = rasterised(polygons, height, width)
    return Rle((height, width), whole["counts"].decode("ascii")) if coco_mask.area(whole) else None


def rasterised(polygons: Polygons, height: int, width: int) -> dict[str, Any]:
    """The union of the polygons as pycocotools holds masks, {"size": [height, width], "counts": bytes}.

    What lies further than 1 px outside the image is clipped first: pycocotools walks along every edge pixel by pixel,
    and ends the process at coordinates of 1e8.
    """
    near = [part for polygon in polygons if len(part := _near(polygon, height, width)) >= 6]
    if not near:
        return dict(coco_mask.encode(np.zeros((height, width), dtype=np.uint8, order="F")))
    parts = coco_mask.frPyObjects(near, height, width)
    return dict(parts[0] if len(parts) == 1 else coco_mask.merge(parts))


def _near(polygon: npt.NDArray[Any], height: int, width: int) -> list[float]:
    """x0, y0, x1, y1, ... of the part of a polygon within 1 px of an image; [] for none."""
    # Lists, since that is what pycocotools takes, and most polygons are short.
    values: list[float] = polygon.tolist()
    if min(values) >= -1 and max(values[::2]) <= width + 1 and max(values[1::2]) <= height + 1:
        return values
    clipped = clip_polygon(polygon.reshape(-1, 2).astype(np.float64), (-1, -1, width + 1, height + 1))
    return [] if clipped is None else clipped.reshape(-1).tolist()


def mask_to_rle(mask: npt.NDArray[np.uint8]) -> Rle:
    """(height, width) of 0 and 1 -> runs."""
    height, width = mask.shape
    columns = mask.reshape(-1, order="F")
    starts = np.flatnonzero(np.diff(columns)) + 1
    bounds = np.concatenate([[0], starts, [columns.size]])
    runs = np.diff(bounds)
    # A mask whose first pixel is set starts with an empty run of zeros.
    return Rle((height, width), np.concatenate([[0], runs]) if columns[:1].any() else runs)


def rle_to_mask(rle: Rle) -> npt.NDArray[np.uint8]:
    """Runs -> (height, width) of 0 and 1. Raises ValueError where the runs are not a mask of that size."""
    height, width = rle.size
    runs = rle_runs(rle)
    values = np.arange(len(runs), dtype=np.int64) % 2
    return np.repeat(values.astype(np.uint8), runs).reshape(width, height).T


def rle_area(rle: Rle) -> float:
    return float(rle_runs(rle)[1::2].sum())


def rle_bounds(rle: Rle) -> tuple[float, float, float, float]:
    """Bounding box x0, y0, x1, y1 of a mask; zeros where it is empty."""
    height = rle.size[0]
    ends = np.cumsum(rle_runs(rle))
    starts, ends = ends[:-1:2], ends[1::2]
    starts, ends = starts[ends > starts], ends[ends > starts]
    if not len(starts):
        return 0.0, 0.0, 0.0, 0.0
    first, last = starts // height, (ends - 1) // height
    # A run that continues in the next column has the bottom of one column and the top of the other.
    across = bool((last > first).any())
    top = 0 if across else int((starts % height).min())
    bottom = height if across else int(((ends - 1) % height).max()) + 1
    return float(first.min()), float(top), float(last.max()) + 1, float(bottom)


def mask_bounds(segmentation: Polygons | Rle) -> tuple[float, float, float, float]:
    """Bounding box x0, y0, x1, y1 of a mask, which for polygons may reach beyond their image; zeros for empty runs."""
    if isinstance(segmentation, Rle):
        return rle_bounds(segmentation)
    points = np.concatenate(segmentation).reshape(-1, 2).astype(np.float64)
    (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return x0, y0, x1, y1


def cut_out(rle: Rle, window: Window) -> npt.NDArray[np.uint8]:
    """The part of a mask inside `window`, (height, width) of 0 and 1, without a bitmap of the whole image."""
    x0, y0, x1, y1 = window
    shown = Spans(rle).crop(window)
    return np.zeros((y1 - y0, x1 - x0), dtype=np.uint8) if shown is None else rle_to_mask(shown)


class Spans:
    """A run-length mask as ranges of set pixels, which is cropped without a bitmap of the whole image."""

    def __init__(self, rle: Rle) -> None:
        """Raises ValueError where the runs are not a mask of that size."""
        runs = rle_runs(rle)
        self._height = rle.size[0]
        self._compressed = isinstance(rle.counts, str)
        self._ends = np.cumsum(runs)[1::2]
        self._starts = self._ends - runs[1::2]

    def crop(self, window: Window) -> Rle | None:
        """The part inside `window`, compressed as the input was; None without a pixel."""
        x0, y0, x1, y1 = window
        height, width = y1 - y0, x1 - x0
        first, last = x0 * self._height, x1 * self._height
        here = slice(*np.searchsorted(self._ends, (first, last), "right").tolist())
        # The range that crosses the window's right side, if any, ends behind it.
        here = slice(here.start, here.stop + 1)
        starts = np.maximum(self._starts[here], first) - first
        ends = np.minimum(self._ends[here], last) - first
        filled = starts < ends
        starts, ends = self._by_column(starts[filled], ends[filled])
        # From pixels of full-height columns to pixels of the window.
        column = starts // self._height
        top = np.maximum(starts - column * self._height - y0, 0)
        bottom = np.minimum(ends - column * self._height - y0, height)
        shown = top < bottom
        runs = runs_of((column * height + top)[shown], (column * height + bottom)[shown], height * width)
        if runs is None:
            return None
        cropped = Rle((height, width), runs)
        return _compress(cropped) if self._compressed else cropped

    def _by_column(
        self, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The same ranges, none empty, split at the ends of columns."""
        first = starts // self._height
        pieces = (ends - 1) // self._height - first + 1
        if not (pieces > 1).any():
            return starts, ends
        index = np.repeat(np.arange(len(starts)), pieces)
        # 0, 1, 2, ... within each range.
        step = np.arange(len(index)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        column = (first[index] + step) * self._height
        return np.maximum(starts[index], column), np.minimum(ends[index], column + self._height)


def runs_of(starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], pixels: int) -> npt.NDArray[np.int64] | None:
    """Alternating runs of zeros and ones over `pixels`, from ranges of ones, which may touch; None without any."""
    if not len(starts):
        return None
    apart = starts[1:] > ends[:-1]
    bounds = np.empty(2 * int(apart.sum()) + 4, dtype=np.int64)
    bounds[0], bounds[1], bounds[-2], bounds[-1] = 0, starts[0], ends[-1], pixels
    bounds[2:-2:2], bounds[3:-2:2] = ends[:-1][apart], starts[1:][apart]
    runs = np.diff(bounds)
    return runs if runs[-1] else runs[:-1]


def _compress(rle: Rle) -> Rle:
    """Runs -> COCO's compressed string."""
    height, width = rle.size
    counts: Any = rle.counts
    packed = coco_mask.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width)
    return Rle(rle.size, packed["counts"].decode("ascii"))


def rle_runs(rle: Rle) -> npt.NDArray[np.int64]:
    """The runs, (n,) int64, of either form. Raises ValueError where they are not a mask of `rle.size`.

    pycocotools trusts its input and reads past the end of a bad one, so this is called before every use.
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
    """COCO's compressed string (pycocotools `maskApi.c`, rleFrString) -> runs.

    Each character holds five bits, least significant first, and a sixth that tells whether more follow; the top bit of
    the last group is the sign. From the fourth run on, the difference to the run two positions before is stored.
    """
    groups = np.frombuffer(counts.encode("utf-8", "replace"), dtype=np.uint8).astype(np.int64) - 48
    if groups.size == 0:
        return groups
    if not counts.isascii() or groups.min() < 0 or groups.max() > 63 or groups[-1] & 32:
        raise ValueError("the compressed counts are not a whole COCO run-length string")
    ends = np.flatnonzero((groups & 32) == 0)
    lengths = np.diff(ends, prepend=-1)
    if lengths.max() > 8:
        raise ValueError("a run of the compressed counts is longer than any image")
    starts = ends - lengths + 1
    place = np.arange(groups.size) - np.repeat(starts, lengths)
    values = np.add.reduceat((groups & 31) << (5 * place), starts)
    values = np.where(groups[ends] & 16, values - (np.int64(1) << (5 * lengths)), values)
    # Undo the differences: the runs from 1 on form two interleaved series of running sums (run 0 stands alone, runs 1
    # and 2 are stored as they are).
    for first in (1, 2):
        values[first::2] = np.cumsum(values[first::2])
    return np.asarray(values)
