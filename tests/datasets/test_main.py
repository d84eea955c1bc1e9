"""The command line: what `evaluate` prints, and with which code it ends."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image as PillowImage

from datasets import checks, provenance
from datasets.__main__ import main
from datasets.analysis import Confusion, Operating
from datasets.analysis_text import confusion_table
from datasets.digests import sha256_file
from datasets.errors import DataError
from tests.command_line import Ended, in_shell
from tests.conftest import picture


class Evaluate(Protocol):
    """evaluate(detections, *options): what a shell would see of `python -m datasets evaluate` on the document."""

    def __call__(self, detections: Any, *options: str) -> Ended: ...


# The one object of the document, and a detection in its crowd.
DETECTIONS = [
    {"image_id": 5, "category_id": 18, "bbox": [10, 5, 20, 10], "score": 0.75},
    {"image_id": 5, "category_id": 1, "bbox": [0, 0, 2, 10], "score": 0.5},
]


@pytest.fixture
def evaluate(document: dict[str, Any], tmp_path: Path) -> Evaluate:
    def evaluate(detections: Any, *options: str) -> Ended:
        annotations, results = tmp_path / "instances.json", tmp_path / "results.json"
        annotations.write_text(json.dumps(document))
        results.write_text(json.dumps(detections))
        files = ["--annotations", annotations, "--results", results]
        return in_shell(main, "python -m datasets", "evaluate", *files, *options)

    return evaluate


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("command", [[], ["sample"], ["check"], ["subset"], ["evaluate"]])
def test_help_has_an_example(command: list[str], flag: str) -> None:
    ended = CliRunner().invoke(main, [*command, flag])
    assert ended.exit_code == 0
    _, example = ended.output.split("Example:")
    assert " ".join(["python -m datasets", *command]) in example


# pycocotools adds 2e-16 to a denominator.
ALL = pytest.approx(1)
SUMMARY = """\
     AP   AP50   AP75    APs    APm    APl
  100.0  100.0  100.0  100.0      -      -
    AR1   AR10  AR100    ARs    ARm    ARl
  100.0  100.0  100.0  100.0      -      -
