"""The folder of a run: locked for one training, and the checkpoint in it to resume from."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from datasets.errors import DataError
from datasets.seen import NOTHING, SeenImages
from datasets.staging import held
from train import compat, config  # noqa: F401 - compat before detectron2
from train.checkpoints import checkpoint
from train.checkpoints.checkpoint import Loaded
from train.checkpoints.lineage import RANDOM
from train.data.online import name_of
from train.data.read import TrainingData
from train.data.sampler import Division
from train.run.schedule import Schedule

# isort: split
from detectron2.utils import comm

LOCK = ".lock"


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Lock the run's folder for this process; forked loader workers do not hold it."""
    with held(output / LOCK, output, work="training", forks=True):
        yield


def find_before(output: Path, *, resume: bool) -> Loaded | None:
    """The checkpoint in the output folder to resume from, if any. Raises DataError where it must not be resumed."""
    path = output / checkpoint.LAST
    if not path.is_file():
        return None
    if not resume:
        raise DataError(
            f"{output}: expected a new folder, found a run; --resume continues it, another --output starts a new one"
        )
    loaded = checkpoint.read(path)
    missing = sorted({"optimizer", "scaler", "best", "processes", "data"} - loaded.content.keys())
    if missing:
        raise DataError(f"{path}: expected a checkpoint to resume from, found none of {', '.join(missing)}")
    return loaded


class Found(NamedTuple):
    """The result of `find_before` in one process, on one machine."""

    machine: str
    iteration: int | None
    """None where there is no run to resume."""
    sha256: str = ""
    error: DataError | None = None


def find_in_all(output: Path, *, resume: bool) -> Loaded | None:
    """`find_before` in every process.

    Raises DataError in all processes where it fails in one, and where they find different runs.
    """
    before, error = None, None
    try:
        before = find_before(output, resume=resume)
    except DataError as caught:
        error = caught
    mine = Found(socket.gethostname(), None, error=error)
    if before is not None:
        mine = mine._replace(iteration=int(before.content["iteration"]), sha256=before.sha256)
    check_found(output, comm.all_gather(mine))
    return before


def check_found(output: Path, found: Sequence[Found]) -> None:
    """Raises DataError for what a process could not read, and where processes found different runs."""
    for item in found:
        if item.error is not None:
            raise item.error
    if len({(item.iteration, item.sha256) for item in found}) > 1:
        raise DataError(
            f"{output / checkpoint.LAST}: expected the same file on every machine, found different ones",
            list(dict.fromkeys(map(_described, enumerate(found)))),
            advice="Put --output on a disk that all machines share, or copy this file from machine 0 to the others.",
        )


def _described(numbered: tuple[int, Found]) -> str:
    number, item = numbered
    what = "no run" if item.iteration is None else f"iteration {item.iteration:,} (SHA-256 {item.sha256[:12]})"
    return f"process {number} on {item.machine}: {what}"


def check_same_everywhere(cfg: Any, data: TrainingData) -> None:
    """Raises DataError, in every process, where configurations or datasets differ between processes."""
    # Weights are broadcast from the first process, so their path may differ.
    ignored = {*config.FREE_ON_RESUME, "MODEL.WEIGHTS"}
    mine = {key: value for key, value in config.flat(cfg).items() if key not in ignored}
    about = {**data.identity, "images": len(data.records)}
    mine.update({f"dataset, {key}": value for key, value in about.items()})
    everyone = comm.all_gather((socket.gethostname(), mine))
    problems = differences_between(everyone)
    if problems:
        raise DataError("the processes were given different configurations or datasets", problems)


def differences_between(everyone: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    """Where (machine, values by name) of another process differ from those of the first."""
    first_machine, first = everyone[0]
    found = {
        f"{name}: {first.get(name)!r} on {first_machine}, {other.get(name)!r} in process {number} on {machine}": None
        for number, (machine, other) in enumerate(everyone)
        for name in sorted(first.keys() | other.keys())
        if first.get(name) != other.get(name)
    }
    return list(found)


def check_left_over(output: Path, schedule: Schedule) -> None:
    """Raises DataError, in every process, for checkpoints of a run whose last one is missing, which would be taken for
    the new run's.

    A run killed while it wrote its first checkpoint of an epoch leaves that one, and writes the same again.
    """
    first = schedule.epoch_of(schedule.epoch_ends()[0])
    left = [path.name for epoch, path in checkpoint.epochs_in(output).items() if epoch != first]
    for names in comm.all_gather(left):
        if names:
            raise DataError(
                f"{output}: expected a new folder or a run, found checkpoints without the last one, {checkpoint.LAST}",
                names,
                advice="Move them away, or choose another --output.",
            )


def keep_parent(before: Loaded, cfg: Any, *, given: bool) -> None:
    """On resume, the recorded parent checkpoint is reused; `given`, by --init, may have moved or have a better
    epoch.
    """
    recorded = config.from_text(before.content["config"], str(before.path))
    if given or not cfg.MODEL.WEIGHTS:
        cfg.MODEL.WEIGHTS = recorded.MODEL.WEIGHTS


def seen_by(before: Loaded) -> SeenImages:
    """The images that a resumed run had seen; empty for a run from random weights of an earlier version."""
    seen = before.content.get("seen")
    if seen is None and before.lineage.get("from") == RANDOM:
        return NOTHING
    return SeenImages.from_plain(seen, str(before.path))


def check_same_run(
    before: Loaded, cfg: Any, data: TrainingData, division: Division, output: Path, say: Callable[[str], None]
) -> None:
    """Raises DataError, with every difference, where the run in the folder is not the requested one."""
    recorded = config.from_text(before.content["config"], str(before.path))
    problems = [str(item) for item in config.differences(recorded, cfg)]
    # Keys that earlier versions did not write.
    then, now = {"left_out": [], "online": None, **before.content["data"]}, data.identity
    # The same build is the same data, whatever its path and the name of its annotation file.
    is_same_build = then["manifest_sha256"] is not None and then["manifest_sha256"] == now["manifest_sha256"]
    compared = ("categories", "left_out") if is_same_build else [key for key in now if key != "online"]
    problems += [
        f"dataset, {key}: was {then.get(key)!r}, is {now[key]!r}" for key in compared if then.get(key) != now[key]
    ]
    if then["online"] != now["online"]:
        problems.append(f"--online: was {name_of(then['online'])}, is {name_of(now['online'])}")
    if problems:
        raise DataError(
            f"{output}: this run was started with another configuration or dataset; choose another --output, or "
            "continue it as it was started",
            problems,
        )
    if before.content["processes"] != division.processes:
        say(
            f"{division.processes} processes instead of {before.content['processes']}: the run continues, but not "
            "bit by bit as it would have"
        )
