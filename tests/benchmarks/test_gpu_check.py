"""The GPU check without a GPU: how parts are run and reported, with what a part may do wrong."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from benchmarks import gpu_check, reports
from benchmarks.gpu import part
from benchmarks.gpu.records import Row, Rows, Settings, read_rows
from benchmarks.gpu.report import PartResult, Report, as_text, summary
from datasets.errors import DataError
from scripts.experiments import environment


def row(check: str, ok: bool | None) -> Row:
    return Row(part="steps", check=check, ok=ok, text=f"what {check} gave")


def test_every_part_has_a_module_and_the_check_a_place_for_it() -> None:
    assert list(part.MODULES) == gpu_check.NAMES
    # The last one takes what is left; the others leave something for it.
    assert gpu_check.PARTS[-1].share == 1.0


def test_rows_are_read_as_they_come_but_for_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert read_rows(path) == []
    rows = Rows(path, "steps")
    rows.add("one", True, "what one gave")
    rows.add("two", None, "what two gave")
    with path.open("ab") as file:
        file.write(b'{"part": "steps", "check')
    assert read_rows(path) == [row("one", True), row("two", None)]


def test_a_number_that_is_not_finite_is_in_the_text_alone(tmp_path: Path) -> None:
    """JSON has no such number, and a row that cannot be read would be the end of the check."""
    rows = Rows(tmp_path / "rows.jsonl", "steps")
    rows.add("one", False, "loss nan", total_loss=math.nan, seconds=1.5, worst=math.inf)
    (found,) = read_rows(tmp_path / "rows.jsonl")
    assert found.numbers == {"seconds": 1.5}


def test_what_goes_wrong_in_a_row_is_that_row(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "rows.jsonl", "steps")
    for check in ("one", "two"):
        with rows.attempt(check):
            if check == "one":
                raise RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED")
            rows.add(check, True, "good")
    found = read_rows(tmp_path / "rows.jsonl")
    assert [(one.check, one.ok) for one in found] == [("one", False), ("two", True)]
    assert found[0].text == "RuntimeError: cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"


def test_a_report_says_what_passed_failed_and_was_not_run() -> None:
    found = Report(
        machine={"machine": "a small one"},
        minutes=8,
        seconds=61.2,
        parts=[
            PartResult(name="steps", about="steps", state="done", seconds=12.4, rows=[row("a", True), row("b", False)]),
            PartResult(name="speed", about="speed", state="failed", problem="ended with exit code 1:\nKeyError"),
            PartResult(name="memory", about="memory", state="done", rows=[row("c", None)]),
            PartResult(name="learning", about="learning"),
        ],
    )
    assert found.failed
    assert summary(found) == "1 passed, 1 failed; ended badly: speed; not run: learning; 61 s so far"
    found.complete = True
    text = as_text(found)
    assert text.endswith("not run: learning; 61 s\n")
    lines = text.splitlines()
    assert "steps (12 s): steps" in lines
    assert "  ok     a  what a gave" in lines
    assert "  FAILED b  what b gave" in lines
    assert "         c  what c gave" in lines
    assert "  FAILED ended with exit code 1:" in lines


@pytest.mark.parametrize(
    ("parts", "failed"),
    [
        ([PartResult(name="a", about="", state="done", rows=[row("x", True), row("y", None)])], False),
        ([PartResult(name="a", about="", state="cut off", rows=[row("x", True)])], False),
        ([PartResult(name="a", about="", state="not run")], False),
        ([PartResult(name="a", about="", state="done", rows=[row("x", False)])], True),
        ([PartResult(name="a", about="", state="failed")], True),
    ],
)
def test_what_makes_a_check_fail(parts: list[PartResult], failed: bool) -> None:
    assert Report(machine={}, minutes=1, parts=parts).failed == failed


@pytest.mark.parametrize(
    ("code", "is_late", "squeezed", "state", "problem"),
    [
        (0, False, False, "done", ""),
        (1, False, False, "failed", "ended with exit code 1:\nlast words"),
        (-9, True, False, "failed", "did not end within 30 s:\nlast words"),
        (-9, True, True, "cut off", ""),
    ],
)
def test_how_a_part_ended(code: int, is_late: bool, squeezed: bool, state: str, problem: str) -> None:
    assert gpu_check.ended(code, is_late, squeezed, 30, "last words") == (state, problem)


def settings(folder: Path, seconds: float) -> Settings:
    empty: dict[str, Any] = dict.fromkeys(("annotations", "images", "val_annotations", "val_images"), "")
    return Settings(device="cpu", output=str(folder), seconds=seconds, ends=time.monotonic() + seconds, **empty)


def test_a_part_that_breaks_is_reported_with_its_last_words(tmp_path: Path) -> None:
    result = PartResult(name="nonsense", about="")
    gpu_check._run_part(result, settings(tmp_path, 60), squeezed=False, save=lambda: None)
    assert result.state == "failed"
    assert result.problem.startswith("ended with exit code 1:")
    assert "KeyError: 'nonsense'" in result.problem


def test_a_part_that_does_not_end_is_ended(tmp_path: Path) -> None:
    """Importing torch alone takes longer."""
    result = PartResult(name="losses", about="")
    began = time.monotonic()
    gpu_check._run_part(result, settings(tmp_path, 0.3), squeezed=False, save=lambda: None)
    assert time.monotonic() - began < 20
    assert (result.state, result.problem) == ("failed", "did not end within 0 s:\n")


def test_unknown_parts_are_refused_by_name() -> None:
    assert [one.name for one in gpu_check.chosen("speed, steps")] == ["steps", "speed"]
    with pytest.raises(DataError, match=r"--only: expected some of steps, .*learning, found 'stepz'"):
        gpu_check.chosen("stepz,speed")


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="found something else in it"):
        gpu_check._clear(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_an_earlier_check_is_cleared_but_for_its_data(tmp_path: Path) -> None:
    """A finished run that is left there would have nothing to do, and nothing to be killed in."""
    for name in ("data/sample", "run-whole", "parts"):
        (tmp_path / name).mkdir(parents=True)
    for name in (reports.JSON, reports.TEXT, "profile.txt"):
        (tmp_path / name).touch()
    gpu_check._clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_without_a_gpu_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "gpus", list)
    done = CliRunner().invoke(gpu_check.main, ["--output", str(tmp_path / "out")])
    assert isinstance(done.exception, DataError)
    assert "found none; --cpu tries it without one" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_data_without_validation_data_is_wrong_usage(tmp_path: Path) -> None:
    done = CliRunner().invoke(gpu_check.main, ["--cpu", "--output", str(tmp_path / "out"), "--data", str(tmp_path)])
    assert done.exit_code == 2
    assert "--data, --val-annotations and --val-images go together" in done.output


def test_the_check_runs_on_the_cpu(tmp_path: Path, few: dict[str, str]) -> None:
    """Whole runs, to the report; parts that need no process of their own are in test_gpu_parts.py."""
    output = tmp_path / "out"
    data = ["--data", str(Path(few["annotations"]).parents[1])]
    data += ["--val-annotations", few["val_annotations"], "--val-images", few["val_images"]]
    done = CliRunner().invoke(
        gpu_check.main, ["--cpu", "--minutes", "12", "--output", str(output), "--only", "resume,predict", *data]
    )
    assert done.exit_code == 0, done.output
    found = msgspec.json.decode((output / reports.JSON).read_bytes(), type=Report)
    assert found.complete
    assert [one.state for one in found.parts] == ["done"] * 2
    # The time of a run is a figure; all else is asked for.
    assert [[item.ok for item in one.rows] for one in found.parts] == [[None, True], [True, True, True]]
    assert (output / reports.TEXT).read_text() == as_text(found)
    assert summary(found) in done.output
