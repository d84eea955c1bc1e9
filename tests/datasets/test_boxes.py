"""Boxes as arrays: formats, area, clipping."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as pycocotools

from datasets.boxes import Boxes, area_xyxy, clip_xyxy, iou_xyxy, xywh_to_xyxy, xyxy_to_xywh

WINDOW = (10, 20, 30, 60)
# x0, y0, x1, y1 with quarters of a pixel, also inside out.
corners = st.tuples(*[st.integers(-400, 400).map(lambda quarters: quarters / 4)] * 4)


def boxes(*rows: tuple[float, float, float, float]) -> Boxes:
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def test_the_far_corner_is_the_near_one_plus_the_sides() -> None:
    assert xywh_to_xyxy([(1.5, 2.0, 10.0, 20.25)]).tolist() == [[1.5, 2.0, 1.5 + 10.0, 2.0 + 20.25]]


def test_converting_leaves_the_argument_as_it_was() -> None:
    found = boxes((1, 2, 3, 4))

    xywh_to_xyxy(found)

    assert found.tolist() == [[1, 2, 3, 4]]


def test_no_boxes_are_an_array_of_no_rows() -> None:
    empty = xywh_to_xyxy([])

    assert empty.shape == (0, 4)
    assert empty.dtype == np.float64
    assert area_xyxy(empty).shape == (0,)
    assert clip_xyxy(empty, WINDOW).shape == (0, 4)


def test_area_is_the_product_of_the_sides_and_0_inside_out() -> None:
    found = area_xyxy(boxes((1, 2, 4, 7), (0, 0, 5, 0), (4, 0, 1, 5), (4, 7, 1, 2)))

    assert found.tolist() == [(4 - 1) * (7 - 2), 0, 0, 0]


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        ((12, 25, 20, 50), (12, 25, 20, 50)),
        ((0, 0, 100, 100), WINDOW),
        ((5, 30, 15.5, 70), (10, 30, 15.5, 60)),
        ((29.5, 59.5, 31, 61), (29.5, 59.5, 30, 60)),
    ],
)
def test_clipping_keeps_the_part_inside(
    box: tuple[float, float, float, float], clipped: tuple[float, float, float, float]
) -> None:
    assert clip_xyxy(boxes(box), WINDOW).tolist() == [list(clipped)]


@pytest.mark.parametrize("box", [(0, 30, 10, 40), (30, 30, 35, 40), (12, 0, 15, 20), (12, 60, 15, 61), (0, 0, 5, 5)])
def test_a_box_outside_or_at_the_border_has_no_area_left(box: tuple[float, float, float, float]) -> None:
    assert area_xyxy(clip_xyxy(boxes(box), WINDOW)).tolist() == [0]


@given(corners)
@settings(max_examples=100, deadline=None)
def test_clipping_twice_is_clipping_once(box: tuple[float, float, float, float]) -> None:
    x0, x1 = sorted((box[0], box[2]))
    y0, y1 = sorted((box[1], box[3]))
    found = boxes((x0, y0, x1, y1))

    clipped = clip_xyxy(found, WINDOW)

    assert np.array_equal(clip_xyxy(clipped, WINDOW), clipped)
    assert area_xyxy(clipped)[0] <= area_xyxy(found)[0]


@given(st.lists(corners, max_size=5))
@settings(max_examples=50, deadline=None)
def test_formats_convert_back_and_forth(rows: list[tuple[float, float, float, float]]) -> None:
    """In quarters of a pixel, sums and differences are exact."""
    xywh = xyxy_to_xywh(boxes(*rows))
    assert (xywh[:, 2:] >= 0).all()
    assert np.array_equal(xyxy_to_xywh(xywh_to_xyxy(xywh)), xywh)


@given(st.lists(corners, min_size=1, max_size=4), st.lists(corners, min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_iou_is_that_of_pycocotools(
    rows: list[tuple[float, float, float, float]], others: list[tuple[float, float, float, float]]
) -> None:
    some, other = xyxy_to_xywh(boxes(*rows)), xyxy_to_xywh(boxes(*others))
    found = iou_xyxy(xywh_to_xyxy(some), xywh_to_xyxy(other))
    expected = np.array(pycocotools.iou(some, other, [False] * len(other)))
    # pycocotools divides 0 by 0 where both boxes have no area.
    assert np.allclose(found, np.nan_to_num(expected), atol=1e-12)


def test_an_inverted_box_overlaps_nothing() -> None:
    assert iou_xyxy(boxes((4, 4, 0, 0), (0, 0, 4, 4)), boxes((0, 0, 4, 2))).tolist() == [[0.0], [8 / 16]]
