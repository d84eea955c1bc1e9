"""scripts/evidence, two arms as they are run: two iterations on pictures of 48 px, then the same again for nothing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import pytest
from click.testing import CliRunner, Result

from datasets.errors import DataError
from datasets.sources import Input
from scripts.evidence.__main__ import main
from scripts.evidence.evidence import HERE, LISTS, SETTINGS
from scripts.experiments.arms import base_of, compose, find_settings, load_arms

ROOT = Path(__file__).resolve().parents[2]
WEE = """
about: pictures of 48 px
model: tiny
schedule: sample
iterations: 2
images: [3, 0]
config:
  SOLVER: {EMA: 0.5}
  INPUT: {MIN_SIZE_TRAIN: [48, 64], MAX_SIZE_TRAIN: 96, MIN_SIZE_TEST: 48, MAX_SIZE_TEST: 96}
"""


@pytest.fixture
def arguments(drawn: Input, tmp_path: Path) -> list[str]:
    split = f"{{annotations: {drawn.annotations}, images: {drawn.images}}}"
    (tmp_path / "mine.yaml").write_text(f"about: drawn\ntrain: {split}\nval: {split}\n", encoding="utf-8")
    (tmp_path / "wee.yaml").write_text(WEE, encoding="utf-8")
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "01-original.yaml").write_text("about: as they are\ndata: original\npredict: {ema: false}\n")
    (folder / "02-mean.yaml").write_text("about: mean\nbase: original\npredict: {ema: true}\nheadline: true\n")
    output = str(tmp_path / "runs" / "evidence")
    return [
        *("--data", str(tmp_path / "mine.yaml"), "--settings", str(tmp_path / "wee.yaml"), "--output", output),
        *("--list", str(folder), "--seeds", "1", "--jobs", "2"),
    ]


def run_evidence(arguments: list[str], *more: str) -> Result:
    return CliRunner().invoke(main, [*arguments, *more], catch_exceptions=False)


def refuse(*_: Any, **__: Any) -> NoReturn:
    raise AssertionError("a process was started")


def test_two_arms_on_two_numbers_of_images_and_again(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_evidence(arguments).output.splitlines()
    # A subset, two trainings, and of each two predictions.
    assert [line.partition("]")[0] for line in first[:-1]] == [f"[{number}/7" for number in range(1, 8)]
    document = json.loads((tmp_path / "runs/own.json").read_bytes())
    assert [(item["arm"], item["images"], item["steps"]) for item in document["cells"]] == [
        ("original", 3, 2),
        ("mean", 3, 2),
        ("original", 7, 2),
        ("mean", 7, 2),
    ]
    assert [item["from_reference"] is None for item in document["cells"]] == [True, False, True, False]
    page = (tmp_path / "runs/own.md").read_text(encoding="utf-8")
    assert "| 3 images | 7 images |" in page
    for name in ("images", "steps"):
        assert (f"own-{name}.svg" in page) == (tmp_path / f"runs/own-{name}.svg").is_file()
    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert run_evidence(arguments).output.splitlines() == first[-1:], "everything is done"
    assert (tmp_path / "runs/own.md").read_text(encoding="utf-8") == page


def test_seeds_of_earlier_runs_stay_on_the_page(arguments: list[str], tmp_path: Path) -> None:
    more = ["--arms", "original", "--images", "0"]
    run_evidence(arguments, *more, "--seeds", "2")
    run_evidence(arguments, "--arms", "mean", "--images", "0")
    document = json.loads((tmp_path / "runs/own.json").read_bytes())
    assert {item["arm"]: item["seeds"] for item in document["cells"]} == {"original": 2, "mean": 1}


def test_checkpoints_are_removed_once_nothing_needs_them_and_that_is_all(arguments: list[str], tmp_path: Path) -> None:
    run_evidence(arguments, "--images", "0", "--remove-checkpoints")
    folder = tmp_path / "runs" / "evidence"
    assert list(folder.rglob("*.pth")) == []
    assert len(list(folder.rglob("results.json"))) == 2
    assert run_evidence(arguments, "--images", "0", "--dry-run").output.splitlines()[-1] == "3 of 3 jobs are done"
    next(folder.glob("02-mean/*/results.json")).unlink()
    listed = run_evidence(arguments, "--images", "0", "--dry-run").output.splitlines()
    assert [line.split()[-2] for line in listed if line.startswith("to do")] == ["train", "predict"]


def test_what_is_asked_for_is_run_and_nothing_else(arguments: list[str]) -> None:
    listed = run_evidence(arguments, "--arms", "original", "--images", "3", "--dry-run").output.splitlines()
    assert [line.split()[-2] for line in listed[:-1]] == ["subset", "train", "predict"]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--arms", "none"), "--arms: expected some of original, mean, found none"),
        (("--images", "4"), r"--images: expected some of the settings' that the data allow \(3, 0\), found 4"),
        (("--lengths", "9"), r"--lengths: expected some of the settings' that the data allow \(1\), found 9"),
        (
            ("--list", "nowhere"),
            "--list nowhere: expected a folder of YAML files or one of arms, causes, found neither",
        ),
    ],
)
def test_what_is_not_there_is_refused(arguments: list[str], options: tuple[str, ...], found: str) -> None:
    with pytest.raises(DataError, match=found):
        run_evidence(arguments, *options)


def test_subsets_as_large_as_the_data_are_left_out_and_refused_where_they_are_asked_for(
    arguments: list[str], tmp_path: Path
) -> None:
    # Seven of the drawn images have an object that is no crowd.
    (tmp_path / "wee.yaml").write_text(WEE.replace("[3, 0]", "[3, 7, 900, 0]"), encoding="utf-8")
    listed = run_evidence(arguments, "--arms", "original", "--dry-run").output.splitlines()
    assert [line for line in listed if "subset" in line] == [listed[0]]
    with pytest.raises(DataError, match=r"that the data allow \(3, 0\), found 900"):
        run_evidence(arguments, "--images", "900")


def test_numbers_are_numbers(arguments: list[str]) -> None:
    found = run_evidence(arguments, "--images", "3,many")
    assert found.exit_code == 2
    assert "expected numbers with commas between them, found many" in found.output


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("settings", [path.stem for path in SETTINGS.glob("*.yaml")])
def test_the_lists_that_ship_fit_the_settings_that_ship(name: str, settings: str) -> None:
    found = find_settings(settings, SETTINGS)
    arms = compose(load_arms(HERE / name), found, base_of(found))
    assert arms[0].name == "original"
    assert [arm.base for arm in arms[1:]].count("") == 0
    assert sum(arm.arm.headline for arm in arms) <= 1
