"""Sizes, against Detectron2's own, and what a seed decides of a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.train.conftest import small_config
from train.data.mapper import TrainingMapper
from train.data.read import TrainingData
from train.data.records import Record
from train.data.sampler import Key


def by_id(data: TrainingData) -> dict[int, Record]:
    return {item.image_id: item for item in data.records}


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

    first = content(TrainingMapper(cfg, masks=True, seed=4)(item, Key(2, 1)))
    again = content(TrainingMapper(cfg, masks=True, seed=4)(item, Key(2, 1)))

    assert first == again
    # Nothing is taken from random numbers that the process shares, nor added to them.
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert content(TrainingMapper(cfg, masks=True, seed=4)(item, Key(2, 1))) == first


@pytest.mark.parametrize("varied", ["seed", "epoch", "image"])
def test_another_seed_epoch_or_image_is_another_geometry(drawn_data: TrainingData, varied: str) -> None:
    cfg, item = small_config("tiny", "INPUT.MIN_SIZE_TRAIN", "[40, 120]"), by_id(drawn_data)[3]
    places = [{"seed": 0, "epoch": 0, "image": 0, varied: at} for at in range(12)]

    shapes = [
        TrainingMapper(cfg, masks=True, seed=place["seed"])(item, Key(place["epoch"], place["image"]))["image"].shape
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

    ranged = [TrainingMapper(cfg, masks=True, seed=0)(item, Key(epoch, 0)) for epoch in range(20)]
    mapped = [TrainingMapper(chosen, masks=True, seed=0)(item, Key(epoch, 0)) for epoch in range(20)]

    # 41 x 54.7 is over 54; 120 * 54 / 160 = 40.5.
    assert {tuple(one["image"].shape) for one in ranged} == {(3, 40, 53), (3, 41, 54)}
    assert {tuple(one["image"].shape) for one in mapped} == {(3, 40, 53), (3, 60, 80)}
    # The first person's box is [0, 0, 50, 120]; mirrored, it ends at the right border.
    assert {bool(one["instances"].gt_boxes.tensor[0, 0] == 0) for one in ranged} == {False, True}
    assert all(bool(one["instances"].gt_boxes.tensor[0, 0] == 0) for one in mapped)


def test_a_crop_is_scaled_as_its_source_where_the_configuration_says_so(drawn_data: TrainingData) -> None:
    whole = by_id(drawn_data)[3]  # 160 x 120
    crop = whole._replace(width=80, height=60, source_size=whole.size)
    sizes = ("INPUT.MIN_SIZE_TRAIN", "[60, 60]")

    def size(*more: str) -> tuple[int, ...]:
        mapper = TrainingMapper(small_config("tiny", *sizes, *more), masks=True, seed=0)
        mapped = mapper(crop, Key(0, 0), lambda _: np.zeros((60, 80, 3), np.uint8))
        return tuple(mapped["image"].shape[1:])

    assert size() == (60, 80)
    assert size("INPUT.SCALE", "source") == (30, 40)  # 60 / 120


def test_sizes_follow_the_epoch(drawn_data: TrainingData) -> None:
    steps = "[[1, [40, 40]], [2, [50, 50]]]"
    mapper = TrainingMapper(small_config("tiny", "INPUT.SIZE_STEPS", steps), masks=True, seed=0)

    heights = [mapper(by_id(drawn_data)[3], Key(epoch, 0))["image"].shape[1] for epoch in range(4)]

    assert 64 <= heights[0] <= 80  # small_config has these
    assert heights[1:] == [40, 50, 50]


def test_what_a_model_is_given(drawn_data: TrainingData) -> None:
    item = by_id(drawn_data)[3]

    mapped = TrainingMapper(small_config(), masks=True, seed=0)(item, Key(0, 0))

    assert mapped.keys() == {"image", "instances", "height", "width", "image_id"}
    assert (mapped["height"], mapped["width"], mapped["image_id"]) == (120, 160, 3)
    assert mapped["instances"].image_size == tuple(mapped["image"].shape[1:])
