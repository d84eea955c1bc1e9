"""What covered pixels leave of an object, against bitmaps; and the crop rule on what is left."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.operations.labels import CROWD, DROP, IGNORE, KEEP
from augment.operations.occlusion import Cover, ignored, occlude, remainder, visible_mask_share
from augment.operations.parameters import LabelRule
from datasets import coco_runs
from datasets.masks import rle_bounds
from datasets.records import Annotation, Polygons, Rle, Window
from tests.augment.operations.pictures import KINDS, bitmap_of, objects

RULE = LabelRule()
WIDTH, HEIGHT = 30, 20
windows = st.tuples(
    st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.integers(1, WIDTH), st.integers(1, HEIGHT)
).map(lambda drawn: (drawn[0], drawn[1], max(drawn[0] + 1, drawn[2]), max(drawn[1] + 1, drawn[3])))


def square(x0: float, y0: float, x1: float, y1: float, mask: bool = True, iscrowd: int = 0) -> Annotation:
    outline: Polygons = (np.array([x0, y0, x1, y0, x1, y1, x0, y1], dtype=np.float64),)
    return Annotation(
        id=1,
        image_id=0,
        category_id=1,
        bbox=(x0, y0, x1 - x0, y1 - y0),
        area=(x1 - x0) * (y1 - y0),
        iscrowd=iscrowd,
        segmentation=outline if mask else None,
    )


def covered(item: Annotation, *at: Window, rule: LabelRule = RULE) -> tuple[str, Annotation | None]:
    return occlude(item, Cover.of_windows(at, 100, 100), rule)


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize(
    ("window", "case", "box"),
    [
        # An object of 20 x 20 = 400 px in 10,000; v, then r of what is left.
        ((60, 60, 70, 70), KEEP, (10, 10, 20, 20)),  # not touched
        ((30, 10, 40, 30), KEEP, (10, 10, 20, 20)),  # beside it
        ((10, 10, 20, 30), KEEP, (20, 10, 10, 20)),  # 200 / 400, 200 / 10,000
        ((10, 10, 21, 30), IGNORE, (21, 10, 9, 20)),  # 180 / 400, 180 / 10,000
        ((10, 10, 25, 30), DROP, None),  # 100 / 400, 100 / 10,000 = 0.01
        ((10, 10, 24, 30), IGNORE, (24, 10, 6, 20)),  # 120 / 10,000
        ((12, 12, 28, 28), IGNORE, (10, 10, 20, 20)),  # a hole: 144 / 400, its box stays
        ((15, 15, 25, 25), KEEP, (10, 10, 20, 20)),  # 300 / 400
        ((0, 0, 100, 100), DROP, None),
    ],
)
def test_the_crop_rule_on_what_is_left(window: Window, case: str, box: tuple[float, ...] | None, mask: bool) -> None:
    found, label = covered(square(10, 10, 30, 30, mask), window)

    assert (found, label and label.bbox) == (case, box)
    if label is not None:
        assert label.iscrowd == (case == IGNORE)


def test_a_small_object_is_dropped_where_a_pixel_of_it_is_covered_as_where_a_crop_cuts_it() -> None:
    """10 x 10 - 10 px are 0.9 % of the image."""
    assert covered(square(10, 10, 20, 20), (10, 10, 11, 20))[0] == DROP
    assert covered(square(10, 10, 20, 20), (10, 10, 11, 20), rule=LabelRule(min_area_ratio=0.008))[0] == KEEP


@pytest.mark.parametrize("mask", [True, False])
def test_a_crowd_loses_the_covered_pixels_and_stays_a_crowd(mask: bool) -> None:
    crowd = square(10, 10, 30, 30, mask, iscrowd=1)

    case, left = covered(crowd, (10, 10, 29, 30))
    assert left is not None
    assert (case, left.bbox, left.area, left.iscrowd) == (CROWD, (29, 10, 1, 20), 20, 1)
    assert covered(crowd, (10, 10, 30, 30)) == (DROP, None)


def test_a_mask_beyond_its_box_is_covered_too() -> None:
    """Where a box does not hold its mask, the covered pixels are still the mask's."""
    item = msgspec.structs.replace(square(10, 10, 30, 30), bbox=(10.0, 10.0, 10.0, 20.0))

    _, left = covered(item, (25, 10, 30, 30))

    assert left is not None
    assert left.area == 15 * 20
    # Nor is what is left judged by a box that does not tell where it is.
    assert left.bbox == (10, 10, 15, 20)
    elsewhere = msgspec.structs.replace(item, bbox=(60.0, 60.0, 20.0, 20.0))
    assert covered(elsewhere, (10, 10, 11, 11))[0] == KEEP


