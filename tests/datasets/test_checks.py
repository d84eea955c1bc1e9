"""One annotation or image record: what is repaired, what is refused, what passes."""

from __future__ import annotations

from typing import Any

import pytest

from datasets import checks
from datasets.checks import AnnotationJson, Repairs, RleJson, check_annotation, check_image
from datasets.errors import Problems
from datasets.records import Annotation, CocoImage, Image

IMAGE = Image(id=5, file_name="a.png", width=40, height=30)
SQUARE = [10.0, 5.0, 20.0, 5.0, 20.0, 15.0, 10.0, 15.0]

Box = tuple[float, float, float, float]


def check(clip_boxes: bool = False, **changed: Any) -> tuple[Annotation | None, dict[str, int], list[str]]:
    """The annotation, what was repaired and how often, and the problems."""
    plain: dict[str, Any] = {"id": 1, "image_id": 5, "category_id": 2, "bbox": (10.0, 5.0, 10.0, 10.0)}
    found = AnnotationJson(**(plain | {"area": 100.0, "iscrowd": 0} | changed))
    repairs, problems = Repairs(), Problems()
    checked = check_annotation(found, "$.annotations[3]", IMAGE, repairs, problems, clip_boxes)
    return checked, repairs.counts(), problems.kept


def good(**changed: Any) -> Annotation:
    checked, _, problems = check(**changed)
    assert problems == []
    assert checked is not None
    return checked


def test_a_right_annotation_passes_unchanged_and_uncounted() -> None:
    checked, repairs, problems = check(iscrowd=1, area=7.5)

    assert checked == Annotation(
        id=1, image_id=5, category_id=2, bbox=(10.0, 5.0, 10.0, 10.0), area=7.5, iscrowd=1, segmentation=None
    )
    assert (repairs, problems) == ({}, [])


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        ((-1, 5, 10, 10), (0, 5, 10 - 1, 10)),
        ((5, -1, 10, 10), (5, 0, 10, 10 - 1)),
        ((31, 5, 10, 10), (31, 5, 40 - 31, 10)),
        ((5, 21, 10, 10), (5, 21, 10, 30 - 21)),
        ((-1, -1, 42, 32), (0, 0, 40, 30)),
        ((-0.25, 5, 10, 10), (0, 5, 10 - 0.25, 10)),
    ],
)
def test_a_box_up_to_a_pixel_outside_is_clipped_and_counted(box: Box, clipped: Box) -> None:
    checked, repairs, problems = check(bbox=box)

    assert problems == []
    assert checked is not None
    assert checked.bbox == clipped
    assert repairs == {checks.BOX_CLIPPED: 1}


@pytest.mark.parametrize("box", [(-1.001, 5, 9, 9), (5, -1.1, 9, 9), (32, 5, 9.1, 9), (5, 22, 9, 9.1), (60, 5, 5, 5)])
def test_a_box_farther_outside_is_refused_with_both_sizes(box: Box) -> None:
    checked, repairs, (problem,) = check(bbox=box)

    assert checked is None
    assert repairs == {}
    assert problem.startswith("$.annotations[3].bbox: expected [x, y, width, height] inside the image of 40 x 30 px")
    assert problem.endswith(f"found [{box[0]:g}, {box[1]:g}, {box[2]:g}, {box[3]:g}]")


def test_a_sum_that_misses_the_border_by_the_noise_of_floats_is_no_fault() -> None:
    x, width = 33.3, 6.7000005
    assert 40 < x + width < 40 + 1e-6

    checked, repairs, _ = check(bbox=(x, 5.0, width, 10.0))

    assert checked is not None
    assert checked.bbox == (x, 5.0, width, 10.0)
    assert repairs == {}


@pytest.mark.parametrize("box", [(5, 5, -1, 4), (5, 5, 4, -0.01), (5, 5, -1, -1)])
def test_a_negative_size_is_refused(box: Box) -> None:
    checked, _, (problem,) = check(bbox=box)

    assert checked is None
    assert problem.startswith("$.annotations[3].bbox: expected a width and height of at least 0, found [5, 5, ")


@pytest.mark.parametrize("box", [(5, 5, 0, 4), (5, 5, 4, 0), (0, 0, 0, 0), (40, 5, 1, 10), (5, -1, 10, 1)])
def test_an_annotation_of_no_area_is_left_out_and_counted(box: Box) -> None:
    checked, repairs, problems = check(bbox=box)

    assert checked is None
    assert problems == []
    assert repairs[checks.ZERO_AREA] == 1


def test_a_negative_area_is_computed_as_a_missing_one_is() -> None:
    checked, repairs, problems = check(area=-0.5)

    assert problems == []
    assert checked is not None
    assert checked.area == 10 * 10
    assert repairs == {checks.AREA_MISSING: 1}


def test_a_missing_iscrowd_is_0_and_counted() -> None:
    checked, repairs, _ = check(iscrowd=None)

    assert checked is not None
    assert checked.iscrowd == 0
    assert repairs == {checks.CROWD_MISSING: 1}


def test_everything_wrong_with_an_annotation_is_told_at_once() -> None:
    _, _, problems = check(bbox=(5, 5, -1, 4), segmentation=RleJson((40, 30), [1200]))

    assert [problem.split(":")[0] for problem in problems] == [
        "$.annotations[3].segmentation.size",
        "$.annotations[3].bbox",
    ]


