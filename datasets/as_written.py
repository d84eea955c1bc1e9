"""Annotations exactly as written, for evaluation: repairing a box would change what is measured."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from datasets.checks import AnnotationJson, Repairs, RleJson, as_rle, box_of, completed, mask_box, shown_box
from datasets.errors import Problems
from datasets.records import Annotation, BoxXYWH, Polygons, Rle


def check_as_written(found: AnnotationJson, json_path: str, repairs: Repairs, problems: Problems) -> Annotation | None:
    """An annotation for evaluation, its box unchanged: it may leave its image or have no area. Masks are dropped."""
    # Built only where a box or an area has to be derived from it.
    mask = _any_mask(found.segmentation) if found.bbox is None or found.area is None else None
    box = box_of(found, mask, json_path, repairs, problems)
    if box is None:
        return None
    if box[2] < 0 or box[3] < 0:
        problems.add(f"{json_path}.bbox: expected a width and height of at least 0, found {shown_box(box)}")
        return None
    return completed(found, box, found.area, mask, json_path, repairs, kept=None)


def _any_mask(found: list[list[float]] | RleJson | None) -> Polygons | Rle | None:
    """The mask, whatever the size of its image; None for what is not a mask."""
    if isinstance(found, RleJson):
        try:
            return as_rle(found)
        except (ValueError, OverflowError):
            return None
    if not found or any(len(polygon) < 6 or len(polygon) % 2 for polygon in found):
        return None
    return tuple(np.array(polygon, dtype=np.float64) for polygon in found)


def segmentation_box(segmentation: Any) -> BoxXYWH | None:
    """The bounding box of a JSON segmentation; None for what is not a mask."""
    try:
        return mask_box(_any_mask(msgspec.convert(segmentation, list[list[float]] | RleJson)))
    except msgspec.ValidationError:
        return None
