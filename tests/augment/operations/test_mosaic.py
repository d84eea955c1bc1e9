"""A mosaic is four crops, resized and put together, with their labels."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.operations import mosaic
from augment.operations.donors import Chooser, Donors
from augment.operations.labels import CROWD, DROP, IGNORE, KEEP, Labeller, Labels
from augment.operations.parameters import LabelRule, Mosaic
from datasets import coco_runs
from datasets.records import Annotation, Donor, Image, Polygons
from tests.augment.operations.pictures import Pictures, bitmap_of, generators, pictures

RULE = LabelRule()


def drawn(listed: Pictures, own: int, rng: np.random.Generator, operation: Mosaic | None = None) -> tuple[Donor, ...]:
    operation = operation or Mosaic()
    donors = Donors(listed)
    chooser = Chooser(np.arange(len(donors.pictures)), donors, operation.choose)
    image = listed[own][1]
    return mosaic.draw(operation, image.width, image.height, own, donors, chooser, rng)


def labelled(listed: Pictures, own: int, quarters: tuple[Donor, ...], rule: LabelRule = RULE) -> Labels:
    def of_window(quarter: Donor) -> Labels:
        _, image, objects = listed[quarter.source_id]
        return Labeller(objects, image, rule).show(quarter.window, rasterise=False)

    image = listed[own][1]
    return mosaic.labels(image.width, image.height, quarters, of_window, (0, image.id))


@pytest.mark.parametrize("choose", ["rare", "uniform"])
@given(listed=pictures(fewest=2), rng=generators)
def test_quarters_fill_the_canvas_and_one_is_its_own(choose: str, listed: Pictures, rng: np.random.Generator) -> None:
    for own, (_, image, _) in enumerate(listed):
        quarters = drawn(listed, own, rng, Mosaic(choose=choose))  # type: ignore[arg-type]
        others = [at for at, (_, _, objects) in enumerate(listed) if at != own and any(not o.iscrowd for o in objects)]
        possible = min(image.width, image.height) >= 2 and (choose == "uniform" or bool(others))
        assert bool(quarters) == possible
        if not quarters:
            continue
        seen = np.zeros((image.height, image.width), dtype=np.int64)
        for quarter in quarters:
            left, top, right, bottom = quarter.region
            assert left < right
            assert top < bottom
            seen[top:bottom, left:right] += 1
            x0, y0, x1, y1 = quarter.window
            donor = listed[quarter.source_id][1]
            assert 0 <= x0 < x1 <= donor.width
            assert 0 <= y0 < y1 <= donor.height
        assert (seen == 1).all()
        assert [quarter.source_id for quarter in quarters].count(image.id) == 1


@given(generators)
def test_a_quarter_shows_its_picture_at_the_drawn_scale(rng: np.random.Generator) -> None:
    """Where the picture is large enough: 400 x 300 px fill 280 x 210 at any scale from 0.7 on."""
    images = [Image(id=at, file_name=f"{at}.jpg", width=400, height=300) for at in range(3)]
    quarters = drawn([(0, image, []) for image in images], 0, rng, Mosaic(choose="uniform", scale=(0.7, 1.0)))
    for quarter in quarters:
        x0, y0, x1, y1 = quarter.window
        left, top, right, bottom = quarter.region
        assert 0.7 <= quarter.scale <= 1
        assert abs((x1 - x0) * quarter.scale - (right - left)) <= 0.5
        assert abs((y1 - y0) * quarter.scale - (bottom - top)) <= 0.5


def test_a_small_picture_is_enlarged_to_fill_its_quarter() -> None:
    large, small = (Image(id=at, file_name=f"{at}.jpg", width=w, height=w) for at, w in enumerate((200, 10)))
    quarters = drawn([(0, large, []), (0, small, [])], 0, np.random.default_rng(0), Mosaic(choose="uniform"))

    for quarter in quarters:
        if quarter.source_id == small.id:
            left, top, right, bottom = quarter.region
            assert quarter.scale == max(right - left, bottom - top) / 10
            assert max(quarter.window[2] - quarter.window[0], quarter.window[3] - quarter.window[1]) == 10


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 50), (50, 1)])
def test_a_picture_without_room_for_quarters_has_no_mosaic(width: int, height: int) -> None:
    images = [
        Image(id=0, file_name="a.jpg", width=width, height=height),
        Image(id=1, file_name="b.jpg", width=9, height=9),
    ]
    listed: Pictures = [(0, image, []) for image in images]
    assert drawn(listed, 0, np.random.default_rng(0), Mosaic(choose="uniform")) == ()
    assert drawn(listed[:1], 0, np.random.default_rng(0), Mosaic(choose="uniform")) == ()


def test_the_pixels_are_those_of_the_windows() -> None:
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 256, (40, 60, 3), dtype=np.uint8) for _ in range(2)]
    regions = [(0, 0, 20, 10), (20, 0, 60, 10), (0, 10, 20, 40), (20, 10, 60, 40)]
    # The first at its own size, the others at half and double.
    windows = [(5, 6, 25, 16), (0, 0, 20, 5), (20, 2, 40, 32), (0, 0, 60, 40)]
    quarters = [
        Donor(source_input=0, source_id=at % 2, window=window, region=region, scale=1.0)
        for at, (window, region) in enumerate(zip(windows, regions, strict=True))
    ]

    shown = mosaic.render(60, 40, quarters, lambda quarter: pixels[quarter.source_id])

    np.testing.assert_array_equal(shown[:10, :20], pixels[0][6:16, 5:25])
    np.testing.assert_array_equal(shown[10:, :20], pixels[0][2:32, 20:40])
    # Interpolated: each of the 40 x 30 px stands for 1.5 x 1.33 of the picture's.
    assert abs(shown[10:, 20:].mean() - pixels[1].mean()) < 2


@given(pictures(fewest=2), generators)
def test_every_label_equals_the_crop_rule_on_its_quarter(listed: Pictures, rng: np.random.Generator) -> None:
    """In the order of the quarters: the same objects and cases, their boxes and areas scaled and moved."""
    quarters = drawn(listed, 0, rng)
    if not quarters:
        return
    labels = labelled(listed, 0, quarters)
    _, own, _ = listed[0]
    found = iter(labels.annotations)
    total = 0
    for quarter in quarters:
        _, image, objects = listed[quarter.source_id]
        total += len(objects)
        x0, y0, x1, y1 = quarter.window
        left, top, right, bottom = quarter.region
        across, down = (right - left) / (x1 - x0), (bottom - top) / (y1 - y0)
        for item in Labeller(objects, image, RULE).show(quarter.window, rasterise=False).annotations:
            if vanishes(item, quarter, own):
                continue
            shown = next(found)
            assert (shown.source_annotation_id, shown.iscrowd, shown.category_id) == (
                item.source_annotation_id,
                item.iscrowd,
                item.category_id,
            )
            expected_source = (None, None) if quarter.source_id == own.id else (0, quarter.source_id)
            assert (shown.source_input, shown.source_image_id) == expected_source
            x, y, width, height = item.bbox
            expected = (left + x * across, top + y * down, width * across, height * down)
            np.testing.assert_allclose(shown.bbox, expected, atol=2e-4)
            assert abs(shown.area - item.area * across * down) <= 1e-4
            assert left <= shown.bbox[0]
            assert shown.bbox[0] + shown.bbox[2] <= right + 1e-6
            assert (shown.segmentation is None) == (item.segmentation is None)
            if shown.segmentation is not None:
                mask = bitmap_of(shown, own.height, own.width)
                mask[top:bottom, left:right] = 0
                assert not mask.any()
    assert next(found, None) is None
    assert labels.cases.total() == total
    assert total - labels.cases[DROP] == len(labels.annotations)


def vanishes(item: Annotation, quarter: Donor, own: Image) -> bool:
    """Whether a mask of runs has no pixel any more, or a box no area."""
    return mosaic.Fit(quarter, own.width, own.height)(item) is None


def test_polygons_are_scaled_and_moved_to_the_decimal() -> None:
    outline: Polygons = (np.array([10.0, 10, 30, 10, 20, 25.5]),)
    item = Annotation(
        id=1, image_id=0, category_id=1, bbox=(10, 10, 20, 15.5), area=155, iscrowd=0, segmentation=outline
    )
    quarter = Donor(source_input=0, source_id=1, window=(0, 0, 40, 40), region=(100, 50, 120, 80), scale=0.6)

    shown = mosaic.Fit(quarter, 200, 200)(item)

    assert shown is not None
    # Half as wide, three quarters as high.
    assert shown.bbox == (105, 57.5, 10, 11.625)
    assert shown.area == 155 * 0.5 * 0.75
    (polygon,) = shown.segmentation  # type: ignore[misc]
    assert polygon.tolist() == [105, 57.5, 115, 57.5, 110, 69.125]


def test_objects_that_vanish_are_counted_as_dropped() -> None:
    """A box of 0.02 px a side is less than 1e-4 square px at half the size."""
    image = Image(id=1, file_name="b.jpg", width=100, height=100)
    dot = Annotation(id=1, image_id=1, category_id=1, bbox=(50, 50, 0.011, 0.011), area=1, iscrowd=0)
    listed: Pictures = [(0, msgspec.structs.replace(image, id=0), []), (0, image, [dot, dot])]
    quarter = Donor(source_input=0, source_id=1, window=(0, 0, 100, 100), region=(0, 0, 50, 50), scale=0.5)

    labels = labelled(listed, 0, (quarter,))

    assert (labels.annotations, labels.cases) == ([], Counter({DROP: 2}))


def test_cases_are_those_of_the_quarters() -> None:
    """One object kept, one ignored, a crowd and one outside."""
    image = Image(id=1, file_name="b.jpg", width=100, height=100)
    boxes = [(10, 10, 20, 20, 0), (40, 10, 60, 30, 0), (20, 20, 60, 20, 1), (60, 60, 20, 20, 0)]
    objects = [
        Annotation(id=at, image_id=1, category_id=1, bbox=(x, y, w, h), area=1, iscrowd=crowd)
        for at, (x, y, w, h, crowd) in enumerate(boxes)
    ]
    listed: Pictures = [(0, msgspec.structs.replace(image, id=0), []), (0, image, objects)]
    quarter = Donor(source_input=0, source_id=1, window=(0, 0, 50, 50), region=(0, 0, 50, 50), scale=1.0)

    labels = labelled(listed, 0, (quarter,))

    assert labels.cases == {KEEP: 1, IGNORE: 1, CROWD: 1, DROP: 1}


@pytest.mark.parametrize("area", [1e-4, 1e-300, 0.01])
def test_an_area_never_becomes_0(area: float) -> None:
    """Areas in other units are read, and 0 would be taken for a missing one."""
    item = Annotation(id=1, image_id=0, category_id=1, bbox=(10, 10, 20, 20), area=area, iscrowd=0)
    quarter = Donor(source_input=0, source_id=1, window=(0, 0, 40, 40), region=(0, 0, 20, 20), scale=0.5)

    shown = mosaic.Fit(quarter, 20, 20)(item)

    assert shown is not None
    assert shown.area == (0.0025 if area == 0.01 else 100)


@pytest.mark.parametrize("choose", ["rare", "uniform"])
def test_the_same_file_in_another_input_is_no_other_picture(choose: str) -> None:
    image = Image(id=1, file_name="a.jpg", width=50, height=40)
    box = Annotation(id=1, image_id=1, category_id=1, bbox=(5, 5, 20, 20), area=1, iscrowd=0)
    operation = Mosaic(choose=choose)  # type: ignore[arg-type]

    assert drawn([(0, image, [box]), (1, image, [box])], 0, np.random.default_rng(0), operation) == ()
    other = msgspec.structs.replace(image, file_name="b.jpg")
    assert drawn([(0, image, [box]), (1, other, [box])], 0, np.random.default_rng(0), operation)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**20))
def test_runs_are_resized_to_the_nearest_pixel(width: int, height: int, across: int, down: int, seed: int) -> None:
    """Against every pixel of the whole window."""
    bitmap = (np.random.default_rng(seed).random((height, width)) < 0.2).astype(np.uint8)
    rle = coco_runs.to_rle(coco_runs.from_bitmap(bitmap))
    item = Annotation(id=1, image_id=0, category_id=1, bbox=(0, 0, width, height), area=1, iscrowd=1, segmentation=rle)
    region = (3, 4, 3 + across, 4 + down)
    quarter = Donor(source_input=0, source_id=1, window=(0, 0, width, height), region=region, scale=1.0)

    shown = mosaic.Fit(quarter, 50, 60)(item)

    expected = np.zeros((60, 50), dtype=np.uint8)
    for y in range(down):
        for x in range(across):
            expected[4 + y, 3 + x] = bitmap[y * height // down, x * width // across]
    assert (shown is None) == (not expected.any())
    if shown is not None:
        np.testing.assert_array_equal(bitmap_of(shown, 60, 50), expected)
