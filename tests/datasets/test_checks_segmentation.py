"""The segmentation of one annotation: what is repaired, what is refused, and that coordinates stay exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import checks
from datasets.checks import AnnotationJson, Repairs, RleJson, check_annotation
from datasets.errors import Problems
from datasets.records import Annotation, Image, Rle

IMAGE = Image(id=5, file_name="a.png", width=40, height=30)
SQUARE = [10.0, 5.0, 20.0, 5.0, 20.0, 15.0, 10.0, 15.0]


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


@pytest.mark.parametrize("value", [1.01 * checks.MAX_COORDINATE, -1e20, 1e308])
def test_coordinates_that_no_picture_reaches_are_refused(value: float) -> None:
    # Their products would overflow when the polygon is cut.
    checked, _, problems = check(segmentation=[[*SQUARE[:-1], value]])

    assert checked is None
    assert problems == ["$.annotations[3].segmentation: expected coordinates of up to 1e+09 px, found larger ones"]


@pytest.mark.parametrize("segmentation", [None, [], [[]], [[], []]])
def test_no_segmentation_may_be_written_in_every_way_that_tools_have(segmentation: list[list[float]] | None) -> None:
    checked, repairs, problems = check(segmentation=segmentation)

    assert checked is not None
    assert checked.segmentation is None
    assert (repairs, problems) == ({}, [])


@pytest.mark.parametrize(
    "outline",
    [[[1.0, 2.0]], [[1.0, 2.0, 3.0, 4.0], [1.0, 2.0]], [SQUARE, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]]],
    ids=["a point", "lines", "half a point"],
)
def test_what_is_no_outline_is_left_out_and_the_box_stays(outline: list[list[float]]) -> None:
    """Half a point tells that numbers were lost."""
    checked, repairs, problems = check(segmentation=outline)

    assert problems == []
    assert checked is not None
    assert checked.segmentation is None
    assert checked.bbox == (10.0, 5.0, 10.0, 10.0)
    assert repairs == {checks.MASK_LEFT_OUT: 1}


@pytest.mark.parametrize("counts", [[0, 60, 1140], "0l1dS1"])
def test_a_mask_keeps_its_form(counts: list[int] | str) -> None:
    checked = good(segmentation=RleJson((30, 40), counts))

    assert isinstance(checked.segmentation, Rle)
    assert checked.segmentation.size == (30, 40)
    kept = checked.segmentation.counts
    assert kept == counts if isinstance(kept, str) else kept.tolist() == counts


@pytest.mark.parametrize("size", [(40, 30), (30, 41), (0, 0), (-30, -40)])
def test_a_mask_of_another_size_is_refused_with_both(size: tuple[int, int]) -> None:
    _, _, problems = check(segmentation=RleJson(size, [1200]))

    assert problems == [
        f"$.annotations[3].segmentation.size: expected [height, width] of the image, [30, 40], found {list(size)}"
    ]


@pytest.mark.parametrize("counts", [[], [1199], [1201], [-1, 1201], [2**70], "", "P", "not runs", "中", "<"])
def test_malformed_counts_are_refused(counts: list[int] | str) -> None:
    checked, _, (problem,) = check(segmentation=RleJson((30, 40), counts))

    assert checked is None
    assert problem.startswith("$.annotations[3].segmentation.counts: ")


@given(st.text() | st.lists(st.integers()))
@settings(max_examples=200, deadline=None)
def test_any_counts_are_a_mask_or_a_problem(counts: list[int] | str) -> None:
    checked, _, problems = check(segmentation=RleJson((30, 40), counts))

    assert (checked is None) == bool(problems)


@pytest.mark.parametrize("area", [None, 0.0])
@pytest.mark.parametrize(
    ("segmentation", "computed"),
    [
        (None, 10 * 10),
        ([], 10 * 10),
        ([[10.0, 5.0, 20.0, 5.0, 10.0, 15.0]], 10 * 10 / 2),
        ([SQUARE, [0.0, 0.0, 3.0, 0.0, 0.0, 4.0]], 10 * 10 + 3 * 4 / 2),
        (RleJson((30, 40), [0, 60, 1140]), 60),
        (RleJson((30, 40), [100, 20, 30, 40, 1010]), 20 + 40),
        ([[10.0, 5.0, 15.0, 5.0, 20.0, 5.0]], 10 * 10),
    ],
)
def test_a_missing_area_is_that_of_the_mask_else_the_box(area: float | None, segmentation: Any, computed: int) -> None:
    checked, repairs, _ = check(area=area, segmentation=segmentation)

    assert checked is not None
    assert checked.area == computed
    assert repairs == {checks.AREA_MISSING: 1}


coordinates = st.floats(-checks.MAX_COORDINATE, checks.MAX_COORDINATE)


@given(st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=6))
@settings(max_examples=200, deadline=None)
def test_coordinates_are_kept_exactly(points: list[tuple[float, float]]) -> None:
    polygon = [value for point in points for value in point]

    checked = good(segmentation=[polygon])

    assert isinstance(checked.segmentation, tuple)
    assert checked.segmentation[0].tolist() == polygon


@pytest.mark.parametrize(("value", "kept_as"), [(10.5, np.float32), (2.0**24, np.float32), (10.1, np.float64)])
def test_coordinates_take_half_the_memory_where_nothing_is_lost(value: float, kept_as: type[np.floating[Any]]) -> None:
    checked = good(segmentation=[[value, *SQUARE[1:]]])

    assert isinstance(checked.segmentation, tuple)
    assert checked.segmentation[0].dtype == kept_as
