"""Boxes, classes and outlines as targets, against those that Detectron2 makes of the same annotations."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.sources import Input
from tests.train.conftest import small_config
from train import compat  # noqa: F401 - before detectron2
from train.data.geometry import Geometry
from train.data.mapper import TrainingMapper, apply_to_boxes, apply_to_points, to_instances
from train.data.read import TrainingData
from train.data.records import Record
from train.data.sampler import Key
from train.model.ignore import IGNORED

# isort: split
from detectron2.data import DatasetMapper
from detectron2.data.datasets.coco import load_coco_json
from detectron2.data.detection_utils import (
    annotations_to_instances,
    filter_empty_instances,
    transform_instance_annotations,
)
from detectron2.data.transforms import HFlipTransform, RandomFlip, Resize, ResizeTransform
from detectron2.structures import BoxMode, Instances

WIDTH, HEIGHT = 40, 30

quarters = st.integers(-4 * 10, 4 * 50).map(lambda value: value / 4)
# xywh in quarters of a pixel: small and large, some partly or wholly outside the image, some without a side.
boxes = st.tuples(quarters, quarters, *[st.integers(0, 4 * 40).map(lambda value: value / 4)] * 2)
outlines = st.lists(st.lists(st.tuples(quarters, quarters), min_size=3, max_size=6), min_size=1, max_size=2)
objects = st.lists(st.tuples(st.integers(0, 9), boxes, outlines), max_size=6)
geometries = st.builds(Geometry, st.integers(5, 90), st.integers(5, 90), st.booleans())

Object = tuple[int, tuple[float, float, float, float], list[list[tuple[float, float]]]]


def make(*items: tuple[int, list[float], bool], outlined: bool = True) -> Record:
    """A record of (class, xyxy, ignored) each; an object's outline is its box."""
    outline = [
        (np.array([x0, y0, x1, y0, x1, y1, x0, y1]),) if outlined and not ignored else ()
        for _, (x0, y0, x1, y1), ignored in items
    ]
    return Record(
        "a.jpg",
        5,
        WIDTH,
        HEIGHT,
        np.array([box for _, box, _ in items], dtype=np.float32).reshape(-1, 4),
        np.array([class_ for class_, _, _ in items], dtype=np.int64),
        np.array([ignored for _, _, ignored in items], dtype=np.bool_),
        list(outline),
    )


def points(instances: Instances) -> list[list[npt.NDArray[np.float64]]]:
    return [list(outline) for outline in instances.gt_masks.polygons]


def as_floats(loaded: dict[str, Any]) -> dict[str, Any]:
    """Detectron2 scales coordinates in place, so that it cuts those that JSON writes as whole numbers."""
    for item in loaded["annotations"]:
        item["bbox"] = [float(value) for value in item["bbox"]]
        if not item["iscrowd"]:
            item["segmentation"] = [[float(value) for value in polygon] for polygon in item["segmentation"]]
    return loaded


