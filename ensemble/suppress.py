"""NMS and soft-NMS within one model, over many images at once.

Soft-NMS (Bodla et al., 2017) takes boxes by descending score; each multiplies the scores of the boxes after it that
overlap it, by `1 - IoU` above a threshold (linear) or by `exp(-IoU ** 2 / sigma)` (gaussian). The decayed scores are
the output. Class-agnostic suppression lets all boxes of an image compete, whatever their category.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from ensemble.detections import Detections
from ensemble.groups import Block, Corners, Floats, Indices, blocks, iou_with

Kind = Literal["gaussian", "linear"]

# Iterations between two compactions of a block's tables, which drop the boxes that are done.
COMPACTIONS = 4


def nms(detections: Detections, *, iou_threshold: float, class_agnostic: bool) -> Detections:
    """NMS: drops boxes whose IoU with a kept, higher-scoring box exceeds `iou_threshold`.

    Class-agnostic, boxes of all categories of an image compete. Of equal scores, the first among `detections` is kept.
    """
    kept = np.zeros(len(detections), dtype=np.bool_)
    for block in _blocks(detections, class_agnostic):
        boxes = Corners.of(detections.boxes_xyxy[block.places])
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
            detections.boxes_xyxy[block.places], detections.scores[block.places], block, factor, score_threshold
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
    return list(blocks(keys, np.lexsort((keys[1], keys[0]))))


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
    groups, length = scores.shape
    decayed = np.zeros_like(scores)
    # Boxes not yet taken: their scores (below 0 for taken boxes and padding), coordinates, and original columns.
    done = ~block.filled
    left = np.where(done, -1.0, scores)
    boxes = Corners.of(boxes_xyxy)
    columns: Indices = np.broadcast_to(np.arange(length), (groups, length))
    rows = np.arange(groups)
    every = max(8, length // COMPACTIONS)
    for step in range(length):
        pick = left.argmax(axis=1)
        score = left[rows, pick]
        if score.max() < enough:
            # The highest remaining score of each group; no score rises.
            break
        cell = (rows, columns[rows, pick])
        # A finished group picks a box it has picked before, which changes nothing.
        decayed[cell] = np.where(score >= 0, score, decayed[cell])
        left *= factor(iou_with(boxes, boxes.at((rows[:, None], pick[:, None]))))
        done[rows, pick] = True
        np.copyto(left, -1.0, where=done)
        if (step + 1) % every == 0 and step + 1 < length:
            # Every group has lost equally many boxes; padding goes last.
            remaining = left.shape[1] - every
            keep = np.argsort(done, axis=1, kind="stable")[:, :remaining]
            left, done, columns = (np.take_along_axis(table, keep, axis=1) for table in (left, done, columns))
            boxes = Corners(*(np.take_along_axis(table, keep, axis=1) for table in boxes))
    return decayed
