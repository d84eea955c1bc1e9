"""Masks as pycocotools' runs, against bitmaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets import coco_runs

HEIGHT, WIDTH = 7, 5
bitmaps = st.integers(0, 2**35 - 1).map(
    lambda bits: np.array([bits >> at & 1 for at in range(HEIGHT * WIDTH)], dtype=np.uint8).reshape(HEIGHT, WIDTH)
)
# Also the empty and the full one.
masks = st.one_of(bitmaps, st.sampled_from([np.zeros((HEIGHT, WIDTH), np.uint8), np.ones((HEIGHT, WIDTH), np.uint8)]))


@given(masks, masks)
def test_sets_of_pixels(one: coco_runs.Bitmap, other: coco_runs.Bitmap) -> None:
    first, second = coco_runs.from_bitmap(one), coco_runs.from_bitmap(other)

    np.testing.assert_array_equal(coco_runs.to_bitmap(first), one)
    np.testing.assert_array_equal(coco_runs.to_bitmap(coco_runs.complement(first)), 1 - one)
    np.testing.assert_array_equal(coco_runs.to_bitmap(coco_runs.intersection(first, second)), one & other)
    np.testing.assert_array_equal(coco_runs.to_bitmap(coco_runs.union([first, second, first])), one | other)
    assert coco_runs.area(first) == one.sum()


@given(masks, st.booleans())
def test_as_records_and_back(one: coco_runs.Bitmap, compressed: bool) -> None:
    rle = coco_runs.to_rle(coco_runs.from_bitmap(one), compressed)

    assert isinstance(rle.counts, str) == compressed
    np.testing.assert_array_equal(coco_runs.to_bitmap(coco_runs.from_segmentation(rle, HEIGHT, WIDTH)), one)


def test_rectangles_and_placed_bitmaps() -> None:
    expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    expected[1:3, 2:5] = expected[6:7, 0:1] = 1
    np.testing.assert_array_equal(
        coco_runs.to_bitmap(coco_runs.from_windows([(2, 1, 5, 3), (0, 6, 1, 7)], HEIGHT, WIDTH)), expected
    )
    placed = coco_runs.at(np.ones((2, 3), dtype=np.uint8), (2, 1, 5, 3), HEIGHT, WIDTH)
    assert coco_runs.bounds(placed) == (2, 1, 5, 3)
    assert coco_runs.area(placed) == 6


def test_polygons_are_united() -> None:
    left, right = np.array([0.0, 0, 3, 0, 3, 2, 0, 2]), np.array([2.0, 0, 5, 0, 5, 2, 2, 2])

    mask = coco_runs.from_segmentation((left, right), HEIGHT, WIDTH)

    assert coco_runs.area(mask) == 5 * 2


@pytest.mark.parametrize("far", [1e4, 1e6, 1e9])
def test_polygons_far_outside_the_image_are_clipped_first(far: float) -> None:
    """pycocotools alone walks along every edge, and at 1e8 ends the process."""
    polygon = np.array([2.0, 2, far, 2, far, 5, 2, 5])

    mask = coco_runs.from_segmentation((polygon,), HEIGHT, WIDTH)

    expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    expected[2:5, 2:] = 1
    np.testing.assert_array_equal(coco_runs.to_bitmap(mask), expected)


def test_polygons_that_lie_elsewhere_have_no_pixel() -> None:
    mask = coco_runs.from_segmentation((np.array([1e8, 1e8, 2e8, 1e8, 2e8, 2e8]),), HEIGHT, WIDTH)

    assert (coco_runs.area(mask), mask["size"]) == (0, [HEIGHT, WIDTH])


@given(masks, st.integers(0, 3), st.integers(0, 4))
def test_a_bitmap_at_its_place_is_one_of_the_whole_image(one: coco_runs.Bitmap, left: int, top: int) -> None:
    whole = np.zeros((HEIGHT + 4, WIDTH + 3), dtype=np.uint8)
    window = (left, top, left + WIDTH, top + HEIGHT)
    whole[top : top + HEIGHT, left : left + WIDTH] = one

    assert coco_runs.at(one, window, *whole.shape) == coco_runs.from_bitmap(whole)
