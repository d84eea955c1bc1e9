"""Writing results files: what is written comes back to the last digit; and what no Results can be made of."""

from __future__ import annotations

import json
import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from datasets import result_reading, results
from datasets.results import Results

FIELDS = ("image_ids", "category_ids", "boxes_xywh", "scores")


def arrays(
    image_ids: Any = (9,), category_ids: Any = (18,), boxes: Any = ((1, 2, 3, 4),), scores: Any = (0.5,)
) -> dict[str, Any]:
    """The four arrays, by name."""
    return {
        "image_ids": np.array(image_ids, dtype=np.int64),
        "category_ids": np.array(category_ids, dtype=np.int64),
        "boxes_xywh": np.array(boxes, dtype=np.float64).reshape(-1, 4),
        "scores": np.array(scores, dtype=np.float64),
    }


numbers = st.floats(allow_nan=False, allow_infinity=False)
ids = st.integers(-(2**53), 2**53)
sizes = st.floats(0, allow_nan=False, allow_infinity=False)
detections = st.lists(st.tuples(ids, ids, st.tuples(numbers, numbers, sizes, sizes), st.floats(0, 1)), max_size=5)


@given(detections)
@settings(max_examples=150, deadline=None)
def test_what_was_written_is_read_back_to_the_last_digit(records: list[Any]) -> None:
    columns = zip(*records, strict=True) if records else ((), (), (), ())
    given = Results(**arrays(*map(list, columns)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.json"
        results.write(path, given)
        found = result_reading.read(path)
        first = path.read_bytes()
        results.write(path, found)

        for name in FIELDS:
            assert getattr(found, name).tobytes() == getattr(given, name).tobytes()
        assert path.read_bytes() == first


def test_each_detection_stands_on_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "results.json"

    results.write(path, Results(**arrays([9, 5], [1, 2], [[0, 1, 2.5, 3], [1 / 3, 0, 0, 0]], [1, 1 / 3])))

    assert path.read_text().split("\n") == [
        "[",
        '{"image_id":9,"category_id":1,"bbox":[0.0,1.0,2.5,3.0],"score":1.0},',
        f'{{"image_id":5,"category_id":2,"bbox":[{1 / 3},0.0,0.0,0.0],"score":{1 / 3}}}',
        "]",
        "",
    ]


def test_segmentations_are_written_as_they_are_and_only_where_there_are_some(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    mask = b'{ "size": [1, 2],\t"counts": "\\u0041" }'

    results.write(path, Results(**arrays([9, 5], [1, 1], [[0, 0, 1, 1]] * 2, [1, 1]), segmentations=[mask, b""]))

    assert path.read_bytes().split(b"\n")[1:3] == [
        b'{"image_id":9,"category_id":1,"bbox":[0.0,0.0,1.0,1.0],"score":1.0,"segmentation":' + mask + b"},",
        b'{"image_id":5,"category_id":1,"bbox":[0.0,0.0,1.0,1.0],"score":1.0}',
    ]


@pytest.mark.parametrize("at_once", [1, 2, 3])
@pytest.mark.parametrize("masks", [None, [b"[[1]]", b"", b"{}"]])
def test_records_encoded_in_parts_make_the_same_file(
    at_once: int, masks: list[bytes] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Results(**arrays([9, 5, 7], [1, 2, 3], [[0, 0, 1, 1]] * 3, [1, 0.5, 0.25]), segmentations=masks)
    names = {5: "five\n.jpg", 7: "7.jpg", 9: "9.jpg"}
    results.write(tmp_path / "whole.json", made, file_names=names)
    monkeypatch.setattr(results, "AT_ONCE", at_once)
    results.write(tmp_path / "parts.json", made, file_names=names)

    assert (tmp_path / "parts.json").read_bytes() == (tmp_path / "whole.json").read_bytes()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
pieces = st.builds(
    lambda value, indent, ascii_only: json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode(),
    json_values,
    st.sampled_from([None, 0, 3]),
    st.booleans(),
)


@given(st.lists(pieces | st.just(b""), max_size=5))
@settings(max_examples=100, deadline=None)
def test_segmentations_that_were_written_are_read_back_to_the_last_byte(segmentations: list[bytes]) -> None:
    count = len(segmentations)
    columns = arrays([9] * count, [1] * count, [[0, 0, 1, 1]] * count, [0.5] * count)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.json"
        results.write(path, Results(**columns, segmentations=segmentations))

        assert result_reading.read(path).segmentations == (segmentations if any(segmentations) else None)


def test_another_number_of_segmentations_is_refused() -> None:
    for segmentations in ([], [b"", b""]):
        with pytest.raises(ValueError, match=rf"^segmentations: expected 1, found {len(segmentations)}$"):
            Results(**arrays(), segmentations=segmentations)


def test_pycocotools_loads_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    truth = COCO()
    truth.dataset = {"images": [{"id": 9}, {"id": 5}], "categories": [{"id": 1}], "annotations": []}
    truth.createIndex()

    results.write(path, Results(**arrays([9, 5], [1, 1], [[0, 1, 2.5, 3], [1 / 3, 0, 0, 0]], [1, 1 / 3])))
    loaded = truth.loadRes(str(path))

    found = [(item["image_id"], item["bbox"], item["score"]) for item in loaded.loadAnns(loaded.getAnnIds())]
    assert found == [(9, [0, 1, 2.5, 3], 1), (5, [1 / 3, 0, 0, 0], 1 / 3)]


def test_no_detection_makes_a_file_too(tmp_path: Path) -> None:
    path = tmp_path / "none.json"

    results.write(path, Results(**arrays([], [], [], [])))

    assert path.read_bytes() == b"[\n]\n"
    assert len(result_reading.read(path)) == 0


def test_a_missing_folder_is_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "results.json"

    results.write(path, Results(**arrays()))
    results.write(path, Results(**arrays(scores=[0.25])))

    assert result_reading.read(path).scores.tolist() == [0.25]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_while_writing_keeps_the_older_file(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.json"
    path.write_text("older")

    def failing(*_: object) -> list[bytes]:
        raise error

    monkeypatch.setattr(results, "_lines", failing)
    with pytest.raises(error):
        results.write(path, Results(**arrays()))

    assert [(item.name, item.read_text()) for item in tmp_path.iterdir()] == [("results.json", "older")]


def test_a_file_that_cannot_take_its_name_leaves_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.mkdir()

    with pytest.raises(OSError, match="directory"):
        results.write(path, Results(**arrays()))

    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "array", "what"),
    [
        ("image_ids", np.zeros(2, np.int64), "image_ids: expected int64 of shape (1,), found int64 of shape (2,)"),
        ("image_ids", np.zeros(1, np.int32), "image_ids: expected int64 of shape (1,), found int32 of shape (1,)"),
        ("category_ids", np.zeros((1, 1), np.int64), "category_ids: expected int64 of shape (1,), found int64 of"),
        ("boxes_xywh", np.zeros((1, 5)), "boxes_xywh: expected float64 of shape (1, 4), found float64 of shape (1, 5)"),
        ("boxes_xywh", np.zeros((1, 4), np.float32), "boxes_xywh: expected float64 of shape (1, 4), found float32"),
        ("scores", np.zeros((1, 1)), "scores: expected float64 of shape (1,), found float64 of shape (1, 1)"),
        ("scores", np.zeros(1, np.float32), "scores: expected float64 of shape (1,), found float32 of shape (1,)"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(name: str, array: npt.NDArray[Any], what: str) -> None:
    with pytest.raises(ValueError, match=r": expected .* found ") as caught:
        Results(**arrays() | {name: array})

    assert str(caught.value).startswith(what)


@pytest.mark.parametrize(
    ("name", "values", "what"),
    [
        ("image_ids", [0, 2**53 + 1], "image_ids[1]: expected ids of up to 2 ** 53, found 9007199254740993"),
        ("category_ids", [0, -(2**63)], "category_ids[1]: expected ids of up to 2 ** 53, found -9223372036854775808"),
        ("boxes_xywh", [[0, 0, 0, 0], [0, np.nan, 1, 1]], "boxes_xywh[1]: expected finite numbers, sizes of at least"),
        ("boxes_xywh", [[0, 0, 0, 0], [0, 0, np.inf, 1]], "boxes_xywh[1]: expected finite numbers, sizes of at least"),
        ("boxes_xywh", [[0, 0, 0, 0], [0, 0, 1, -1]], "boxes_xywh[1]: expected finite numbers, sizes of at least 0,"),
        ("scores", [0, np.nan], "scores[1]: expected scores from 0 to 1, found nan"),
        ("scores", [1, 1.5], "scores[1]: expected scores from 0 to 1, found 1.5"),
        ("scores", [0, -0.5], "scores[1]: expected scores from 0 to 1, found -0.5"),
    ],
)
def test_values_that_could_not_be_read_back_are_refused(name: str, values: Any, what: str) -> None:
    two = arrays([1, 2], [1, 2], [[0, 0, 1, 1]] * 2, [0, 1])

    with pytest.raises(ValueError, match=r": expected .* found ") as caught:
        Results(**two | {name: np.array(values, dtype=two[name].dtype)})

    assert str(caught.value).startswith(what)


def test_results_cross_to_another_process() -> None:
    given = Results(**arrays(), segmentations=[b"[]"])

    found = pickle.loads(pickle.dumps(given))

    assert [getattr(found, name).tolist() for name in FIELDS] == [getattr(given, name).tolist() for name in FIELDS]
    assert found.segmentations == [b"[]"]
