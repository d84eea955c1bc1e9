"""NMS and soft-NMS within one model, over many images at once.

Soft-NMS (Bodla et al., 2017) takes boxes by descending score; each multiplies the scores of the boxes after it that
overlap it, by `1 - IoU` above a threshold (linear) or by `exp(-IoU ** 2 / sigma)` (gaussian). The decayed scores are
the output. Class-agnostic suppression lets all boxes of an image compete, whatever their category.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from ensemble.detections import Detections
from ensemble.groups import Block, Corners, Floats, Indices, blocks, iou_with, order_of_pairs

Kind = Literal["gaussian", "linear"]

# How often a block's tables are compacted, which drops the boxes that are done, and the steps between at the least.
COMPACTIONS, LEAST_STEPS = 6, 8


def nms(detections: Detections, *, iou_threshold: float, class_agnostic: bool) -> Detections:
    """NMS: drops boxes whose IoU with a kept, higher-scoring box exceeds `iou_threshold`.

    Class-agnostic, boxes of all categories of an image compete. Of equal scores, the first among `detections` is kept.
    """
    kept = np.zeros(len(detections), dtype=np.bool_)
    for block in _blocks(detections, class_agnostic):
        boxes = Corners.of(detections.boxes_xyxy.take(block.places, axis=0))
        alive = block.filled
        for at in range(alive.shape[1] - 1):
            after = np.s_[:, at + 1 :]
            overlaps = iou_with(boxes.at(after), boxes.at(np.s_[:, at : at + 1])) > iou_threshold
            alive[after] &= ~(overlaps & alive[:, at, None])
        kept[block.places[alive]] = True
    return detections.take(kept)


def soft_nms(
    detections: Detections,
    *,
    kind: Kind,
    class_agnostic: bool,
    sigma: float = 0.5,
    iou_threshold: float = 0.3,
    score_threshold: float = 0.001,
) -> Detections:
    """Soft-NMS: decays the scores of overlapping boxes, then drops those below `score_threshold`.

    `sigma` is for the gaussian kind, `iou_threshold` for the linear one. Of equal scores, the first among `detections`
    is taken first. No score rises. Bodla et al., 2017.
    """
    scores = np.zeros(len(detections))
    factor = _gaussian(sigma) if kind == "gaussian" else _linear(iou_threshold)
    for block in _blocks(detections, class_agnostic):
        decayed = _decay(
            detections.boxes_xyxy.take(block.places, axis=0),
            detections.scores.take(block.places),
            block,
            factor,
            score_threshold,
        )
        filled = block.filled
        scores[block.places[filled]] = decayed[filled]
    kept = scores >= score_threshold
    return detections.take(kept).with_scores(scores[kept])


def _blocks(detections: Detections, class_agnostic: bool) -> list[Block]:
    if class_agnostic:
        return list(blocks((detections.image_ids,), np.arange(len(detections))))
    keys = (detections.image_ids, detections.category_ids)
    # Stable, so that scores go on falling within a category.
    return list(blocks(keys, order_of_pairs(*keys)))


def _gaussian(sigma: float) -> Callable[[Floats], Floats]:
    def factor(iou: Floats) -> Floats:
        np.multiply(iou, iou, out=iou)
        iou *= -1.0 / sigma
        return np.exp(iou, out=iou)

    return factor


def _linear(iou_threshold: float) -> Callable[[Floats], Floats]:
    return lambda iou: np.where(iou > iou_threshold, 1.0 - iou, 1.0)


def _decay(
    boxes_xyxy: Floats, scores: Floats, block: Block, factor: Callable[[Floats], Floats], enough: float
) -> Floats:
    """Decayed scores of the groups of a block: (G, L, 4) boxes xyxy and (G, L) scores -> (G, L) scores.

    Scores below `enough` may come back as 0.
    """
    decayed = np.zeros_like(scores)
    left = _Left.of(boxes_xyxy, scores, block)
    every = max(LEAST_STEPS, scores.shape[1] // COMPACTIONS)
    while len(left.groups):
        for _ in range(every):
            rows = np.arange(len(left.groups))
            pick = left.scores.argmax(axis=1)
            score = left.scores[rows, pick]
            if score.max() < enough:
                # The highest remaining score of each group; no score rises.
                return decayed
            cell = (left.groups, left.columns[rows, pick])
            # A finished group picks a box it has picked before, which changes nothing.
            decayed[cell] = np.where(score >= 0, score, decayed[cell])
            picked = left.boxes.at((rows[:, None], pick[:, None]))
            left.take((rows, pick))
            left.scores[...] *= factor(iou_with(left.boxes, picked))
        left = left.compacted(enough)
    return decayed


class _Left(NamedTuple):
    """The boxes of a block that are not yet taken, as tables of (G, L), and those not yet dropped.

    Scores of taken boxes and of padding are below 0. Such a box has no left side, so that its IoU with any is 0.
    """

    scores: Floats
    boxes: Corners
    groups: Indices
    """(G,) rows in the block."""
    columns: Indices
    """(G, L) columns in the block."""

    @classmethod
    def of(cls, boxes_xyxy: Floats, scores: Floats, block: Block) -> _Left:
        groups, length = scores.shape
        columns = np.broadcast_to(np.arange(length), (groups, length))
        left = cls(scores.copy(), Corners.of(boxes_xyxy), np.arange(groups), columns)
        left.take(~block.filled)
        return left

    def take(self, cell: Any) -> None:
        self.scores[cell] = -1.0
        self.boxes.x0[cell] = np.inf

    def compacted(self, enough: float) -> _Left:
        """Without the boxes and the groups whose scores are all below `enough`; the order of the others is kept."""
        done = self.scores < enough
        counts = done.shape[1] - done.sum(axis=1)
        rows = np.flatnonzero(counts)
        keep = np.argsort(done[rows], axis=1, kind="stable")[:, : counts.max(initial=0)]
        cell = (rows[:, None], keep)
        return _Left(self.scores[cell], self.boxes.at(cell), self.groups[rows], self.columns[cell])
