"""Turning loses nothing: pixels, boxes, polygons and runs turn together, and back."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.operations import turns
from augment.operations.labels import DROP, KEEP, Labels
from augment.operations.parameters import TurnOver
from datasets import coco_runs
from datasets.records import Annotation, Rle, Turn
from datasets.stream import annotation_body
from tests.augment.operations.pictures import Pictures, bitmap_of, generators, pictures

ALL = [Turn(mirrored=mirrored, degrees=degrees) for mirrored in (False, True) for degrees in (0, 90, 180, 270)]
every_turn = pytest.mark.parametrize("turn", ALL, ids=str)
PICTURE = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


def test_a_quarter_turns_clockwise() -> None:
    """What is left becomes top: the first row, turned, is the last column."""
    turned = turns.pixels(PICTURE, Turn(mirrored=False, degrees=90))

    assert turned.shape == (3, 2, 3)
    np.testing.assert_array_equal(turned[:, -1], PICTURE[0])


def test_mirroring_comes_before_turning() -> None:
    turned = turns.pixels(PICTURE, Turn(mirrored=True, degrees=90))

    np.testing.assert_array_equal(turned[:, -1], PICTURE[0, ::-1])


@every_turn
@given(listed=pictures(most=1))
def test_masks_and_boxes_turn_as_the_pixels_do(turn: Turn, listed: Pictures) -> None:
    _, image, objects = listed[0]
    width, height = image.width, image.height
    new_width, new_height = turns.size(width, height, turn)
    for item in objects:
        turned = turns.turned(item, width, height, turn)
        as_box, box_turned = (msgspec.structs.replace(one, segmentation=None) for one in (item, turned))
        for one, other in ((item, turned), (as_box, box_turned)):
            if not isinstance(one.segmentation, tuple):  # polygons are rasterised differently on their four sides
                expected = turns.pixels(bitmap_of(one, height, width), turn)
                np.testing.assert_array_equal(bitmap_of(other, new_height, new_width), expected)
        assert (turned.area, turned.category_id, turned.iscrowd) == (item.area, item.category_id, item.iscrowd)


@given(st.lists(st.tuples(st.integers(0, 640_0000), st.integers(0, 480_0000)), min_size=3, max_size=9))
def test_polygons_turn_point_by_point(corners: list[tuple[int, int]]) -> None:
    """To the last of four decimals."""
    points = np.array(corners) / 10_000
    expected = {
        (False, 0): lambda x, y: (x, y),
        (True, 0): lambda x, y: (640 - x, y),
        (False, 90): lambda x, y: (480 - y, x),
        (False, 180): lambda x, y: (640 - x, 480 - y),
        (False, 270): lambda x, y: (y, 640 - x),
        (True, 90): lambda x, y: (480 - y, 640 - x),
        (True, 180): lambda x, y: (x, 480 - y),
        (True, 270): lambda x, y: (y, x),
    }
    for turn in ALL:
        turned = turns.points(points, 640, 480, turn)
        wanted = np.stack(expected[turn.mirrored, turn.degrees](*points.T), axis=1)
        np.testing.assert_array_equal(turned, wanted.round(4))


def twice(item: Annotation, width: int, height: int, turn: Turn, times: int) -> Annotation:
    for _ in range(times):
        item = turns.turned(item, width, height, turn)
        width, height = turns.size(width, height, turn)
    return item


@pytest.mark.parametrize(
    ("turn", "times"), [(turn, 2 if turn.mirrored or turn.degrees == 180 else 4) for turn in ALL], ids=str
)
@given(listed=pictures(most=1))
def test_turning_four_times_is_the_identity(turn: Turn, times: int, listed: Pictures) -> None:
    """A mirrored turn is its own inverse."""
    _, image, objects = listed[0]
    for item in objects:
        back = twice(item, image.width, image.height, turn, times)
        assert annotation_body(back) == annotation_body(item)
    pixels = np.random.default_rng(0).integers(0, 255, (image.height, image.width, 3), dtype=np.uint8)
    turned = pixels
    for _ in range(times):
        turned = turns.pixels(turned, turn)
    np.testing.assert_array_equal(turned, pixels)


def test_runs_keep_their_spelling() -> None:
    canvas = np.zeros((4, 6), dtype=np.uint8)
    canvas[0, :3] = 1
    string = coco_runs.to_rle(coco_runs.from_bitmap(canvas))
    for mask in (string, coco_runs.to_rle(coco_runs.from_bitmap(canvas), compressed=False)):
        item = Annotation(id=1, image_id=0, category_id=1, bbox=(0, 0, 3, 1), area=3, iscrowd=0, segmentation=mask)
        labels = turns.labels(Labels([item], [KEEP], 3), 6, 4, Turn(mirrored=False, degrees=90))
        assert labels.cases == {KEEP: 1, DROP: 3}
        turned = labels.annotations[0].segmentation
        assert isinstance(turned, Rle)
        assert turned.size == (6, 4)
        assert isinstance(turned.counts, str) == isinstance(mask.counts, str)


@pytest.mark.parametrize(("mirror", "rotate", "expected"), [(True, False, 1), (False, True, 3), (True, True, 7)])
@given(rng_seed=st.integers(0, 1000))
def test_the_variants_of_a_source_are_all_turned_and_no_two_alike(
    mirror: bool, rotate: bool, expected: int, rng_seed: int
) -> None:
    operation = TurnOver(mirror=mirror, rotate=rotate, count=expected)
    drawn = [turns.draw(operation, copy, np.random.default_rng(rng_seed)) for copy in range(expected)]

    assert len(set(drawn)) == expected
    assert Turn(mirrored=False, degrees=0) not in drawn
    assert all((mirror or not turn.mirrored) and (rotate or not turn.degrees) for turn in drawn)


@given(generators)
def test_one_variant_is_any_of_the_turns(rng: np.random.Generator) -> None:
    assert turns.draw(TurnOver(), 0, rng) in turns.possible(mirror=True, rotate=True)


@every_turn
def test_no_coordinate_becomes_minus_zero(turn: Turn) -> None:
    """-0.0 is another text than 0.0."""
    item = Annotation(id=1, image_id=0, category_id=1, bbox=(0, 0, 6, 4), area=24, iscrowd=0)
    assert "-0.0" not in annotation_body(turns.turned(item, 6, 4, turn)).decode()
    assert not np.signbit(turns.points(np.array([[0.0, 0], [6, 4]]), 6, 4, turn)).any()


@every_turn
def test_an_empty_mask_stays_empty(turn: Turn) -> None:
    empty = coco_runs.to_rle(coco_runs.from_bitmap(np.zeros((4, 6), dtype=np.uint8)))
    item = Annotation(id=1, image_id=0, category_id=1, bbox=(1, 1, 2, 2), area=4, iscrowd=1, segmentation=empty)

    turned = turns.turned(item, 6, 4, turn)

    width, height = turns.size(6, 4, turn)
    assert not bitmap_of(turned, height, width).any()
