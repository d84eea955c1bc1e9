"""From what a model finds to results: original ids and pixels, falling scores; and a model that is left as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from datasets.results import Results
from tests.train.made import tiny_config
from train import compat  # noqa: F401 - compat before detectron2
from train.data.records import Categories
from train.inference import detect as inference
from train.model.build import build_network

# isort: split
from detectron2.structures import Boxes, Instances

CATEGORIES = Categories.from_pairs([(90, "toothbrush"), (1, "person"), (18, "dog")])
"""Class 0 is 1, class 1 is 18, class 2 is 90."""

Row = tuple[float, tuple[float, float, float, float], int]
"""Score, xyxy, class."""


def found(rows: Sequence[Row], dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """What a Detectron2 model gives back of one image."""
    instances = Instances((100, 100))
    instances.scores = torch.tensor([score for score, _, _ in rows], dtype=dtype)
    instances.pred_boxes = Boxes(torch.tensor([box for _, box, _ in rows], dtype=torch.float32).reshape(-1, 4))
    instances.pred_classes = torch.tensor([number for _, _, number in rows], dtype=torch.int64)
    return {"instances": instances}


def detect(images: Mapping[int, Sequence[Row]], size: int = 2, dtype: torch.dtype = torch.float32) -> Results:
    """What `detect` makes of a model that finds `images[id]` in the image of that id, `size` images at a time."""
    items = [{"image_id": id_} for id_ in images]
    batches = [items[at : at + size] for at in range(0, len(items), size)]
    return inference.detect(
        lambda batch: [found(images[item["image_id"]], dtype) for item in batch], batches, CATEGORIES
    )


def test_detections_get_the_dataset_s_ids_and_boxes() -> None:
    results = detect({7: [(0.5, (10, 20, 15, 60), 2)], 3: [(0.25, (0, 0, 100, 50), 0), (0.125, (1, 2, 3, 4), 1)]})
    assert results.image_ids.tolist() == [7, 3, 3]
    assert results.category_ids.tolist() == [90, 1, 18]
    # xyxy -> xywh
    assert results.boxes_xywh.tolist() == [[10, 20, 15 - 10, 60 - 20], [0, 0, 100, 50], [1, 2, 3 - 1, 4 - 2]]
    assert results.scores.tolist() == [0.5, 0.25, 0.125]


def test_scores_fall_within_an_image_and_equals_keep_their_order() -> None:
    low, high = [(0.25, (0, 0, 1, 1), 0), (0.25, (0, 0, 2, 2), 1)], [(0.75, (0, 0, 3, 3), 2), (0.25, (0, 0, 4, 4), 0)]
    results = detect({9: low + high, 2: [(1.0, (0, 0, 5, 5), 0)]})
    assert results.scores.tolist() == [0.75, 0.25, 0.25, 0.25, 1.0]
    assert results.boxes_xywh[:, 2].tolist() == [3, 1, 2, 4, 5]
    assert results.category_ids.tolist() == [90, 1, 18, 1, 1]


def test_numbers_are_rounded() -> None:
    results = detect({1: [(1 / 3, (1 / 3, 2 / 3, 4 / 3, 8 / 3), 0)]})
    # Three decimals of 1/3, 2/3, 1 and 2; six of 1/3: as short as they are in a file.
    assert results.boxes_xywh.tolist() == [[0.333, 0.667, 1.0, 2.0]]
    assert results.scores.tolist() == [0.333333]


def test_boxes_that_are_inside_out_have_no_size() -> None:
    results = detect({1: [(0.5, (10, 20, 9, 25), 0), (0.25, (10, 20, 15, 19.9999), 0)]})
    assert results.boxes_xywh.tolist() == [[10, 20, 0, 5], [10, 20, 5, 0]]


def test_scores_of_another_precision_stay_between_0_and_1() -> None:
    above = float(np.nextafter(np.float32(1), np.float32(2)))
    assert detect({1: [(above, (0, 0, 1, 1), 0), (-1e-8, (0, 0, 1, 1), 0)]}).scores.tolist() == [1.0, 0.0]
    # A third, with the 11 bits of a half-precision number: 1365 / 4096.
    assert detect({1: [(1 / 3, (0, 0, 1, 1), 0)]}, dtype=torch.float16).scores.tolist() == [round(1365 / 4096, 6)]


def test_nothing_found_is_a_result_too() -> None:
    cases: list[dict[int, list[Row]]] = [{}, {1: []}, {1: [], 2: []}]
    for images in cases:
        results = detect(images)
        assert [len(results), *results.boxes_xywh.shape] == [0, 0, 4]


def test_it_tells_how_many_images_are_done() -> None:
    done: list[int] = []
    batches = [[{"image_id": 1}, {"image_id": 2}], [{"image_id": 3}]]
    inference.detect(lambda batch: [found([]) for _ in batch], batches, CATEGORIES, done.append)
    assert done == [2, 1]


def test_a_model_that_loses_an_image_is_a_bug() -> None:
    with pytest.raises(ValueError, match="shorter"):
        inference.detect(lambda _: [found([])], [[{"image_id": 1}, {"image_id": 2}]], CATEGORIES)


corner = st.floats(-10, 200, width=32)
rows = st.lists(
    st.tuples(st.floats(0, 1, width=32), st.tuples(corner, corner, corner, corner), st.integers(0, 2)), max_size=5
)


@given(st.dictionaries(st.integers(-(2**53), 2**53), rows, max_size=4), st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_the_same_as_a_plain_loop(images: dict[int, list[Row]], size: int) -> None:
    expected = []
    for id_, detections in images.items():
        for score, (x0, y0, x1, y1), number in sorted(detections, key=lambda row: -row[0]):
            box = [round(value, 3) for value in (x0, y0, max(x1 - x0, 0), max(y1 - y0, 0))]
            expected.append((id_, [1, 18, 90][number], box, round(score, 6)))
    results = detect(images, size)
    columns = (results.image_ids, results.category_ids, results.boxes_xywh, results.scores)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected


def test_join_keeps_the_order() -> None:
    parts = [detect({id_: [(0.5, (id_, 0, id_ + 1, 1), 0)] * (id_ - 1)}) for id_ in (3, 1, 2)]
    joined = inference.join(parts)
    assert joined.image_ids.tolist() == [3, 3, 2]
    assert joined.boxes_xywh.tolist() == [[3, 0, 1, 1], [3, 0, 1, 1], [2, 0, 1, 1]]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    # Of random weights, each of 3 categories and the background gets about a quarter.
    return build_network(tiny_config(3, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.2"), seed=0)


def item(height: int = 120, width: int = 90) -> dict[str, Any]:
    """An image at half its size, as a mapper makes it."""
    pixels = torch.randint(0, 256, (3, height // 2, width // 2), generator=torch.Generator().manual_seed(0))
    return {"image": pixels.to(torch.uint8), "height": height, "width": width, "image_id": 7}


def state(network: nn.Module) -> tuple[set[bool], bool, bool]:
    heads: Any = network.roi_heads
    return {part.training for part in network.modules()}, heads.mask_on, torch.is_grad_enabled()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("mask_on", [True, False])
def test_a_model_is_left_as_it_was(training: bool, mask_on: bool, network: nn.Module) -> None:
    heads: Any = network.roi_heads
    network.train(training)
    heads.mask_on = mask_on
    try:
        with inference.evaluating(network):
            assert state(network) == ({False}, False, False)
        assert state(network) == ({training}, mask_on, True)
        with pytest.raises(RuntimeError, match="in the middle"), inference.evaluating(network):
            raise RuntimeError("in the middle")
        assert state(network) == ({training}, mask_on, True)
    finally:
        heads.mask_on = True


def test_a_model_in_evaluation_finds_boxes_and_no_masks(network: nn.Module) -> None:
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with inference.evaluating(network):
        [output] = network([item()])
        results = inference.detect(network, [[item()]], CATEGORIES)
    assert not output["instances"].has("pred_masks")
    # The same model makes masks where nobody says otherwise.
    network.eval()
    with torch.no_grad():
        [output] = network([item()])
    assert output["instances"].has("pred_masks")
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())

    assert len(results) == len(output["instances"]) > 0
    assert set(results.category_ids.tolist()) <= {1, 18, 90}
    # In pixels of the original: 90 x 120, not 45 x 60.
    far_sides = results.boxes_xywh[:, :2] + results.boxes_xywh[:, 2:]
    assert (results.boxes_xywh >= 0).all()
    assert (far_sides <= np.array([90, 120]) + 0.001).all()
    assert (far_sides.max(axis=0) > np.array([45, 60])).all()
