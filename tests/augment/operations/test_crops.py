"""Crop windows: inside the image, of the right size and shape, in the middle or anywhere."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from augment.operations.crops import center_window, crop_size, random_window

sides = st.integers(1, 3000)
fractions = st.floats(1e-4, 1.0)
HALF = 0.5 + 1e-9  # a half, and the float noise of what was rounded
cases = settings(deadline=None, max_examples=200)


@pytest.mark.parametrize(
    ("fraction", "width", "height", "expected"),
    [
        (0.8, 640, 480, (round(640 * 384 / 480), 384)),  # 0.8 * 480 = 384
        (0.8, 480, 640, (384, round(640 * 384 / 480))),
        (0.99, 640, 427, (634, 423)),  # 0.99 * 427 = 422.73; 640 * 423 / 427 = 634.004
        (0.6, 7, 5, (4, 3)),  # 0.6 * 5 = 3; 7 * 3 / 5 = 4.2
        (0.5, 5, 5, (3, 3)),  # 2.5 goes up; Python's round() would give 2
        (1.0, 640, 480, (640, 480)),
        (0.6, 1, 1, (1, 1)),  # round(0.6) = 1
        (0.1, 1, 1, (1, 1)),  # round(0.1) = 0, and no image has 0 pixels
        (0.1, 1, 500, (1, 500)),  # the short side cannot shrink, and the aspect ratio is kept
        (0.6, 500, 2, (250, 1)),  # round(1.2) = 1; 500 * 1 / 2 = 250
    ],
)
def test_sizes_worked_out_by_hand(fraction: float, width: int, height: int, expected: tuple[int, int]) -> None:
    assert crop_size(fraction, width, height) == expected


@cases
@given(fractions, sides, sides)
def test_the_short_side_is_the_fraction_rounded(fraction: float, width: int, height: int) -> None:
    wanted = fraction * min(width, height)
    short = min(crop_size(fraction, width, height))
    assert short == 1 if wanted < 0.5 else abs(short - wanted) <= HALF


@cases
@given(fractions, sides, sides)
def test_the_aspect_ratio_is_kept_within_rounding(fraction: float, width: int, height: int) -> None:
    crop_width, crop_height = crop_size(fraction, width, height)
    assert (crop_width <= crop_height) == (width <= height) or crop_width == crop_height
    short, long = min(crop_width, crop_height), max(crop_width, crop_height)
    assert abs(long - short * max(width, height) / min(width, height)) <= HALF


@cases
@given(fractions, sides, sides, st.integers(0, 2**32))
@example(1.0, 1, 1, 0)
@example(1e-4, 3000, 1, 0)
def test_windows_lie_inside_the_image_and_have_the_crop_s_size(
    fraction: float, width: int, height: int, seed: int
) -> None:
    for x0, y0, x1, y1 in (
        center_window(fraction, width, height),
        random_window(fraction, width, height, np.random.default_rng(seed)),
    ):
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert (x1 - x0, y1 - y0) == crop_size(fraction, width, height)


@cases
@given(fractions, sides, sides)
def test_a_centred_window_is_in_the_middle(fraction: float, width: int, height: int) -> None:
    x0, y0, x1, y1 = center_window(fraction, width, height)
    # What is left over differs by one pixel at most, and the larger part is right and below.
    assert (width - x1) - x0 in (0, 1)
    assert (height - y1) - y0 in (0, 1)


def test_windows_are_whole_numbers_that_json_can_hold() -> None:
    windows = center_window(0.7, 9, 9), random_window(0.7, 9, 9, np.random.default_rng(0))
    assert {type(value) for window in windows for value in window} == {int}


def test_random_windows_reach_every_place_equally_often() -> None:
    # 4 x 3 of 7 x 5 pixels: 4 * 3 = 12 places.
    rng = np.random.default_rng(0)
    found = Counter(random_window(0.6, 7, 5, rng) for _ in range(1200))
    assert set(found) == {(left, top, left + 4, top + 3) for left in range(4) for top in range(3)}
    # 100 each; the standard deviation is sqrt(1200 / 12 * 11 / 12) = 9.6, and five of those are 48.
    assert all(52 <= count <= 148 for count in found.values())


def test_a_window_of_the_whole_image_has_one_place() -> None:
    assert random_window(1.0, 7, 5, np.random.default_rng(0)) == center_window(1.0, 7, 5) == (0, 0, 7, 5)
