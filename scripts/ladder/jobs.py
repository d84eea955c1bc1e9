"""The jobs of a ladder, each with an identity: the digest of everything that determines its output. Pure functions.

A job is repeated where its identity changes: bytes of annotations and images, recipe, configuration of the YAML files
and rungs, seed, number of GPUs of a training, version of the project. The code of the same version, its defaults and
Detectron2's, other libraries and the machine are not included, since planning does without torch; job.json and the page
record the environment.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import yaml

from scripts.ladder.rungs import Composed, Tree
from scripts.ladder.timing import timed
from train.config import FREE_ON_RESUME

StepName = Literal["data", "train", "predict", "fuse"]


class Data(NamedTuple):
    """Training data: the path for `fit --data`, its digest, the number of images trained on, and the identity of the
    job that makes it, if any.
    """

    path: str
    digest: str
    images: int
    job: str = ""


class Val(NamedTuple):
    """The data that every rung is measured on."""

    annotations: str
    images: str
    digest: str


class Job(NamedTuple):
    """One command of the project.

    `folder` is relative to the ladder's, for which `{ladder}` stands in `arguments`. `needs` are the identities of jobs
    that must come first. `files` are written into the folder: name -> text. `expected` of a training: iterations,
    batch, images.
    """

    step: StepName
    rung: str
    seed: int | None
    identity: str
    folder: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...]
    files: dict[str, str]
    expected: dict[str, int]

    def __str__(self) -> str:
        return self.rung if self.seed is None else f"{self.rung} seed {self.seed}"


class Plan(NamedTuple):
    """Jobs by identity, in order of dependency; the training and the measured job of each (rung's name, seed)."""

    jobs: dict[str, Job]
    trainings: dict[tuple[str, int], str]
    measured: dict[tuple[str, int], str]

    def needed(self, names: Iterable[str], seeds: Sequence[int]) -> list[Job]:
        """The jobs of these rungs and their dependencies, in order."""
        left = [self.measured[name, seed] for name in names for seed in seeds]
        wanted: set[str] = set()
        while left:
            identity = left.pop()
            wanted.add(identity)
            left += self.jobs[identity].needs
        return [job for identity, job in self.jobs.items() if identity in wanted]


def digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def data_job(recipe: str, annotations: str, images: str, source: str, recipe_text: str, version: str) -> Job:
    """The job that compiles the training split by a recipe; `source` is the digest of the split."""
    identity = digest({"step": "data", "source": source, "recipe": recipe_text, "version": version})
    folder = f"data/{recipe}-{identity[:8]}"
    where = ("--annotations", annotations, "--images", images, "--recipe", recipe)
    arguments = ("augment", "build", *where, "--output", f"{{ladder}}/{folder}/dataset")
    return Job("data", f"data {recipe}", None, identity, folder, arguments, (), {}, {})


class Planner:
    """Collects the jobs of the rungs in order; identical work is one job, in the folder of the first rung. `first` are
    the jobs that make the data.
    """

    def __init__(self, data: dict[str, Data], val: Val, *, gpus: int, version: str, first: Iterable[Job] = ()) -> None:
        self.plan = Plan({job.identity: job for job in first}, {}, {})
        self._data = data
        self._val = val
        self._gpus = gpus
        self._version = version

    def add(self, rung: Composed, seed: int, by_name: dict[str, Composed]) -> None:
        training = self._training(rung, seed)
        self.plan.trainings[rung.name, seed] = training
        if not rung.ensemble:
            self.plan.measured[rung.name, seed] = self._prediction(rung, rung, seed)
            return
        models = [by_name[name] for name in rung.rung.fuse] or [rung]
        inputs = tuple(self._prediction(rung, model, seed) for model in models)
        self.plan.measured[rung.name, seed] = self._fusion(rung, seed, inputs)

    def _training(self, rung: Composed, seed: int) -> str:
        data = self._data[rung.data]
        config = timed(rung.config, rung.iterations, data.images)
        content = {"config": _deciding(config), "seed": seed, "data": data.digest, "gpus": self._gpus}
        identity = self._identity("train", content)
        folder = f"{rung.folder}/seed{seed}-{identity[:8]}"
        output = f"{{ladder}}/{folder}"
        files = {"model.yaml": _model_text(config), "schedule.yaml": _schedule_text(config)}
        model = ("--model", f"{output}/model.yaml", "--schedule", f"{output}/schedule.yaml", "--data", data.path)
        gpus = ("--gpus", str(self._gpus)) if self._gpus > 1 else ()
        arguments = ("train", "fit", *model, "--output", output, "--resume", *gpus, "SEED", str(seed))
        batch = int(config["SOLVER"]["IMS_PER_BATCH"])
        expected = {"iterations": rung.iterations, "batch": batch, "images": data.images}
        needs = (data.job,) if data.job else ()
        return self._put(Job("train", rung.folder, seed, identity, folder, arguments, needs, files, expected))

    def _prediction(self, rung: Composed, model: Composed, seed: int) -> str:
        """The prediction of `model`'s training in the way of `rung`."""
        training = self.plan.trainings[model.name, seed]
        content = {"training": training, "val": self._val.digest, "raw": rung.raw, "tta": rung.tta}
        identity = self._identity("predict", content)
        where = ("--annotations", self._val.annotations, "--images", self._val.images)
        flags = [flag for flag, wanted in (("--raw", rung.raw), ("--tta", rung.tta)) if wanted]
        name = f"predict-{model.name}" if model.name != rung.name else "predict"
        folder = f"{rung.folder}/seed{seed}-{name}-{identity[:8]}"
        run = ("--run", f"{{ladder}}/{self.plan.jobs[training].folder}")
        arguments = ("train", "predict", *run, *where, "--output", f"{{ladder}}/{folder}/results.json", *flags)
        return self._put(Job("predict", rung.folder, seed, identity, folder, arguments, (training,), {}, {}))

    def _fusion(self, rung: Composed, seed: int, inputs: tuple[str, ...]) -> str:
        content = {"inputs": inputs, "val": self._val.digest, "ensemble": rung.ensemble}
        identity = self._identity("fuse", content)
        folder = f"{rung.folder}/seed{seed}-fuse-{identity[:8]}"
        output = f"{{ladder}}/{folder}"
        places = [f"{{ladder}}/{self.plan.jobs[item].folder}/results.json" for item in inputs]
        results = [part for path in places for part in ("--results", path)]
        recipe = ("--recipe", f"{output}/recipe.yaml", "--output", f"{output}/results.json")
        arguments = ("ensemble", "fuse", "--annotations", self._val.annotations, *results, *recipe)
        files = {"recipe.yaml": yaml.safe_dump(rung.ensemble, sort_keys=False)}
        return self._put(Job("fuse", rung.folder, seed, identity, folder, arguments, inputs, files, {}))

    def _identity(self, step: StepName, content: Tree) -> str:
        return digest({"step": step, "version": self._version, **content})

    def _put(self, job: Job) -> str:
        self.plan.jobs.setdefault(job.identity, job)
        return job.identity


def _deciding(config: Tree, prefix: str = "") -> Tree:
    """The keys that affect what is computed."""
    return {
        key: _deciding(value, f"{prefix}{key}.") if isinstance(value, dict) else value
        for key, value in config.items()
        if f"{prefix}{key}" not in FREE_ON_RESUME
    }


def _model_text(config: Tree) -> str:
    return yaml.safe_dump({"VERSION": config.get("VERSION", 2), "MODEL": config["MODEL"]})


def _schedule_text(config: Tree) -> str:
    return yaml.safe_dump({key: value for key, value in config.items() if key != "MODEL"})
