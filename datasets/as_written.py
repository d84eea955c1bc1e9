"""Annotations exactly as written, for evaluation: repairing a box would change what is measured."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from datasets.checks import AnnotationJson, Repairs, RleJson, as_rle, box_of, completed, mask_box, shown_box
from datasets.errors import Problems
from datasets.records import Annotation, BoxXYWH, Polygons, Rle


def check_as_written(
    annotation: AnnotationJson, json_path: str, repairs: Repairs, problems: Problems, *, masks: bool = False
) -> Annotation | None:
    """An annotation for evaluation, its box unchanged: it may leave its image or have no area.

    Masks are dropped unless `masks` asks for them; what is not a mask is None then.
    """
    # Built only where it is wanted, or a box or an area has to be derived from it.
    derived = annotation.bbox is None or annotation.area is None
    mask = any_mask(annotation.segmentation) if masks or derived else None
    box = box_of(annotation, mask, json_path, repairs, problems)
    if box is None:
        return None
    if box[2] < 0 or box[3] < 0:
        problems.add(f"{json_path}.bbox: expected a width and height of at least 0, found {shown_box(box)}")
        return None
    return completed(annotation, box, annotation.area, mask, json_path, repairs, kept=mask if masks else None)


def any_mask(segmentation: list[list[float]] | RleJson | None) -> Polygons | Rle | None:
    """The mask, whatever the size of its image; None for what is not a mask."""
    if isinstance(segmentation, RleJson):
        try:
            return as_rle(segmentation)
        except (ValueError, OverflowError):
            return None
    # As where annotations are trained on: what has fewer than three points beside others is left out.
    whole = [polygon for polygon in segmentation or () if len(polygon) >= 6]
    if not whole or any(len(polygon) % 2 for polygon in segmentation or ()):
        return None
    return tuple(np.array(polygon, dtype=np.float64) for polygon in whole)


def segmentation_box(segmentation: Any) -> BoxXYWH | None:
    """The bounding box of a JSON segmentation; None for what is not a mask."""
    try:
        return mask_box(any_mask(msgspec.convert(segmentation, list[list[float]] | RleJson)))
    except msgspec.ValidationError:
        return None
