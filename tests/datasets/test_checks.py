"""One annotation or image record: what is repaired, what is refused, what passes."""

from __future__ import annotations

from typing import Any

import pytest

from datasets import checks
from datasets.checks import AnnotationJson, Repairs, check_annotation, check_image
from datasets.errors import Problems
from datasets.records import Annotation, CocoImage, Image

IMAGE = Image(id=5, file_name="a.png", width=40, height=30)
SQUARE = [10.0, 5.0, 20.0, 5.0, 20.0, 15.0, 10.0, 15.0]

Box = tuple[float, float, float, float]


def check(**changed: Any) -> tuple[Annotation | None, dict[str, int], list[str]]:
    """The annotation, what was repaired and how often, and the problems."""
    plain: dict[str, Any] = {"id": 1, "image_id": 5, "category_id": 2, "bbox": (10.0, 5.0, 10.0, 10.0)}
    found = AnnotationJson(**(plain | {"area": 100.0, "iscrowd": 0} | changed))
    repairs, problems = Repairs(), Problems()
    checked = check_annotation(found, "$.annotations[3]", IMAGE, repairs, problems)
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


def test_a_negative_area_is_refused() -> None:
    assert check(area=-0.5)[2] == ["$.annotations[3].area: expected an area of at least 0, found -0.5"]


def test_a_missing_iscrowd_is_0_and_counted() -> None:
    checked, repairs, _ = check(iscrowd=None)

    assert checked is not None
    assert checked.iscrowd == 0
    assert repairs == {checks.CROWD_MISSING: 1}


def test_everything_wrong_with_an_annotation_is_told_at_once() -> None:
    _, _, problems = check(bbox=(5, 5, -1, 4), area=-1, segmentation=[[1.0]])

    assert [problem.split(":")[0] for problem in problems] == [
        "$.annotations[3].bbox",
        "$.annotations[3].segmentation[0]",
        "$.annotations[3].area",
    ]


@pytest.mark.parametrize(("width", "height"), [(0, 30), (40, 0), (-40, -30)])
def test_an_image_without_pixels_is_refused(width: int, height: int) -> None:
    problems = Problems()

    check_image(CocoImage(id=1, file_name="a.png", width=width, height=height), "$.images[0]", problems)

    assert problems.kept == [
        f"$.images[0]: expected a width and height of at least 1 px, found {width} x {height}",
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
