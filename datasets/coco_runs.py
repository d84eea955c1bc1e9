"""Masks as pycocotools holds them: compressed runs, which it intersects and unites without bitmaps.

A mask is {"size": [height, width], "counts": bytes}.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from datasets.masks import rasterised, rle_runs, runs_of
from datasets.records import Polygons, Rle, Window

CocoRle = dict[str, Any]
Bitmap = npt.NDArray[np.uint8]  # (height, width) of 0 and 1


def from_segmentation(segmentation: Polygons | Rle, height: int, width: int) -> CocoRle:
    """An object's mask in a height x width image; the union of polygons."""
    if isinstance(segmentation, Rle):
        if isinstance(segmentation.counts, str):
            return {"size": list(segmentation.size), "counts": segmentation.counts.encode("ascii")}
        return from_runs(segmentation.counts, *segmentation.size)
    return rasterised(segmentation, height, width)


def from_runs(runs: npt.NDArray[np.int64], height: int, width: int) -> CocoRle:
    """A mask from its runs, the first of zeros."""
    return dict(coco_mask.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width))


def from_bitmap(bitmap: Bitmap) -> CocoRle:
    return dict(coco_mask.encode(np.asfortranarray(bitmap)))


def from_windows(windows: Sequence[Window], height: int, width: int) -> CocoRle:
    """The union of rectangles of pixels."""
    bitmap = np.zeros((height, width), dtype=np.uint8, order="F")
    for x0, y0, x1, y1 in windows:
        bitmap[y0:y1, x0:x1] = 1
    return from_bitmap(bitmap)


def at(bitmap: Bitmap, window: Window, height: int, width: int) -> CocoRle:
    """A bitmap in the size of `window`, at its place in a height x width image."""
    # From its runs, without a bitmap of the whole image: column by column, with a zero above and below each.
    x0, y0, _, _ = window
    columns = np.zeros((bitmap.shape[1], bitmap.shape[0] + 2), dtype=np.uint8)
    columns[:, 1:-1] = bitmap.T
    flat = columns.reshape(-1)
    # A start and an end in turn.
    column, row = np.divmod(np.flatnonzero(flat[1:] != flat[:-1]), columns.shape[1])
    edges = (x0 + column) * height + y0 + row
    runs = runs_of(edges[::2], edges[1::2], height * width)
    return from_runs(np.array([height * width]) if runs is None else runs, height, width)


def to_bitmap(mask: CocoRle) -> Bitmap:
    return np.asarray(coco_mask.decode(mask), dtype=np.uint8)


def to_rle(mask: CocoRle, compressed: bool = True) -> Rle:
    """As a record's mask: the compressed string, or an array of runs."""
    height, width = mask["size"]
    rle = Rle((height, width), mask["counts"].decode("ascii"))
    return rle if compressed else Rle(rle.size, rle_runs(rle))


def union(masks: Sequence[CocoRle]) -> CocoRle:
    """The union of masks of one size, at least one."""
    return dict(coco_mask.merge(list(masks)))


def intersection(one: CocoRle, other: CocoRle) -> CocoRle:
    """Of two masks of one size."""
    return dict(coco_mask.merge([one, other], intersect=True))


def complement(mask: CocoRle) -> CocoRle:
    """All other pixels."""
    runs = rle_runs(to_rle(mask))
    # Runs alternate, so one more or less in front turns zeros into ones.
    turned = runs[1:] if len(runs) and runs[0] == 0 else np.concatenate(([0], runs))
    return from_runs(turned, *mask["size"])


def area(mask: CocoRle) -> int:
    """Pixels."""
    return int(coco_mask.area(mask))


def bounds(mask: CocoRle) -> tuple[float, float, float, float]:
    """Bounding box x0, y0, x1, y1 of a mask without empty runs, as this module makes them; zeros where it is empty."""
    x, y, width, height = coco_mask.toBbox(mask).tolist()
    return x, y, x + width, y + height
