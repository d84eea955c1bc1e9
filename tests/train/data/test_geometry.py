"""Sizes, against Detectron2's own, and the scales that are drawn."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.train.conftest import small_config
from train import compat  # noqa: F401 - before detectron2
from train.data.geometry import Size, Sizes, SizesByEpoch, draw_geometry, resized, scale_of, scaled

# isort: split
from detectron2.data.transforms import ResizeShortestEdge

sides = st.integers(1, 2500)


@settings(deadline=None, max_examples=500)
@given(sides, sides, st.integers(1, 2000), st.integers(0, 2000))
@example(480, 640, 1400, 1600)  # 1400 x 1866.67
@example(480, 640, 800, 533)  # capped at 1333
@example(100, 5000, 600, 400)
def test_sizes_are_those_of_detectron2(height: int, width: int, shorter: int, more: int) -> None:
    longest = shorter + more
    scale = min(Fraction(shorter, min(height, width)), Fraction(longest, max(height, width)))
    oracle = ResizeShortestEdge.get_output_shape(height, width, shorter, longest)

    for mine, theirs, side in zip(resized(height, width, shorter, longest), oracle, (height, width), strict=True):
        # Between two whole numbers, floats decide: on either side, in both.
        is_tie = (side * scale).denominator == 2
        assert mine == max(1, theirs) or (is_tie and abs(mine - theirs) == 1)
        # Halves are rounded up.
        assert is_tie or mine == max(1, (side * scale + Fraction(1, 2)).__floor__())


def test_no_picture_is_resized_to_nothing() -> None:
    assert resized(1, 5000, 600, 1000) == (1, 1000)
    assert resized(5000, 1, 600, 1000) == (1000, 1)


@pytest.mark.parametrize("flip", [False, True])
def test_a_range_of_sizes_has_both_ends_and_all_between(flip: bool) -> None:
    square = Size(10, 10)
    rng = np.random.default_rng(0)

    drawn = [draw_geometry(square, rng, sizes=Sizes((5, 8), True), longest=100, flip=flip) for _ in range(400)]

    counts = {size: sum(item.height == size for item in drawn) for size in range(4, 10)}
    assert counts[4] == counts[9] == 0
    assert all(60 < counts[size] < 140 for size in (5, 6, 7, 8))  # 100 each, standard deviation 8.7
    mirrored = sum(item.mirrored for item in drawn)
    assert 150 < mirrored < 250 if flip else mirrored == 0  # 200, standard deviation 10


def test_a_choice_of_sizes_has_these_only() -> None:
    square, rng = Size(10, 10), np.random.default_rng(0)

    drawn = [draw_geometry(square, rng, sizes=Sizes((5, 8, 20), False), longest=100, flip=False) for _ in range(100)]

    assert {item[:2] for item in drawn} == {(5, 5), (8, 8), (20, 20)}


def test_the_longer_side_is_capped() -> None:
    wide, rng = Size(50, 200), np.random.default_rng(0)

    drawn = draw_geometry(wide, rng, sizes=Sizes((100, 100), True), longest=120, flip=False)

    assert drawn[:2] == (50 * 120 // 200, 120)


@given(sides, sides, st.floats(0.6, 1), st.integers(16, 400), st.integers(0, 1000))
def test_a_crop_scaled_as_its_source_shows_objects_as_large(
    height: int, width: int, share: float, shorter: int, more: int
) -> None:
    whole = Size(height, width)
    crop = Size(max(1, int(height * share)), max(1, int(width * share)))
    sizes = Sizes((shorter, shorter), True)

    drawn = draw_geometry(
        crop, np.random.default_rng(0), sizes=sizes, longest=shorter + more, flip=False, scaled_as=whole
    )

    # What a pixel of the source becomes, to half a pixel of the whole side.
    scale = scale_of(*whole, shorter, shorter + more)
    assert abs(drawn.height - crop.height * scale) <= max(0.5, 1 - crop.height * scale) + 1e-6
    assert abs(drawn.width - crop.width * scale) <= max(0.5, 1 - crop.width * scale) + 1e-6


def test_scaled_as_itself_is_as_without() -> None:
    size, sizes = Size(480, 640), Sizes((112, 144), True)
    alone = [draw_geometry(size, np.random.default_rng(at), sizes=sizes, longest=320, flip=True) for at in range(20)]
    as_source = [
        draw_geometry(size, np.random.default_rng(at), sizes=sizes, longest=320, flip=True, scaled_as=size)
        for at in range(20)
    ]
    assert alone == as_source


def test_scaled_rounds_halves_up_and_leaves_a_pixel() -> None:
    assert scaled(3, 5, 0.5) == (2, 3)
    assert scaled(1, 1, 0.01) == (1, 1)


def test_sizes_change_with_the_epochs_that_are_named() -> None:
    steps = "[[0, [40, 48]], [8, [64, 80]]]"
    sizes = SizesByEpoch(small_config("tiny", "INPUT.SIZE_STEPS", steps))
    assert [sizes.at(epoch).choices for epoch in (0, 7, 8, 100)] == [(40, 48), (40, 48), (64, 80), (64, 80)]
    assert sizes.largest() == 80


def test_before_the_first_step_sizes_are_those_of_min_size_train() -> None:
    # small_config has [64, 80].
    sizes = SizesByEpoch(small_config("tiny", "INPUT.SIZE_STEPS", "[[3, [40, 48]]]"))
    assert [sizes.at(epoch).choices for epoch in (0, 2, 3)] == [(64, 80), (64, 80), (40, 48)]
    assert sizes.largest() == 80
    # Where they never hold, they do not count: shared memory is checked for the largest.
    assert SizesByEpoch(small_config("tiny", "INPUT.SIZE_STEPS", "[[0, [40, 48]]]")).largest() == 48
