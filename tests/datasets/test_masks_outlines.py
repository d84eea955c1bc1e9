"""Polygons moved into the coordinates of a window: decimals, order, and which object they belong to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.masks import Outlines, crop_polygons

SIZE = 48  # width and height of the image

hundredths = st.tuples(*[st.integers(0, SIZE * 100).map(lambda value: value / 100)] * 2)


@given(st.lists(hundredths, min_size=3, max_size=9))
@settings(max_examples=100, deadline=None)
def test_cropping_to_the_whole_image_changes_nothing(points: list[tuple[float, float]]) -> None:
    polygon = np.array(points).reshape(-1)

    cropped = crop_polygons((polygon,), (0, 0, SIZE, SIZE))

    assert [piece.tolist() for piece in cropped] == [polygon.tolist()]


@given(st.lists(hundredths, min_size=3, max_size=9), st.integers(-9999, 0), st.integers(-9999, 0))
@settings(max_examples=100, deadline=None)
def test_two_decimals_stay_two_decimals(points: list[tuple[float, float]], x0: int, y0: int) -> None:
    (cropped,) = crop_polygons((np.array(points).reshape(-1),), (x0, y0, SIZE, SIZE))

    assert cropped.tolist() == [round(value, 2) for value in cropped.tolist()]
    assert cropped.tolist() == pytest.approx((np.array(points) - (x0, y0)).reshape(-1).tolist(), abs=1e-4)


def test_finer_coordinates_are_rounded_to_a_ten_thousandth() -> None:
    (cropped,) = crop_polygons((np.array([1.23456789, 2, 9, 2, 9, 8]),), (1, 1, 20, 20))

    assert cropped.tolist() == [0.2346, 1, 8, 1, 8, 7]


SQUARE = [0.0, 0.0, 6.0, 0.0, 6.0, 6.0, 0.0, 6.0]


def test_cropping_leaves_the_argument_as_it_was() -> None:
    polygons = (np.array([1, 2, 9, 2, 9, 8.5], dtype=np.float32), np.array(SQUARE, dtype=np.float64))

    crop_polygons(polygons, (3, 3, 7, 7))

    assert polygons[0].tolist() == [1, 2, 9, 2, 9, 8.5]
    assert polygons[1].tolist() == SQUARE


def test_each_object_keeps_its_own_polygons_in_their_order() -> None:
    low, high = (np.array([x, x, x + 2, x, x + 2, x + 2], dtype=np.float32) for x in (0, 20))
    part = Outlines([(low, high), (), (high,), (high, low)]).crop((20, 20, 30, 30))
    moved = (high - 20).tolist()

    assert [[piece.points.reshape(-1).tolist() for piece in part(index)] for index in range(4)] == [
        [moved],
        [],
        [moved],
        [moved],
    ]


@pytest.mark.parametrize("objects", [[], [(), ()]])
def test_objects_without_polygons_are_no_matter(objects: list[tuple[()]]) -> None:
    part = Outlines(objects).crop((0, 0, 10, 10))

    assert not any(part(index) for index in range(len(objects)))


def test_a_piece_has_its_area_whether_it_was_cut_or_not() -> None:
    part = Outlines([(np.array(SQUARE),), (np.array(SQUARE) + 2,)]).crop((0, 0, 7, 7))

    assert [piece.area for index in range(2) for piece in part(index)] == [6 * 6, (7 - 2) * (7 - 2)]
