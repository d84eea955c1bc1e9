"""Sizes, against Detectron2's own, and what a seed decides of a picture."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.train.conftest import small_config
from train import compat  # noqa: F401 - before detectron2
from train.data.mapper import TrainingMapper, draw_geometry, resized
from train.data.read import TrainingData
from train.data.records import Record

# isort: split
from detectron2.data.transforms import ResizeShortestEdge

sides = st.integers(1, 2500)


def record(path: Path, width: int, height: int) -> Record:
    """An image without objects."""
    boxes, classes, ignored = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_)
    return Record(str(path), 5, width, height, boxes, classes, ignored, [])


def by_id(data: TrainingData) -> dict[int, Record]:
    return {item.image_id: item for item in data.records}


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
    square = record(Path("a.jpg"), 10, 10)
    rng = np.random.default_rng(0)

    drawn = [draw_geometry(square, rng, sizes=[5, 8], is_range=True, longest=100, flip=flip) for _ in range(400)]

    counts = {size: sum(item.height == size for item in drawn) for size in range(4, 10)}
    assert counts[4] == counts[9] == 0
    assert all(60 < counts[size] < 140 for size in (5, 6, 7, 8))  # 100 each, standard deviation 8.7
    mirrored = sum(item.mirrored for item in drawn)
    assert 150 < mirrored < 250 if flip else mirrored == 0  # 200, standard deviation 10


def test_a_choice_of_sizes_has_these_only() -> None:
    square, rng = record(Path("a.jpg"), 10, 10), np.random.default_rng(0)

    drawn = [draw_geometry(square, rng, sizes=[5, 8, 20], is_range=False, longest=100, flip=False) for _ in range(100)]

    assert {item[:2] for item in drawn} == {(5, 5), (8, 8), (20, 20)}


def test_the_longer_side_is_capped() -> None:
    wide, rng = record(Path("a.jpg"), 200, 50), np.random.default_rng(0)

    drawn = draw_geometry(wide, rng, sizes=[100, 100], is_range=True, longest=120, flip=False)

    assert drawn[:2] == (50 * 120 // 200, 120)


def content(mapped: dict[str, Any]) -> tuple[Any, ...]:
    """A mapped image in plain values that can be compared."""
    instances = mapped["instances"]
    polygons = [polygon.tolist() for outline in instances.gt_masks.polygons for polygon in outline]
    targets = [instances.gt_boxes.tensor.tolist(), instances.gt_classes.tolist(), instances.ignored.tolist()]
    return mapped["image"].shape, mapped["image"].numpy().tobytes(), targets, polygons


def test_seed_epoch_and_image_decide_everything(drawn_data: TrainingData) -> None:
    cfg, item = small_config(), by_id(drawn_data)[3]
    torch.manual_seed(1)
    before = torch.get_rng_state()

    first = content(TrainingMapper(cfg, masks=True, seed=4)(item, 2, 1))
    again = content(TrainingMapper(cfg, masks=True, seed=4)(item, 2, 1))

    assert first == again
    # Nothing is taken from random numbers that the process shares, nor added to them.
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert content(TrainingMapper(cfg, masks=True, seed=4)(item, 2, 1)) == first


@pytest.mark.parametrize("varied", ["seed", "epoch", "image"])
def test_another_seed_epoch_or_image_is_another_geometry(drawn_data: TrainingData, varied: str) -> None:
    cfg, item = small_config("tiny", "INPUT.MIN_SIZE_TRAIN", "[40, 120]"), by_id(drawn_data)[3]
    places = [{"seed": 0, "epoch": 0, "image": 0, varied: at} for at in range(12)]

    shapes = [
        TrainingMapper(cfg, masks=True, seed=place["seed"])(item, place["epoch"], place["image"])["image"].shape
        for place in places
    ]

    assert len(set(shapes)) > 6  # of 12 draws from 81 sizes, 11.2 different ones are to be expected


def test_the_mapper_draws_what_the_configuration_says(drawn_data: TrainingData) -> None:
    item = by_id(drawn_data)[3]  # 160 x 120
    cfg = small_config("tiny", "INPUT.MIN_SIZE_TRAIN", "[40, 41]", "INPUT.MAX_SIZE_TRAIN", "54")
    chosen = small_config(
        "tiny",
        "INPUT.MIN_SIZE_TRAIN",
        "[40, 60]",
        "INPUT.MIN_SIZE_TRAIN_SAMPLING",
        "choice",
        "INPUT.RANDOM_FLIP",
        "none",
    )

    ranged = [TrainingMapper(cfg, masks=True, seed=0)(item, epoch, 0) for epoch in range(20)]
    mapped = [TrainingMapper(chosen, masks=True, seed=0)(item, epoch, 0) for epoch in range(20)]

    # 41 x 54.7 is over 54; 120 * 54 / 160 = 40.5.
    assert {tuple(one["image"].shape) for one in ranged} == {(3, 40, 53), (3, 41, 54)}
    assert {tuple(one["image"].shape) for one in mapped} == {(3, 40, 53), (3, 60, 80)}
    # The first person's box is [0, 0, 50, 120]; mirrored, it ends at the right border.
    assert {bool(one["instances"].gt_boxes.tensor[0, 0] == 0) for one in ranged} == {False, True}
    assert all(bool(one["instances"].gt_boxes.tensor[0, 0] == 0) for one in mapped)


def test_what_a_model_is_given(drawn_data: TrainingData) -> None:
    item = by_id(drawn_data)[3]

    mapped = TrainingMapper(small_config(), masks=True, seed=0)(item, 0, 0)

    assert mapped.keys() == {"image", "instances", "height", "width", "image_id"}
    assert (mapped["height"], mapped["width"], mapped["image_id"]) == (120, 160, 3)
    assert mapped["instances"].image_size == tuple(mapped["image"].shape[1:])
