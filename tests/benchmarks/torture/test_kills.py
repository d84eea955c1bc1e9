"""Chains of kills: a command that goes on as it should is cleared, and each way of not doing so is found."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.torture import forked, judging, material, targets
from benchmarks.torture.judging import Offence, Tree
from benchmarks.torture.kills import Forks, Kill, Moment, Processes, Target, torture

# Writes three lines in a second; MODE says how it goes on.
PLANTED = """
import os, subprocess, sys, time
mode, out = sys.argv[1:]
partial = out + ".partial"
done = len(open(partial).read().splitlines()) if os.path.exists(partial) else 0
if mode == "half" and not os.path.exists(out):
    partial = out  # never told apart from what is whole
if mode == "forgets" and done:
    sys.exit("error: something is there")
if mode == "traceback" and done:
    raise KeyError("state")
if mode == "orphan":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
for line in range(0 if mode == "twice" else done, 3):
    with open(partial, "a") as file:
        file.write(f"{line}\\n")
    time.sleep(0.15)
if partial != out:
    os.replace(partial, out)
if mode == "leaves":
    open(out + ".lock", "a").close()
    if os.path.exists(out + ".seen"):
        open(out + ".more", "a").close()
"""


def whole_or_none(folder: Path, expected: Tree) -> list[Offence]:
    found = judging.tree(folder)
    return [Offence("half-written", "out")] if "out" in found and found["out"] != expected["out"] else []


def killed(mode: str, folder: Path, kills: int, show: Callable[[Kill], None]) -> None:
    program = folder / "planted.py"
    program.write_text(PLANTED)
    start = Processes(lambda work: [sys.executable, str(program), mode, str(work / "out")])
    target = Target(mode, "planted", start, judging.tree, whole_or_none, ("group",))
    work = folder / "work"
    work.mkdir()
    torture(target, kills, 0, work, show)


def test_what_goes_on_as_it_should_is_cleared(tmp_path: Path) -> None:
    seen: list[Kill] = []
    killed("good", tmp_path, kills=3, show=seen.append)
    assert [offence for kill in seen for offence in kill.found] == []
    assert seen[-1].struck == 3
    # The last chain is let run to its end.
    assert seen[-1].ended == "exit 0"
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["clean"]


@pytest.mark.parametrize(
    ("mode", "rule"),
    [("twice", "different"), ("half", "half-written"), ("forgets", "cannot go on"), ("traceback", "traceback")],
)
def test_what_goes_on_wrongly_is_found(mode: str, rule: str, tmp_path: Path) -> None:
    class FoundError(Exception):
        pass

    def stop_when_found(kill: Kill) -> None:
        if rule in {offence.rule for offence in kill.found}:
            raise FoundError

    # On a busy machine many a kill comes before the program has done anything wrong: as many as it takes.
    with pytest.raises(FoundError):
        killed(mode, tmp_path, kills=60, show=stop_when_found)
    # Its folder stays, to be looked at.
    assert len(list((tmp_path / "work").iterdir())) > 1


def test_a_process_that_outlives_its_command_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.torture.kills.ORPHANS_SECONDS", 0.2)
    program = tmp_path / "planted.py"
    program.write_text(PLANTED)
    start = Processes(lambda work: [sys.executable, str(program), "orphan", str(work / "out")])
    (tmp_path / "work").mkdir()
    ended = start(tmp_path / "work", None)
    assert ended.outcome.late
    assert "processes that outlive it" in ended.outcome.err


def test_a_command_that_fails_by_itself_is_no_target(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    start = Processes(lambda _: [sys.executable, "-c", "import sys; sys.exit('no data')"])
    with pytest.raises(RuntimeError, match="no data"):
        torture(Target("broken", "", start, judging.tree, whole_or_none), 1, 0, tmp_path / "work", lambda _: None)


@pytest.mark.stopped
def test_builds_are_killed_before_their_first_step_and_before_their_last(
    tmp_path: Path, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(material, "write_sample", lambda folder: shutil.copytree(sample, folder))
    (source,) = material.few(tmp_path / "good", ("train",), range(2))
    inputs = ("--annotations", str(source.annotations), "--images", str(source.images), "--workers", "1")
    start = Forks(lambda folder: ("augment", "build", *inputs, "--output", str(folder / "out")), "out")
    folders = [tmp_path / name for name in ("clean", "first", "last")]
    for folder in folders:
        folder.mkdir()
    clean, first, last = folders
    forked.preload()

    assert start(clean, None).outcome.code == 0
    expected = judging.tree(clean)
    assert start(first, Moment(0.0, "group", by_step=True)).killed
    assert judging.tree(first) == {}
    assert start(last, Moment(0.999, "group", by_step=True)).killed
    assert "out" in judging.tree(last)
    for folder in (first, last):
        assert start(folder, None).outcome.code == 0
        assert judging.tree(folder) == expected


def test_metrics_are_compared_by_iteration_and_without_what_differs_by_nature(tmp_path: Path) -> None:
    def numbers(*rows: dict[str, float]) -> str:
        path = tmp_path / "metrics.json"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return targets.metrics(path)

    first, second = {"iteration": 1, "bbox/ap": 2.5}, {"iteration": 3, "bbox/ap": 7.5}
    whole = numbers(first, second)
    # Times, and losses that are averages since the run went on.
    assert whole == numbers(second | {"time": 0.3, "total_loss": 2.5}, first)
    # Iterations that were done once more came to the same; where a run stopped, there is a line without an AP.
    assert whole == numbers(first, {"iteration": 2, "total_loss": 2.0}, second, first, second)
    assert whole != numbers(first, second | {"bbox/ap": 7.25})
    assert whole != numbers(second)


def test_the_copy_of_the_project_has_its_code_and_no_data(tmp_path: Path) -> None:
    copied = targets.copy_of_project(tmp_path / "project")
    assert (copied / "Makefile").is_file()
    assert (copied / "train" / "configs" / "tiny.yaml").is_file()
    assert (copied / "datasets" / "specs" / "sample.yaml").is_file()
    assert (copied / "datasets" / "pages" / "templates" / "page.html").is_file()
    assert not any(path.suffix in (".jpg", ".pth") for path in copied.rglob("*"))


def test_a_fork_that_hangs_is_not_taken_for_one_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "stages" / "sleepy"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("import click, time\nmain = click.command()(lambda: time.sleep(60))\n")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr("benchmarks.torture.kills.PATIENCE", 0.05)
    ended = Forks(lambda _: ("sleepy",), "out")(tmp_path / "work", Moment(0.5, "group", by_step=True))
    assert (ended.struck, ended.outcome.late) == (False, True)
