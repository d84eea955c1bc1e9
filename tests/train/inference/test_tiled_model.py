"""A model that sees tiles: which pixels it is given, and where what it finds there lies in the image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from datasets import coco_runs
from datasets.images import Pixels
from train import compat  # noqa: F401 - compat before detectron2
from train.inference.masks import SOFT_MASKS, pasted
from train.inference.tiled_model import TiledModel

# isort: split
from detectron2.structures import Boxes, Instances

WIDTH, HEIGHT = 180, 100
# x0, y0, x1, y1 of bright rectangles; with tiles of 100 px at 0 and at 80.
ALONE, SHARED, CUT_BY_LEFT, CUT_BY_BOTH = (5, 5, 25, 25), (83, 40, 96, 60), (90, 70, 130, 90), (60, 10, 120, 30)


class Finder:
    """In place of a network: a rectangle of brightness n is of class n; the more of a tile it fills, the surer."""

    def __init__(self, *, masks: bool = False) -> None:
        self.sizes: list[tuple[int, int]] = []
        self.masks = masks

    def __call__(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        [item] = batch
        pixels = item["pixels"]
        self.sizes.append(pixels.shape[:2])
        instances = Instances(pixels.shape[:2])
        classes = [number for number in np.unique(pixels).tolist() if number]
        boxes = []
        for number in classes:
            y, x = np.nonzero(pixels[..., 0] == number)
            boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
        instances.pred_boxes = Boxes(torch.tensor(np.array(boxes, dtype=np.float32).reshape(-1, 4)))
        instances.scores = instances.pred_boxes.area() / pixels[..., 0].size
        instances.pred_classes = torch.tensor(classes, dtype=torch.int64)
        if self.masks:
            # A grid of the class's number, by which its box is known again.
            instances.set(SOFT_MASKS, instances.pred_classes[:, None, None] / 100 * torch.ones(1, 28, 28))
        return [{"instances": instances}]


def image(*boxes: tuple[int, int, int, int]) -> dict[str, Any]:
    pixels = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    for number, (x0, y0, x1, y1) in enumerate(boxes, start=1):
        pixels[y0:y1, x0:x1] = number
    return {"image": torch.from_numpy(pixels), "height": HEIGHT, "width": WIDTH, "image_id": 7}


def to_input(pixels: Pixels, image_id: int) -> dict[str, Any]:
    assert image_id == 7
    return {"pixels": pixels}


def detect(item: dict[str, Any], size: int, finder: Finder, limit: int = 100) -> dict[int, list[list[float]]]:
    """class -> its boxes, xyxy."""
    model = TiledModel(finder, to_input, size=size, overlap=0.2, iou_threshold=0.5, limit=limit)
    [output] = model([item])
    found = output["instances"]
    assert found.image_size == (HEIGHT, WIDTH)
    by_class: dict[int, list[list[float]]] = {}
    for number, box in zip(found.pred_classes.tolist(), found.pred_boxes.tensor.tolist(), strict=True):
        by_class.setdefault(number, []).append(box)
    return by_class


def test_boxes_are_of_the_image_and_one_for_each_object() -> None:
    finder = Finder()
    found = detect(image(ALONE, SHARED, CUT_BY_LEFT, CUT_BY_BOTH), 100, finder)
    # Of the last one, the left tile shows 40 px and the right one as many: of equal scores, the box further left.
    assert found == {1: [[*ALONE]], 2: [[*SHARED]], 3: [[*CUT_BY_LEFT]], 4: [[60, 10, 100, 30]]}
    assert finder.sizes == [(100, 100), (100, 100)]


def test_an_image_that_fits_into_a_tile_is_given_as_it_is() -> None:
    finder = Finder()
    assert detect(image(CUT_BY_BOTH), WIDTH, finder) == {1: [[*CUT_BY_BOTH]]}
    assert finder.sizes == [(HEIGHT, WIDTH)]


def test_no_more_are_kept_than_of_any_image() -> None:
    found = detect(image(ALONE, SHARED, CUT_BY_LEFT, CUT_BY_BOTH), 100, Finder(), limit=2)
    # The largest.
    assert sorted(found) == [3, 4]


def test_masks_follow_their_boxes_into_the_image() -> None:
    model = TiledModel(Finder(masks=True), to_input, size=100, overlap=0.2, iou_threshold=0.5, limit=100)
    [output] = model([image(ALONE, SHARED, CUT_BY_LEFT)])
    found = output["instances"]
    grids = found.get(SOFT_MASKS)
    torch.testing.assert_close(grids[:, 0, 0], found.pred_classes / 100)
    # As of a whole image: a full grid fills its box.
    for box in found.pred_boxes.tensor:
        x0, y0, x1, y1 = (int(value) for value in box)
        expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        expected[y0:y1, x0:x1] = 1
        assert np.array_equal(coco_runs.to_bitmap(pasted(torch.ones(28, 28), box, HEIGHT, WIDTH)), expected)


@pytest.mark.parametrize("size", [40, 100])
def test_nothing_found_is_a_result_too(size: int) -> None:
    assert detect(image(), size, Finder()) == {}
