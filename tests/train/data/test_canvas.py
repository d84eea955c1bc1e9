"""A fixed canvas: cropped by the crop rule, padded with the mean, objects where they are in the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from augment.operations.parameters import LabelRule
from tests.train.conftest import small_config
from train.data import canvas
from train.data.geometry import Geometry, Size, resized
from train.data.mapper import TrainingMapper
from train.data.records import Record
from train.data.sampler import Key

RULE = LabelRule()


def record(
    boxes: list[list[float]],
    *,
    width: int = 200,
    height: int = 100,
    masks: bool = True,
    ignored: int = 0,
    path: str = "",
) -> Record:
    """Objects of classes 0, 1, ... whose outlines are their boxes; the last `ignored` of them are ignored."""
    flags = [at >= len(boxes) - ignored for at in range(len(boxes))]
    outlines = [
        (np.array([x0, y0, x1, y0, x1, y1, x0, y1]),) if masks and not flag else ()
        for (x0, y0, x1, y1), flag in zip(boxes, flags, strict=True)
    ]
    return Record(
        path,
        5,
        width,
        height,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.arange(len(boxes)),
        np.array(flags, np.bool_),
        list(outlines),
    )


sides = st.integers(1, 900)


@given(sides, sides, st.integers(1, 1500), st.integers(1, 400), st.integers(0, 2**32))
def test_a_window_fits_onto_the_canvas_and_is_no_smaller_than_it_must_be(
    height: int, width: int, shorter: int, side: int, seed: int
) -> None:
    size = Size(height, width)
    whole = Geometry(*resized(height, width, shorter, 10_000), False)

    window = canvas.draw_window(size, whole, side, np.random.default_rng(seed))
    shown = canvas.on_window(whole, size, window, side)

    left, top, right, bottom = window
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert shown.height <= side
    assert shown.width <= side
    for original, kept, resized_side in ((width, right - left, whole.width), (height, bottom - top, whole.height)):
        assert (kept == original) == (resized_side <= side or original == 1)
        # One pixel more would not fit.
        assert kept == original or (kept + 1) * resized_side > side * original


def test_windows_are_everywhere() -> None:
    rng = np.random.default_rng(0)
    windows = [canvas.draw_window(Size(10, 20), Geometry(10, 20, False), 8, rng) for _ in range(300)]
    assert {window[0] for window in windows} == set(range(13))
    assert {window[1] for window in windows} == {0, 1, 2}


def test_cut_objects_follow_the_crop_rule() -> None:
    # Of 200 x 100, the window shows x from 50 to 150.
    shown = canvas.cropped(
        record(
            [
                [60, 10, 80, 30],  # inside
                [30, 0, 80, 100],  # 30 of 50 columns: kept
                [0, 0, 80, 100],  # 30 of 80: ignored
                [149, 0, 180, 20],  # 20 of 10,000 px: too little, dropped
                [0, 0, 40, 40],  # outside
                [140, 50, 200, 100],  # ignored before, and still
            ],
            ignored=1,
        ),
        (50, 0, 150, 100),
        RULE,
    )

    assert (shown.width, shown.height) == (100, 100)
    assert shown.classes.tolist() == [0, 1, 2, 5]
    assert shown.ignored.tolist() == [False, False, True, True]
    assert shown.boxes_xyxy.tolist() == [[10, 10, 30, 30], [0, 0, 30, 100], [0, 0, 30, 100], [90, 50, 100, 100]]
    assert [bool(outline) for outline in shown.polygons] == [True, True, False, False]
    (outline,) = shown.polygons[1]
    assert outline.reshape(-1, 2).min(axis=0).tolist() == [0, 0]
    assert outline.reshape(-1, 2).max(axis=0).tolist() == [30, 100]


def test_boxes_alone_are_cut_alike() -> None:
    shown = canvas.cropped(record([[30, 0, 80, 100], [0, 0, 40, 40]], masks=False), (50, 0, 150, 100), RULE)
    assert shown.boxes_xyxy.tolist() == [[0, 0, 30, 100]]
    assert shown.polygons == [()]


@pytest.fixture
def file(tmp_path: Path) -> str:
    """100 x 200 px: a white square of 20 px on black, its corner at (90, 40)."""
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[40:60, 90:110] = 255
    path = tmp_path / "square.png"
    PillowImage.fromarray(pixels).save(path)
    return str(path)


def config(*more: str) -> Any:
    return small_config(
        "tiny", *("INPUT.CANVAS", "120", "INPUT.MIN_SIZE_TRAIN", "[40, 240]", "INPUT.MAX_SIZE_TRAIN", "900"), *more
    )


def test_objects_stay_on_their_pixels(file: str) -> None:
    """Over a wide range of scales: the box is where the picture is bright, as far as the canvas shows it."""
    mapper = TrainingMapper(config(), masks=True, seed=0)
    item = record([[90, 40, 110, 60]], path=file)
    found = [mapper(item, Key(epoch, 0)) for epoch in range(40)]

    assert {tuple(mapped["image"].shape) for mapped in found} == {(3, 120, 120)}
    assert {mapped["instances"].image_size for mapped in found} == {(120, 120)}
    kept = 0
    padding = torch.tensor([round(mean) for mean in config().MODEL.PIXEL_MEAN], dtype=torch.uint8)
    for mapped in found:
        # The picture's columns; padding is to the right and below.
        bright = mapped["image"][0] > 200
        is_padding = (mapped["image"] == padding[:, None, None]).all(dim=0)
        assert not bool((bright & is_padding).any())
        if len(mapped["instances"]) and not bool(mapped["instances"].ignored[0]):
            x0, y0, x1, y1 = mapped["instances"].gt_boxes.tensor[0].tolist()
            rows, columns = torch.nonzero(bright, as_tuple=True)
            assert abs(x0 - int(columns.min())) <= 1.5
            assert abs(x1 - int(columns.max()) - 1) <= 1.5
            assert abs(y0 - int(rows.min())) <= 1.5
            assert abs(y1 - int(rows.max()) - 1) <= 1.5
            kept += 1
    assert kept > 20
    # Small ones are padded; large ones cover all.
    padded = [bool((mapped["image"] == padding[:, None, None]).all(dim=0).any()) for mapped in found]
    assert 0 < sum(padded) < 40


def test_an_image_of_one_pixel_fits(tmp_path: Path) -> None:
    path = tmp_path / "dot.png"
    PillowImage.fromarray(np.zeros((1, 1, 3), np.uint8)).save(path)
    item = record([[0, 0, 1, 1]], width=1, height=1, path=str(path))
    mapped = [TrainingMapper(config(), masks=True, seed=0)(item, Key(epoch, 0)) for epoch in range(10)]
    assert {tuple(one["image"].shape) for one in mapped} == {(3, 120, 120)}
    assert all(bool((one["instances"].gt_boxes.tensor <= 120).all()) for one in mapped)


def test_the_rule_of_a_recipe_decides_what_the_canvas_cuts(file: str) -> None:
    """The square of 20 px, of which a canvas of 120 px shows a part now and then: with this rule it is ignored then."""
    item = record([[90, 40, 110, 60]], path=file)
    strict = LabelRule(min_visible=1.0, min_area_ratio=0.0)
    mapped = [
        TrainingMapper(config(), masks=True, seed=0, rule=strict)(item, Key(epoch, 0))["instances"]
        for epoch in range(200)
    ]
    usual = [TrainingMapper(config(), masks=True, seed=0)(item, Key(epoch, 0))["instances"] for epoch in range(200)]
    assert sum(int(one.ignored.sum()) for one in mapped) > sum(int(one.ignored.sum()) for one in usual)


def test_what_a_canvas_shows_follows_from_seed_epoch_and_image(file: str) -> None:
    item = record([[90, 40, 110, 60]], path=file)
    one, again = (TrainingMapper(config(), masks=True, seed=3)(item, Key(2, 1)) for _ in range(2))
    assert torch.equal(one["image"], again["image"])
    assert torch.equal(one["instances"].gt_boxes.tensor, again["instances"].gt_boxes.tensor)
