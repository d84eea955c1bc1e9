"""scripts/ladder, two rungs as they are run: two iterations on pictures of 48 px, then the same again for nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
from click.testing import CliRunner, Result

from datasets.errors import DataError
from datasets.sources import Input
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


def climb(arguments: list[str], *more: str) -> Result:
    return CliRunner().invoke(main, [*arguments, *more], catch_exceptions=False)


def refuse(*_: Any, **__: Any) -> NoReturn:
    raise AssertionError("a process was started")


def test_two_rungs_and_again(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = climb(arguments, "--rungs", "bn,gn", "--seeds", "1", "--jobs", "2")
    lines = first.output.splitlines()
    assert len(lines) == 5
    assert {line.partition(" ")[0] for line in lines[:4]} == {"[1/4]", "[2/4]", "[3/4]", "[4/4]"}
    document = json.loads((tmp_path / "runs/ladder.json").read_bytes())
    for rung in document["rungs"][:2]:
        # Seven of the drawn images have an object that is no crowd.
        assert [rung["trained"][0][key] for key in ("iterations", "batch", "images")] == [2, 2, 7]
        assert rung["trained"][0]["seconds"] > 0
        assert rung["trained"][0]["parameters"] > 10**7
        assert rung["measured"][0]["ap"] is not None
    assert document["rungs"][1]["change"]["sd"] is None
    assert document["rungs"][2]["measured"] == []
    page = (tmp_path / "runs/ladder.md").read_text(encoding="utf-8")
    assert "| 02-gn |" in page
    assert "2 for every rung; batch 2" in page

    monkeypatch.setattr(subprocess, "Popen", refuse)
    again = climb(arguments, "--rungs", "bn,gn", "--seeds", "1", "--jobs", "2")
    assert again.output.splitlines() == lines[4:], "everything is done"
    assert (tmp_path / "runs/ladder.md").read_text(encoding="utf-8") == page
    listed = climb(arguments, "--rungs", "bn,gn", "--seeds", "2", "--dry-run").output.splitlines()
    assert listed[-1] == "4 of 8 jobs are done"
    assert all(line.startswith("done") == ("seed 0" in line) for line in listed[:-1])


def test_a_dry_run_runs_nothing(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", refuse)
    listed = climb(arguments, "--dry-run").output.splitlines()
    # Two datasets; 21 jobs a seed.
    assert listed[-1] == "0 of 65 jobs are done"
    assert listed[0].split()[:5] == ["to", "do", "data", "balanced", "data"]
    assert not (tmp_path / "runs").exists()


def test_rungs_that_are_not_there_are_refused(arguments: list[str]) -> None:
    with pytest.raises(DataError, match=r"--rungs: expected some of bn, gn, .*, found top"):
        climb(arguments, "--rungs", "bn,top")


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
