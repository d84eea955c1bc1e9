"""Box arrays: (N, 4) float64, absolute pixels, continuous coordinates; every name states the format."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from datasets.records import BoxXYWH, Window

Boxes = npt.NDArray[np.float64]


def xywh_to_xyxy(boxes_xywh: Sequence[BoxXYWH] | Boxes) -> Boxes:
    """(N, 4) x, y, width, height -> (N, 4) x0, y0, x1, y1; N may be 0."""
    boxes = np.array(boxes_xywh, dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def xyxy_to_xywh(boxes_xyxy: Boxes) -> Boxes:
    """(N, 4) x0, y0, x1, y1 -> (N, 4) x, y, width, height; an inverted side is 0."""
    return np.hstack([boxes_xyxy[:, :2], np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0.0)])


def area_xyxy(boxes_xyxy: Boxes) -> npt.NDArray[np.float64]:
    """(N, 4) -> (N,) square pixels; an inverted box has area 0."""
    sides = np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0.0)
    return np.asarray(sides[:, 0] * sides[:, 1])


def iou_xyxy(boxes_xyxy: Boxes, others_xyxy: Boxes) -> npt.NDArray[np.float64]:
    """(N, 4), (M, 4) -> (N, M) intersection over union; 0 for inverted boxes, and where the union is empty."""
    low = np.maximum(boxes_xyxy[:, None, :2], others_xyxy[None, :, :2])
    high = np.minimum(boxes_xyxy[:, None, 2:], others_xyxy[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0.0, None), axis=2)
    union = area_xyxy(boxes_xyxy)[:, None] + area_xyxy(others_xyxy) - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def clip_xyxy(boxes_xyxy: Boxes, window: Window) -> Boxes:
    """The part of each box inside `window`; a box outside it gets area 0."""
    x0, y0, x1, y1 = window
    return np.asarray(np.clip(boxes_xyxy, (x0, y0, x0, y0), (x1, y1, x1, y1)))
