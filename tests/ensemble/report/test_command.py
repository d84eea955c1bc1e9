"""The command line of report: its closing line, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.ensemble.files import below_inputs, cli, unannotated, write
from tests.ensemble.report.files import folder, report


def test_the_steps_are_those_of_fuse_and_the_verdict_closes(tmp_path: Path) -> None:
    folder(tmp_path)
    given = ["--results", tmp_path / "a_val.json", "--results", tmp_path / "b_val.json"]
    fused = cli("fuse", "--annotations", tmp_path / "val.json", *given, "--output", tmp_path / "out.json")

    code, out, err = report(tmp_path)

    assert (code, err) == (0, "")
    *steps, closing = below_inputs(out)
    assert steps == below_inputs(fused.out)[:-1]
    assert closing.startswith(f"{tmp_path / 'page.html'}: ")
    assert "of the best single model" in closing


def test_a_recipe_s_results_and_data_by_name_are_enough(tmp_path: Path) -> None:
    """As `make submit` has it."""
    folder(tmp_path)
    recipe = write(tmp_path / "mine.yaml", "models: [{results: a_val.json}, {results: b_val.json, weight: 0.5}]")
    split = {"annotations": "val.json", "images": "images"}
    data = write(
        tmp_path / "data.yaml", yaml.safe_dump({"about": "made up", "train": split, "val": split, "test": split})
    )
    page = tmp_path / "page.html"
    submission = ["--submission", tmp_path / "b_val.json"]
    ended = cli("report", "--data", data, "--recipe", recipe, *submission, "--output", page)
    assert ended.code == 0
    text = page.read_text(encoding="utf-8")
    assert 'id="submission"' in text
    assert f"split val of {data}" in text


def test_the_same_bytes_again(tmp_path: Path) -> None:
    folder(tmp_path)
    pages = []
    for _ in range(2):
        assert report(tmp_path, "--images", tmp_path / "images").code == 0
        pages.append((tmp_path / "page.html").read_bytes())
    assert pages[0] == pages[1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--submission", "a_val.json"], "--submission goes with --test-annotations and --test-images, or with --data"),
        (["--submission", "a_val.json", "--test-images", "images"], "--submission goes with"),
        (["--test-images", "images"], "--test-annotations and --test-images go with --submission"),
    ],
)
def test_wrong_usage_ends_with_2(
    options: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder(tmp_path))
    ended = report(tmp_path, *options)
    assert ended.code == 2
    assert expected in " ".join(ended.err.split())
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--images", "nowhere"], "nowhere: expected the folder of the images, found none"),
        (
            ["--submission", "a_val.json", "--test-annotations", "val.json", "--test-images", "nowhere"],
            "nowhere: expected the folder of the images, found none",
        ),
        (
            ["--submission", "other.json", "--test-annotations", "val.json", "--test-images", "images"],
            "other.json: 1 id(s) that val.json does not have",
        ),
        (["--recipe", "nothing.yaml"], "--recipe nothing.yaml: expected a YAML file or one of paper, per-category"),
        (["--annotations", "test.json"], "test.json: expected objects to measure models on, found none"),
        (["--output", "val.json"], "val.json: would replace an input; give another --output"),
        (["--output", "images"], "images: expected the name of a file to write, found a folder"),
    ],
)
def test_what_cannot_be_reported_is_refused(
    options: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder(tmp_path))
    write(tmp_path / "test.json", unannotated())
    write(tmp_path / "other.json", [{"image_id": 99, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}])
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    ended = report(Path(), *options)
    assert ended.code == 1
    assert f"error: {expected}" in ended.err
    assert "Traceback" not in ended.err
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
