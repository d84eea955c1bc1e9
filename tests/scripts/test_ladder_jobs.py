"""scripts/ladder: which jobs there are, what their identities depend on, and how processes of theirs end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from datasets.errors import DataError
from scripts.ladder import runner
from scripts.ladder.jobs import Data, Job, Plan, Planner, Val, data_job
from scripts.ladder.rungs import Composed, base_of, compose, find_settings, load_rungs, merged

ROOT = Path(__file__).resolve().parents[2]
DATA = {name: Data(f"data/{name}", f"digest of {name}", 59) for name in ("original", "balanced", "expanded")}
VAL = Val("val.json", "val", "digest of val")


def ladder() -> list[Composed]:
    settings = find_settings("sample", "sample")[1]
    return compose(load_rungs(), settings, base_of(settings))


def plan(rungs: list[Composed], seeds: int = 1, data: dict[str, Data] = DATA, **options: Any) -> Plan:
    planner = Planner(data, options.pop("val", VAL), **{"gpus": 1, "version": "0", **options})
    for rung in rungs:
        for seed in range(seeds):
            planner.add(rung, seed, {item.name: item for item in rungs})
    return planner.plan


def test_the_whole_ladder_has_the_jobs_that_it_needs_and_none_twice() -> None:
    rungs = ladder()
    found = plan(rungs, seeds=2)
    # A seed: 7 trainings; their 7 predictions, raw and tta of the cascade, tta of the two others; 3 fusions.
    assert Counter(job.step for job in found.jobs.values()) == {"train": 14, "predict": 22, "fuse": 6}
    assert len({job.folder for job in found.jobs.values()}) == 42
    done = set[str]()
    for job in found.jobs.values():
        assert done.issuperset(job.needs), "a job comes after those it needs"
        done.add(job.identity)
    assert found.trainings["cascade", 1] == found.trainings["fusion", 1] != found.trainings["cascade", 0]


def test_a_subset_needs_its_own_jobs_only() -> None:
    found = plan(ladder(), seeds=2)
    steps = [(job.step, job.rung) for job in found.needed(["bn"], range(1))]
    assert steps == [("train", "01-bn"), ("predict", "01-bn")]
    steps = [(job.step, job.rung) for job in found.needed(["tta"], range(1))]
    assert steps == [("train", "07-cascade"), ("predict", "09-tta"), ("fuse", "09-tta")]
    assert Counter(job.step for job in found.needed(["fusion"], range(1))) == {"train": 3, "predict": 3, "fuse": 1}


def test_commands_are_the_projects_own() -> None:
    found = plan(ladder())
    job = found.jobs[found.measured["tta", 0]]
    assert job.arguments[:4] == ("ensemble", "fuse", "--annotations", "val.json")
    predict = found.jobs[job.needs[0]]
    training = found.jobs[predict.needs[0]]
    assert runner.command(predict, Path("out")) == [
        *("-m", "train", "predict", "--run", f"out/{training.folder}", "--annotations", "val.json", "--images", "val"),
        *("--output", f"out/{predict.folder}/results.json", "--raw", "--tta"),
    ]
    assert training.folder == f"07-cascade/seed0-{training.identity[:8]}"
    assert training.arguments[-3:] == ("--resume", "SEED", "0")
    assert "--val" not in training.arguments


def identities(found: Plan) -> dict[str, tuple[str, str]]:
    return {name: (found.trainings[name, 0], found.measured[name, 0]) for name, _ in found.trainings}


def changed(other: Plan) -> set[str]:
    """The rungs with another training or another measured result than those of the plain ladder."""
    before, now = identities(plan(ladder())), identities(other)
    return {name for name in before if before[name] != now[name]}


def test_what_a_change_affects_is_run_again_and_nothing_else() -> None:
    rungs = ladder()
    assert changed(plan(rungs, seeds=3)) == set()
    names = {rung.name for rung in rungs}
    assert changed(plan(rungs, version="1")) == names
    assert changed(plan(rungs, val=VAL._replace(digest="another"))) == names
    assert changed(plan(rungs, data={**DATA, "balanced": Data("there", "another", 137)})) == {"balanced"}
    assert changed(plan(rungs, data={**DATA, "balanced": DATA["balanced"]._replace(path="moved")})) == set()
    workers = {"DATALOADER": {"NUM_WORKERS": 8}, "SOLVER": {"CHECKPOINT_PERIOD": 7}}
    assert changed(plan([rung._replace(config=merged(rung.config, workers)) for rung in rungs])) == set()
    rate = {"SOLVER": {"BASE_LR": 0.01}}
    assert changed(plan([rung._replace(config=merged(rung.config, rate)) for rung in rungs])) == names
    depth = {"MODEL": {"RESNETS": {"DEPTH": 50}}}
    deeper = [*rungs[:5], *(rung._replace(config=merged(rung.config, depth)) for rung in rungs[5:])]
    assert changed(plan(deeper)) == {"deeper", "cascade", "soft-nms", "tta", "fusion"}
    last = [*rungs[:-1], rungs[-1]._replace(ensemble={"fuse": {"method": "nms"}})]
    assert changed(plan(last)) == {"fusion"}


def test_compiled_data_depends_on_the_split_the_recipe_and_the_version() -> None:
    plain = {"recipe": "balanced", "source": "digest", "recipe_text": "text", "version": "0"}
    identity = data_job(annotations="a.json", images="a", **plain).identity
    assert data_job(annotations="moved.json", images="moved", **plain).identity == identity
    for key in ("source", "recipe_text", "version"):
        assert data_job(annotations="a.json", images="a", **{**plain, key: "another"}).identity != identity


def fake(name: str, *arguments: str, needs: tuple[str, ...] = ()) -> Job:
    return Job("train", name, 1, name, f"{name}/seed1", arguments, needs, {}, {})


MODULE = """
import pathlib, signal, sys, time
what, place = sys.argv[1], pathlib.Path(sys.argv[2])
def stop(number, frame):
    (place / "saved").touch()
    raise SystemExit(130)
signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)
if what == "fail":
    print("\\n".join(f"line {n}" for n in range(50)))
    raise SystemExit(3)
if what == "wait":
    (place / "begun").touch()
    time.sleep(60)
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "stand_in.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    return tmp_path / "out"


def stand_in(name: str, what: str, needs: tuple[str, ...] = ()) -> Job:
    return fake(name, "stand_in", what, f"{{ladder}}/{name}/seed1", needs=needs)


def test_jobs_are_run_after_what_they_need(modules: Path) -> None:
    order: list[str] = []
    jobs = [stand_in("b", "pass", needs=("a", "before")), stand_in("a", "pass")]
    runner.run(jobs, modules, slots=2, finished={"before"}, done=lambda job, _: order.append(job.rung))
    assert order == ["a", "b"]
    assert (modules / "a/seed1/log.txt").read_text() == f"$ python -m stand_in pass {modules}/a/seed1\n"


def test_a_step_that_fails_is_named_with_its_log_and_the_others_save_and_stop(modules: Path) -> None:
    jobs = [stand_in("slow", "wait"), stand_in("bad", "fail"), stand_in("never", "pass")]
    with pytest.raises(DataError) as caught:
        runner.run(jobs, modules, slots=2, finished=set(), done=lambda *_: None)
    text = str(caught.value)
    assert f"bad seed 1: train failed with exit code 3: python -m stand_in fail {modules}/bad/seed1" in text
    assert f"{modules}/bad/seed1/log.txt ends with:" in text
    assert "line 49" in text
    assert "line 37" not in text
    assert "the same command continues" in text
    assert not (modules / "never").exists()


DRIVER = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import click
from pathlib import Path
from datasets import cli
from scripts.ladder import runner
from scripts.ladder.jobs import Job
out = Path(sys.argv.pop())
jobs = [Job("train", n, 1, n, f"{n}/seed1", ("stand_in", "wait", f"{{ladder}}/{n}/seed1"), (), {}, {}) for n in "ab"]
cli.run(click.command()(lambda: runner.run(jobs, out, slots=2, finished=set(), done=print)), "driver")
"""


@pytest.mark.parametrize(
    ("sent", "code", "said"),
    [
        (signal.SIGINT, 130, "interrupted; what is finished is kept; the same command continues"),
        (signal.SIGTERM, 143, ""),
    ],
)
def test_an_interrupted_ladder_lets_its_trainings_save_and_says_how_to_go_on(
    modules: Path, sent: signal.Signals, code: int, said: str
) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]])}
    command = [sys.executable, "-c", DRIVER, str(modules)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        wait_for(modules / "a/seed1/begun", modules / "b/seed1/begun")
        process.send_signal(sent)
        assert process.wait(timeout=30) == code
        assert process.stderr is not None
        assert process.stderr.read().strip() == said
    assert (modules / "a/seed1/saved").exists()
    assert (modules / "b/seed1/saved").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent was killed")
def test_trainings_of_a_ladder_that_is_killed_save_and_end(modules: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]])}
    with subprocess.Popen([sys.executable, "-c", DRIVER, str(modules)], env=environment) as process:
        wait_for(modules / "a/seed1/begun", modules / "b/seed1/begun")
        process.kill()
        assert process.wait(timeout=30) == -signal.SIGKILL
    wait_for(modules / "a/seed1/saved", modules / "b/seed1/saved")


def wait_for(*paths: Path) -> None:
    deadline = time.monotonic() + 30
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline, "it never began"
        time.sleep(0.02)
