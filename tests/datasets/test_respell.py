"""Other spellings of a record: what is read, and that nothing else is changed."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets import respell

PLAIN: dict[str, Any] = {
    "id": 1,
    "image_id": 5,
    "category_id": 2,
    "bbox": [10, 5, 20.5, 10],
    "area": 205.0,
    "iscrowd": 0,
    "segmentation": [[10, 5, 30, 5, 30, 15]],
}


@pytest.mark.parametrize(
    ("key", "spelled", "read", "kind"),
    [
        ("id", "1", 1, respell.NUMBER),
        ("id", 1.0, 1, respell.NUMBER),
        ("id", "1.0", 1, respell.NUMBER),
        ("image_id", " 5 ", 5, respell.NUMBER),
        ("category_id", "-2", -2, respell.NUMBER),
        ("iscrowd", True, 1, respell.NUMBER),
        ("iscrowd", False, 0, respell.NUMBER),
        ("iscrowd", "0", 0, respell.NUMBER),
        ("iscrowd", "false", 0, respell.NUMBER),
        ("iscrowd", "True", 1, respell.NUMBER),
        ("iscrowd", 1.0, 1, respell.NUMBER),
        ("area", "205", 205, respell.NUMBER),
        ("area", "2.05e2", 205.0, respell.NUMBER),
        ("area", math.nan, None, respell.NUMBER),
        ("bbox", ["10", 5, "20.5", 10], [10, 5, 20.5, 10], respell.NUMBER),
        ("bbox", [], None, respell.NO_BOX),
        ("segmentation", [10, 5, 30, 5, 30, 15], [[10, 5, 30, 5, 30, 15]], respell.FLAT_POLYGON),
        ("segmentation", ["10", 5, 30, 5, 30, 15], [[10, 5, 30, 5, 30, 15]], respell.FLAT_POLYGON),
        ("segmentation", [[10, 5], [30, 5], [30, 15]], [[10, 5, 30, 5, 30, 15]], respell.POINT_LIST),
        ("segmentation", [["10", 5, 30, 5, 30, 15]], [[10, 5, 30, 5, 30, 15]], respell.NUMBER),
        ("segmentation", [[10, 5, 30, 5, 30, math.inf]], None, respell.MASK_NOT_FINITE),
        (
            "segmentation",
            {"size": ["30", 40.0], "counts": [1200.0]},
            {"size": [30, 40], "counts": [1200]},
            respell.NUMBER,
        ),
    ],
)
def test_an_annotation_in_another_spelling_is_read(key: str, spelled: Any, read: Any, kind: str) -> None:
    record, kinds = respell.annotation({**PLAIN, key: spelled})

    assert record == {**PLAIN, key: read}
    assert type(record[key]) is type(read)
    assert kinds == [kind]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id", "one"),
        ("id", 1.5),
        ("id", True),  # nobody means 1
        ("id", None),
        ("id", "9" * 30),
        ("iscrowd", 2),
        ("iscrowd", "yes"),
        ("bbox", "10 5 20 10"),
        ("bbox", [10, 5, 20]),
        ("bbox", {"x": 10}),
        ("area", "large"),
        ("segmentation", [[10, 5], [30, 5]]),  # two points of a polygon, or two polygons of one
        ("segmentation", [{"size": [30, 40], "counts": [1200]}]),
        ("segmentation", {"size": [30, 40], "counts": "0l1dS1"}),
    ],
)
def test_what_is_no_other_spelling_stays_for_the_parser_to_refuse(key: str, value: Any) -> None:
    assert respell.annotation({**PLAIN, key: value}) == ({**PLAIN, key: value}, [])


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, "1e999"])
def test_a_box_that_is_not_finite_leaves_its_annotation_out(value: Any) -> None:
    assert respell.annotation({**PLAIN, "bbox": [10, 5, value, 10]}) == (None, [respell.NOT_FINITE])


def test_images_and_categories() -> None:
    assert respell.image({"id": "5", "file_name": "a.png", "width": "40", "height": 30.0}) == (
        {"id": 5, "file_name": "a.png", "width": 40, "height": 30},
        [respell.NUMBER],
    )
    # Null is missing: the size is then read from the file, and counted there.
    assert respell.image({"id": 5, "file_name": "a.png", "width": None, "height": 30}) == (
        {"id": 5, "file_name": "a.png", "height": 30},
        [],
    )
    assert respell.category({"id": 2.0, "name": 7}) == ({"id": 2, "name": "7"}, [respell.NUMBER, respell.NAME])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(PLAIN, json_values)))
def test_anything_may_stand_in_a_record(record: dict[str, Any]) -> None:
    """Nothing is raised, the record that was given stays, and reading it again changes nothing more."""
    for function in (respell.annotation, respell.image, respell.category):
        before = copy.deepcopy(record)
        found = function(record)
        assert repr(record) == repr(before)
        if found.record is not None:
            assert function(found.record).kinds == []
