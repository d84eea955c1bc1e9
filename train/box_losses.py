"""The IoU losses of boxes, for `compat` to put in place of Detectron2 v0.6's: torchvision's, also for flat boxes.

Values are equal, but for what ends a training. Detectron2's assert that boxes are well formed, so that a network that
diverges (NaN) leaves a traceback instead of a loss that is not finite. And CIoU compares aspect ratios, which boxes
without height or width do not have: their loss or its gradient is NaN, in Detectron2 and in torchvision.
"""

from __future__ import annotations

import torch
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

# Sides in px below which a box has no aspect ratio; the gradient has their square in a denominator.
FLAT = 1e-3


def ciou_loss(boxes: torch.Tensor, targets: torch.Tensor, reduction: str = "sum") -> torch.Tensor:
    """The sum of CIoU losses of (N, 4) boxes, xyxy, and their targets; of flat boxes, DIoU, which is CIoU without the
    aspect ratio. Zheng et al., 2020, "Distance-IoU Loss".
    """
    if reduction != "sum":
        raise NotImplementedError(f"Detectron2 sums box losses, found {reduction}")
    flat = _is_flat(boxes) | _is_flat(targets)
    whole: torch.Tensor = complete_box_iou_loss(boxes[~flat], targets[~flat], reduction=reduction)
    without_ratio: torch.Tensor = distance_box_iou_loss(boxes[flat], targets[flat], reduction=reduction)
    return whole + without_ratio


def _is_flat(boxes: torch.Tensor) -> torch.Tensor:
    """(N,) bool; not for NaN, whose loss must be NaN."""
    sides = boxes[:, 2:] - boxes[:, :2]
    flat: torch.Tensor = (sides < FLAT).any(dim=1)
    return flat


# By Detectron2's names.
LOSSES = {"giou_loss": generalized_box_iou_loss, "diou_loss": distance_box_iou_loss, "ciou_loss": ciou_loss}
