"""Fusion across models, per category, over many images and categories at once.

Weighted boxes fusion (WBF): Solovyev et al., 2021. Boxes are taken by descending score; each joins the cluster whose
fused box it overlaps most, if the IoU exceeds a threshold, or starts a new cluster. Non-maximum weighted (NMW): Zhou et
al., 2017; there boxes are compared with the first box of a cluster.

G: groups of a block (boxes of one category in one image), L: length of a block
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec
import numpy as np

from datasets.errors import DataError
from ensemble.detections import Detections, join, sort
from ensemble.groups import Block, Corners, Floats, Indices, blocks, iou_with, order_of_pairs

ScoreType = Literal["avg", "max", "box_and_model_avg", "absent_model_aware_avg"]
MAX_MODELS = 62  # one bit each in an int64


class _Clusters(NamedTuple):
    """The clusters of a block, one row each."""

    boxes: Floats
    """(C, 4) fused boxes, xyxy."""
    score_sums: Floats
    best_scores: Floats
    counts: Indices
    weight_sums: Floats
    models: Indices
    """(C,) one bit for each model with a box in the cluster."""
    firsts: Indices
    """(C,) index of the cluster's highest-scoring box among all detections."""


def wbf(
    parts: list[Detections],
    weights: list[float],
    *,
    iou_threshold: float = 0.55,
    skip_threshold: float = 0.0,
    score: ScoreType = "avg",
) -> Detections:
    """Weighted boxes fusion of the models' detections (`parts`) by the models' `weights`.

    Boxes with a score below `skip_threshold` are left out. Fused scores are at most 1; "avg" with unequal weights could
    exceed it.
    """
    detections, used = _prepare(parts, weights, skip_threshold)
    fused = []
    for block in _by_category(detections):
        clusters = _cluster(detections, used, block, iou_threshold, moving=True)
        fused.append(_fused(detections, clusters, clusters.boxes, _scores(clusters, used, score)))
    return _all(fused, detections)


def nmw(
    parts: list[Detections], weights: list[float], *, iou_threshold: float = 0.55, skip_threshold: float = 0.0
) -> Detections:
    """Non-maximum weighted: averages the boxes of a cluster by score x IoU with its best box, whose score it keeps."""
    detections, used = _prepare(parts, weights, skip_threshold)
    used = used / used.max(initial=0.0) if used.size else used
    fused = []
    for block in _by_category(detections):
        clusters = _cluster(detections, used, block, iou_threshold, moving=False)
        fused.append(_fused(detections, clusters, clusters.boxes, clusters.best_scores))
    return _all(fused, detections)


def weighted(parts: list[Detections], weights: list[float], skip_threshold: float = 0.0) -> Detections:
    """All detections, with scores multiplied by weight / largest weight; input of NMS and soft-NMS across models."""
    detections, used = _prepare(parts, weights, skip_threshold)
    if not len(detections):
        return detections
    return detections.with_scores(detections.scores * (used / used.max())[detections.models])


def _prepare(parts: list[Detections], weights: list[float], skip_threshold: float) -> tuple[Detections, Floats]:
    """The detections of models with a weight above 0, sorted, and those weights."""
    if len(parts) != len(weights):
        raise DataError(f"expected a weight for each of {len(parts)} results, found {len(weights)}")
    kept = [at for at, weight in enumerate(weights) if weight > 0]
    if not kept:
        raise DataError("expected a weight above 0, found none")
    if len(kept) > MAX_MODELS:
        raise DataError(f"expected at most {MAX_MODELS} results, found {len(kept)}")
    renamed = [_renamed(parts[at], number, skip_threshold) for number, at in enumerate(kept)]
    return join(renamed), np.array([weights[at] for at in kept], dtype=np.float64)


def _renamed(part: Detections, number: int, skip_threshold: float) -> Detections:
    """The detections that take part in the fusion, as those of this model."""
    # A box without area has IoU 0 with everything, so it would stay alone in its cluster.
    x0, y0, x1, y1 = part.boxes_xyxy.T
    part = part.take((part.scores >= skip_threshold) & (x1 > x0) & (y1 > y0))
    return msgspec.structs.replace(part, models=np.full(len(part), number, dtype=np.int64))


def _by_category(detections: Detections) -> list[Block]:
    keys = (detections.image_ids, detections.category_ids)
    return list(blocks(keys, order_of_pairs(*keys)))


