"""Detections as parsed, and other spellings of them, converted to COCO's form: pure functions on plain JSON values.

What is not understood stays unchanged, for the parser to refuse.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np

from datasets.as_written import segmentation_box
from datasets.checks import BOX_FROM_MASK
from datasets.records import Id
from datasets.respell import as_number, as_whole
from datasets.result_names import Names, NotKnownError
from datasets.results import Results

IMAGE_ID = "image id in another spelling (text, 1.0), read"
IMAGE_NAME = "image by its file name, read"
CATEGORY_ID = "category id in another spelling (text, 1.0), read"
CATEGORY_NAME = "category by its name, read"
NUMBER = "number in another spelling (text), read"

Size = Annotated[float, msgspec.Meta(ge=0)]
Score = Annotated[float, msgspec.Meta(ge=0, le=1)]
NO_SEGMENTATION = msgspec.Raw(b"")


class DetectionJson(msgspec.Struct, gc=False):
    """A detection as parsed; `segmentation` stays raw, other keys are ignored."""

    image_id: Id
    category_id: Id
    bbox: tuple[float, float, Size, Size]
    score: Score
    segmentation: msgspec.Raw = NO_SEGMENTATION


def as_results(detections: list[DetectionJson]) -> Results:
    """As parallel arrays, in the same order; `segmentations` only where there is one."""
    return Results(
        np.array([item.image_id for item in detections], dtype=np.int64),
        np.array([item.category_id for item in detections], dtype=np.int64),
        np.array([item.bbox for item in detections], dtype=np.float64).reshape(-1, 4),
        np.array([item.score for item in detections], dtype=np.float64),
        # Only where needed: they keep the text of the whole file in memory.
        [bytes(item.segmentation) for item in detections]
        if any(item.segmentation is not NO_SEGMENTATION for item in detections)
        else None,
    )


def respelled(record: dict[str, Any], names: Names) -> tuple[dict[str, Any], list[str]]:
    """A record in COCO's form, and the kinds of its changes.

    Raises NotKnownError, whose text begins with the key, for an unknown name.
    """
    in_coco_form = dict(record)
    kinds = [_id(in_coco_form, "image_id", names), _id(in_coco_form, "category_id", names)]
    score = as_number(in_coco_form.get("score"))
    if isinstance(in_coco_form.get("score"), str) and not isinstance(score, str | None):
        in_coco_form["score"] = score
        kinds.append(NUMBER)
    box = in_coco_form.get("bbox")
    if box is None or box == []:
        around = segmentation_box(in_coco_form.get("segmentation"))
        if around is not None:
            in_coco_form["bbox"] = around
            kinds.append(BOX_FROM_MASK)
    elif isinstance(box, list) and any(isinstance(value, str) for value in box):
        in_coco_form["bbox"] = [value if as_number(value) is None else as_number(value) for value in box]
        kinds.append(NUMBER)
    return in_coco_form, [kind for kind in kinds if kind]


def _id(record: dict[str, Any], key: str, names: Names) -> str:
    """Replace the name under `key` by an id; returns the kind of the change, empty for none."""
    value = record.get(key)
    is_image = key == "image_id"
    if isinstance(value, str):
        try:
            record[key] = names.image_id(value) if is_image else names.category_id(value)
        except NotKnownError as error:
            raise NotKnownError(f".{key}: {error}") from None
        is_number = isinstance(as_whole(value), int) and as_whole(value) == record[key]
        if is_number:
            return IMAGE_ID if is_image else CATEGORY_ID
        return IMAGE_NAME if is_image else CATEGORY_NAME
    whole = as_whole(value)
    if isinstance(value, float) and isinstance(whole, int):
        record[key] = whole
        return IMAGE_ID if is_image else CATEGORY_ID
    return ""