def assert_same_targets(mine: Instances, theirs: Instances, *, masks: bool = True) -> None:
    """The kept objects of `mine` are those of `theirs`, in the same order."""
    kept = mine[~mine.get(IGNORED)]
    assert kept.image_size == theirs.image_size
    assert len(kept) == len(theirs)
    torch.testing.assert_close(kept.gt_boxes.tensor, theirs.gt_boxes.tensor, atol=1e-3, rtol=0)
    assert kept.gt_classes.tolist() == theirs.gt_classes.tolist()
    # Detectron2 sets no masks where there is no object.
    if masks and len(theirs):
        for one, other in zip(points(kept), points(theirs), strict=True):
            for polygon, expected in zip(one, other, strict=True):
                np.testing.assert_allclose(polygon, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_targets_of_the_drawn_dataset_are_those_of_a_stock_mapper(
    drawn: Input, drawn_data: TrainingData, mirrored: bool, masks: bool
) -> None:
    loaded = load_coco_json(str(drawn.annotations), str(drawn.images), "coco_drawn")
    dicts = {item["image_id"]: as_floats(item) for item in loaded}
    seen = 0
    for record in drawn_data.records:
        if record.image_id == 21:  # Its annotations ignore its EXIF tag, which Detectron2 refuses.
            continue
        geometry = Geometry(record.height * 3 // 2, record.width * 5 // 3, mirrored)
        stock = DatasetMapper(
            is_train=True,
            augmentations=[Resize(geometry[:2]), RandomFlip(prob=float(mirrored))],
            image_format="BGR",
            use_instance_mask=masks,
            instance_mask_format="polygon",
        )
        oracle = stock(dicts[record.image_id])["instances"]
        assert_same_targets(to_instances(record, geometry, masks=masks), oracle, masks=masks)
        seen += len(oracle)
    assert seen == 26  # 27 objects, crowds aside, one of them on the image that was left out


@settings(deadline=None, max_examples=150)
@given(objects, geometries)
def test_any_targets_are_those_of_detectron2(items: list[Object], geometry: Geometry) -> None:
    record = Record(
        "a.jpg",
        5,
        WIDTH,
        HEIGHT,
        np.array([(x, y, x + w, y + h) for _, (x, y, w, h), _ in items], dtype=np.float32).reshape(-1, 4),
        np.array([class_ for class_, _, _ in items], dtype=np.int64),
        np.zeros(len(items), dtype=np.bool_),
        [tuple(np.array(polygon, dtype=np.float64).reshape(-1) for polygon in outline) for _, _, outline in items],
    )
    size = (geometry.height, geometry.width)
    transforms: list[Any] = [ResizeTransform(HEIGHT, WIDTH, *size)]
    if geometry.mirrored:
        transforms.append(HFlipTransform(geometry.width))
    annotations = [
        {
            "bbox": list(box),
            "bbox_mode": BoxMode.XYWH_ABS,
            "category_id": class_,
            "segmentation": [[float(value) for point in polygon for value in point] for polygon in outline],
        }
        for class_, box, outline in items
    ]
    moved = [transform_instance_annotations(item, transforms, size) for item in annotations]

    oracle = filter_empty_instances(annotations_to_instances(moved, size))

    assert_same_targets(to_instances(record, geometry, masks=True), oracle)


def test_the_picture_and_its_targets_are_moved_alike(drawn_data: TrainingData) -> None:
    # The first person of image 3 is [0, 0, 50, 120] of 160 x 120 px.
    record = next(item for item in drawn_data.records if item.image_id == 3)
    mapper = TrainingMapper(small_config(), masks=True, seed=0)

    for epoch in range(10):
        mapped = mapper(record, Key(epoch, 0))
        _, height, width = mapped["image"].shape
        x0, y0, x1, y1 = mapped["instances"].gt_boxes.tensor[0].tolist()
        # Red, the last of BGR, rises to the right (tests/conftest.py); in a mirrored picture it falls.
        left, right = (float(mapped["image"][2, :, side].float().mean()) for side in (slice(0, 8), slice(-8, None)))
        assert (y0, y1) == pytest.approx((0, height))
        assert x1 - x0 == pytest.approx(50 / 160 * width)
        assert (x0 == 0) == (left < right)


def test_mirrored_points_and_boxes_by_hand() -> None:
    record, geometry = make(), Geometry(60, 120, mirrored=True)  # twice as high, three times as wide

    assert apply_to_points(np.array([[0, 0], [10, 5]]), record, geometry).tolist() == [[120, 0], [(40 - 10) * 3, 5 * 2]]
    assert apply_to_boxes(np.array([[10, 5, 15, 9]]), record, geometry).tolist() == [
        [(40 - 15) * 3, 5 * 2, (40 - 10) * 3, 9 * 2]
    ]


def test_boxes_are_clipped_to_the_picture() -> None:
    found = apply_to_boxes(np.array([[-5, -5, 50, 10]]), make(), Geometry(60, 80, mirrored=False))

    assert found.tolist() == [[0, 0, 80, 20]]


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
def test_fields_stay_in_step_when_boxes_are_left_out(masks: bool, mirrored: bool) -> None:
    record = make(
        (0, [50, 5, 60, 10], False),  # beside the image
        (1, [2, 3, 12, 13], False),
        (2, [7, 7, 7, 20], False),  # no width
        (3, [20, 0, 40, 30], True),
        (4, [0, -9, 30, 0], True),  # above the image
        (5, [1, 1, 2, 2], False),
    )

    found = to_instances(record, Geometry(30, 40, mirrored), masks=masks)

    expected = [[2, 3, 12, 13], [20, 0, 40, 30], [1, 1, 2, 2]]
    if mirrored:
        expected = [[40 - x1, y0, 40 - x0, y1] for x0, y0, x1, y1 in expected]
    assert found.gt_boxes.tensor.tolist() == expected
    assert found.gt_classes.tolist() == [1, 3, 5]
    assert found.get(IGNORED).tolist() == [False, True, False]
    assert found.has("gt_masks") == masks
    if masks:
        # An ignored object has its box for a mask; that of the others was their box too.
        assert found.gt_masks.get_bounding_boxes().tensor.tolist() == expected


def test_an_object_without_an_outline_is_left_out_where_masks_are_trained() -> None:
    record = make((1, [2, 3, 12, 13], False), (2, [5, 5, 9, 9], True), outlined=False)

    assert to_instances(record, Geometry(30, 40, mirrored=False), masks=True).gt_classes.tolist() == [2]
    assert to_instances(record, Geometry(30, 40, mirrored=False), masks=False).gt_classes.tolist() == [1, 2]


@pytest.mark.parametrize("masks", [False, True])
def test_an_image_without_objects_has_empty_targets(masks: bool) -> None:
    found = to_instances(make(), Geometry(60, 80, mirrored=True), masks=masks)

    assert (len(found), found.image_size) == (0, (60, 80))
    assert found.gt_boxes.tensor.shape == (0, 4)
    assert found.gt_classes.shape == found.get(IGNORED).shape == (0,)
    assert found.has("gt_masks") == masks


def test_the_types_are_those_of_detectron2() -> None:
    found = to_instances(make((1, [2, 3, 12, 13], False)), Geometry(60, 80, mirrored=False), masks=True)

    assert (found.gt_boxes.tensor.dtype, found.gt_classes.dtype, found.get(IGNORED).dtype) == (
        torch.float32,
        torch.int64,
        torch.bool,
    )
    assert found.gt_masks.crop_and_resize(found.gt_boxes.tensor, 28).all()


def test_where_some_objects_have_masks_the_others_are_marked() -> None:
    record = make((1, [2, 3, 12, 13], False), (2, [20, 10, 30, 20], False))
    record = record._replace(polygons=[record.polygons[0], ()])

    found = to_instances(record, Geometry(60, 80, mirrored=False), masks=True, unmasked=True)

    assert found.gt_classes.tolist() == [1, 2]
    assert found.gt_masked.tolist() == [True, False]
    assert len(found.gt_masks) == 2
    # Without the mark it has no use for an object without an outline.
    assert to_instances(record, Geometry(60, 80, mirrored=False), masks=True).gt_classes.tolist() == [1]
