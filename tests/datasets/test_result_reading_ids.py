"""Results whose images go by file names, and ids that a dataset does not have."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import result_reading, results
from datasets.errors import DataError
from datasets.results import Results, unknown_ids

Record = dict[str, Any]


class Read(Protocol):
    """read(records or bytes): writes a results file and reads it."""

    def __call__(self, content: Any, names: dict[str, int] = ...) -> Results: ...


class Refused(Protocol):
    """refused(records or bytes): the error of a results file that must be refused."""

    def __call__(self, content: Any) -> DataError: ...


NAMES = {"0.jpg": 7, "sub/größe.png": -3, "😀.jpg": 2**53}
RECORD: Record = {"image_id": "0.jpg", "category_id": 18, "bbox": [1, 2.5, 30, 0], "score": 0.75}
SEGMENTATION = b'{ "size": [1, 2],\n"counts": "\\u0041" }'


def results_of(image_ids: list[int], category_ids: list[int] | None = None) -> Results:
    count = len(image_ids)
    return Results(
        np.array(image_ids, dtype=np.int64),
        np.array(category_ids or [1] * count, dtype=np.int64),
        np.zeros((count, 4)),
        np.zeros(count),
    )


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """read(records or bytes, names): writes the file and reads it by file name."""

    def read(content: Any, names: dict[str, int] = NAMES) -> Results:
        path = tmp_path / "results.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return result_reading.read_strictly(path, by_file_name=names)

    return read


@pytest.fixture
def refused(read: Read) -> Refused:
    def refused(content: Any) -> DataError:
        with pytest.raises(DataError) as caught:
            read(content)
        assert "results.json: " in caught.value.headline
        return caught.value

    return refused


@pytest.mark.parametrize("ascii_only", [True, False])
def test_file_names_become_ids_and_all_else_is_as_without(ascii_only: bool, read: Read) -> None:
    records = [RECORD | {"image_id": name} for name in reversed(NAMES)]

    found = read(b"\xef\xbb\xbf" + json.dumps(records, ensure_ascii=ascii_only).encode())

    assert found.image_ids.tolist() == [2**53, -3, 7]
    assert found.category_ids.tolist() == [18] * 3
    assert found.boxes_xywh.tolist() == [[1, 2.5, 30, 0]] * 3
    assert found.scores.tolist() == [0.75] * 3
    assert found.segmentations is None


def test_segmentations_are_kept_byte_for_byte(read: Read) -> None:
    plain = json.dumps(RECORD).encode()

    found = read(b"[" + plain[:-1] + b', "segmentation" : ' + SEGMENTATION + b" }, " + plain + b"]")

    assert found.segmentations == [SEGMENTATION, b""]


def test_no_detection_at_all_is_fine(read: Read) -> None:
    assert len(read([])) == 0
    assert len(read([], {})) == 0


@pytest.mark.parametrize(
    ("image_id", "found"),
    [
        ("1.jpg", '"1.jpg"'),
        ("größe.png", '"größe.png"'),
        (" 0.jpg", '" 0.jpg"'),
        ("", '""'),
        (7, "7"),
        (None, "null"),
        (["0.jpg"], '["0.jpg"]'),
        ("x" * 100, '"' + "x" * 79),
    ],
)
def test_what_is_no_file_name_of_an_image_is_named_by_its_place(image_id: Any, found: str, refused: Refused) -> None:
    error = refused(json.dumps([RECORD, RECORD | {"image_id": image_id}], ensure_ascii=False).encode())

    assert error.headline.endswith("results.json: 1 problem(s) in the results file")
    assert error.problems == [f"$[1].image_id: expected the file name of an image, found {found}"]


def test_a_record_without_an_image_is_named_by_its_place(refused: Refused) -> None:
    error = refused([{key: value for key, value in RECORD.items() if key != "image_id"}])

    assert error.problems == ["$[0].image_id: expected the file name of an image, found none"]


def test_every_offender_is_listed_twenty_and_then_a_count(refused: Refused) -> None:
    error = refused([RECORD, *[RECORD | {"image_id": 7}] * 30])

    assert error.headline.endswith(": 30 problem(s) in the results file")
    assert [problem.split(":")[0] for problem in error.problems] == [f"$[{1 + n}].image_id" for n in range(20)]


def test_other_wrong_values_are_refused_by_the_same_places_as_without(refused: Refused) -> None:
    error = refused([RECORD, RECORD | {"score": 1.5}, RECORD, RECORD | {"bbox": [1, 2, -3, 4]}])

    assert error.problems == [
        "$[1].score: Expected `float` <= 1.0, found 1.5",
        "$[3].bbox[2]: Expected `float` >= 0.0, found -3",
    ]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"{}", "a JSON list of detections: Expected `array`, got `object`"),
        (b"null", "a JSON list of detections: Expected `array`, got `null`"),
        (b"[5]", "a JSON list of detections: Expected `object`, got `int` - at `$[0]`"),
        (b"", ": not valid JSON"),
        (b"[{]", ": not valid JSON"),
        (b'[{"image_id": "\\ud800"}]', ": not valid JSON"),
    ],
)
def test_what_is_no_list_of_records_is_refused(content: bytes, found: str, refused: Refused) -> None:
    assert refused(content).headline.endswith(found)


def test_numbers_that_are_not_finite_are_refused_by_their_places(refused: Refused) -> None:
    assert refused([RECORD, RECORD | {"score": float("nan")}]).problems == [
        "$[1].score: expected a finite number, found nan"
    ]


def test_file_names_are_written_for_ids(tmp_path: Path) -> None:
    path = tmp_path / "results.json"

    results.write(path, results_of([7, 2**53, 7]), file_names={id_: name for name, id_ in NAMES.items()})

    assert [item["image_id"] for item in json.loads(path.read_bytes())] == ["0.jpg", "😀.jpg", "0.jpg"]
    assert path.read_text("utf-8").split("\n")[1] == (
        '{"image_id":"0.jpg","category_id":1,"bbox":[0.0,0.0,0.0,0.0],"score":0.0},'
    )


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1), st.integers(-(2**53), 2**53), max_size=5))
@settings(max_examples=100, deadline=None)
def test_file_names_that_were_written_are_read_back(names: dict[str, int]) -> None:
    file_names = {id_: name for name, id_ in names.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.json"
        results.write(path, results_of(list(file_names)), file_names=file_names)

        found = result_reading.read_strictly(path, by_file_name={name: id_ for id_, name in file_names.items()})

        assert found.image_ids.tolist() == list(file_names)


def test_an_image_without_a_file_name_keeps_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("older")

    with pytest.raises(KeyError, match="8"):
        results.write(path, results_of([7, 8]), file_names={7: "0.jpg"})

    assert [(item.name, item.read_text()) for item in tmp_path.iterdir()] == [("results.json", "older")]


def known(*ids: int) -> Any:
    return np.array(ids, dtype=np.int64)


def test_unknown_ids_are_named_once_by_their_first_place_with_their_number() -> None:
    found = results_of([5, 8, 5, 2, 8, 8], [1, 1, 4, 1, 4, 3])

    assert unknown_ids(found, known(5), known(1, 2)) == [
        "$[1].image_id: expected the id of an image, found 8 (3 detection(s))",
        "$[3].image_id: expected the id of an image, found 2 (1 detection(s))",
        "$[2].category_id: expected the id of a category, found 4 (2 detection(s))",
        "$[5].category_id: expected the id of a category, found 3 (1 detection(s))",
    ]


def test_many_detections_of_an_unknown_image_are_one_problem() -> None:
    assert unknown_ids(results_of([-9] * 1500), known(9), known(1)) == [
        "$[0].image_id: expected the id of an image, found -9 (1,500 detection(s))"
    ]


def test_known_ids_are_no_problem() -> None:
    assert unknown_ids(results_of([9, 5, 9]), known(5, 9, 12), known(3, 1)) == []
    assert unknown_ids(results_of([]), known(5), known()) == []


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), max_size=12), st.sets(st.integers(-3, 3)))
@settings(max_examples=100, deadline=None)
def test_unknown_ids_are_those_of_a_plain_loop(pairs: list[tuple[int, int]], listed: set[int]) -> None:
    expected = []
    for key, what, at in (("image_id", "an image", 0), ("category_id", "a category", 1)):
        ids = [pair[at] for pair in pairs]
        for id_ in dict.fromkeys(ids):
            if id_ not in listed:
                place, count = ids.index(id_), ids.count(id_)
                expected.append(f"$[{place}].{key}: expected the id of {what}, found {id_} ({count} detection(s))")

    found = results_of([pair[0] for pair in pairs], [pair[1] for pair in pairs])

    assert unknown_ids(found, known(*listed), known(*listed)) == expected