"""

UNKNOWN = "seen in training or not is unknown (results.json: no results.provenance.json); --trained-on names the data\n"


def test_evaluate_prints_a_table_in_percent(evaluate: Evaluate) -> None:
    assert evaluate(DETECTIONS) == (
        0,
        f"{SUMMARY}\n2 images, 1 of them without a detection; 2 detections\n{UNKNOWN}",
        "",
    )


def test_evaluate_prints_each_category_on_request(evaluate: Evaluate) -> None:
    code, out, err = evaluate(DETECTIONS, "--per-category")

    assert (code, err) == (0, "")
    assert out == (
        f"{SUMMARY}\n"
        "category                   objects     AP\n"
        "person                           0      -\n"
        "dog                              1  100.0\n"
        f"\n2 images, 1 of them without a detection; 2 detections\n{UNKNOWN}"
    )


def test_evaluate_prints_fractions_as_json(evaluate: Evaluate) -> None:
    code, out, err = evaluate(DETECTIONS, "--per-category", "--json")

    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "images": 2,
        "images_without_detections": 1,
        "detections": 2,
        "images_seen_in_training": None,
        **dict.fromkeys(("ap", "ap50", "ap75", "ap_small", "ar1", "ar10", "ar100", "ar_small"), ALL),
        **dict.fromkeys(("ap_medium", "ap_large", "ar_medium", "ar_large")),
        "per_category": [
            {"id": 1, "name": "person", "objects": 0, "ap": None},
            {"id": 18, "name": "dog", "objects": 1, "ap": ALL},
        ],
        "repairs": {},
        "repairs_of_results": {},
        "notes": [],
    }
    assert "per_category" not in json.loads(evaluate(DETECTIONS, "--json").out)


def test_evaluate_tells_errors_and_confusions(evaluate: Evaluate) -> None:
    # The dog as a person, and something where nothing is annotated.
    found = [
        {**DETECTIONS[0], "category_id": 1},
        {"image_id": 9, "category_id": 18, "bbox": [0, 0, 5, 5], "score": 0.25},
    ]
    out = evaluate(found, "--errors", "--confusion").out

    assert "wrong category                       1 +100.0   found in the right place" in out
    assert "background                           1    0.0   nothing is annotated there" in out
    # Nothing is right at any score: F1 is best without a detection.
    assert "a score of 1.00 or more, where F1 is best (0.00)" in out
    assert "dog                                 0            0            1\n" in out
    told = json.loads(evaluate(DETECTIONS, "--errors", "--confusion", "--json").out)
    assert told["errors"]["ap50"] == ALL
    assert told["errors"]["kinds"]["Miss"] == {"count": 0, "ap50_gain": 0}
    # A person, a dog and nothing, as each of them.
    assert told["confusion"] == {
        "score": 0.75,
        "f1": 1,
        "category_ids": [1, 18],
        "counts": [[0] * 3, [0, 1, 0], [0] * 3],
    }


def test_confusions_of_many_categories_are_the_most_frequent_pairs() -> None:
    ids = list(range(1, 13))
    counts = np.zeros((13, 13), np.int64)
    counts[0, 1], counts[3, 2], counts[4, 4], counts[0, -1], counts[-1, 5] = 2, 7, 9, 30, 40
    names = {id_: f"c{id_}" for id_ in ids}
    assert confusion_table(Confusion(ids, counts), names, Operating(0.5, 0.8, 0.8, 0.8))[1:] == [
        "       7  c4 as c3",
        "       2  c1 as c2",
        "      30  objects as nothing",
        "      40  detections of nothing",
    ]


def test_evaluate_compares(evaluate: Evaluate, document: dict[str, Any], tmp_path: Path) -> None:
    # Two images with an object, of which the other results have one.
    document["annotations"].append({**document["annotations"][0], "id": 102, "image_id": 9})
    both = [DETECTIONS[0], {**DETECTIONS[0], "image_id": 9}]
    other = tmp_path / "other.json"
    other.write_text(json.dumps(DETECTIONS[:1]))
    told = json.loads(evaluate(both, "--compare", str(other), "--json").out)["compared"]
    # Half of the objects: recall 0.5, and precision 1 at 51 of the 101 recalls.
    assert told["ap"] == pytest.approx(51 / 101)
    assert told["difference"] == pytest.approx(50 / 101)
    assert told["low"] <= 50 / 101 <= told["high"]
    assert "other.json: AP 100.0 and 50.5, +49.5 (" in evaluate(both, "--compare", str(other)).out


@pytest.mark.parametrize("option", [["--errors"], ["--confusion"], ["--compare", "other.json"]])
def test_analyses_are_of_boxes(evaluate: Evaluate, option: list[str]) -> None:
    ended = evaluate(DETECTIONS, "--masks", *option)
    assert ended.code == 2
    assert "are of boxes; leave --masks out" in ended.err


def test_evaluate_says_next_to_every_ap_what_was_trained_on(evaluate: Evaluate, tmp_path: Path) -> None:
    # Of the images 5 and 9, the model was trained on one.
    trained_on = tmp_path / "train.json"
    trained_on.write_text(json.dumps({"images": [{"id": 9, "file_name": "sub/b.png", "width": 40, "height": 30}]}))
    given = ["--trained-on", str(trained_on)]
    said = "seen in training: 1 of 2 images"

    lines = evaluate(DETECTIONS, "--per-category", *given).out.splitlines()

    assert [line for line in lines if said in line] == [
        f"  100.0  100.0  100.0  100.0      -      -   {said}",
        f"  100.0  100.0  100.0  100.0      -      -   {said}",
        f"category                   objects     AP   {said}",
    ]
    assert not any("unknown" in line for line in lines)
    assert json.loads(evaluate(DETECTIONS, "--json", *given).out)["images_seen_in_training"] == 1
    # The same id with another name is another image.
    trained_on.write_text(json.dumps({"images": [{"id": 9, "file_name": "c.png", "width": 40, "height": 30}]}))
    assert json.loads(evaluate(DETECTIONS, "--json", *given).out)["images_seen_in_training"] == 0


def test_evaluate_reads_what_stands_beside_the_results(evaluate: Evaluate, tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    results.write_text(json.dumps(DETECTIONS))
    made = provenance.Provenance(
        results_sha256=sha256_file(results), models=(), images=2, seen_in_training=(5, 9), complete=True
    )
    provenance.write(results, made)
    assert evaluate(DETECTIONS).out == (
        SUMMARY.replace("      -      -\n", "      -      -   seen in training\n")
        + "\n2 images, 1 of them without a detection; 2 detections\n"
    )


def test_evaluate_without_any_detection_gives_0(evaluate: Evaluate) -> None:
    code, out, err = evaluate([])

    assert (code, err) == (0, "")
    assert out.splitlines()[1].split() == ["0.0", "0.0", "0.0", "0.0", "-", "-"]
    assert out.endswith(f"2 images, 2 of them without a detection; 0 detections\n{UNKNOWN}")


def test_evaluate_says_what_was_repaired_in_the_annotations(evaluate: Evaluate, document: dict[str, Any]) -> None:
    del document["annotations"][0]["iscrowd"]

    assert evaluate(DETECTIONS).out.endswith(f"repaired: 1 x {checks.CROWD_MISSING}\n  $.annotations[0]\n{UNKNOWN}")
    assert json.loads(evaluate(DETECTIONS, "--json").out)["repairs"] == {checks.CROWD_MISSING: ["$.annotations[0]"]}


def test_evaluate_refuses_bad_results_with_1_and_every_place(evaluate: Evaluate, tmp_path: Path) -> None:
    path = tmp_path / "results.json"

    assert evaluate([DETECTIONS[0] | {"score": 75}]) == (
        1,
        "",
        f"error: {path}: 1 problem(s) in the results file\n  $[0].score: Expected `float` <= 1.0, found 75\n"
        "Scores above 1 look like percents; divide them by 100: jq '[.[] | .score /= 100]' FILE > NEW\n",
    )
    assert evaluate([DETECTIONS[0] | {"image_id": 6}]) == (
        1,
        "",
        f"error: {path}: 1 id(s) that {tmp_path / 'instances.json'} does not have\n"
        "  $[0].image_id: expected the id of an image, found 6 (1 detection(s))\n",
    )


def test_evaluate_refuses_files_given_the_other_way_round(evaluate: Evaluate, document: dict[str, Any]) -> None:
    code, out, err = evaluate(document)

    assert (code, out) == (1, "")
    assert "results.json: expected COCO results, a JSON list of detections: " in err
    assert "as annotation files have" in err


def test_check_decodes_and_follows_links_when_it_is_told_to(document: dict[str, Any], tmp_path: Path) -> None:
    """The first picture is a JPEG whose middle is gone, the second lies elsewhere."""
    (tmp_path / "images" / "sub").mkdir(parents=True)
    file = io.BytesIO()
    PillowImage.fromarray(picture(40, 30, seed=0)).save(file, "JPEG", quality=95)
    data = bytearray(file.getvalue())
    middle = len(data) - 300
    data[middle : middle + 200] = bytes(200)
    (tmp_path / "images" / "a.png").write_bytes(data)
    PillowImage.new("RGB", (40, 30)).save(tmp_path / "b.png")
    (tmp_path / "images" / "sub" / "b.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "data.json").write_text(json.dumps(document))
    command = ["check", "--annotations", str(tmp_path / "data.json"), "--images", str(tmp_path / "images")]

    for options, problems in (
        ([], ["b.png: expected a file in the image folder, found a symbolic link"]),
        (["--follow-links"], []),
        (["--follow-links", "--thorough"], ["a.png: expected a whole JPEG image, found damaged pixel data"]),
    ):
        ended = CliRunner().invoke(main, [*command, *options])
        assert isinstance(ended.exception, DataError) == bool(problems)
        for problem in problems:
            assert problem in str(ended.exception)
            assert str(ended.exception).startswith(f"{tmp_path / 'data.json'}: 1 problem(s) in the image files\n")


def test_evaluate_reads_images_by_stem_and_categories_by_name(evaluate: Evaluate) -> None:
    names = ("dog", "person")
    named = [{**item, "image_id": "a", "category_id": name} for item, name in zip(DETECTIONS, names, strict=True)]

    code, out, err = evaluate(named)

    assert (code, err) == (0, "")
    assert out.startswith(SUMMARY)
    assert "results.json: repaired: 2 x category by its name, read (the first: $[0])\n" in out
    assert "results.json: repaired: 2 x image by its file name, read (the first: $[0])\n" in out
    assert json.loads(evaluate(named, "--json").out)["repairs_of_results"] == {
        "category by its name, read": ["$[0]", "$[1]"],
        "image by its file name, read": ["$[0]", "$[1]"],
    }


def test_evaluate_reads_positions_for_categories_where_it_is_told(evaluate: Evaluate) -> None:
    """The categories are 1 and 18."""
    for base in (0, 1):
        places = (base + 1, base)
        positions = [{**item, "category_id": place} for item, place in zip(DETECTIONS, places, strict=True)]
        code, _, err = evaluate(positions)
        assert code == 1
        assert f"If these are positions in the list of categories, from {base}: --category-ids contiguous{base}" in err

        assert evaluate(positions, "--categories", f"contiguous{base}").out.startswith(SUMMARY)

    code, _, err = evaluate(DETECTIONS, "--categories", "contiguous0")
    assert code == 1
    assert "results.json: expected category ids from 0 to 1 (contiguous0), found 18" in err
    code, _, err = evaluate([{**DETECTIONS[0], "category_id": "dog"}], "--categories", "contiguous0")
    assert code == 1
    assert "expected numbers of categories (contiguous0), found names\n  $[0]" in err


def test_evaluate_counts_as_many_detections_as_it_is_told(evaluate: Evaluate) -> None:
    assert "AR300" in evaluate(DETECTIONS, "--max-dets", "300").out
    assert json.loads(evaluate(DETECTIONS, "--max-dets", "300", "--json").out)["ar300"] == ALL


def test_evaluate_refuses_fractions(evaluate: Evaluate) -> None:
    code, out, err = evaluate([{**DETECTIONS[0], "bbox": [0.25, 0.1, 0.5, 0.3]}])
    assert (code, out) == (1, "")
    assert "results.json: expected boxes in pixels, found coordinates of at most 1.5" in err


def test_evaluate_says_what_results_look_like(evaluate: Evaluate, document: dict[str, Any]) -> None:
    """Corners instead of sizes, of thirty boxes; the AP stands there all the same."""
    boxes = [[x, y, 5, 5] for x in range(0, 30, 5) for y in range(0, 25, 5)]
    same = {"image_id": 5, "category_id": 1, "area": 25, "iscrowd": 0}
    document["annotations"] = [{"id": at, "bbox": box, **same} for at, box in enumerate(boxes)]
    detections = [
        {"image_id": 5, "category_id": 1, "bbox": [x, y, x + width, y + height], "score": 0.5}
        for x, y, width, height in boxes
    ]

    code, out, _ = evaluate(detections)

    assert code == 0
    assert "note: many boxes lie outside their images; they look like x, y, x, y\n" in out
