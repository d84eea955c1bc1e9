"""Annotations as they stand, for measuring: any change of a box would change what is measured."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from datasets.checks import (
    AREA_MISSING,
    BOX_FROM_MASK,
    CROWD_MISSING,
    AnnotationJson,
    Repairs,
    RleJson,
    TracedAnnotationJson,
    as_rle,
    mask_box,
    segmentation_area,
    shown_box,
)
from datasets.errors import Problems
from datasets.records import Annotation, BoxXYWH, Polygons, Rle


def check_as_written(found: AnnotationJson, place: str, repairs: Repairs, problems: Problems) -> Annotation | None:
    """The annotation with its box as it stands, in its image or not, with an area or without; no mask is kept.

    For measuring, where any change would change what is measured.
    """
    box, area = found.bbox, found.area
    mask = _any_mask(found.segmentation) if box is None or area is None else None
    if box is None:
        box = mask_box(mask)
        if box is None:
            problems.add(f"{place}.bbox: expected [x, y, width, height] or a mask to take it from, found neither")
            return None
        repairs.add(BOX_FROM_MASK, place)
    if box[2] < 0 or box[3] < 0:
        problems.add(f"{place}.bbox: expected a width and height of at least 0, found {shown_box(box)}")
        return None
    if area is None:
        repairs.add(AREA_MISSING, place)
        area = segmentation_area(mask) or box[2] * box[3]
    if found.iscrowd is None:
        repairs.add(CROWD_MISSING, place)
    return Annotation(
        id=found.id,
        image_id=found.image_id,
        category_id=found.category_id,
        bbox=box,
        area=area,
        iscrowd=found.iscrowd or 0,
        source_annotation_id=found.source_annotation_id if isinstance(found, TracedAnnotationJson) else None,
    )


def _any_mask(found: list[list[float]] | RleJson | None) -> Polygons | Rle | None:
    """A mask of whatever image; None for what is none."""
    if isinstance(found, RleJson):
        try:
            return as_rle(found)
        except (ValueError, OverflowError):
            return None
    if not found or any(len(polygon) < 6 or len(polygon) % 2 for polygon in found):
        return None
    return tuple(np.array(polygon, dtype=np.float64) for polygon in found)


def segmentation_box(segmentation: Any) -> BoxXYWH | None:
    """The box around a mask as it stands in JSON; None for what is no mask."""
    try:
        return mask_box(_any_mask(msgspec.convert(segmentation, list[list[float]] | RleJson)))
    except msgspec.ValidationError:
        return None