def _cluster(detections: Detections, weights: Floats, block: Block, iou_threshold: float, *, moving: bool) -> _Clusters:
    """Assign every box of the block to a cluster.

    With `moving` (WBF), a cluster is compared by its fused box, else (NMW) by its first box.
    """
    places = _by_weighted_score(detections, weights, block)
    lengths, (groups, length) = block.lengths, places.shape
    all_boxes = Corners.of(detections.boxes_xyxy.take(places, axis=0))
    all_weights = weights[detections.models[places]]
    all_scores = detections.scores[places] * all_weights

    # One column per cluster. `known` are the boxes to compare with; `sums` are coordinates times shares.
    known, sums = (Corners.of(np.zeros((groups, length, 4))) for _ in range(2))
    shares = np.zeros((groups, length))
    clusters = np.zeros(groups, dtype=np.int64)
    # (G, L) the cluster of each box
    chosen = np.zeros((groups, length), dtype=np.int64)
    for at in range(length):
        # The groups that have this many boxes; longer ones come first.
        active = int(np.searchsorted(-lengths, -at, side="left"))
        rows = np.arange(active)
        box, score = all_boxes.at(np.s_[:active, at]), all_scores[:active, at]
        into, joins = clusters[:active].copy(), np.zeros(active, dtype=np.bool_)
        columns = int(into.max(initial=0))
        if columns:
            overlaps = iou_with(known.at(np.s_[:active, :columns]), all_boxes.at(np.s_[:active, at : at + 1]))
            nearest = overlaps.argmax(axis=1)
            joins = overlaps[rows, nearest] > iou_threshold
            into[joins] = nearest[joins]
        chosen[:active, at] = into
        cell = (rows, into)
        known.put((rows[~joins], into[~joins]), box.at(~joins))
        share = score if moving else score * iou_with(_column(box), _column(known.at(cell)))[:, 0]
        shares[cell] += share
        for total, side in zip(sums[:4], box[:4], strict=True):
            total[cell] += share * side
        clusters[:active] += ~joins
        if moving:
            # A cluster of one box keeps its coordinates to the last bit.
            old = (rows[joins], into[joins])
            known.put(old, _average(sums.at(old), shares[old], known.at(old)))
    there, filled = np.arange(length) < clusters[:, None], block.filled
    # The clusters of all groups in one row, each group's after those of the one before.
    numbers = ((np.cumsum(clusters) - clusters)[:, None] + chosen)[filled]
    boxes = known.at(there)
    if not moving:
        alone = np.bincount(numbers) == 1
        averaged = _average(sums.at(there), shares[there], boxes)
        boxes = Corners(*(np.where(alone, *sides) for sides in zip(boxes, averaged, strict=True)))
    members = places[filled]
    return _summed(
        boxes.stacked(), numbers, members, detections.models[members], all_scores[filled], all_weights[filled]
    )


def _summed(
    boxes: Floats, numbers: Indices, members: Indices, models: Indices, scores: Floats, weights: Floats
) -> _Clusters:
    """The clusters, by what is known of their boxes, which stand by falling score: `numbers` are their clusters."""
    count = len(boxes)
    firsts, bits = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    best_scores = np.zeros(count)
    # Of several that are put in one place the last one stays, hence backwards.
    firsts[numbers[::-1]] = members[::-1]
    best_scores[numbers[::-1]] = scores[::-1]
    np.bitwise_or.at(bits, numbers, np.left_shift(np.int64(1), models))
    return _Clusters(
        boxes=boxes,
        score_sums=_sums(numbers, scores),
        best_scores=best_scores,
        counts=np.bincount(numbers),
        weight_sums=_sums(numbers, weights),
        models=bits,
        firsts=firsts,
    )


def _sums(numbers: Indices, values: Floats) -> Floats:
    """The sum of each cluster's values, added one after the other."""
    return np.asarray(np.bincount(numbers, values), dtype=np.float64)


def _column(boxes: Corners) -> Corners:
    """(G,) tables as columns, (G, 1)."""
    return boxes.at(np.s_[:, None])


def _average(sums: Corners, shares: Floats, first: Corners) -> Corners:
    """Weighted mean of boxes: summed coordinates over summed shares; the first box where all shares are 0."""
    some = shares > 0
    divided = [
        np.divide(total, shares, out=side.copy(), where=some) for total, side in zip(sums[:4], first[:4], strict=True)
    ]
    x0, y0, x1, y1 = divided
    return Corners(x0, y0, x1, y1, (x1 - x0) * (y1 - y0))


def _by_weighted_score(detections: Detections, weights: Floats, block: Block) -> Indices:
    """The block's indices with weighted scores descending along each row; ties keep the detections' order."""
    scores = detections.scores[block.places] * weights[detections.models[block.places]]
    order = np.argsort(np.where(block.filled, -scores, np.inf), axis=1, kind="stable")
    return np.take_along_axis(block.places, order, axis=1)


def _scores(clusters: _Clusters, weights: Floats, score: ScoreType) -> Floats:
    """(C,) fused scores as ensemble-boxes 1.0.9 defines them, clipped to 1."""
    average = clusters.score_sums / clusters.counts
    present = ((clusters.models[:, None] >> np.arange(len(weights))) & 1) * weights
    if score == "max":
        scores = clusters.best_scores / weights.max()
    elif score == "box_and_model_avg":
        scores = clusters.score_sums / clusters.weight_sums * present.sum(axis=1) / weights.sum()
    elif score == "absent_model_aware_avg":
        absent = weights.sum() - present.sum(axis=1)
        scores = clusters.score_sums / (clusters.weight_sums + absent)
    else:
        scores = average * np.minimum(len(weights), clusters.counts) / weights.sum()
    return np.asarray(np.minimum(scores, 1.0))


def _fused(detections: Detections, clusters: _Clusters, boxes: Floats, scores: Floats) -> Detections:
    count = len(scores)
    return Detections(
        image_ids=detections.image_ids[clusters.firsts],
        category_ids=detections.category_ids[clusters.firsts],
        boxes_xyxy=boxes,
        scores=scores,
        models=np.zeros(count, dtype=np.int64),
        rows=np.full(count, -1, dtype=np.int64),
    )


def _all(parts: list[Detections], detections: Detections) -> Detections:
    return join(parts) if parts else sort(detections)
