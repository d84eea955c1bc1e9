"""The table of the inputs: what each file holds, what is odd, and what cannot be right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from datasets.errors import DataError
from ensemble import inputs, pipeline
from ensemble.inputs import Inputs
from ensemble.pipeline import Images
from ensemble.recipe import NoSuppression, Recipe, SoftNms
from tests.ensemble.files import (
    SIZES,
    Record,
    annotated,
    below_inputs,
    cli,
    oracle,
    predicted,
    unannotated,
    write,
)


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return pipeline.read_images(write(tmp_path / "test.json", unannotated()))


def examined(images: Images, tmp_path: Path, *models: list[Record], chosen: Recipe | None = None) -> Inputs:
    paths = [write(tmp_path / f"{name}.json", content) for name, content in zip("abc", models, strict=False)]
    weights = [1.0, 0.5, 0.25][: len(models)]
    return inputs.examine(pipeline.read_models(paths, images), weights, images, chosen or Recipe())


def scaled(records: list[Record], factor: float) -> list[Record]:
    return [{**item, "score": item["score"] * factor} for item in records]


def test_each_file_has_a_row(images: Images, tmp_path: Path) -> None:
    found = examined(images, tmp_path, predicted(1), predicted(2))

    assert (found.problems, found.notes) == ([], [])
    assert [(row.name, row.images, row.boxes, row.weight) for row in found.rows] == [
        (str(tmp_path / "a.json"), len(SIZES) - 1, 48, 1.0),
        (str(tmp_path / "b.json"), len(SIZES) - 1, 48, 0.5),
    ]
    for row, seed in zip(found.rows, (1, 2), strict=True):
        scores = [item["score"] for item in predicted(seed)]
        assert (row.lowest, row.highest) == (min(scores), max(scores))
        assert (row.outside, row.furthest, row.duplicates) == (0.0, 0.0, 0)
        assert row.met is not None
        assert row.met > 0.5
    head, first, second = inputs.table(found)
    assert head.split() == ["results", "images", "boxes", "outside", "scores", "weight", "met", "same"]
    assert first.split()[:5] == [str(tmp_path / "a.json"), "4", "of", "5", "48"]
    assert len(head) == len(first) == len(second)


def test_a_model_alone_has_no_agreement(images: Images, tmp_path: Path) -> None:
    found = examined(images, tmp_path, predicted(1))
    assert inputs.table(found)[0].split()[-1] == "weight"


def test_boxes_outside_their_pictures_are_a_note_with_how_far(images: Images, tmp_path: Path) -> None:
    width, _ = SIZES[7]
    outside = {"image_id": 7, "category_id": 1, "bbox": [width - 5, 0, 25, 10], "score": 0.5}
    found = examined(images, tmp_path, [*predicted(1), outside])
    assert found.problems == []
    assert found.notes == [f"{tmp_path / 'a.json'}: 2 % of its boxes lie outside their images, by up to 20 px"]
    assert (found.rows[0].outside, found.rows[0].furthest) == (1 / 49, 20.0)


def test_corners_for_sizes_cannot_be_right(images: Images, tmp_path: Path) -> None:
    corners = [
        {**item, "bbox": [x, y, x + width, y + height]}
        for item in predicted(1)
        for x, y, width, height in [item["bbox"]]
    ]
    found = examined(images, tmp_path, corners, predicted(2))
    (problem,) = found.problems
    assert problem.startswith(f"{tmp_path / 'a.json'}: ")
    assert problem.endswith("they look like x, y, x, y")
    with pytest.raises(DataError) as caught:
        found.check(trust=False)
    assert caught.value.problems == [problem]
    assert caught.value.advice == "--trust continues anyway."
    found.check(trust=True)


def test_duplicates_and_copies_are_notes(images: Images, tmp_path: Path) -> None:
    found = examined(images, tmp_path, predicted(1) * 2, predicted(2), predicted(2))
    assert found.notes == [
        f"{tmp_path / 'a.json'}: 48 detections are exact duplicates of others",
        f"{tmp_path / 'c.json'}: the same detections as {tmp_path / 'b.json'}",
    ]


def test_scores_of_another_scale_are_a_note(images: Images, tmp_path: Path) -> None:
    (note,) = examined(images, tmp_path, predicted(1), scaled(predicted(2), 0.1)).notes
    assert note.startswith(f"{tmp_path / 'b.json'}: its scores reach 0.")
    assert "are not weighed as they should be" in note


def test_low_scores_are_a_note_and_no_empty_submission(images: Images, tmp_path: Path) -> None:
    low = scaled(predicted(1), 1e-4)

    alone = examined(images, tmp_path, low)

    assert len(alone.problems) == 1
    assert "all scores are below 0.001, where the recipe leaves detections out" in alone.problems[0]
    beside = examined(images, tmp_path, low, predicted(2))
    assert beside.problems == []
    assert "and the recipe leaves out all below 0.001" in beside.notes[0]
    for how in (NoSuppression(), SoftNms(score_threshold=0.0)):
        kept = examined(images, tmp_path, low, chosen=Recipe(suppress=how))
        assert kept.problems == []
        assert kept.notes[0].startswith(f"{tmp_path / 'a.json'}: no score is above 0.0001")


def test_a_file_without_detections_is_no_problem(images: Images, tmp_path: Path) -> None:
    found = examined(images, tmp_path, [], predicted(2))
    assert (found.problems, found.notes) == ([], [])
    assert found.rows[0].met is None


def test_fuse_ends_before_it_writes_and_goes_on_with_trust(tmp_path: Path) -> None:
    write(tmp_path / "test.json", unannotated())
    write(tmp_path / "a.json", scaled(predicted(1), 1e-4))
    given = [
        "--annotations",
        tmp_path / "test.json",
        "--results",
        tmp_path / "a.json",
        "--output",
        tmp_path / "out.json",
    ]

    code, out, err = cli("fuse", *given)

    assert code == 1
    assert out.startswith("images: ")
    assert err.startswith("error: 1 thing(s) about the results files cannot be right\n  all scores are below 0.001")
    assert not (tmp_path / "out.json").exists()
    code, out, err = cli("fuse", *given, "--trust")
    assert (code, err) == (0, "")
    assert any(line.startswith("note: all scores are below 0.001") for line in out.splitlines())


def test_the_row_of_a_model_is_what_evaluate_gives_for_its_file(tmp_path: Path) -> None:
    """Also where boxes lie outside and pictures have more than a hundred."""
    write(tmp_path / "val.json", annotated())
    far = [{**item, "bbox": [item["bbox"][0] - 9, *item["bbox"][1:]]} for item in predicted(3, per_image=150)]
    write(tmp_path / "a.json", far)
    given = [
        "--annotations",
        tmp_path / "val.json",
        "--results",
        tmp_path / "a.json",
        "--output",
        tmp_path / "out.json",
    ]

    step = json.loads(cli("fuse", *given, "--json").out)["steps"][0]

    assert (step["ap"], step["ap50"]) == pytest.approx(oracle(tmp_path / "val.json", tmp_path / "a.json"), abs=1e-12)


def test_more_than_a_hundred_detections_an_image_are_kept_where_they_are_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "test.json", unannotated())
    recipe = write(tmp_path / "mine.yaml", "suppress: {method: none}\ndetections_per_image: 150")
    write(tmp_path / "a.json", predicted(3, per_image=150))
    output = tmp_path / "out.json"
    given = ["--annotations", tmp_path / "test.json", "--recipe", recipe, "--results", tmp_path / "a.json"]

    assert cli("fuse", *given, "--output", output).code == 0

    assert len(json.loads(output.read_bytes())) == 150 * (len(SIZES) - 1)
    checked = cli("check", "--annotations", tmp_path / "test.json", output)
    assert (checked.code, "expected at most 100 detections, found 150" in checked.err) == (1, True)
    assert cli("check", "--annotations", tmp_path / "test.json", output, "--max-dets", 150).code == 0


def test_results_by_file_name_are_fused_as_by_id(tmp_path: Path) -> None:
    """As `fuse --format vipriors` itself writes them."""
    write(tmp_path / "test.json", unannotated())
    write(tmp_path / "a.json", predicted(1))
    write(tmp_path / "named.json", [{**item, "image_id": f"{item['image_id']}.jpg"} for item in predicted(1)])
    outputs = []
    for name in ("a", "named"):
        given = ["--annotations", tmp_path / "test.json", "--results", tmp_path / f"{name}.json"]
        code, out, _ = cli("fuse", *given, "--output", tmp_path / "out.json")
        assert code == 0
        outputs.append((tmp_path / "out.json").read_bytes())
    assert outputs[0] == outputs[1]
    assert any("repaired: 48 x image by its file name, read" in line for line in below_inputs(out))


def test_positions_are_ids_where_the_recipe_or_the_command_says_so(tmp_path: Path) -> None:
    """The categories are 1, 3 and 18."""
    places = {1: 0, 3: 1, 18: 2}
    write(tmp_path / "val.json", annotated())
    write(tmp_path / "a.json", predicted(1))
    write(tmp_path / "b.json", predicted(2))
    write(tmp_path / "p.json", [{**item, "category_id": places[item["category_id"]]} for item in predicted(2)])
    output = tmp_path / "out.json"
    given = ["--annotations", tmp_path / "val.json", "--output", output, "--results", tmp_path / "a.json", "--results"]
    assert cli("fuse", *given, tmp_path / "b.json").code == 0
    expected = output.read_bytes()

    assert cli("fuse", *given, tmp_path / "p.json", "--categories", "p=contiguous0").code == 0

    assert output.read_bytes() == expected
    tuned = ["--output", tmp_path / "mine.yaml", "--trials", 1, "--categories", "p.json=contiguous0"]
    assert cli("tune", *given, tmp_path / "p.json", *tuned).code == 0
    assert "categories: contiguous0" in (tmp_path / "mine.yaml").read_text()
    assert cli("fuse", *given[:4], "--recipe", tmp_path / "mine.yaml").code == 0
    assert output.read_bytes() == expected
