"""scripts/experiments: which jobs there are, what their identities depend on, and how processes of theirs end."""

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
from datasets.sources import Input
from scripts.experiments import runner
from scripts.experiments.arms import (
    Arm,
    Composed,
    Predict,
    Recipe,
    Settings,
    base_of,
    compose,
    find_settings,
    load_arms,
    merged,
)
from scripts.experiments.jobs import Data, Job, Originals, Plan, Planner, Trial, Val, data_job, subset_job
from scripts.ladder.ladder import RUNGS, SETTINGS

ROOT = Path(__file__).resolve().parents[2]
DATA = {
    (name, 0, 0): Data(("--data", f"data/{name}"), f"digest of {name}", 59) for name in ("", "balanced", "expanded")
}
VAL = Val("val.json", "val", "digest of val")
FILES = Input(Path("a.json"), Path("a"))


def ladder() -> list[Composed]:
    settings = find_settings("sample", SETTINGS)
    return compose(load_arms(RUNGS), settings, base_of(settings))


def of(name: str, seed: int = 0) -> Trial:
    return Trial(name, images=0, length=1, seed=seed)


def plan(rungs: list[Composed], seeds: int = 1, data: dict[tuple[str, int, int], Data] = DATA, **options: Any) -> Plan:
    planner = Planner(data, options.pop("val", VAL), **{"gpus": 1, "version": "0", **options})
    for rung in rungs:
        for seed in range(seeds):
            planner.add(rung, of(rung.name, seed), {item.name: item for item in rungs})
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
    trainings = found.trainings
    assert trainings[of("cascade", 1)] == trainings[of("fusion", 1)] != trainings[of("cascade")]


def test_a_subset_needs_its_own_jobs_only() -> None:
    found = plan(ladder(), seeds=2)
    steps = [(job.step, job.arm) for job in found.needed([of("bn")])]
    assert steps == [("train", "01-bn"), ("predict", "01-bn")]
    steps = [(job.step, job.arm) for job in found.needed([of("tta")])]
    assert steps == [("train", "07-cascade"), ("predict", "09-tta"), ("fuse", "09-tta")]
    assert Counter(job.step for job in found.needed([of("fusion")])) == {"train": 3, "predict": 3, "fuse": 1}


def test_commands_are_the_projects_own() -> None:
    found = plan(ladder())
    job = found.jobs[found.measured[of("tta")]]
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
    return {trial.arm: (found.trainings[trial], found.measured[trial]) for trial in found.trainings if not trial.seed}


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
    balanced = ("balanced", 0, 0)
    other = Data(("--data", "there"), "another", 137)
    assert changed(plan(rungs, data={**DATA, balanced: other})) == {"balanced"}
    assert changed(plan(rungs, data={**DATA, balanced: DATA[balanced]._replace(arguments=("moved",))})) == set()
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
    recipe, originals = Recipe("balanced", "text", shipped=True), Originals(FILES, "digest", 0)
    identity = data_job(recipe, originals, "", "0").identity
    moved = originals._replace(files=Input(Path("moved.json"), Path("moved")))
    assert data_job(recipe, moved, "", "0").identity == identity
    others = [
        data_job(recipe._replace(text="another"), originals, "", "0"),
        data_job(recipe, originals._replace(digest="another"), "", "0"),
        data_job(recipe, originals, "", "1"),
    ]
    assert len({identity, *(job.identity for job in others)}) == 4


def test_a_recipe_that_an_arm_brings_along_is_written_beside_what_needs_it() -> None:
    job = data_job(Recipe("mine", "name: mine\n", shipped=False), Originals(FILES, "digest", 0), "", "0")
    place = job.arguments.index("--recipe") + 1
    assert (job.arguments[place], job.files) == (
        f"{{folder}}/{job.folder}/recipe.yaml",
        {"recipe.yaml": "name: mine\n"},
    )


SMALL = Settings(about="", model="tiny", schedule="sample", iterations=300, images=(25, 0), lengths=(1, 4))
ARMS = {
    "a": Arm(about="", data="original"),
    "b": Arm(about="", data={"operations": [{"operation": "original"}]}),
    "c": Arm(about="", base="b", online=True),
    "d": Arm(about="", base="a", predict=Predict(ema=False, config={"INPUT": {"MIN_SIZE_TEST": 64}})),
}


