"""Merging what is detected in the tiles of a large picture: of each object one tile's boxes.

Tiles overlap, so an object may be found in several: whole in some, cut by the edges of others. A cut box loses against
a whole one, whatever the scores. Of two cut boxes of one object, the better is kept, not their union: that would be a
box that the model has not seen, with nobody's score, and a chain of them joins neighbours into one.

N: detections in all tiles of a picture, T: its tiles, n: detections of one class
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datasets.boxes import Boxes, area_xyxy, iou_xyxy
from datasets.records import Window

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

# `predict --overlap`, as a fraction of a tile's side.
OVERLAP = 0.2
# A box that ends at most this many pixels from its tile's edge is cut: predicted sides are off by about as much.
EDGE = 2.0
# The share of a cut box, or IoU of two of them, from which boxes are of one object.
AGREEMENT = 0.5


class Detections(NamedTuple):
    """Detections in the tiles of one picture."""

    boxes_xyxy: Boxes
    """(N, 4) pixels of the picture; each lies in its tile."""
    scores: Floats
    """(N,)"""
    classes: Indices
    """(N,)"""
    tiles: Indices
    """(N,) the tile of each, 0 to T - 1."""

    def take(self, chosen: Indices) -> Detections:
        return Detections(self.boxes_xyxy[chosen], self.scores[chosen], self.classes[chosen], self.tiles[chosen])


def merge(
    found: Detections, windows: Sequence[Window], width: int, height: int, *, iou_threshold: float, limit: int
) -> Indices:
    """NMS across the T tiles `windows` of a width x height picture: rising indices of the detections that are kept.

    Within a class, whole boxes come before cut ones (see `cut_by_edge`), then by descending score. A box is dropped if
    one before it, kept and of another tile, is of the same object (see `_same_object`). Boxes of one tile do not
    suppress each other: the model's own NMS has been there. Of what remains, the `limit` highest scores are kept. The
    order of the detections makes no difference to what is kept.
    """
    tiles = np.array(windows, dtype=np.float64).reshape(-1, 4)
    cut = cut_by_edge(found.boxes_xyxy, tiles[found.tiles], width, height)
    order = _ranked(found, cut)
    kept = [
        group[_unsuppressed(found.take(group), cut[group], tiles, iou_threshold)]
        for group in (order[found.classes[order] == number] for number in np.unique(found.classes))
    ]
    remaining = np.concatenate([np.empty(0, dtype=np.int64), *kept])
    # By rank, and then by score: of equal scores, the first by rank.
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    best = np.lexsort((ranks[remaining], -found.scores[remaining]))[:limit]
    return np.sort(remaining[best])


def cut_by_edge(boxes_xyxy: Boxes, windows_xyxy: Boxes, width: int, height: int) -> Flags:
    """(N, 4) boxes and the windows of their tiles -> (N,): ends within `EDGE` px of an edge inside the picture."""
    at_edge = np.abs(boxes_xyxy - windows_xyxy) <= EDGE
    inner = windows_xyxy != (0, 0, width, height)
    return np.asarray((at_edge & inner).any(axis=1))


def _ranked(found: Detections, cut: Flags) -> Indices:
    """Whole before cut, then descending scores; ties are settled by boxes, classes and tiles."""
    x0, y0, x1, y1 = found.boxes_xyxy.T
    return np.asarray(np.lexsort((found.tiles, found.classes, y1, x1, y0, x0, -found.scores, cut)))


def _unsuppressed(ranked: Detections, cut: Flags, tiles: Boxes, iou_threshold: float) -> Flags:
    """(n,) which detections of one class, best first, are kept."""
    kept = np.ones(len(cut), dtype=np.bool_)
    for at in range(len(cut)):
        if not kept[at]:
            continue
        near = _neighbours(tiles, ranked.tiles[at])[ranked.tiles[at + 1 :]]
        later = at + 1 + np.flatnonzero(kept[at + 1 :] & near)
        kept[later] = ~_same_object(ranked, cut, at, later, tiles, iou_threshold)
    return kept


def _neighbours(tiles: Boxes, tile: int) -> Flags:
    """(T, 4), t -> (T,): share pixels with tile t; it is none itself."""
    near = area_xyxy(_intersection(tiles, tiles[tile])) > 0
    near[tile] = False
    return np.asarray(near)


def _same_object(ranked: Detections, cut: Flags, at: int, later: Indices, tiles: Boxes, iou_threshold: float) -> Flags:
    """Which of the boxes `later`, of other tiles, are of the object of box `at`.

    Any whose IoU with it exceeds `iou_threshold`; of the cut ones, also those of which at least `AGREEMENT` lies in a
    whole box, and those whose IoU with a cut box is at least `AGREEMENT` in the pixels that both tiles show.
    """
    box, others = ranked.boxes_xyxy[at], ranked.boxes_xyxy[later]
    same = iou_xyxy(others, box[None])[:, 0] > iou_threshold
    if cut[at]:
        # `later` are all cut: whole boxes come first.
        seen_by_both = _intersection(tiles[ranked.tiles[later]], tiles[ranked.tiles[at]])
        shared = _elementwise_iou(_intersection(others, seen_by_both), _intersection(seen_by_both, box))
        return same | (shared >= AGREEMENT)
    areas = area_xyxy(others)
    covered = area_xyxy(_intersection(others, box))
    return same | (cut[later] & (areas > 0) & (covered >= AGREEMENT * areas))


def _intersection(boxes_xyxy: Boxes, others_xyxy: Boxes) -> Boxes:
    """(n, 4) and (n, 4) or (4,) -> (n, 4); inverted where two do not touch."""
    return np.hstack(
        [
            np.maximum(boxes_xyxy[:, :2], others_xyxy[..., :2]),
            np.minimum(boxes_xyxy[:, 2:], others_xyxy[..., 2:]),
        ]
    )


def _elementwise_iou(boxes_xyxy: Boxes, others_xyxy: Boxes) -> Floats:
    """(n, 4), (n, 4) -> (n,)"""
    shared = area_xyxy(_intersection(boxes_xyxy, others_xyxy))
    union = area_xyxy(boxes_xyxy) + area_xyxy(others_xyxy) - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))
