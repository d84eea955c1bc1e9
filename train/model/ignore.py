"""Ignore regions: what must not be taught as background. Pure functions on boxes, absolute pixels, xyxy.

An ignored box says that something is there of which too little is seen to ask for it: a box that a crop cut, or a
crowd.
One rule serves anchors, proposals and the boxes of every cascade stage: what matches no kept object and would become
a negative is left out of the loss if it lies in an ignored box. What matches a kept object is untouched.

    M: ignored boxes of an image, N: candidates (anchors or proposals)
"""

from __future__ import annotations

import torch

from train import compat  # noqa: F401 - before detectron2

# isort: split
from detectron2.structures import Boxes, Instances
from detectron2.structures.boxes import pairwise_intersection

# The field of a target that says so. Not `gt_...`: Detectron2 copies such fields to proposals.
FIELD = "loss_ignored"

# Pairs of an ignored box and a candidate that are compared at once: 64 MB of intermediate results. A picture of
# 1800 x 2400 px has 1.08 million anchors, which against all ignored boxes at once took up to a gigabyte.
PAIRS_AT_ONCE = 2**21


def split_ignored(targets: list[Instances]) -> tuple[list[Instances], list[Boxes]]:
    """The kept objects of each image, without the field, and the boxes of its ignored ones.

    Targets without the field, and images without an ignored box, come back as they are.
    """
    kept, ignored = [], []
    for target in targets:
        if not target.has(FIELD):
            kept.append(target)
            ignored.append(Boxes(target.gt_boxes.tensor[:0]))
            continue
        flags = target.get(FIELD)
        chosen = target[~flags] if bool(flags.any()) else target
        chosen = Instances(chosen.image_size, **{k: v for k, v in chosen.get_fields().items() if k != FIELD})
        kept.append(chosen)
        ignored.append(target.gt_boxes[flags])
    return kept, ignored


def lies_in_ignored(candidates: Boxes, ignored: Boxes, min_ioa: float, min_iou: float) -> torch.Tensor | None:
    """(N,) bool, or None without ignored boxes: does a candidate lie in an ignored box?

    It does where at least `min_ioa` of its own area is inside one, or where it fits one as well as it must fit an
    object in order not to be a negative, `min_iou`: an anchor larger than the ignored box belongs to it too.
    """
    if len(ignored) == 0:
        return None
    found = torch.zeros(len(candidates), dtype=torch.bool, device=candidates.device)
    for part in ignored.tensor.split(max(1, PAIRS_AT_ONCE // max(1, len(candidates)))):
        found |= _lies_in_any(candidates, Boxes(part), min_ioa, min_iou)
    return found


def _lies_in_any(candidates: Boxes, ignored: Boxes, min_ioa: float, min_iou: float) -> torch.Tensor:
    """(N,) bool; IoA and IoU as Detectron2's `pairwise_ioa` and `pairwise_iou` give them, of one intersection."""
    shared = pairwise_intersection(ignored, candidates)
    area = candidates.area()
    # A candidate without area divides 0 by 0, which is no number and passes no threshold.
    inside = shared / area >= min_ioa
    fits = shared / (ignored.area()[:, None] + area - shared) >= min_iou
    meets = shared > 0
    found: torch.Tensor = (meets & (inside | fits)).any(dim=0)
    return found


def background_threshold(thresholds: list[float]) -> float:
    """The IoU below which a Matcher with these `thresholds` (from -inf to inf) calls a candidate background."""
    return thresholds[1]
