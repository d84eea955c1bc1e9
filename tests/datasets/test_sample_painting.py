"""Painted polygons: how much of a pixel they cover, where their light and their shadow fall."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.masks import clip_polygon, polygon_area
from datasets.sample_painting import FULL, ONE, SUB, Light, averaged, coverage, paint, shadow

FROM_THE_LEFT = Light(-ONE, 0)
SQUARE = np.array([(4.0, 4.0), (12.0, 4.0), (12.0, 12.0), (4.0, 12.0)])
GREY = np.array((128, 128, 128))


@pytest.mark.parametrize("window", [(0, 0, 30, 20), (5, 3, 22, 17)])
def test_coverage_is_the_area_in_each_pixel(window: tuple[int, int, int, int]) -> None:
    outline = np.array([(3.3, 2.2), (24.75, 6.1), (14.2, 9.4), (16.6, 18.9)])
    left, top, right, bottom = window
    for row, column in np.ndindex(bottom - top, right - left):
        x, y = left + column, top + row
        inside = clip_polygon(outline, (x, y, x + 1, y + 1))
        area = 0.0 if inside is None else polygon_area(inside)
        # OpenCV counts the sub-pixels on an edge, too: on either side a row of 4.
        assert abs(coverage(outline, window)[row, column, 0] / FULL - area) <= 2 * 4 / FULL


def test_coverage_of_a_large_outline_is_its_area() -> None:
    angles = np.arange(40) * 2 * np.pi / 40
    disc = np.stack([100 + 80 * np.cos(angles), 90 + 80 * np.sin(angles)], axis=1)
    painted = coverage(disc, (0, 0, 200, 180)).sum() / FULL
    # At most a sub-pixel, a quarter of a pixel, more all around.
    assert polygon_area(disc) < painted < polygon_area(disc) + 2 * np.pi * 80 / SUB


@pytest.mark.parametrize("axis", [0, 1])
def test_averaged_is_a_mean_with_edges_repeated(axis: int) -> None:
    values = np.random.default_rng(3).integers(-50, 50, (7, 9))
    found = averaged(values, 2, axis)
    for place in np.ndindex(values.shape):
        near = [np.clip(place[axis] + step, 0, values.shape[axis] - 1) for step in range(-2, 3)]
        line = values[:, place[1]] if axis == 0 else values[place[0]]
        assert found[place] == sum(line[near]) // 5


def test_paint_is_brighter_towards_the_light() -> None:
    canvas = np.zeros((16, 16, 3), dtype=np.uint8)
    paint(canvas, SQUARE, GREY, SQUARE, FROM_THE_LEFT)
    # From 128 + 40/256 at the left edge to 128 - 40/256 at the right one: a tenth of it for 2 of 8 px in the middle.
    assert canvas[8, 5, 0] == 128 * (ONE + 40 * 6 // 8) // ONE
    assert canvas[8, 8, 0] == 128
    assert canvas[8, 11, 0] == 128 * (ONE - 40 * 6 // 8) // ONE
    assert not canvas[:, :3].any()
    assert not canvas[:, 13:].any()


def test_shadow_falls_away_from_the_light() -> None:
    canvas = np.full((24, 24, 3), 200, dtype=np.uint8)
    shadow(canvas, SQUARE, FROM_THE_LEFT, height=4, dark=64)
    # The square's middle is at (8, 8), its shadow's at (12, 8).
    assert canvas[8, 12, 0] == pytest.approx(200 * (1 - 64 / ONE), abs=8)
    assert canvas[8, 4, 0] > 195
    assert canvas.max() == 200


def test_what_lies_outside_is_not_painted() -> None:
    canvas = np.full((16, 16, 3), 9, dtype=np.uint8)
    for offset in ((-40, 0), (40, 0), (0, -40), (0, 40)):
        paint(canvas, SQUARE + offset, GREY, SQUARE + offset, FROM_THE_LEFT)
        shadow(canvas, SQUARE + offset, FROM_THE_LEFT, height=4, dark=64)
    assert (canvas == 9).all()
