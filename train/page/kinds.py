"""The kind of error of each detection that has no object, by TIDE's definitions (Bolya et al., 2020, section 2.2).

D: detections, G: annotations, both in one image
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datasets.analysis import IOU, Kind
from datasets.boxes import Boxes, iou_xyxy

# The overlap below which a detection has nothing to do with an object.
BACKGROUND = 0.1


def kinds_of(
    boxes_xyxy: Boxes,
    category_ids: npt.NDArray[np.int64],
    objects_xyxy: Boxes,
    object_category_ids: npt.NDArray[np.int64],
) -> list[Kind]:
    """D kinds, of detections without an object; `objects_xyxy` are (G, 4), without crowds."""
    if not len(objects_xyxy):
        return ["Bkg"] * len(boxes_xyxy)
    ious = iou_xyxy(boxes_xyxy, objects_xyxy)
    same = category_ids[:, None] == object_category_ids[None, :]
    of_same, of_others = (np.where(mask, ious, 0.0).max(axis=1).tolist() for mask in (same, ~same))
    return [kind_of(*pair) for pair in zip(of_same, of_others, strict=True)]


def kind_of(same: float, other: float) -> Kind:
    """By the highest IoU with an object of the same category, and with one of another."""
    if BACKGROUND <= same < IOU:
        return "Loc"
    if other >= IOU:
        return "Cls"
    if same >= IOU:
        return "Dupe"
    return "Bkg" if max(same, other) <= BACKGROUND else "Both"
