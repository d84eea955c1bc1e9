"""The command: what it tries, reports and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.measuring import environment
from benchmarks.torture import report
from benchmarks.torture.__main__ import PARTS, main
from benchmarks.torture.mutations import KINDS
from benchmarks.torture.report import Example, Part, Report
from benchmarks.torture.targets import TARGETS
from datasets.errors import DataError


def test_every_part_has_what_it_runs() -> None:
    assert sorted(PARTS) == sorted([*KINDS, *TARGETS])
    # One command's kills are N, by one worker and by two.
    assert PARTS["build"].share + PARTS["build-workers"].share == 1


# A copy of the sample, since to draw it takes five seconds, and each part does.
WITH_SAMPLE = """
import runpy, shutil, sys
from benchmarks.torture import material
sample = sys.argv.pop(1)
material.write_sample = lambda folder: shutil.copytree(sample, folder)
runpy.run_module("benchmarks.torture", run_name="__main__", alter_sys=True)
"""


def test_a_small_torture_runs_and_reports(tmp_path: Path, sample: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", WITH_SAMPLE, str(sample), "-n", "1"]
    command += ["--output", str(tmp_path / "out")]
    command += ["--only", "annotations,results,pictures"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 offences; annotations 1, results 1, pictures 1" in done.stdout
    found = json.loads((tmp_path / "out" / "report.json").read_bytes())
    for part in found["parts"]:
        assert (
            sum(part["outcomes"]["datasets check" if part["name"] != "results" else "datasets evaluate"].values()) == 1
        )
        assert 50 < part["memory"] < 1000
    # Nothing stays of cases that show nothing.
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.json", "report.txt"]


def refused(*arguments: str) -> str:
    ended = CliRunner().invoke(main, [*arguments])
    assert isinstance(ended.exception, DataError)
    return str(ended.exception)


def test_parts_that_there_are_not_are_named(tmp_path: Path) -> None:
    assert "found 'recipes'" in refused("--only", "results,recipes", "--output", str(tmp_path))


def test_a_folder_of_something_else_stays(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert "something else in it" in refused("--output", str(tmp_path))
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("problem", ["", "it fails by itself"])
def test_a_report_counts_offences_by_their_cause(problem: str) -> None:
    part = Part(
        name="results", about="broken results files", asked=9, done=9, seconds=1.5, memory=101.6, problem=problem
    )
    for case in ("3", "5"):
        part.add(
            "ensemble fuse: traceback: fuse.py:3 main: KeyError", Example(case=case, about="$", command="x", said="")
        )
    part.count("ensemble fuse", "exit 0")
    found = Report(seed=0, machine={"machine": "a small one"}, parts=[part])
    assert found.offences == 2 + bool(problem)
    text = report.as_text(found)
    assert "  9 of 9 in 2 s, at most 102 MB\n" in text
    assert "  OFFENCE 2 x ensemble fuse: traceback: fuse.py:3 main: KeyError\n    case 3: $\n" in text
    assert ("FAILED: it fails by itself" in text) == bool(problem)