@given(objects(1, WIDTH, HEIGHT), st.lists(windows, min_size=1, max_size=4))
def test_what_is_left_and_what_is_covered_add_up_to_the_pixel(item: Annotation, at: list[Window]) -> None:
    cover = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for x0, y0, x1, y1 in at:
        cover[y0:y1, x0:x1] = 1
    before = bitmap_of(item, HEIGHT, WIDTH)

    case, left = occlude(item, Cover.of_windows(at, HEIGHT, WIDTH), LabelRule(min_visible=0, min_area_ratio=0))

    expected = before * (1 - cover)
    if left is None:
        assert case == DROP
        assert not expected.any() or left_box_has_no_area(item, expected)
        return
    if (before * cover).any() or item.iscrowd:
        assert left.iscrowd == item.iscrowd
    if item.segmentation is None:
        return
    after = bitmap_of(left, HEIGHT, WIDTH)
    np.testing.assert_array_equal(after, expected)
    assert after.sum() + (before * cover).sum() == before.sum()
    assert not (after * cover).any()
    if (before * cover).any():
        assert left.area == after.sum()
        assert isinstance(left.segmentation, Rle)
        if isinstance(item.segmentation, Rle):
            assert type(left.segmentation.counts) is type(item.segmentation.counts)


def left_box_has_no_area(item: Annotation, expected: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bool:
    """Pixels of a polygon may lie half outside of its box."""
    x0, y0, x1, y1 = rle_bounds(coco_runs.to_rle(coco_runs.from_bitmap(expected)))
    x, y, w, h = item.bbox
    return min(x1, x + w) <= max(x0, x) or min(y1, y + h) <= max(y0, y)


@given(windows, st.lists(windows, max_size=5))
def test_the_remainder_of_a_box_is_counted_in_pixels(box: Window, covers: list[Window]) -> None:
    free = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    free[box[1] : box[3], box[0] : box[2]] = 1
    for x0, y0, x1, y1 in covers:
        free[y0:y1, x0:x1] = 0

    left, bounds = remainder(tuple(map(float, box)), covers)  # type: ignore[arg-type]

    assert left == free.sum()
    assert {type(value) for value in bounds} == {float}
    assert bounds == rle_bounds(coco_runs.to_rle(coco_runs.from_bitmap(free)))


@given(objects(1, WIDTH, HEIGHT, ("polygons", "runs", "string")), st.lists(windows, max_size=4))
def test_the_visible_share_is_one_of_pixels(item: Annotation, at: list[Window]) -> None:
    mask = bitmap_of(item, HEIGHT, WIDTH)
    before = mask.sum()
    for x0, y0, x1, y1 in at:
        mask[y0:y1, x0:x1] = 0
    if before:
        assert visible_mask_share(item, Cover.of_windows(at, HEIGHT, WIDTH)) == mask.sum() / before


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_an_ignored_object_has_its_mask_as_runs(kind: str, data: st.DataObject) -> None:
    item = data.draw(objects(1, WIDTH, HEIGHT, (kind,)))

    region = ignored(item, HEIGHT, WIDTH)

    assert region.iscrowd == 1
    assert region.segmentation is None or isinstance(region.segmentation, Rle)
    mask = bitmap_of(item, HEIGHT, WIDTH)
    if mask.any():
        np.testing.assert_array_equal(bitmap_of(region, HEIGHT, WIDTH), mask)
    else:
        # An outline around no pixel's centre: its box says where it is.
        assert (region.segmentation, region.bbox) == (None, item.bbox)
