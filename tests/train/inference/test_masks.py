"""Masks from the mask head's grids: those that Detectron2 pastes, pixel by pixel, in the memory of their boxes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from datasets import coco_runs
from tests.train.made import tiny_config
from train import compat  # noqa: F401 - compat before detectron2
from train.data.records import Categories
from train.inference import detect
from train.inference.masks import SOFT_MASKS, SoftMasks, pasted, segmentations
from train.model.build import build_network

# isort: split
from detectron2.layers import paste_masks_in_image
from detectron2.structures import Boxes, Instances

HEIGHT, WIDTH = 120, 90


@pytest.fixture(scope="module")
def network() -> nn.Module:
    # Of random weights, each of 3 categories and the background gets about a quarter.
    return build_network(tiny_config(3, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.2"), seed=0)


def item() -> dict[str, Any]:
    """An image at half its size, as a mapper makes it."""
    pixels = torch.randint(0, 256, (3, HEIGHT // 2, WIDTH // 2), generator=torch.Generator().manual_seed(0))
    return {"image": pixels.to(torch.uint8), "height": HEIGHT, "width": WIDTH, "image_id": 7}


def bitmap(text: bytes) -> Any:
    rle = json.loads(text)
    assert rle["size"] == [HEIGHT, WIDTH]
    return coco_runs.to_bitmap({"size": rle["size"], "counts": rle["counts"].encode()})


def test_masks_and_boxes_are_detectron2_s(network: nn.Module) -> None:
    with detect.evaluating(network, masks=True):
        [ours], [theirs] = SoftMasks(network)([item()]), network([item()])
    found, expected = ours["instances"], theirs["instances"]
    assert len(found) == len(expected) > 10
    for field in ("scores", "pred_classes"):
        assert torch.equal(found.get(field), expected.get(field))
    assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    masks = segmentations(found, np.ones(len(found), dtype=np.bool_))
    assert np.array_equal([bitmap(mask) for mask in masks], expected.pred_masks.numpy())
    assert 0 < expected.pred_masks.sum() < expected.pred_masks.numel()


def test_only_wanted_masks_are_made(network: nn.Module) -> None:
    with detect.evaluating(network, masks=True):
        [output] = SoftMasks(network)([item()])
    found = output["instances"]
    wanted = np.arange(len(found)) % 3 == 1
    assert [bool(mask) for mask in segmentations(found, wanted)] == wanted.tolist()


def test_results_have_the_masks_of_their_boxes() -> None:
    """In descending score, as boxes are; a square mask of each box tells whose it is."""
    found = Instances((HEIGHT, WIDTH))
    corners = torch.tensor([[0.0, 0, 10, 10], [20, 30, 40, 50], [60, 60, 80, 110]])
    found.pred_boxes, found.scores = Boxes(corners), torch.tensor([0.25, 0.75, 0.5])
    found.pred_classes = torch.tensor([0, 1, 2])
    found.set(SOFT_MASKS, torch.ones(3, 28, 28))
    categories = Categories.from_pairs([(1, "a"), (2, "b"), (3, "c")])
    results = detect.detect(lambda _: [{"instances": found}], [[{"image_id": 1}]], categories, masks_from=0.5)
    assert results.scores.tolist() == [0.75, 0.5, 0.25]
    assert results.segmentations is not None
    assert [bool(mask) for mask in results.segmentations] == [True, True, False]
    for mask, (x, y, width, height) in zip(results.segmentations[:2], results.boxes_xywh.astype(int), strict=False):
        expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        expected[y : y + height, x : x + width] = 1
        assert np.array_equal(bitmap(mask), expected)


side = st.floats(0, WIDTH, width=32)


@given(side, side, side, side, st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_any_box_is_pasted_as_by_detectron2(x0: float, y0: float, x1: float, y1: float, seed: int) -> None:
    box = torch.tensor([min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)])
    grid = torch.rand((28, 28), generator=torch.Generator().manual_seed(seed))
    found = coco_runs.to_bitmap(pasted(grid, box, HEIGHT, WIDTH))
    if box[0] == box[2] or box[1] == box[3]:
        assert not found.any()
    else:
        assert np.array_equal(found, paste_masks_in_image(grid[None], Boxes(box[None]), (HEIGHT, WIDTH))[0].numpy())


def test_a_mask_of_a_large_image_takes_the_memory_of_its_box(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    at = coco_runs.at

    def recorded(bits: coco_runs.Bitmap, *rest: Any) -> coco_runs.CocoRle:
        seen.append(bits.shape)
        return at(bits, *rest)

    monkeypatch.setattr(coco_runs, "at", recorded)
    mask = pasted(torch.ones(28, 28), torch.tensor([9000.0, 100, 9010, 120]), 20_000, 30_000)
    # Detectron2 pastes a pixel more on each side.
    assert seen == [(22, 12)]
    assert mask["size"] == [20_000, 30_000]
    assert coco_runs.area(mask) == 10 * 20
