"""The result of a job: job.json beside its files, with its identity, its numbers and its environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import msgspec

from datasets import result_reading
from datasets.errors import DataError
from datasets.records import Dataset
from datasets.staging import write_durably
from scripts.experiments import splits
from scripts.experiments.environment import Environment
from scripts.experiments.jobs import Job, StepName
from scripts.experiments.numbers import IMAGES, METRICS, SEEN, Numbers

NAME = "job.json"
# What `augment build` writes last, and `fit` at every end of an epoch (checkpoint.LAST, which would import torch).
BUILT, CHECKPOINT, RESULTS, SUBSET = "dataset/manifest.json", "model_last.pth", "results.json", "annotations.json"
OUTPUTS: dict[StepName, str] = {
    "subset": SUBSET,
    "data": BUILT,
    "train": CHECKPOINT,
    "predict": RESULTS,
    "fuse": RESULTS,
}
# The numbers of a result: those that are always there, and those that may be undefined.
COUNTS: dict[StepName, tuple[str, ...]] = {
    "subset": (),
    "data": splits.Built._fields[1:],
    "train": ("iterations", "images", "batch", "parameters", "seconds"),
    "predict": (IMAGES, SEEN),
    "fuse": (IMAGES, SEEN),
}
MEASURED: tuple[StepName, ...] = ("predict", "fuse")
UNDEFINED: dict[StepName, tuple[str, ...]] = dict.fromkeys(MEASURED, tuple(METRICS))


class Outcome(NamedTuple):
    """The outcome of a job.

    `result` has counts for data; `iterations`, `images`, `batch`, `parameters`, `seconds` for a training; for
    predictions and fusion COCO's numbers as fractions, the number of images and of those seen in training, of which
    there may be more if `doubt` gives a reason. `digest` is that of data.
    """

    result: Numbers
    digest: str = ""
    doubt: str = ""


class JobResult(msgspec.Struct, frozen=True, kw_only=True):
    """job.json; `result`, `digest` and `doubt` as in Outcome, `seconds` of the command."""

    identity: str
    result: Numbers
    digest: str
    doubt: str
    seconds: float
    environment: Environment = msgspec.field(name="made")

    def built(self) -> splits.Built:
        return splits.Built(self.digest, *(int(self.result[key] or 0) for key in COUNTS["data"]))


def read(folder: Path, job: Job) -> JobResult | None:
    """The result in a job's folder, if it belongs to this very job, is complete, and has its results file."""
    try:
        found = msgspec.json.decode((folder / job.folder / NAME).read_bytes(), type=JobResult)
    except (OSError, ValueError, RecursionError):
        return None
    counts, undefined = COUNTS[job.step], UNDEFINED.get(job.step, ())
    is_whole = all(found.result.get(key) is not None for key in counts) and found.result.keys() >= {*undefined}
    is_there = job.step not in MEASURED or has_output(folder, job)
    return found if found.identity == job.identity and is_whole and is_there else None


def has_output(folder: Path, job: Job) -> bool:
    """Whether the files that other jobs need exist; those of data and trainings may be removed when nothing needs
    them.
    """
    return (folder / job.folder / OUTPUTS[job.step]).is_file()


def make_way(folder: Path, job: Job) -> None:
    """Before a training is repeated for its checkpoint, remove what would be taken for the new run's: job.json and the
    checkpoints of single epochs, which `fit` refuses.
    """
    job_folder = folder / job.folder
    if job.step == "train" and not has_output(folder, job):
        (job_folder / NAME).unlink(missing_ok=True)
        remove_checkpoints(folder, job)


def remove_checkpoints(folder: Path, job: Job) -> None:
    for path in (folder / job.folder).glob("model_*.pth"):
        path.unlink(missing_ok=True)


def write(folder: Path, job: Job, outcome: Outcome, seconds: float, environment: Environment) -> JobResult:
    done = JobResult(
        **{"identity": job.identity, "seconds": round(seconds, 3), "environment": environment, **outcome._asdict()}
    )
    about = {"step": job.step, "arm": job.arm, "about": job.about, "arguments": job.arguments}
    text = json.dumps({**msgspec.to_builtins(done), **about}, indent=1)
    write_durably(folder / job.folder / NAME, f"{text}\n")
    return done


def outcome_of(folder: Path, job: Job, truth: Dataset) -> Outcome:
    """The outcome of a finished command, from its files; `truth` is the validation data. Raises DataError for a
    training that is too short.
    """
    job_folder = folder / job.folder
    if job.step == "subset":
        return Outcome({})
    if job.step == "data":
        built = splits.read_built((job_folder / BUILT).parent)
        return Outcome({"images": built.images, "with_objects": built.with_objects}, digest=built.digest)
    return _training(job_folder, job) if job.step == "train" else _measured(job_folder / RESULTS, truth)


def _training(run: Path, job: Job) -> Outcome:
    from train import config
    from train.checkpoints import checkpoint
    from train.model.build import build_network, parameter_count

    loaded = checkpoint.read(run / checkpoint.LAST)
    found, asked = int(loaded.content["iteration"]), job.expected["iterations"]
    if found != asked:
        raise DataError(f"{loaded.path}: expected {asked:,} iterations, as for every arm, found {found:,}")
    cfg = config.from_text(loaded.content["config"], str(loaded.path))
    parameters = parameter_count(build_network(cfg, "meta"))
    seconds = round(seconds_of_steps(run / "metrics.json"), 3)
    return Outcome({**job.expected, "parameters": parameters, "seconds": seconds})


def _measured(path: Path, truth: Dataset) -> Outcome:
    from datasets import evaluation, provenance

    numbers = evaluation.evaluate(truth, result_reading.read(path), name=str(path)).numbers()
    known = provenance.read(path)
    seen = known.seen & {image.id for image in truth.images}
    return Outcome({**numbers, IMAGES: len(truth.images), SEEN: len(seen)}, doubt=known.doubt)


def seconds_of_steps(metrics: Path) -> float:
    """The time of all steps. Each line has the median of the last 20, and stands for the steps since the line before.
    Start-up and repeated steps of a killed run are not included.
    """
    total, before = 0.0, -1
    for line in metrics.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        total += entry["time"] * (entry["iteration"] - before)
        before = entry["iteration"]
    return total
