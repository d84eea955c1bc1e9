"""NMS against torchvision's and a plain loop, and what it promises by itself."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ensemble.detections import Detections
from ensemble.suppress import nms
from tests.ensemble.made import (
    Row,
    content,
    frozen,
    image_of,
    images_of,
    joined_scene,
    made,
    row_lists,
    rows_of,
)

NONE: list[Row] = []
# 5 x 10 of 2 x 100 - 50 in common.
LEFT, MIDDLE, RIGHT = (0.0, 0.0, 10.0, 10.0), (5.0, 0.0, 15.0, 10.0), (10.0, 0.0, 20.0, 10.0)
THIRD = 50 / (200 - 50)

thresholds = st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.75, 1.0])


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    whole = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / whole if whole > 0 else 0.0


def plain_nms(rows: list[Row], iou_threshold: float, class_agnostic: bool) -> list[Row]:
    """`rows` in their order; the loop that everyone writes."""
    kept: list[Row] = []
    for row in rows:
        rivals = [other for other in kept if other[0] == row[0] and (class_agnostic or other[1] == row[1])]
        if all(iou(other[2], row[2]) <= iou_threshold for other in rivals):
            kept.append(row)
    return kept


@given(row_lists, thresholds, st.booleans())
@settings(max_examples=300, deadline=None)
def test_nms_is_the_plain_loop(rows: list[Row], iou_threshold: float, class_agnostic: bool) -> None:
    found = nms(made(rows), iou_threshold=iou_threshold, class_agnostic=class_agnostic)

    assert rows_of(found) == plain_nms(rows_of(made(rows)), iou_threshold, class_agnostic)


def torchvision_nms(detections: Detections, iou_threshold: float, class_agnostic: bool) -> list[int]:
    """The rows that torchvision keeps of one image, in our order."""
    torch: Any = pytest.importorskip("torch", reason="it comes with setup.cfg's extra `train`")
    ops: Any = pytest.importorskip("torchvision.ops")
    boxes, scores = torch.from_numpy(detections.boxes_xyxy), torch.from_numpy(detections.scores)
    if class_agnostic:
        kept = ops.nms(boxes, scores, iou_threshold)
    else:
        kept = ops.batched_nms(boxes, scores, torch.from_numpy(detections.category_ids), iou_threshold)
    return sorted(detections.rows[kept.numpy()].tolist())


@pytest.mark.parametrize("class_agnostic", [True, False])
@pytest.mark.parametrize("iou_threshold", [0.0, 0.3, 0.55, 0.9])
def test_nms_is_that_of_torchvision(iou_threshold: float, class_agnostic: bool) -> None:
    rng = np.random.default_rng(5)
    given = joined_scene(rng, [*rng.integers(0, 8, 200).tolist(), 30, 0, 60, 100])

    found = nms(given, iou_threshold=iou_threshold, class_agnostic=class_agnostic)

    assert 0 < len(found) < len(given)
    for image in images_of([given]):
        expected = torchvision_nms(image_of(given, image), iou_threshold, class_agnostic)
        assert sorted(image_of(found, image).rows.tolist()) == expected


def test_only_an_overlap_above_the_threshold_counts() -> None:
    given = made([(1, 1, LEFT, 0.75), (1, 1, MIDDLE, 0.5)])

    assert len(nms(given, iou_threshold=THIRD, class_agnostic=True)) == 2
    assert len(nms(given, iou_threshold=float(np.nextafter(THIRD, 0)), class_agnostic=True)) == 1


def test_a_box_that_was_removed_removes_none() -> None:
    given = made([(1, 1, LEFT, 0.75), (1, 1, MIDDLE, 0.5), (1, 1, RIGHT, 0.25)])

    found = nms(given, iou_threshold=0.3, class_agnostic=True)

    # The middle one overlaps both others by a third; these two only touch.
    assert rows_of(found) == [(1, 1, LEFT, 0.75), (1, 1, RIGHT, 0.25)]


def test_categories_compete_only_where_they_are_to() -> None:
    given = made([(1, 1, LEFT, 0.75), (1, 2, LEFT, 0.5), (2, 1, LEFT, 0.25)])

    assert nms(given, iou_threshold=0.5, class_agnostic=True).rows.tolist() == [0, 2]
    assert nms(given, iou_threshold=0.5, class_agnostic=False).rows.tolist() == [0, 1, 2]


def test_of_two_that_tie_the_lower_category_and_then_the_lower_box_stays() -> None:
    shifted = (1.0, 0.0, 11.0, 10.0)

    found = nms(made([(1, 2, LEFT, 0.5), (1, 1, shifted, 0.5)]), iou_threshold=0.5, class_agnostic=True)
    assert rows_of(found) == [(1, 1, shifted, 0.5)]

    found = nms(made([(1, 1, shifted, 0.5), (1, 1, LEFT, 0.5)]), iou_threshold=0.5, class_agnostic=True)
    assert rows_of(found) == [(1, 1, LEFT, 0.5)]


@given(row_lists, st.randoms(use_true_random=False), thresholds, st.booleans())
@settings(max_examples=100, deadline=None)
def test_neither_the_order_of_records_nor_that_of_images_matters(
    rows: list[Row], shuffler: random.Random, iou_threshold: float, class_agnostic: bool
) -> None:
    mixed = rows.copy()
    shuffler.shuffle(mixed)

    found = nms(made(mixed), iou_threshold=iou_threshold, class_agnostic=class_agnostic)

    assert content(found) == content(nms(made(rows), iou_threshold=iou_threshold, class_agnostic=class_agnostic))


@given(row_lists, st.booleans())
@example([(0, 1, LEFT, 0.0), (0, 1, LEFT, 0.0)], True)
@settings(max_examples=100, deadline=None)
def test_what_is_left_is_left_the_second_time_too(rows: list[Row], class_agnostic: bool) -> None:
    once = nms(made(rows), iou_threshold=0.25, class_agnostic=class_agnostic)
    twice = nms(once, iou_threshold=0.25, class_agnostic=class_agnostic)

    assert content(twice) == content(once)
    assert twice.rows.tolist() == once.rows.tolist()


def test_boxes_without_area_stay() -> None:
    point, line = (5.0, 5.0, 5.0, 5.0), (0.0, 5.0, 10.0, 5.0)
    rows = [(1, 1, LEFT, 0.75), (1, 1, line, 0.5), (1, 1, line, 0.25), (1, 1, point, 0.125)]

    assert rows_of(nms(made(rows), iou_threshold=0.0, class_agnostic=True)) == rows


def test_none_of_no_boxes() -> None:
    assert len(nms(made(NONE), iou_threshold=0.5, class_agnostic=True)) == 0
    assert len(nms(made(NONE), iou_threshold=0.5, class_agnostic=False)) == 0


@pytest.mark.parametrize("class_agnostic", [True, False])
def test_the_input_stays_as_it_was(class_agnostic: bool) -> None:
    given = frozen(joined_scene(np.random.default_rng(2), [4, 9, 1]))
    before = content(given)

    found = nms(given, iou_threshold=0.5, class_agnostic=class_agnostic)

    assert 0 < len(found) < len(given)
    assert content(given) == before
