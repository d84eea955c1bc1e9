"""scripts/ladder, some rungs as they are run: two iterations on pictures of 48 px, then the same again for nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import click
import pytest
from click.testing import CliRunner, Result

from datasets.errors import DataError
from datasets.sources import Input
from datasets.staging import held
from scripts.ladder.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = """
about: pictures of 48 px
model: tiny
schedule: sample
iterations: 2
config:
  INPUT: {MIN_SIZE_TRAIN: [48, 64], MAX_SIZE_TRAIN: 96, MIN_SIZE_TEST: 48, MAX_SIZE_TEST: 96}
parts:
  deeper: {MODEL: {RESNETS: {DEPTH: 34}}}
  cascade: {}
"""


@pytest.fixture
def arguments(drawn: Input, tmp_path: Path) -> list[str]:
    split = f"{{annotations: {drawn.annotations}, images: {drawn.images}}}"
    (tmp_path / "mine.yaml").write_text(f"about: drawn\ntrain: {split}\nval: {split}\n", encoding="utf-8")
    (tmp_path / "wee.yaml").write_text(SETTINGS, encoding="utf-8")
    output = str(tmp_path / "runs" / "ladder")
    return ["--data", str(tmp_path / "mine.yaml"), "--settings", str(tmp_path / "wee.yaml"), "--output", output]


def run_ladder(arguments: list[str], *more: str) -> Result:
    return CliRunner().invoke(main, [*arguments, *more], catch_exceptions=False)


def refuse(*_: Any, **__: Any) -> NoReturn:
    raise AssertionError("a process was started")


def test_two_rungs_and_again(
    arguments: list[str], drawn: Input, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_ladder(arguments, "--rungs", "bn,gn", "--seeds", "1", "--jobs", "2")
    lines = first.output.splitlines()
    assert len(lines) == 5
    assert {line.partition(" ")[0] for line in lines[:4]} == {"[1/4]", "[2/4]", "[3/4]", "[4/4]"}
    # Trained and measured on the same split.
    images = len(json.loads(drawn.annotations.read_bytes())["images"])
    about = "(seen in training)"
    assert [line.endswith(about) for line in lines[:4]] == ["predicted, AP" in line for line in lines[:4]]
    document = json.loads((tmp_path / "runs/ladder.json").read_bytes())
    for rung in document["rungs"][:2]:
        # Seven of the drawn images have an object that is no crowd.
        assert [rung["trained"][0][key] for key in ("iterations", "batch", "images")] == [2, 2, 7]
        assert rung["trained"][0]["seconds"] > 0
        assert rung["trained"][0]["parameters"] > 10**7
        assert rung["measured"][0]["ap"] is not None
        assert [rung["measured"][0][key] for key in ("images", "images_seen_in_training")] == [images] * 2
        assert (rung["doubts"], rung["note"]) == ([""], about[1:-1])
    assert document["rungs"][1]["change"]["sd"] is None
    assert document["rungs"][2]["measured"] == []
    page = (tmp_path / "runs/ladder.md").read_text(encoding="utf-8")
    assert page.count(about) >= 2, "in the table's lines, and where a rung is said to help or not"
    assert "| 02-gn |" in page
    assert [len(document[key]) for key in ("machines", "versions", "commits", "jobs")] == [1, 1, 1, 1]
    assert "Commands at a time: 2." in page
    assert "2 for every rung; batch 2" in page

    monkeypatch.setattr(subprocess, "Popen", refuse)
    again = run_ladder(arguments, "--rungs", "bn,gn", "--seeds", "1", "--jobs", "2")
    assert again.output.splitlines() == lines[4:], "everything is done"
    assert (tmp_path / "runs/ladder.md").read_text(encoding="utf-8") == page
    listed = run_ladder(arguments, "--rungs", "bn,gn", "--seeds", "2", "--dry-run").output.splitlines()
    assert listed[-1] == "4 of 8 jobs are done"
    assert all(line.startswith("done") == ("seed 0" in line) for line in listed[:-1])

    def left() -> list[str]:
        lines = run_ladder(arguments, "--rungs", "bn,gn", "--seeds", "1", "--dry-run").output.splitlines()
        return [line.split()[5] for line in lines if line.startswith("to do")]

    folder = tmp_path / "runs/ladder/01-bn"
    next(folder.glob("*/model_last.pth")).unlink()
    assert left() == [], "nothing needs the checkpoint any more"
    next(folder.glob("*predict*/results.json")).unlink()
    assert left() == ["train", "predict"]


def test_data_is_built_and_kept_by_what_was_trained_on_it(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--rungs", "balanced", "--seeds", "1")
    first = run_ladder(arguments, *options).output.splitlines()
    steps = [
        "[1/3] data balanced: compiled",
        "[2/3] 03-balanced seed 0: trained",
        "[3/3] 03-balanced seed 0: predicted",
    ]
    assert [line.startswith(step) for line, step in zip(first, steps, strict=False)] == [True] * 3
    page = (tmp_path / "runs/ladder.md").read_text(encoding="utf-8")
    trained = json.loads((tmp_path / "runs/ladder.json").read_bytes())["rungs"][2]["trained"][0]
    assert trained["images"] > 7, "copies of the seven images with an object"

    place = next((tmp_path / "runs/ladder/data").glob("balanced-*"))
    shutil.rmtree(place / "dataset")
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", refuse)
        assert run_ladder(arguments, *options).output.splitlines() == first[3:], "nothing needs the data"
    assert (tmp_path / "runs/ladder.md").read_text(encoding="utf-8") == page
    listed = run_ladder(arguments, "--rungs", "balanced", "--seeds", "2", "--dry-run").output.splitlines()
    assert [line.startswith("to do") for line in listed[:-1]] == [True, False, False, True, True]

    # Without what was written down of it, it is built to see what was trained on it: the same, so that it stands.
    shutil.rmtree(place)
    again = run_ladder(arguments, *options).output.splitlines()
    assert [line.partition(": ")[0] for line in again] == ["[1/3] data balanced", first[3].partition(": ")[0]]


def test_a_dry_run_runs_nothing(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", refuse)
    listed = run_ladder(arguments, "--dry-run").output.splitlines()
    # Two datasets; 21 jobs a seed.
    assert listed[-1] == "0 of 65 jobs are done"
    assert listed[0].split()[:5] == ["to", "do", "data", "balanced", "data"]
    assert not (tmp_path / "runs").exists()


def test_rungs_that_are_not_there_are_refused(arguments: list[str]) -> None:
    with pytest.raises(DataError, match=r"--rungs: expected some of bn, gn, .*, found top"):
        run_ladder(arguments, "--rungs", "bn,top")


def test_an_output_without_a_name_gets_one_or_is_refused(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr("scripts.experiments.runner.run", lambda *_, **__: None)
    assert f"{folder}.md: the table" in run_ladder(arguments, "--output", ".").output
    assert (tmp_path / "here.md").is_file()
    with pytest.raises(click.UsageError, match="--output: expected a folder with a name, found /"):
        main.main([*arguments, "--output", "/"], standalone_mode=False)


def test_what_cannot_be_written_is_refused_before_anything_is_run(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", refuse)
    output = tmp_path / "runs/ladder"
    with held(output / ".lock", output), pytest.raises(DataError, match="another ladder is writing it"):
        run_ladder(arguments)
    (tmp_path / "runs/ladder.md").mkdir()
    with pytest.raises(DataError, match=r"ladder\.md: cannot be written"):
        run_ladder(arguments)


def test_help_answers_at_once() -> None:
    code = (
        "import sys, runpy; sys.argv = ['ladder', '--help']\n"
        "try: runpy.run_module('scripts.ladder', run_name='__main__')\n"
        "except SystemExit as stop: assert stop.code in (0, None), stop.code\n"
        "print(*sorted(name for name in sys.modules if '.' not in name), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Example:" in done.stdout
    assert not {"cv2", "hotcoco", "numpy", "torch"} & set(done.stderr.split())
