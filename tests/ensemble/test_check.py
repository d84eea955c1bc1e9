"""What a server would refuse: each rule at its edge, and all offenders at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest

from datasets import result_reading, results
from datasets.errors import DataError
from ensemble import pipeline
from ensemble.check import Checked, check, file_names
from ensemble.pipeline import Images
from tests.ensemble.files import EMPTY, SIZES, Record, listing, predicted, unannotated, write


class Refused(Protocol):
    """refused(records): the error that such a submission ends with."""

    def __call__(self, content: Any, how: Any = ...) -> DataError: ...


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return pipeline.read_images(write(tmp_path / "test.json", unannotated()))


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    return tmp_path / "submission.json"


@pytest.fixture
def refused(images: Images, submission: Path) -> Refused:
    """refused(records): the error that such a submission ends with."""

    def refused(content: Any, how: Any = "coco") -> DataError:
        with pytest.raises(DataError) as caught:
            check(write(submission, content), images, how)
        assert caught.value.headline.startswith(f"{submission}: ")
        return caught.value

    return refused


def detection(**changed: Any) -> Record:
    # Image 7 is 60 x 80 px.
    return {"image_id": 7, "category_id": 1, "bbox": [10.0, 20.0, 30.0, 40.0], "score": 0.5, **changed}


def test_a_good_submission_is_counted_with_the_images_without_detections(images: Images, submission: Path) -> None:
    # Four of the five images have something.
    assert check(write(submission, predicted(1)), images) == Checked(detections=48, images=5, without=1)
    assert check(write(submission, [detection()]), images) == Checked(1, 5, 4)
    assert check(write(submission, []), images) == Checked(0, 5, 5)


@pytest.mark.parametrize(
    "box",
    [
        [-1.0, -1.0, 62.0, 82.0],
        [-1.0, 0.0, 1.0, 1.0],
        [0.0, -1.0, 1.0, 1.0],
        [59.0, 0.0, 2.0, 1.0],
        [0.0, 79.0, 1.0, 2.0],
        [60.5, 80.5, 0.5, 0.5],
        [0.0, 0.0, 1e-9, 1e-9],
    ],
)
@pytest.mark.parametrize("score", [0, 1, 5e-324])
def test_boxes_up_to_a_pixel_outside_and_scores_from_0_to_1_are_good(
    box: list[float], score: float, images: Images, submission: Path
) -> None:
    assert check(write(submission, [detection(bbox=box, score=score)]), images).detections == 1


OUTSIDE = "expected a box inside 60 x 80 px, found"

# What differs from a good detection, and what is said of it.
WRONG: list[tuple[Record, str]] = [
    ({"image_id": 8}, "$[1].image_id: expected the id of an image, found 8 (1 detection(s))"),
    ({"category_id": 2}, "$[1].category_id: expected the id of a category, found 2 (1 detection(s))"),
    ({"bbox": [10, 20, 0, 40]}, "$[1].bbox: expected a width and a height above 0, found [0.0, 40.0]"),
    ({"bbox": [10, 20, 30, 0]}, "$[1].bbox: expected a width and a height above 0, found [30.0, 0.0]"),
    ({"bbox": [-1.001, 0, 5, 5]}, f"$[1].bbox: {OUTSIDE} [-1.001, 0.0, 5.0, 5.0]"),
    ({"bbox": [0, -1.001, 5, 5]}, f"$[1].bbox: {OUTSIDE} [0.0, -1.001, 5.0, 5.0]"),
    ({"bbox": [50, 0, 11.001, 5]}, f"$[1].bbox: {OUTSIDE} [50.0, 0.0, 11.001, 5.0]"),
    ({"bbox": [0, 70, 5, 11.001]}, f"$[1].bbox: {OUTSIDE} [0.0, 70.0, 5.0, 11.001]"),
    ({"bbox": [1e308, 0, 1e308, 5]}, f"$[1].bbox: {OUTSIDE} [1e+308, 0.0, 1e+308, 5.0]"),
    ({"bbox": [10, 20, -30, 40]}, "$[1].bbox[2]: Expected `float` >= 0.0, found -30"),
    ({"bbox": [10, 20, 30]}, "$[1].bbox: Expected `array` of length 4, found [10, 20, 30]"),
    ({"bbox": [10, 20, 30, "40"]}, '$[1].bbox[3]: Expected `float`, got `str`, found "40"'),
    ({"bbox": [float("inf"), 20, 30, 40]}, "$[1].bbox[0]: expected a finite number, found inf"),
    ({"score": float("nan")}, "$[1].score: expected a finite number, found nan"),
    ({"score": 1.001}, "$[1].score: Expected `float` <= 1.0, found 1.001"),
    ({"score": -0.001}, "$[1].score: Expected `float` >= 0.0, found -0.001"),
    ({"image_id": 7.0}, "$[1].image_id: Expected `int`, got `float`, found 7.0"),
    ({"image_id": True}, "$[1].image_id: Expected `int`, got `bool`, found true"),
    ({"category_id": "1"}, '$[1].category_id: Expected `int`, got `str`, found "1"'),
]


@pytest.mark.parametrize(("changed", "what"), WRONG)
def test_each_rule_names_the_offender_with_what_was_expected_and_found(
    changed: Record, what: str, refused: Refused
) -> None:
    assert refused([detection(), detection(**changed), detection()]).problems == [what]


def test_a_missing_key_is_named(refused: Refused) -> None:
    (problem,) = refused([detection(), {"image_id": 7, "category_id": 1, "bbox": [0, 0, 5, 5]}]).problems

    assert problem.startswith("$[1]: Object missing required field `score`")


NO_LIST = "expected COCO results, a JSON list of detections: Expected `array`, got "


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("no json", "not valid JSON"),
        ("[", "not valid JSON"),
        ("5", f"{NO_LIST}`int`"),
        ({"annotations": [detection()]}, f"{NO_LIST}`object`"),
    ],
)
@pytest.mark.parametrize("how", ["coco", "vipriors"])
def test_what_is_no_list_is_refused(how: str, content: Any, what: str, refused: Refused) -> None:
    assert f"submission.json: {what}" in refused(content, how).headline


def test_what_is_no_record_is_refused(refused: Refused) -> None:
    assert refused([detection(), [1, 2]]).problems == ["$[1]: Expected `object`, got `array`, found [1, 2]"]
    assert refused([detection(image_id="7.jpg"), 5], "vipriors").headline.endswith(
        "expected COCO results, a JSON list of detections: Expected `object`, got `int` - at `$[1]`"
    )


def test_a_hundred_detections_an_image_are_good_and_one_more_is_not(
    images: Images, submission: Path, refused: Refused
) -> None:
    hundred = [detection()] * 100 + [detection(image_id=12)] * 100

    assert check(write(submission, hundred), images) == Checked(200, 5, 3)
    error = refused([detection(image_id=3), *hundred, detection(image_id=12), *[detection(image_id=3)] * 149])
    assert error.problems == [
        "image 3: expected at most 100 detections, found 150",
        "image 12: expected at most 100 detections, found 101",
    ]


def test_all_offenders_of_all_rules_are_named_at_once(refused: Refused) -> None:
    records = [
        detection(bbox=[10, 20, 0, 40]),
        detection(image_id=8, bbox=[-50, 0, 5, 5]),
        detection(bbox=[-50, 0, 5, 5]),
        *[detection(image_id=20)] * 101,
        detection(category_id=2, bbox=[10, 20, 30, 0]),
        detection(image_id=8),
        detection(image_id=EMPTY, bbox=[-50, 0, 0, 0]),
    ]

    assert str(refused(records)).splitlines()[1:] == [
        "  $[1].image_id: expected the id of an image, found 8 (2 detection(s))",
        "  $[104].category_id: expected the id of a category, found 2 (1 detection(s))",
        "  $[0].bbox: expected a width and a height above 0, found [0.0, 40.0]",
        "  $[104].bbox: expected a width and a height above 0, found [30.0, 0.0]",
        "  $[106].bbox: expected a width and a height above 0, found [0.0, 0.0]",
        f"  $[2].bbox: {OUTSIDE} [-50.0, 0.0, 5.0, 5.0]",
        # Image 31.
        "  $[106].bbox: expected a box inside 97 x 83 px, found [-50.0, 0.0, 0.0, 0.0]",
        "  image 20: expected at most 100 detections, found 101",
    ]


def test_of_many_offenders_twenty_are_shown_and_all_are_counted(refused: Refused) -> None:
    error = refused([detection(bbox=[10, 20, 0, 40])] * 50)

    assert error.headline.endswith(": 50 problem(s) in the submission")
    assert [problem.partition(".")[0] for problem in error.problems] == [f"$[{at}]" for at in range(20)]
    assert str(error).endswith("... and 30 more")


def test_any_category_is_good_where_the_file_has_none(tmp_path: Path, submission: Path) -> None:
    images = pipeline.read_images(write(tmp_path / "list.json", listing()))

    assert check(write(submission, [detection(category_id=2)]), images).detections == 1


def test_file_names_stand_for_ids_on_request(images: Images, submission: Path, refused: Refused) -> None:
    by_name = [detection(image_id=f"{id_}.jpg", bbox=[0, 0, *SIZES[id_]]) for id_ in (7, 31, 3)]

    assert check(write(submission, by_name), images, "vipriors") == Checked(3, 5, 2)
    assert refused(by_name).problems[0] == (
        '$[0].image_id: Expected `int`, got `str`, found "7.jpg"; images go by their ids in the annotation file'
    )


def test_what_is_no_file_name_is_named_on_that_request(refused: Refused) -> None:
    nameless = {key: value for key, value in detection().items() if key != "image_id"}
    records = [detection(image_id="7.jpg"), detection(image_id="8.jpg"), detection(), nameless]

    error = refused(records, "vipriors")

    assert error.headline.endswith(": 3 problem(s) in the results file")
    assert error.problems == [
        '$[1].image_id: expected the file name of an image, found "8.jpg"',
        "$[2].image_id: expected the file name of an image, found 7",
        "$[3].image_id: expected the file name of an image, found none",
    ]


def test_the_other_rules_hold_for_file_names_too(refused: Refused) -> None:
    records = [detection(image_id="7.jpg"), detection(image_id="7.jpg", bbox=[-50, 0, 5, 5], category_id=2)]

    assert refused(records, "vipriors").problems == [
        "$[1].category_id: expected the id of a category, found 2 (1 detection(s))",
        f"$[1].bbox: {OUTSIDE} [-50.0, 0.0, 5.0, 5.0]",
    ]
    assert refused([detection(image_id="7.jpg", score=2)], "vipriors").problems == [
        "$[0].score: Expected `float` <= 1.0, found 2"
    ]


def test_file_names_must_tell_images_apart(tmp_path: Path, submission: Path) -> None:
    content = unannotated()
    content["images"][1]["file_name"] = content["images"][3]["file_name"]
    images = pipeline.read_images(write(tmp_path / "test.json", content))

    with pytest.raises(DataError) as caught:
        check(write(submission, []), images, "vipriors")
    assert caught.value.headline == f"{images.path}: expected a file name of its own for each image, found some twice"
    assert caught.value.problems == ["20.jpg"]
    # Ids do.
    assert check(write(submission, []), images).without == 5


def test_file_names_and_ids_tell_the_same(images: Images, submission: Path) -> None:
    found = result_reading.read(write(submission, predicted(1)))

    results.write(submission, found, file_names=file_names(images))
    by_name = {name: id_ for id_, name in file_names(images).items()}

    back = result_reading.read_strictly(submission, by_file_name=by_name)
    for name in ("image_ids", "category_ids", "boxes_xywh", "scores"):
        assert np.array_equal(getattr(back, name), getattr(found, name))
    assert check(submission, images, "vipriors") == Checked(48, 5, 1)
