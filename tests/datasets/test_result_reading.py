"""Reading results files: what becomes of them, and what is refused, by which place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets import result_reading
from datasets.errors import DataError
from datasets.results import Results

Read = Callable[[Any], Results]
Refused = Callable[[Any], DataError]
Record = dict[str, Any]

FIELDS = ("image_ids", "category_ids", "boxes_xywh", "scores")


@pytest.fixture
def record() -> Record:
    """A right detection to break in one place at a time."""
    return {"image_id": 9, "category_id": 18, "bbox": [1, 2.5, 30, 0], "score": 0.75}


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """read(records or bytes): writes the file and reads it."""

    def read(content: Any) -> Results:
        path = tmp_path / "results.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return result_reading.read(path)

    return read


@pytest.fixture
def refused(read: Read) -> Refused:
    """Like `read`, for a file that must be refused: the error."""

    def refused(content: Any) -> DataError:
        with pytest.raises(DataError) as caught:
            read(content)
        assert "results.json: " in caught.value.headline
        return caught.value

    return refused


def test_detections_become_parallel_arrays_in_file_order(record: Record, read: Read) -> None:
    found = read([record, {"score": 1, "bbox": [-3, 0, 1e-3, 4], "category_id": -1, "image_id": 2**53}, record])

    assert len(found) == 3
    assert found.image_ids.tolist() == [9, 2**53, 9]
    assert found.category_ids.tolist() == [18, -1, 18]
    assert found.boxes_xywh.tolist() == [[1, 2.5, 30, 0], [-3, 0, 0.001, 4], [1, 2.5, 30, 0]]
    assert found.scores.tolist() == [0.75, 1, 0.75]
    assert [getattr(found, name).dtype for name in FIELDS] == [np.int64, np.int64, np.float64, np.float64]


@pytest.mark.parametrize("content", [b"[]", b"[\n]\n", b"\xef\xbb\xbf []"])
def test_no_detection_at_all_is_fine(content: bytes, read: Read) -> None:
    found = read(content)

    assert [getattr(found, name).shape for name in FIELDS] == [(0,), (0,), (0, 4), (0,)]


def test_other_keys_are_not_looked_at(record: Record, read: Read) -> None:
    other = {"id": "a", "area": None, "keypoints": [1]}

    assert len(read([record | other])) == 1


# JSON of any kind and with any white space, which nobody looks at.
SEGMENTATIONS = [
    b'{"size":[480,640],"counts":"QXX3:a0O2M"}',
    b'{ "counts" : "\\u0041/",\n\t"size": [ 1, 2 ] }',
    b"[[0, 1.50, 2e0, 3]]",
    b"null",
    b'"x"',
]


@pytest.mark.parametrize("segmentation", SEGMENTATIONS)
def test_a_segmentation_is_kept_byte_for_byte(segmentation: bytes, record: Record, read: Read) -> None:
    plain = json.dumps(record).encode()
    first = b'{"segmentation" :  ' + segmentation + b" , " + plain[1:]
    last = plain[:-1] + b', "segmentation":' + segmentation + b"\n}"

    found = read(b"[" + b",".join([first, plain, last]) + b"]")

    assert found.segmentations == [segmentation, b"", segmentation]
    assert found.scores.tolist() == [0.75] * 3


def test_without_any_segmentation_none_are_kept(record: Record, read: Read) -> None:
    assert read([record, record]).segmentations is None
    assert read([]).segmentations is None


def test_a_segmentation_that_is_no_json_is_refused(record: Record, refused: Refused) -> None:
    data = json.dumps([record | {"segmentation": "here"}]).encode().replace(b'"here"', b"[1,]")

    assert refused(data).headline.endswith(": not valid JSON")


# Keys of the second record, what stands there, the place that the error names, and what it says.
WRONG: list[tuple[str, Any, str, str]] = [
    ("image_id", True, "$[1].image_id", "Expected `int`, got `bool`, found true"),
    ("image_id", 9.5, "$[1].image_id", "Expected `int`, got `float`, found 9.5"),
    ("image_id", None, "$[1].image_id", "Expected `int`, got `null`, found null"),
    ("image_id", 2**53 + 1, "$[1].image_id", f"Expected `int` <= {2**53}, found {2**53 + 1}"),
    ("category_id", -(2**53) - 1, "$[1].category_id", f"Expected `int` >= {-(2**53)}, found {-(2**53) - 1}"),
    ("bbox", [1, 2, 3], "$[1].bbox", "Expected `array` of length 4, found [1, 2, 3]"),
    ("bbox", [1, 2, 3, 4, 5], "$[1].bbox", "Expected `array` of length 4, found [1, 2, 3, 4, 5]"),
    ("bbox", {"x": 1}, "$[1].bbox", 'Expected `array`, got `object`, found {"x": 1}'),
    ("bbox", [1, 2, -3, 4], "$[1].bbox[2]", "Expected `float` >= 0.0, found -3"),
    ("bbox", [1, 2, 3, -1e-9], "$[1].bbox[3]", "Expected `float` >= 0.0, found -1e-09"),
    ("bbox", [None, 2, 3, 4], "$[1].bbox[0]", "Expected `float`, got `null`, found null"),
    ("score", 1.5, "$[1].score", "Expected `float` <= 1.0, found 1.5"),
    ("score", -0.25, "$[1].score", "Expected `float` >= 0.0, found -0.25"),
    ("score", "high", "$[1].score", 'Expected `float`, got `str`, found "high"'),
]


@pytest.mark.parametrize(("key", "value", "place", "what"), WRONG)
def test_a_wrong_value_is_refused_by_its_place_with_what_was_expected_and_found(
    key: str, value: Any, place: str, what: str, record: Record, refused: Refused
) -> None:
    error = refused([record, record | {key: value}])

    assert error.headline.endswith(": 1 problem(s) in the results file")
    assert error.problems == [f"{place}: {what}"]


def test_an_image_by_its_file_name_is_refused_where_no_names_are_known(record: Record, refused: Refused) -> None:
    (problem,) = refused([record | {"image_id": "a.jpg"}]).problems

    assert problem == "$[0].image_id: expected the id, file name or stem of an image, found 'a.jpg'"


@pytest.mark.parametrize("key", ["image_id", "category_id", "bbox", "score"])
def test_a_missing_key_is_named_with_its_record(key: str, record: Record, refused: Refused) -> None:
    (problem,) = refused([record, {name: value for name, value in record.items() if name != key}]).problems

    expected = f"$[1]: Object missing required field `{key}`"
    assert problem.startswith("$[1].bbox: expected [x, y, width, height] or a mask" if key == "bbox" else expected)


def test_what_is_no_detection_is_refused(record: Record, refused: Refused) -> None:
    (problem,) = refused([record, 5]).problems

    assert problem == "$[1]: Expected `object`, got `int`, found 5"


def test_every_offender_is_listed_twenty_and_then_a_count(record: Record, refused: Refused) -> None:
    bad = record | {"score": 2}

    error = refused([record, *[bad] * 30, record])

    assert error.headline.endswith(": 30 problem(s) in the results file")
    assert [problem.split(":")[0] for problem in error.problems] == [f"$[{1 + n}].score" for n in range(20)]
    assert "\n  ... and 10 more\n" in str(error)


def test_an_annotation_file_is_refused_as_one(document: Record, refused: Refused) -> None:
    error = refused(document)

    assert error.headline.endswith(
        "results.json: expected COCO results, a JSON list of detections: Expected `array`, got `object` with the keys "
        "'info', 'licenses', 'categories', 'images', 'annotations', as annotation files have"
    )


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"{}", "Expected `array`, got `object` with no key"),
        (b'\xef\xbb\xbf{"7": [], "9": []}', "Expected `array`, got `object` with the keys '7', '9'"),
        (json.dumps(dict.fromkeys("abcdef")).encode(), "the keys 'a', 'b', 'c', 'd', 'e', ..."),
        (b"5", "Expected `array`, got `int`"),
        (b"null", "Expected `array`, got `null`"),
    ],
)
def test_json_that_is_no_list_is_refused(content: bytes, found: str, refused: Refused) -> None:
    assert refused(content).headline.endswith(found)


@pytest.mark.parametrize("content", [b"", b"not json", b"[] []", b"\xff[]", b'[{"image_id": 1}] x', b"[" * 5000])
def test_what_is_no_json_is_refused(content: bytes, refused: Refused) -> None:
    assert refused(content).headline.endswith(": not valid JSON")


def test_a_file_cut_short_anywhere_is_refused_with_its_size(record: Record, refused: Refused) -> None:
    data = json.dumps([record, record]).encode()

    for length in range(len(data)):
        error = refused(data[:length])

        assert error.headline.endswith(": not valid JSON")
        assert f"the file has {length:,} bytes" in error.problems[0]


def test_numbers_that_are_not_finite_are_refused_by_their_places(record: Record, refused: Refused) -> None:
    nan, infinite = record | {"score": float("nan")}, record | {"bbox": [float("-inf"), 1, 2, 3]}

    assert refused([record, nan, infinite]).problems == [
        "$[1].score: expected a finite number, found nan",
        "$[2].bbox[0]: expected a finite number, found -inf",
    ]


def test_a_number_too_large_for_a_float_is_refused_by_its_place(record: Record, refused: Refused) -> None:
    (problem,) = refused(json.dumps([record | {"bbox": [1, 2, 3.25, 4]}]).replace("3.25", "1e999").encode()).problems

    assert problem.startswith("$[0].bbox[2]: ")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: the results file cannot be read: No such file"):
        result_reading.read(tmp_path / "none.json")
    with pytest.raises(DataError, match="the results file cannot be read"):
        result_reading.read(tmp_path)
