"""Occlusion: what covered pixels do to the labels beneath them, to the pixel.

The rule is that of crops (see `labels`): with `v` what is left of an object's mask (or of its box, without one) as a
share of what it was, and `r` the share of the image that the box of what is left has, an object that nothing covers is
kept; a covered one is kept where v >= 0.5 and r > 0.01, ignored where v < 0.5 and r > 0.01, and dropped otherwise.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from augment.operations.labels import CROWD, DROP, IGNORE, KEEP, area, clip, clipped_box
from augment.operations.parameters import LabelRule
from datasets import coco_runs
from datasets.coco_runs import CocoRle
from datasets.masks import DECIMALS, MIN_PIECE_AREA, mask_bounds
from datasets.records import Annotation, BoxXYXY, Rle, Window


class Cover(NamedTuple):
    """Covered pixels of an image: what they leave, as runs, and rectangles around them for objects without a mask."""

    uncovered: CocoRle
    windows: list[Window]
    height: int
    width: int

    @classmethod
    def of_masks(cls, masks: Sequence[CocoRle], windows: Sequence[Window]) -> Cover:
        """The union of masks, at least one, each inside its window."""
        return cls(coco_runs.complement(coco_runs.union(masks)), list(windows), *masks[0]["size"])

    @classmethod
    def of_windows(cls, windows: Sequence[Window], height: int, width: int) -> Cover:
        """The union of rectangles."""
        return cls(coco_runs.complement(coco_runs.from_windows(windows, height, width)), list(windows), height, width)


def occlude(item: Annotation, cover: Cover, rule: LabelRule) -> tuple[str, Annotation | None]:
    """What becomes of an object of a whole image under `cover`: its case, and its label, None where it is dropped."""
    same = CROWD if item.iscrowd else KEEP
    box = clipped_box(item, cover.height, cover.width)
    if not any(_overlap(box, window) for window in cover.windows) and not isinstance(item.segmentation, Rle):
        reach = _reach(item)
        if reach is None or not any(_overlap(reach, window) for window in cover.windows):
            return same, item
    mask = _mask(item, cover)
    if mask is None:
        before, after, left_over = area(box), *remainder(box, cover.windows)
        left: CocoRle | None = None
    else:
        left = coco_runs.intersection(mask, cover.uncovered)
        before, after = coco_runs.area(mask), coco_runs.area(left)
        left_over = _remaining_box(coco_runs.bounds(left), coco_runs.bounds(mask), box)
    if after == before:
        return same, item
    case = _judge(after / before if before else 0.0, area(left_over), item, cover, rule)
    return case, None if case == DROP else _left(item, case, left_over, left)


def visible_mask_share(item: Annotation, cover: Cover) -> float | None:
    """The share of an object's mask that `cover` leaves; None for one without a pixel of it."""
    mask = _mask(item, cover)
    return coco_runs.area(coco_runs.intersection(mask, cover.uncovered)) / coco_runs.area(mask) if mask else None


def ignored(item: Annotation, height: int, width: int) -> Annotation:
    """The object as an ignored region: `iscrowd` 1, and its mask as runs, as readers expect of crowds."""
    mask = item.segmentation
    if mask is not None and not isinstance(mask, Rle):
        runs = coco_runs.from_segmentation(mask, height, width)
        mask = coco_runs.to_rle(runs) if coco_runs.area(runs) else None
    return msgspec.structs.replace(item, iscrowd=1, segmentation=mask)


def remainder(box: BoxXYXY, covers: Sequence[Window]) -> tuple[float, BoxXYXY]:
    """What rectangles leave of a box: square pixels, and the bounding box of it; zeros where that is nothing."""
    touching = [clip(_as_box(cover), box) for cover in covers if _overlap(box, cover)]
    xs = sorted({box[0], box[2], *(x for cover in touching for x in (cover[0], cover[2]))})
    ys = sorted({box[1], box[3], *(y for cover in touching for y in (cover[1], cover[3]))})
    free = [
        (x0, y0, x1, y1)
        for (x0, x1), (y0, y1) in itertools.product(itertools.pairwise(xs), itertools.pairwise(ys))
        if not any(c[0] <= x0 and x1 <= c[2] and c[1] <= y0 and y1 <= c[3] for c in touching)
    ]
    if not free:
        return 0.0, (0.0, 0.0, 0.0, 0.0)
    left, top, right, bottom = zip(*free, strict=True)
    return sum(map(area, free)), (min(left), min(top), max(right), max(bottom))


def _remaining_box(left: BoxXYXY, before: BoxXYXY, box: BoxXYXY) -> BoxXYXY:
    """The box of what is left of a mask: within the object's box, which may be finer than pixels.

    Not where the mask reached further than pixels do: a box that does not hold its object tells nothing about it.
    """
    held = all(abs(inner - clipped) <= 1 for inner, clipped in zip(before, clip(before, box), strict=True))
    return clip(left, box) if held else left


def _judge(visible: float, box_area: float, item: Annotation, cover: Cover, rule: LabelRule) -> str:
    if box_area < MIN_PIECE_AREA:
        return DROP
    if item.iscrowd:
        return CROWD
    # As in the crop rule: quotients, which round to the same float as an equal threshold.
    if box_area / (cover.height * cover.width) <= rule.min_area_ratio:
        return DROP
    return KEEP if visible >= rule.min_visible else IGNORE


def _left(item: Annotation, case: str, box: BoxXYXY, mask: CocoRle | None) -> Annotation:
    x, y = round(box[0], DECIMALS), round(box[1], DECIMALS)
    width, height = round(box[2] - x, DECIMALS), round(box[3] - y, DECIMALS)
    compressed = not isinstance(item.segmentation, Rle) or isinstance(item.segmentation.counts, str)
    return msgspec.structs.replace(
        item,
        bbox=(x, y, width, height),
        area=float(coco_runs.area(mask)) if mask is not None else round(width * height, DECIMALS),
        iscrowd=0 if case == KEEP else 1,
        segmentation=None if mask is None else coco_runs.to_rle(mask, compressed),
    )


def _mask(item: Annotation, cover: Cover) -> CocoRle | None:
    """The object's pixels; None where it has no mask, or one without a pixel."""
    if item.segmentation is None:
        return None
    mask = coco_runs.from_segmentation(item.segmentation, cover.height, cover.width)
    return mask if coco_runs.area(mask) else None


def _reach(item: Annotation) -> BoxXYXY | None:
    """The extent of an object's polygons, which its box need not hold; None without any."""
    if not item.segmentation or isinstance(item.segmentation, Rle):
        return None
    x0, y0, x1, y1 = mask_bounds(item.segmentation)
    # Rasterised, an outline may reach half a pixel further.
    return x0 - 1, y0 - 1, x1 + 1, y1 + 1


def _as_box(window: Window) -> BoxXYXY:
    """As floats: an annotation's JSON has 33.0, never 33."""
    x0, y0, x1, y1 = window
    return float(x0), float(y0), float(x1), float(y1)


def _overlap(box: BoxXYXY, window: BoxXYXY) -> bool:
    return box[0] < window[2] and window[0] < box[2] and box[1] < window[3] and window[1] < box[3]