def planned(trials: list[Trial]) -> Plan:
    arms = {arm.name: arm for arm in compose(ARMS, SMALL, base_of(SMALL))}
    whole = Originals(FILES, "digest", 0, name="mine")
    subset = subset_job(whole, 25, 1, "0")
    drawn = Data(("--annotations", "a.json", "--images", "a"), subset.identity, 25, (subset.identity,))
    data = {("", 25, 1): drawn, ("b", 25, 1): Data(("--data", "b"), "built", 50, ("job",)), ("", 0, 0): DATA["", 0, 0]}
    planner = Planner(data, VAL, gpus=1, version="0", first=[subset])
    for trial in trials:
        planner.add(arms[trial.arm], trial, arms)
    return planner.plan


def test_a_trial_is_of_so_many_images_for_so_many_iterations() -> None:
    short = Trial("a", images=25, length=1, seed=1)
    found = planned([short, short._replace(length=4), short._replace(images=0)])
    drawn, first, long, whole = (found.jobs[item] for item in (*list(found.jobs)[:1], *found.trainings.values()))
    assert drawn.arguments[:2] == ("datasets", "subset")
    assert drawn.arguments[drawn.arguments.index("--count") :][:4] == ("--count", "25", "--seed", "1")
    assert first.needs == long.needs == (drawn.identity,)
    assert whole.needs == ()
    assert [job.expected["iterations"] for job in (first, long, whole)] == [300, 1200, 300]
    assert [job.expected["images"] for job in (first, long, whole)] == [25, 25, 59]
    stems = ["n25-seed1", "n25-x4-seed1", "seed1"]
    assert [job.folder for job in (first, long, whole)] == [
        f"a/{stem}-{job.identity[:8]}" for stem, job in zip(stems, (first, long, whole), strict=True)
    ]
    assert [str(job) for job in (first, long, whole)] == [
        "a 25 images, seed 1",
        "a 25 images, x 4, seed 1",
        "a seed 1",
    ]


def test_an_online_arm_trains_on_the_images_themselves_with_its_recipe() -> None:
    trial = Trial("b", images=25, length=1, seed=1)
    found = planned([trial, trial._replace(arm="c")])
    compiled, online = (found.jobs[item] for item in found.trainings.values())
    assert (compiled.needs, "--online" in compiled.arguments) == (("job",), False)
    place = online.arguments.index("--online") + 1
    assert online.arguments[place] == f"{{folder}}/{online.folder}/recipe.yaml"
    assert "operation: original" in online.files["recipe.yaml"]
    assert (compiled.expected["images"], online.expected["images"]) == (50, 25)


def test_an_arm_that_only_predicts_in_another_way_trains_nothing() -> None:
    trial = Trial("a", images=25, length=1, seed=1)
    found = planned([trial, trial._replace(arm="d")])
    plain, other = (found.jobs[item] for item in found.measured.values())
    assert len(set(found.trainings.values())) == 1
    assert other.needs == plain.needs
    assert other.arguments[-3:] == ("--no-ema", "INPUT.MIN_SIZE_TEST", "64")
    assert "--no-ema" not in plain.arguments


def fake(name: str, *arguments: str, needs: tuple[str, ...] = ()) -> Job:
    return Job("train", name, "seed 1", name, f"{name}/seed1", arguments, needs, {}, {})


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
    return fake(name, "stand_in", what, f"{{folder}}/{name}/seed1", needs=needs)


def test_jobs_are_run_after_what_they_need(modules: Path) -> None:
    order: list[str] = []
    jobs = [stand_in("b", "pass", needs=("a", "before")), stand_in("a", "pass")]
    runner.run(jobs, modules, slots=2, finished={"before"}, done=lambda job, _: order.append(job.arm))
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
from scripts.experiments import runner
from scripts.experiments.jobs import Job
out = Path(sys.argv.pop())
jobs = [
    Job("train", n, "seed 1", n, f"{n}/seed1", ("stand_in", "wait", f"{{folder}}/{n}/seed1"), (), {}, {}) for n in "ab"
]
cli.run(click.command()(lambda: runner.run(jobs, out, slots=2, finished=set(), done=print)), "driver")
"""


@pytest.mark.parametrize(
    ("sent", "code", "said"),
    [
        (signal.SIGINT, 130, "interrupted; what is finished is kept; the same command continues"),
        (signal.SIGTERM, 143, ""),
    ],
)
def test_an_interrupted_experiment_lets_its_trainings_save_and_says_how_to_go_on(
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
def test_trainings_of_an_experiment_that_is_killed_save_and_end(modules: Path) -> None:
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
