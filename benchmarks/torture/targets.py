"""The commands to kill, and what must be equal at their end."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measuring import ROOT, environment
from benchmarks.torture import forked, judging, material
from benchmarks.torture.judging import Offence, Tree
from benchmarks.torture.kills import Forks, Processes, Target

# Images of the sample that are built; a source image makes six.
IMAGES = 12
# The data of `make submit`.
NAME = "few"


def build_in_forks(folder: Path) -> Target:
    """`augment build` by one worker."""
    forked.preload()
    source = _source(folder)

    def command(folder: Path) -> tuple[str, ...]:
        return ("augment", "build", *source, "--output", str(folder / "out"), "--workers", "1")

    about = "augment build by 1 worker, in forks, before a random file step or at a random moment"
    return Target("build", about, Forks(command, "out"), judging.tree, _whole_or_none, ("group",))


def build(folder: Path) -> Target:
    """`augment build` by two workers."""
    source = _source(folder)

    def command(folder: Path) -> list[str]:
        options = [*source, "--output", str(folder / "out"), "--workers", "2"]
        return [sys.executable, "-W", "ignore", "-m", "augment", "build", *options]

    about = "augment build by 2 workers: all its processes, the first, or one of the others"
    return Target("build-workers", about, Processes(command), judging.tree, _whole_or_none)


def _whole_or_none(folder: Path, expected: Tree) -> list[Offence]:
    """OUT is as it will be at the end, or is not there."""
    found = {
        name: what for name, what in judging.tree(folder).items() if not name.split("/")[0].startswith("out.partial")
    }
    if not found or found == expected:
        return []
    name = next(name for name in [*found, *expected] if found.get(name) != expected.get(name))
    return [Offence("half-written", name)]


def fit(folder: Path) -> Target:
    """`train fit` of a few iterations, validated and with a checkpoint after every second one."""
    folder.mkdir()
    train, val = material.few(folder, ("train", "val"), range(4))
    built = folder / "built"
    build = ["augment", "build", "--annotations", str(train.annotations), "--images", str(train.images)]
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *build, "--output", str(built)],
        env=environment(),
        check=True,
        capture_output=True,
    )

    def command(folder: Path) -> list[str]:
        keys = ["SOLVER.MAX_ITER", "10", "SOLVER.CHECKPOINT_PERIOD", "2", "INPUT.MIN_SIZE_TRAIN", "[48,64]"]
        keys += ["INPUT.MIN_SIZE_TEST", "64", "INPUT.MAX_SIZE_TEST", "96", "DATALOADER.NUM_WORKERS", "1"]
        validated = ["--val-annotations", str(val.annotations), "--val-images", str(val.images)]
        files = ["--data", str(built), *validated, "--output", str(folder / "run"), "--resume"]
        return [sys.executable, "-m", "train", "fit", "--model", "tiny", "--schedule", "sample", *files, *keys]

    about = "train fit, 10 iterations and a loader's worker: all its processes, the first, or one of the others"
    return Target("fit", about, Processes(command), _run, _weights_whole)


def _run(folder: Path) -> Tree:
    """A run's files without TensorBoard's events, which contain times; of metrics.json, what is equal in every run."""
    found = {name: what for name, what in judging.tree(folder).items() if ".tfevents." not in name}
    for name in [name for name in found if name.endswith("metrics.json")]:
        found[name] = metrics(folder / name)
    return found


def metrics(path: Path) -> str:
    """Validation results by iteration. Other lines also depend on where a run was interrupted: their losses are
    averages since it started or resumed.
    """
    rows: dict[int, dict[str, Any]] = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        measured = {key: value for key, value in row.items() if key.startswith("bbox/")}
        if measured:
            # Repeated lines after a kill are equal.
            rows.setdefault(row["iteration"], {}).update(measured)
    return json.dumps(sorted(rows.items()), sort_keys=True)


def _weights_whole(folder: Path, _: Tree) -> list[Offence]:
    """Checkpoints are zip archives, whose end tells that they are complete."""
    broken = [path.name for path in folder.rglob("model_*.pth") if b"PK\x05\x06" not in path.read_bytes()[-64:]]
    return [Offence("half-written", name) for name in broken[:1]]


def submit(folder: Path) -> Target:
    """`make submit` in a copy of the project, with one model and four iterations."""
    folder.mkdir()
    material.few(folder, ("train", "val", "test"), range(4))
    splits = [f"{split}: {{annotations: {split}.json, images: {split}}}\n" for split in ("train", "val", "test")]
    spec = folder / f"{NAME}.yaml"
    spec.write_text(f"about: A few images of the sample.\n{''.join(splits)}compile: [train]\n")
    copied = copy_of_project(folder / "project")

    def command(folder: Path) -> list[str]:
        if not (folder / "Makefile").exists():
            shutil.copytree(copied, folder, dirs_exist_ok=True)
        keys = "SOLVER.MAX_ITER 4 SOLVER.CHECKPOINT_PERIOD 2 INPUT.MIN_SIZE_TRAIN [48,64]"
        chosen = [f"PYTHON={sys.executable}", f"DATA={spec}", "MODELS=tiny", "SCHEDULE=sample", f"ARGS={keys}"]
        return ["make", "submit", *chosen]

    def same(folder: Path) -> Tree:
        return {
            name: what for name, what in _made(folder).items() if not re.search(r"\.tfevents\.|metrics\.json", name)
        }

    about = "make submit, one model, 4 iterations: all its processes, or one of those that make has started"
    return Target("submit", about, Processes(command), same, _weights_whole, ("group", "other"))


def _made(folder: Path) -> Tree:
    """What `make submit` makes in the project: data, runs, submissions."""
    found = judging.tree(folder)
    return {name: what for name, what in found.items() if re.match(rf"(runs|submissions|datasets/{NAME})", name)}


def copy_of_project(copied: Path) -> Path:
    """The code alone, as a checkout has it: no data, no environment, nothing that was made."""
    kept = ("augment", "datasets", "ensemble", "scripts", "train", "Makefile", "setup.cfg", "constraints.txt")
    copied.mkdir()
    for name in kept:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, copied / name, ignore=_not_code)
        else:
            shutil.copy(path, copied)
    return copied


def _not_code(folder: str, names: list[str]) -> set[str]:
    """In `datasets`, data lies in folders beside those of the code and the specs."""
    data = {name for name in names if Path(folder, name).is_dir() and name not in ("pages", "specs")}
    return {"__pycache__"} | (data if Path(folder) == ROOT / "datasets" else set())


def _source(folder: Path) -> list[str]:
    folder.mkdir()
    (source,) = material.few(folder, ("train",), range(IMAGES))
    return ["--annotations", str(source.annotations), "--images", str(source.images)]


TARGETS: dict[str, Callable[[Path], Target]] = {
    "build": build_in_forks,
    "build-workers": build,
    "fit": fit,
    "submit": submit,
}
