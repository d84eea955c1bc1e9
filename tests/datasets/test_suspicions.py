"""Warnings: what is legal and almost always a mistake."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from datasets import suspicions
from datasets.records import Annotation, Category, Rle

CATEGORIES = [Category(id=1, name="cat"), Category(id=2, name="dog")]


def item(id_: int = 1, **changed: Any) -> Annotation:
    plain: dict[str, Any] = {"image_id": 1, "category_id": id_ % 2 + 1, "bbox": (8.0 + id_, 8.0, 24.0, 20.0)}
    return Annotation(**({"id": id_, "area": 480.0, "iscrowd": 0} | plain | changed))


def outline(x: float, y: float, width: float, height: float) -> tuple[Any]:
    return (np.array([x, y, x + width, y, x + width, y + height, x, y + height]),)


def test_good_data_gives_no_warning() -> None:
    assert suspicions.find([item(1, segmentation=outline(9, 8, 24, 20)), item(2)], CATEGORIES) == []


@pytest.mark.parametrize(
    ("annotations", "warning"),
    [
        ([], "no annotation that can be used"),
        ([item(1, iscrowd=1), item(2, iscrowd=1)], "all 2 annotations are crowds"),
        ([item(1, bbox=(0.1, 0.1, 0.5, 1.0)), item(2)], "1 of 2 boxes have no number above 1"),
        ([item(1, segmentation=outline(60, 8, 24, 20)), item(2)], "1 of 1 masks that were compared do not fit"),
        ([item(1, segmentation=Rle((48, 64), np.array([3072]))), item(2)], "1 of 1 masks that were compared do not"),
        ([item(1), item(2), item(3, bbox=item(1).bbox)], "1 annotations have the image, category and box of another"),
        ([item(2)], "1 of 2 categories have no object: dog"),
    ],
)
def test_each_mistake_is_told(annotations: list[Annotation], warning: str) -> None:
    (found,) = suspicions.find(annotations, CATEGORIES)
    assert found.startswith(warning)


def test_a_mask_meets_its_box_from_an_iou_of_a_half_on() -> None:
    """A mask of the box's left half has an IoU of 1/2 with it; a narrower one has less."""
    half, less = (item(1, segmentation=outline(9, 8, width, 20)) for width in (12, 11.9))
    assert suspicions.find([half, item(2)], CATEGORIES) == []
    assert len(suspicions.find([less, item(2)], CATEGORIES)) == 1


def test_few_odd_ones_among_many_are_no_pattern() -> None:
    """1 of 100 is 1 %, which is not more than 1 %; 2 are."""
    good = [item(number) for number in range(1, 100)]
    tiny = item(100, bbox=(0.0, 0.0, 1.0, 1.0))
    assert suspicions.find([*good, tiny], CATEGORIES) == []
    assert len(suspicions.find([*good[1:], tiny, item(101, bbox=(0.5, 0.0, 0.5, 1.0))], CATEGORIES)) == 1


def test_crowds_are_not_compared_with_their_masks() -> None:
    assert suspicions.find([item(1, iscrowd=1, segmentation=outline(60, 8, 2, 2)), item(2)], CATEGORIES) == []
