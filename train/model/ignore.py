"""The ignore rule: which candidates must not be trained as background. Pure functions on boxes, absolute pixels, xyxy.

An ignored box marks an object too little of which is visible to demand its detection: one truncated by a crop, or a
crowd. One rule serves anchors, proposals and the boxes of every cascade stage: a candidate that matches no kept object,
and would become a negative, is excluded from the loss if it lies in an ignored box. Candidates that match a kept object
are unaffected.

M: ignored boxes of an image, N: candidates (anchors or proposals)
"""

from __future__ import annotations

import torch

from train import compat  # noqa: F401 - before detectron2

# isort: split
from detectron2.structures import Boxes, Instances
from detectron2.structures.boxes import pairwise_intersection

# The field of targets that marks ignored objects. Not `gt_...`: Detectron2 copies such fields to proposals.
IGNORED = "ignored"

# Pairs of ignored box and candidate compared at once: 64 MB of intermediate results. An image of 1800 x 2400 px has
# 1.08 million anchors, which against all ignored boxes at once took up to a gigabyte.
PAIRS_AT_ONCE = 2**21


def split_ignored(targets: list[Instances]) -> tuple[list[Instances], list[Boxes]]:
    """Splits targets: the kept objects of each image, without the field, and the boxes of its ignored objects.

    Targets without the field, and images without an ignored object, are returned unchanged.
    """
    kept, ignored = [], []
    for target in targets:
        if not target.has(IGNORED):
            kept.append(target)
            ignored.append(Boxes(target.gt_boxes.tensor[:0]))
            continue
        flags = target.get(IGNORED)
        chosen = target[~flags] if bool(flags.any()) else target
        chosen = Instances(chosen.image_size, **{k: v for k, v in chosen.get_fields().items() if k != IGNORED})
        kept.append(chosen)
        ignored.append(target.gt_boxes[flags])
    return kept, ignored


def lies_in_ignored(candidates: Boxes, ignored: Boxes, min_ioa: float, min_iou: float) -> torch.Tensor | None:
    """(N,) bool, or None without ignored boxes: whether a candidate lies in an ignored box.

    It does if at least `min_ioa` of its area is inside one, or if their IoU is at least `min_iou`, which would make it
    no negative if the box were an object: an anchor larger than the ignored box belongs to it too.
    """
    if len(ignored) == 0:
        return None
    inside = torch.zeros(len(candidates), dtype=torch.bool, device=candidates.device)
    for part in ignored.tensor.split(max(1, PAIRS_AT_ONCE // max(1, len(candidates)))):
        inside |= _lies_in_any(candidates, Boxes(part), min_ioa, min_iou)
    return inside


def _lies_in_any(candidates: Boxes, ignored: Boxes, min_ioa: float, min_iou: float) -> torch.Tensor:
    """(N,) bool; IoA and IoU equal Detectron2's `pairwise_ioa` and `pairwise_iou`, from one intersection."""
    shared = pairwise_intersection(ignored, candidates)
    area = candidates.area()
    # A candidate without area gives 0 / 0, NaN, which passes no threshold.
    inside = shared / area >= min_ioa
    fits = shared / (ignored.area()[:, None] + area - shared) >= min_iou
    meets = shared > 0
    lies_in_any: torch.Tensor = (meets & (inside | fits)).any(dim=0)
    return lies_in_any


def background_threshold(thresholds: list[float]) -> float:
    """The IoU below which a Matcher with these `thresholds` (from -inf to inf) labels a candidate as background."""
    return thresholds[1]
