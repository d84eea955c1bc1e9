"""Test-time augmentation: which variants the network sees, and what becomes of what it finds in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from tests.train.made import tiny_config
from train import compat  # noqa: F401 - compat before detectron2
from train.inference import detect
from train.inference.masks import SOFT_MASKS
from train.inference.tta import Variants, augmented, whole
from train.model.build import build_network

# isort: split
from detectron2.modeling import GeneralizedRCNN
from detectron2.structures import Boxes, Instances

ONE_SIZE = ("TEST.AUG.MIN_SIZES", "[64]", "TEST.AUG.MAX_SIZE", "128", "TEST.AUG.FLIP", "False")


class Finder(GeneralizedRCNN):  # type: ignore[misc]
    """In place of a network: finds what is bright in the picture it is given, in that picture's pixels."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.roi_heads = nn.Module()
        self.sizes: list[tuple[int, int]] = []

    def inference(self, batched_inputs: list[dict[str, Any]], _detected: None, do_postprocess: bool) -> list[Instances]:
        assert not do_postprocess
        found = []
        for given in batched_inputs:
            height, width = given["image"].shape[1:]
            self.sizes.append((height, width))
            bright = given["image"][0] > 127
            y, x = bright.any(dim=1).nonzero(), bright.any(dim=0).nonzero()
            box = [x.min().item(), y.min().item(), x.max().item() + 1.0, y.max().item() + 1.0]
            scores, classes = torch.tensor([0.5]), torch.tensor([2])
            found.append(
                Instances((height, width), pred_boxes=Boxes(torch.tensor([box])), scores=scores, pred_classes=classes)
            )
        return found


def test_what_tta_finds_in_each_variant_is_brought_back() -> None:
    cfg = tiny_config(8, *ONE_SIZE, "TEST.AUG.FLIP", "True", "TEST.AUG.MIN_SIZES", "[48, 60, 90]")
    # Nothing is suppressed, so that every variant's box is seen.
    cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST = 1.0
    pixels = np.zeros((60, 80, 3), dtype=np.uint8)
    pixels[15:45, 6:26] = 255
    finder = Finder()
    item = {"image": torch.from_numpy(pixels), "height": 60, "width": 80, "image_id": 1}

    [output] = augmented(finder, cfg)([item])

    # 48 is 60 x 0.8; at 90, the longer side would be 120, which 128 lets pass. Each of them as it is and mirrored.
    assert finder.sizes == [(48, 64)] * 2 + [(60, 80)] * 2 + [(90, 120)] * 2
    boxes = output["instances"].pred_boxes.tensor
    assert boxes.shape == (6, 4)
    # To the pixel of the smallest one, which is 1.25 px.
    torch.testing.assert_close(boxes, torch.tensor([[6.0, 15.0, 26.0, 45.0]]).expand(6, 4), atol=1.25, rtol=0)
    assert output["instances"].pred_classes.tolist() == [2] * 6


def test_variants_are_no_larger_than_allowed() -> None:
    cfg = tiny_config(8, *ONE_SIZE, "TEST.AUG.MIN_SIZES", "[60, 96]", "TEST.AUG.MAX_SIZE", "100")
    item = {"image": torch.zeros((60, 80, 3), dtype=torch.uint8), "height": 60, "width": 80, "image_id": 1}
    # 96 would be 96 x 128: 100 / 80 is as far as it goes.
    assert [tuple(variant["image"].shape) for variant in Variants(cfg)(item)] == [(3, 60, 80), (3, 75, 100)]


def found(*overrides: str, masks: bool, pixels: np.ndarray[Any, Any]) -> Instances:
    """What a tiny network of random weights finds in all variants."""
    cfg = tiny_config(3, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.2", *ONE_SIZE, *overrides)
    network = build_network(cfg, seed=0)
    with detect.evaluating(network, masks=masks):
        [output] = augmented(network, cfg, masks=masks)([whole(pixels, 1)])
    return output["instances"]


def test_masks_change_no_box_and_are_averaged_over_the_variants() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 100, 3), dtype=np.uint8)
    flip = ("TEST.AUG.FLIP", "True")
    both, plain = found(*flip, masks=True, pixels=pixels), found(*flip, masks=False, pixels=pixels)
    assert len(both) == len(plain) > 0
    assert torch.equal(both.pred_boxes.tensor, plain.pred_boxes.tensor)
    assert torch.equal(both.scores, plain.scores)
    assert not plain.has(SOFT_MASKS)
    grids = both.get(SOFT_MASKS)
    assert grids.shape[0] == len(both)
    assert grids.shape[1] == grids.shape[2]
    assert ((grids > 0) & (grids < 1)).all()
    # Mirrored pixels have mirrored masks, since each mirrors the other's variants.
    mirrored = found(*flip, masks=True, pixels=np.ascontiguousarray(pixels[:, ::-1]))
    order = both.pred_boxes.tensor[:, 1].argsort(), mirrored.pred_boxes.tensor[:, 1].argsort()
    torch.testing.assert_close(
        grids[order[0]].flip(2).mean(dim=(1, 2)), mirrored.get(SOFT_MASKS)[order[1]].mean(dim=(1, 2)), atol=1e-3, rtol=0
    )


def test_nothing_found_has_no_masks() -> None:
    pixels = np.zeros((64, 100, 3), dtype=np.uint8)
    nothing = found("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.99", masks=True, pixels=pixels)
    assert len(nothing) == len(nothing.get(SOFT_MASKS)) == 0