@pytest.mark.parametrize(("width", "height"), [(0, 30), (40, 0), (-40, -30)])
def test_an_image_without_pixels_is_refused(width: int, height: int) -> None:
    problems = Problems()

    check_image(CocoImage(id=1, file_name="a.png", width=width, height=height), "$.images[0]", problems)

    assert problems.kept == [
        "$.images[0]: expected a width and height of at least 1 px, or a file that tells them, "
        f"found {width} x {height}",
    ]


def test_repairs_are_shown_by_kind_with_twenty_places_and_a_count() -> None:
    repairs = Repairs()
    for index in range(23):
        repairs.add(checks.CROWD_MISSING, f"$.annotations[{index}]")
    repairs.add(checks.AREA_MISSING, "$.annotations[4]")

    lines = repairs.lines()

    assert lines[:3] == [
        f"repaired: 1 x {checks.AREA_MISSING}",
        "  $.annotations[4]",
        f"repaired: 23 x {checks.CROWD_MISSING}",
    ]
    assert lines[3:] == [f"  $.annotations[{index}]" for index in range(20)] + [f"  ... and {23 - 20} more"]


def test_repairs_are_listed_by_place_and_named_by_their_file() -> None:
    repairs, all_repairs = Repairs(), Repairs()
    repairs.add(checks.CROWD_MISSING, "$.annotations[3]")

    all_repairs.extend(repairs, "train.json ")
    all_repairs.extend(repairs, "val.json ")

    assert all_repairs.counts() == {checks.CROWD_MISSING: 1 + 1}
    assert all_repairs.as_problems().kept == [
        f"{file} $.annotations[3]: {checks.CROWD_MISSING}" for file in ("train.json", "val.json")
    ]


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        ((-3, 5, 24, 20), (0, 5, 21, 20)),
        ((-500, -500, 1040, 1030), (0, 0, 40, 30)),
        ((30, 20, 11.5, 5), (30, 20, 10, 5)),
    ],
)
def test_a_box_far_outside_is_clipped_where_that_is_asked_for(box: Box, clipped: Box) -> None:
    checked, repairs, problems = check(clip_boxes=True, bbox=box)

    assert problems == []
    assert checked is not None
    assert checked.bbox == clipped
    assert repairs == {checks.BOX_CLIPPED_FAR: 1}


def test_a_box_wholly_outside_is_left_out_where_clipping_is_asked_for() -> None:
    checked, repairs, problems = check(clip_boxes=True, bbox=(60, 5, 5, 5))

    assert (checked, problems) == (None, [])
    assert repairs == {checks.BOX_CLIPPED_FAR: 1, checks.ZERO_AREA: 1}


def test_a_clipped_box_that_does_not_meet_its_mask_is_of_another_format() -> None:
    """Centre and size of the mask from (20, 10) to (40, 30): read as corner and size it reaches (50, 40)."""
    mask = [[20.0, 10.0, 40.0, 10.0, 40.0, 30.0, 20.0, 30.0]]
    checked, _, (problem,) = check(clip_boxes=True, bbox=(30, 20, 20, 20), segmentation=mask)

    # What is left of it, 10 x 10 px, has an IoU of 100 / 400 with the box around the mask.
    assert checked is None
    assert problem.startswith("$.annotations[3].bbox: expected a box that meets its mask once it is clipped, found [30")
    assert "[centre x, centre y, width, height]" in problem
    assert check(clip_boxes=True, bbox=(20, 10, 25, 20), segmentation=mask)[0] is not None


def test_a_clipped_box_may_have_less_than_half_of_its_mask() -> None:
    """What is left, (0, 8) to (21, 28), shares 13 x 20 px with the mask from (8, 8) to (32, 28): 260 / 640."""
    mask = [[8.0, 8.0, 32.0, 8.0, 32.0, 28.0, 8.0, 28.0]]

    assert check(clip_boxes=True, bbox=(-3, 8, 24, 20), segmentation=mask)[2] == []


@pytest.mark.parametrize(
    ("segmentation", "box"),
    [
        ([[8.0, 8.0, 32.0, 8.0, 32.0, 28.0]], (8, 8, 24, 20)),
        ([[8.0, 8.0, 10.0, 8.0, 10.0, 9.5], [20.0, 1.0, 22.0, 1.0, 22.0, 4.0]], (8, 1, 14, 8.5)),
        # Columns of 30: 65 zeros, 4 ones from row 5 of column 2, then 4 of column 3.
        (RleJson((30, 40), [65, 4, 26, 4, 1101]), (2, 5, 2, 4)),
        # One run over the end of column 2.
        (RleJson((30, 40), [85, 10, 1105]), (2, 0, 2, 30)),
    ],
)
def test_a_missing_box_is_taken_from_the_mask(segmentation: Any, box: Box) -> None:
    checked, repairs, problems = check(bbox=None, segmentation=segmentation)

    assert problems == []
    assert checked is not None
    assert checked.bbox == box
    assert repairs == {checks.BOX_FROM_MASK: 1}


@pytest.mark.parametrize("segmentation", [None, [], RleJson((30, 40), [1200])])
def test_without_a_box_and_anything_in_a_mask_an_annotation_is_refused(segmentation: Any) -> None:
    assert check(bbox=None, segmentation=segmentation)[2] == [
        "$.annotations[3].bbox: expected [x, y, width, height] or a mask to take it from, found neither"
    ]
