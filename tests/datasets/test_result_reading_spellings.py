"""Results as other tools write them: read where nothing is lost by it, refused with the way out elsewhere."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any, Protocol

import pytest

from datasets import checks, result_files, result_reading, result_records
from datasets.checks import Repairs
from datasets.errors import DataError
from datasets.records import Category, Image
from datasets.result_names import Names

Record = dict[str, Any]


class Read(Protocol):
    """read(records or bytes): writes a results file and reads it."""

    def __call__(
        self, content: Any, names: Names | None = ...
    ) -> tuple[list[tuple[int, int, list[float], float]], dict[str, int]]: ...


class Refused(Protocol):
    """refused(records or bytes): the error of a results file that must be refused."""

    def __call__(self, content: Any, names: Names | None = ...) -> DataError: ...


RECORD: Record = {"image_id": 139, "category_id": 18, "bbox": [1, 2.5, 30, 4], "score": 0.75}
PLAIN = (139, 18, [1.0, 2.5, 30.0, 4.0], 0.75)


def image(id_: int, file_name: str) -> Image:
    return Image(id=id_, file_name=file_name, width=640, height=480)


NAMES = Names(
    [
        image(139, "val/000000000139.jpg"),
        image(7, "val/größe 1.x.png"),
        image(8, "day/a.jpg"),
        image(9, "night/a.jpg"),
        image(10, "139b.jpg"),
        # The stem of one image, and the id of another.
        image(11, "10.jpg"),
    ],
    [
        Category(id=18, name="dog"),
        Category(id=3, name="18 wheeler"),
        Category(id=4, name="3"),
        Category(id=5, name="7"),
    ],
)


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """read(records or bytes): (image, category, box, score) of each, and the counts of what was repaired."""

    def read(content: Any, names: Names | None = NAMES) -> Any:
        path = tmp_path / "results.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        repairs = Repairs()
        found = result_reading.read(path, names, repairs)
        columns = (found.image_ids, found.category_ids, found.boxes_xywh, found.scores)
        return list(zip(*(column.tolist() for column in columns), strict=True)), repairs.counts()

    return read


@pytest.fixture
def refused(read: Read) -> Refused:
    def refused(content: Any, names: Names | None = NAMES) -> DataError:
        with pytest.raises(DataError) as caught:
            read(content, names)
        return caught.value

    return refused


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("image_id", 139.0, result_records.IMAGE_ID),
        ("image_id", "139", result_records.IMAGE_ID),
        ("image_id", "139.0", result_records.IMAGE_ID),
        ("image_id", "000000000139.jpg", result_records.IMAGE_NAME),
        ("image_id", "val/000000000139.jpg", result_records.IMAGE_NAME),
        ("image_id", "C:\\data\\val\\000000000139.jpg", result_records.IMAGE_NAME),
        ("image_id", "/home/me/val/000000000139.jpg", result_records.IMAGE_NAME),
        ("category_id", 18.0, result_records.CATEGORY_ID),
        ("category_id", "18", result_records.CATEGORY_ID),
        ("category_id", "dog", result_records.CATEGORY_NAME),
        ("score", "0.75", result_records.NUMBER),
        ("bbox", ["1", 2.5, "30.0", 4], result_records.NUMBER),
    ],
)
def test_what_says_the_same_in_another_spelling_is_read_and_counted(
    key: str, value: Any, kind: str, read: Read
) -> None:
    assert read([RECORD, RECORD | {key: value}]) == ([PLAIN, PLAIN], {kind: 1})


@pytest.mark.parametrize("name", ["000000000139", "000000000139.jpg"])
def test_a_stem_with_leading_zeros_is_the_image_of_that_name(name: str, read: Read) -> None:
    """As ultralytics writes them."""
    (found,), _ = read([RECORD | {"image_id": name}])
    assert found == PLAIN


def test_a_stem_may_have_dots_and_any_letters(read: Read) -> None:
    (found,), _ = read([RECORD | {"image_id": "größe 1.x"}])
    assert found[0] == 7


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("image_id", "a", "'a', which is that of day/a.jpg and of night/a.jpg"),
        ("image_id", "a.jpg", "'a.jpg', which is that of day/a.jpg and of night/a.jpg"),
        ("image_id", "10", "'10', which is that of 10.jpg and of image 10"),
        ("image_id", "b.jpg", "expected the id, file name or stem of an image, found 'b.jpg'"),
        ("category_id", "cat", "expected the id or the name of a category, found 'cat'"),
        ("category_id", "Dog", "expected the id or the name of a category, found 'Dog'"),
        ("category_id", "3", "'3', which is that of category 4 and of category 3"),
    ],
)
def test_a_name_of_none_or_of_several_is_refused(key: str, value: str, said: str, refused: Refused) -> None:
    error = refused([RECORD, RECORD | {key: value}, RECORD | {key: value}])
    assert [problem.partition(": ")[0] for problem in error.problems] == [f"$[1].{key}", f"$[2].{key}"]
    assert all(said in problem for problem in error.problems)


def test_the_exact_file_name_is_no_other_ones_stem(read: Read) -> None:
    (found,), _ = read([RECORD | {"image_id": "night/a.jpg"}])
    assert found[0] == 9


def test_a_number_in_text_that_is_no_id_goes_on_as_one(read: Read) -> None:
    """It is told with the other unknown ids, where the dataset is known."""
    (found,), _ = read([RECORD | {"image_id": "77"}])
    assert found[0] == 77


def test_a_detection_a_line_is_read(read: Read) -> None:
    lines = "\n".join(json.dumps(RECORD | {"score": score}) for score in (0.75, 0.5)) + "\n"
    found, repairs = read(lines.encode())
    assert [item[3] for item in found] == [0.75, 0.5]
    assert repairs == {}


def test_gzip_is_read(read: Read) -> None:
    assert read(gzip.compress(json.dumps([RECORD]).encode()))[0] == [PLAIN]


@pytest.mark.parametrize("length", [2, 12, 30])
def test_a_damaged_gzip_is_refused(length: int, refused: Refused) -> None:
    data = gzip.compress(json.dumps([RECORD] * 5).encode())
    assert "expected a results file compressed by gzip, found a damaged one" in refused(data[:length]).headline


def test_a_gzip_that_unpacks_to_more_than_any_memory_is_not_unpacked(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_files, "MOST_UNPACKED", 1 << 24)
    packed = gzip.compress(b" " * (1 << 25))
    tracemalloc.start()
    try:
        assert "unpack it first: gunzip FILE" in refused(packed).headline
        # Parts of it at a time, and never as much as would be read.
        assert tracemalloc.get_traced_memory()[1] < 1 << 23
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("box", [{}, {"bbox": None}, {"bbox": []}])
def test_a_box_that_is_missing_is_that_of_the_mask(box: Record, read: Read) -> None:
    record = {key: value for key, value in RECORD.items() if key != "bbox"} | box
    # Runs down the columns of a mask of 4 x 5 px: 9 off, 2 on, 2 off, 2 on, 5 off: rows 1 and 2 of the columns 2 and 3.
    masked = record | {"segmentation": {"size": [4, 5], "counts": [9, 2, 2, 2, 5]}}
    ((_, _, found, _),), repairs = read([masked])
    assert found == [2.0, 1.0, 2.0, 2.0]
    assert repairs == {checks.BOX_FROM_MASK: 1}


@pytest.mark.parametrize(
    "mask", [{"size": [1, 1], "counts": "a"}, {"size": [10**9, 10**9], "counts": [5]}, [[1, 2]], [], "none", None]
)
def test_a_box_that_no_mask_tells_is_refused(mask: Any, refused: Refused) -> None:
    record = {key: value for key, value in RECORD.items() if key != "bbox"} | {"segmentation": mask}
    assert refused([record]).problems == [
        "$[0].bbox: expected [x, y, width, height] or a mask to take it from, found neither"
    ]


def test_percents_are_refused_with_what_to_do(refused: Refused) -> None:
    error = refused([RECORD, RECORD | {"score": 62.252}])
    assert error.problems == ["$[1].score: Expected `float` <= 1.0, found 62.252"]
    assert error.advice.startswith("Scores above 1 look like percents; divide them by 100: jq ")


def test_a_score_that_is_no_percent_either_is_not_said_to_be_one(refused: Refused) -> None:
    assert refused([RECORD | {"score": 101}]).advice == ""


def test_a_fault_beside_another_spelling_is_told_by_its_own_place(refused: Refused) -> None:
    (problem,) = refused([RECORD | {"image_id": "139", "score": "high"}]).problems
    assert problem == '$[0].score: Expected `float`, got `str`, found "high"'


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (RECORD | {"image_id": 139.0}, "$[0].image_id: Expected `int`, got `float`, found 139.0"),
        (
            RECORD | {"image_id": "139"},
            '$[0].image_id: Expected `int`, got `str`, found "139"; images go by their ids in the annotation file',
        ),
        (RECORD | {"category_id": "18"}, '$[0].category_id: Expected `int`, got `str`, found "18"'),
    ],
)
def test_what_a_server_would_not_read_is_refused_in_a_submission(record: Record, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "submission.json"
    path.write_text(json.dumps([record]))
    with pytest.raises(DataError) as caught:
        result_reading.read_strictly(path)
    assert caught.value.problems == [problem]


@pytest.mark.parametrize("count", [1, 2])
def test_a_detection_a_line_is_no_submission(count: int, tmp_path: Path) -> None:
    path = tmp_path / "submission.json"
    path.write_text("\n".join([json.dumps(RECORD)] * count))
    with pytest.raises(DataError) as caught:
        result_reading.read_strictly(path)
    assert "expected one JSON list of detections, found one a line" in caught.value.headline
