"""Category ids and classes, records in one block, and outlines for masks, which pycocotools turns back into pixels."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_mask

from datasets.masks import mask_to_rle, polygons_area, polygons_to_rle, rle_to_mask
from datasets.records import Annotation, Category, Image, Polygons, Rle
from datasets.sources import Input, Source, read_inputs
from train import compat  # noqa: F401 - compat before detectron2
from train.data.records import (
    Categories,
    Record,
    Records,
    histogram,
    is_trainable,
    mask_to_polygons,
    to_record,
    without_outline,
)

# isort: split
from detectron2.structures import BitMasks, PolygonMasks

Mask = npt.NDArray[np.uint8]

PERSON, CAR, DOG = Category(id=18, name="person"), Category(id=1, name="car"), Category(id=3, name="dog")


def rasterised(polygons: Polygons, height: int, width: int) -> Mask:
    """(height, width) of 0 and 1, by pycocotools."""
    rle = polygons_to_rle(polygons, height, width) if polygons else None
    return np.zeros((height, width), dtype=np.uint8) if rle is None else rle_to_mask(rle)


def filled(mask: Mask) -> Mask:
    """The mask and its holes: all that a walk in four directions from outside does not reach."""
    walked = np.pad(mask, 1)
    cv2.floodFill(walked, None, (0, 0), 2, flags=4)
    return np.asarray(walked[1:-1, 1:-1] != 2, dtype=np.uint8)


def iou(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    return float((one & other).sum() / (one | other).sum())


def annotation(**changes: Any) -> Annotation:
    values = {"id": 1, "image_id": 7, "category_id": 3, "bbox": (1, 2, 3, 4), "area": 12, "iscrowd": 0, **changes}
    return Annotation(**values)


def source(*annotations: Annotation, width: int = 40, height: int = 30) -> Source:
    image = Image(id=7, file_name="a.jpg", width=width, height=height)
    return Source(0, image, list(annotations), Path("/data/a.jpg"))


def same(one: Record, other: Record) -> bool:
    return repr(one) == repr(other) and all(
        np.array_equal(mine, theirs) and mine.dtype == theirs.dtype
        for mine, theirs in zip(_arrays(one), _arrays(other), strict=True)
    )


def _arrays(record: Record) -> list[npt.NDArray[Any]]:
    return [
        record.boxes_xyxy,
        record.classes,
        record.ignored,
        *(polygon for outline in record.polygons for polygon in outline),
    ]


@pytest.fixture(scope="module")
def sources(drawn: Input) -> list[Source]:
    return read_inputs([drawn]).sources


@pytest.fixture(scope="module")
def categories(drawn: Input) -> Categories:
    return Categories(read_inputs([drawn]).categories)


@pytest.fixture(scope="module")
def made(sources: list[Source], categories: Categories) -> list[Record]:
    return [to_record(item, categories, masks=True) for item in sources]


def test_classes_count_up_in_the_order_of_the_ids() -> None:
    categories = Categories([PERSON, CAR, DOG])

    assert (len(categories), categories.names) == (3, ["car", "dog", "person"])
    assert [categories.class_of(id_) for id_ in (1, 3, 18)] == [0, 1, 2]
    assert categories.ids_of(np.array([2, 0, 2, 1])).tolist() == [18, 1, 18, 3]
    assert categories.ids_of(np.array([], dtype=np.int64)).tolist() == []


def test_an_id_in_a_gap_is_no_class() -> None:
    with pytest.raises(KeyError):
        Categories([PERSON, CAR, DOG]).class_of(2)


@settings(deadline=None)
@given(st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=20, unique=True))
def test_ids_and_classes_are_one_to_one(ids: list[int]) -> None:
    categories = Categories(Category(id=id_, name=f"n{id_}") for id_ in ids)

    assert categories.ids_of(np.array([categories.class_of(id_) for id_ in ids])).tolist() == ids
    assert sorted(categories.class_of(id_) for id_ in ids) == list(range(len(ids)))
    assert [categories.names[categories.class_of(id_)] for id_ in ids] == [f"n{id_}" for id_ in ids]


def test_the_pairs_of_a_checkpoint_make_the_same_categories() -> None:
    pairs = Categories([PERSON, CAR, DOG]).pairs()

    assert pairs == [(1, "car"), (3, "dog"), (18, "person")]
    assert all(type(id_) is int for id_, _ in pairs)  # plain types, which torch.load admits
    assert Categories.from_pairs(pairs[::-1]).pairs() == pairs


def test_records_come_back_as_they_went_in(made: list[Record]) -> None:
    records = Records(made)

    assert len(records) == len(made) == 8
    assert all(same(*pair) for pair in zip(records, made, strict=True))
    assert all(same(records[at], made[at]) for at in range(-8, 8))


@pytest.mark.parametrize("chosen", [slice(2, 5), slice(None, None, 3), slice(-2, None), slice(6, 1, -2), slice(8, 9)])
def test_a_slice_of_records_is_that_of_a_list(made: list[Record], chosen: slice) -> None:
    found, expected = Records(made)[chosen], made[chosen]

    assert [record.image_id for record in found] == [record.image_id for record in expected]


@pytest.mark.parametrize("at", [8, -9])
def test_there_is_no_record_beyond_the_ends(made: list[Record], at: int) -> None:
    with pytest.raises(IndexError):
        Records(made)[at]


def test_no_records_are_none() -> None:
    assert list(Records([])) == []


def test_records_reach_a_process_that_was_started_afresh(made: list[Record]) -> None:
    arrived: Sequence[Record] = pickle.loads(pickle.dumps(Records(made)))

    assert all(same(*pair) for pair in zip(arrived, made, strict=True))


def test_a_record_holds_what_the_annotation_file_says(sources: list[Source], made: list[Record]) -> None:
    classes = {1: 0, 3: 1, 18: 2, 90: 3}
    for item, record in zip(sources, made, strict=True):
        assert record[:4] == (str(item.path), item.image.id, item.image.width, item.image.height)
        boxes = [(x, y, x + width, y + height) for x, y, width, height in (a.bbox for a in item.annotations)]
        assert np.array_equal(record.boxes_xyxy, np.array(boxes, dtype=np.float32).reshape(-1, 4))
        assert record.classes.tolist() == [classes[a.category_id] for a in item.annotations]
        assert [len(outline) for outline in record.polygons] == [0 if a.iscrowd else 1 for a in item.annotations]
        assert (record.boxes_xyxy.dtype, record.classes.dtype, record.ignored.dtype) == (
            np.dtype("float32"),
            np.dtype("int64"),
            np.dtype("bool"),
        )


def test_crowds_become_ignored_objects_without_an_outline(made: list[Record]) -> None:
    by_id = {record.image_id: record for record in made}

    assert by_id[3].ignored.tolist() == [False, False, True]
    assert by_id[31].ignored.tolist() == [False, True]
    assert by_id[3].polygons[2] == ()
    assert sum(int(record.ignored.sum()) for record in made) == 2


def test_without_masks_outlines_are_left_out(sources: list[Source], categories: Categories) -> None:
    record = to_record(sources[0], categories, masks=False)

    assert record.polygons == [(), ()]
    assert len(record.boxes_xyxy) == 2


def test_what_is_counted_of_the_drawn_dataset(sources: list[Source], categories: Categories) -> None:
    # tests/conftest.py: 5 persons and 9 as tiles, 3 cars and 9 as specks, no dog, 1 toothbrush; 2 crowds.
    assert histogram(sources, categories).tolist() == [5 + 9, 3 + 9, 0, 1]
    assert without_outline(sources) == (14 + 12 + 1, 0)
    assert [item.image.id for item in sources if not is_trainable(item)] == [30]


def test_crowds_alone_train_nothing_and_are_not_counted() -> None:
    crowds = source(annotation(iscrowd=1))

    assert not is_trainable(crowds)
    assert without_outline([crowds]) == (0, 0)
    assert histogram([crowds], Categories([DOG])).tolist() == [0]


def test_objects_without_a_segmentation_are_counted() -> None:
    outlined = annotation(segmentation=(np.array([0, 0, 9, 0, 9, 9.0]),))

    assert without_outline([source(annotation(), outlined), source(annotation())]) == (3, 2)


@settings(deadline=None, max_examples=200)
@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=24), elements=st.integers(0, 1)))
@example(np.eye(5, dtype=np.uint8))
@example(np.ones((1, 1), dtype=np.uint8))
@example(np.pad(np.ones((3, 1), dtype=np.uint8), 2))
@example(np.pad(np.ones((1, 1), dtype=np.uint8), ((0, 0), (23, 0))))
def test_outlines_of_any_mask_are_its_very_pixels_with_holes_filled(mask: Mask) -> None:
    assert np.array_equal(rasterised(mask_to_polygons(mask), *mask.shape), filled(mask))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), blur=st.sampled_from([7, 11, 15]), text=st.booleans())
def test_a_run_length_object_is_trained_on_as_outlines_that_fit_it(seed: int, blur: int, text: bool) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(40, 90, size=2))
    noise = np.asarray(cv2.blur(rng.normal(size=(height, width)), (blur, blur)), dtype=np.float64)
    blob = filled((noise > np.quantile(noise, 0.7)).astype(np.uint8))
    packed = coco_mask.encode(np.asfortranarray(blob))["counts"].decode()
    rle = Rle((height, width), packed) if text else mask_to_rle(blob)

    record = to_record(source(annotation(segmentation=rle), width=width, height=height), Categories([DOG]), masks=True)

    assert iou(rasterised(record.polygons[0], height, width), blob) > 0.95


@pytest.mark.parametrize("seed", range(8))
def test_mask_targets_are_those_that_detectron2_makes_of_the_bitmap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((80, 100), dtype=np.uint8)
    for _ in range(3):
        centre, axes = rng.integers(20, 40, size=2).tolist(), rng.integers(6, 20, size=2).tolist()
        cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    x, y, width, height = cv2.boundingRect(mask)
    box = torch.tensor([[x, y, x + width, y + height]], dtype=torch.float32)

    bitmap = BitMasks(torch.from_numpy(mask[None]).bool()).crop_and_resize(box, 28)[0].numpy()
    outlined = PolygonMasks([list(mask_to_polygons(mask))]).crop_and_resize(box, 28)[0].numpy()

    assert iou(outlined, bitmap) > 0.95


def test_an_outline_lies_an_eighth_of_a_pixel_inside_the_border() -> None:
    mask = np.zeros((20, 30), dtype=np.uint8)
    mask[5:15, 10:26] = 1

    (polygon,) = mask_to_polygons(mask)

    assert (polygon[0::2].min(), polygon[0::2].max()) == (10 + 1 / 8, 26 - 1 / 8)
    assert (polygon[1::2].min(), polygon[1::2].max()) == (5 + 1 / 8, 15 - 1 / 8)
    assert polygons_area((polygon,)) == (16 - 1 / 4) * (10 - 1 / 4)


def test_parts_have_an_outline_each_and_holes_none() -> None:
    mask = np.zeros((12, 30), dtype=np.uint8)
    mask[1:11, 1:11] = 1
    mask[4:7, 4:7] = 0
    mask[2:9, 15:28] = 1

    assert len(mask_to_polygons(mask)) == 2
    assert rasterised(mask_to_polygons(mask), 12, 30).sum() == 10 * 10 + 7 * 13


@pytest.mark.parametrize("shape", [(1, 1), (7, 5)])
def test_an_empty_mask_has_no_outline(shape: tuple[int, int]) -> None:
    empty = np.zeros(shape, dtype=np.uint8)

    assert mask_to_polygons(empty) == ()
    rle = Rle(shape, np.array([shape[0] * shape[1]]))
    assert to_record(source(annotation(segmentation=rle)), Categories([DOG]), masks=True).polygons == [()]
