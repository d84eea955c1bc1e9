"""What a finished job leaves: job.json beside its files, with its identity and what it came to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from datasets.errors import DataError
from datasets.staging import write_durably
from scripts.ladder.jobs import Job

NAME = "job.json"


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """`result`: of a training `iterations`, `images`, `batch`, `parameters`, `seconds`; of a prediction or a fusion
    COCO's numbers of 0 to 1. `seconds` is the time of the command that ended it."""

    identity: str
    result: dict[str, float | None]
    seconds: float


def read(folder: Path, job: Job) -> Finished | None:
    """What stands in the folder of a job, if it is that of this very job."""
    try:
        found = msgspec.json.decode((folder / job.folder / NAME).read_bytes(), type=Finished)
    except (OSError, msgspec.DecodeError):
        return None
    return found if found.identity == job.identity else None


def write(folder: Path, job: Job, result: dict[str, float | None], seconds: float) -> Finished:
    done = Finished(identity=job.identity, result=result, seconds=round(seconds, 3))
    about = {"step": job.step, "rung": job.rung, "seed": job.seed, "arguments": job.arguments}
    text = json.dumps({**msgspec.to_builtins(done), **about}, indent=1)
    write_durably(folder / job.folder / NAME, f"{text}\n")
    return done


def result_of(folder: Path, job: Job, truth: Any) -> dict[str, float | None]:
    """What a job's files say, now that its command has ended well; `truth` is the data it is measured on.

    Raises DataError where a training is not as long as was asked for.
    """
    if job.step == "data":
        return {}
    return _training(folder / job.folder, job) if job.step == "train" else _measured(folder / job.folder, truth)


def _training(run: Path, job: Job) -> dict[str, float | None]:
    from train import checkpoint, config, model

    loaded = checkpoint.read(run / checkpoint.LAST)
    found, asked = int(loaded.content["iteration"]), job.expected["iterations"]
    if found != asked:
        raise DataError(f"{loaded.path}: expected {asked:,} iterations, as for every rung, found {found:,}")
    cfg = config.from_text(loaded.content["config"], str(loaded.path))
    parameters = model.parameter_count(model.build(cfg))
    return {**job.expected, "parameters": parameters, "seconds": round(seconds_of_steps(run / "metrics.json"), 3)}


def _measured(place: Path, truth: Any) -> dict[str, float | None]:
    from datasets import evaluation, provenance, results

    path = place / "results.json"
    numbers = evaluation.evaluate(truth, results.read(path), name=str(path)).numbers()
    return {**numbers, "images_seen_in_training": len(provenance.read(path).seen)}


def seconds_of_steps(metrics: Path) -> float:
    """The time of all steps: each line has the median of the last 20, and counts for those since the line before.

    It holds what went into the weights, once: not the start, nor what a killed run did after its last checkpoint.
    """
    total, before = 0.0, -1
    for line in metrics.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        total += entry["time"] * (entry["iteration"] - before)
        before = entry["iteration"]
    return total
