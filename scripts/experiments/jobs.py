"""The jobs of an experiment, each with an identity: the digest of everything that determines its output. Pure.

A job is repeated where its identity changes: bytes of annotations and images, recipe, configuration of the YAML files
and arms, seed, number of GPUs of a training, version of the project. The code of the same version, its defaults and
Detectron2's, other libraries and the machine are not included, since planning does without torch; job.json and the page
record the environment.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import yaml

from datasets.sources import Input
from scripts.experiments.arms import Composed, Recipe, Tree
from scripts.experiments.timing import timed
from train.config import FREE_ON_RESUME

StepName = Literal["subset", "data", "train", "predict", "fuse"]
# What makes the data that trainings need.
DATA_STEPS: tuple[StepName, ...] = ("subset", "data")
# Stands for the experiment's folder in the arguments of a job.
FOLDER = "{folder}"


class Trial(NamedTuple):
    """One measurement of an arm: on how many images (0 for all), how many times its iterations, with which seed."""

    arm: str
    images: int
    length: int
    seed: int

    @property
    def data_seed(self) -> int:
        """The seed of the subset; all images need none."""
        return self.seed if self.images else 0

    @property
    def stem(self) -> str:
        """`seed0`, `n50-x4-seed0`."""
        parts = (f"n{self.images}" * bool(self.images), f"x{self.length}" * (self.length > 1), f"seed{self.seed}")
        return "-".join(filter(None, parts))

    def __str__(self) -> str:
        """`seed 0`, `50 images, x 4, seed 0`."""
        parts = (f"{self.images} images" * bool(self.images), f"x {self.length}" * (self.length > 1))
        return ", ".join((*filter(None, parts), f"seed {self.seed}"))


class Originals(NamedTuple):
    """Images to train on or to make data of, by files whose paths may begin with FOLDER: its digest, and the identity
    of the job that makes it, if any. `name` is that of the data where it is all of its training split.
    """

    files: Input
    digest: str
    images: int
    job: str = ""
    name: str = ""


class Data(NamedTuple):
    """Training data: the arguments of `fit` that name it, its digest, the number of images trained on, and the
    identities of the jobs that make it.
    """

    arguments: tuple[str, ...]
    digest: str
    images: int
    needs: tuple[str, ...] = ()


class Val(NamedTuple):
    """The data that every arm is measured on."""

    annotations: str
    images: str
    digest: str


class Job(NamedTuple):
    """One command of the project.

    `folder` is relative to the experiment's, for which FOLDER stands in `arguments`. `needs` are the identities of jobs
    that must come first. `files` are written into the folder: name -> text. `expected` of a training: iterations,
    batch, images. `about` says in words which it is of its arm's.
    """

    step: StepName
    arm: str
    about: str
    identity: str
    folder: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...]
    files: dict[str, str]
    expected: dict[str, int]

    def __str__(self) -> str:
        return f"{self.arm} {self.about}".strip()


class Plan(NamedTuple):
    """Jobs by identity, in order of dependency; the training and the measured job of each trial."""

    jobs: dict[str, Job]
    trainings: dict[Trial, str]
    measured: dict[Trial, str]

    def needed(self, trials: Iterable[Trial]) -> list[Job]:
        """The jobs of these trials and their dependencies, in order."""
        left = [self.measured[trial] for trial in trials]
        wanted: set[str] = set()
        while left:
            identity = left.pop()
            if identity not in wanted:
                wanted.add(identity)
                left += self.jobs[identity].needs
        return [job for identity, job in self.jobs.items() if identity in wanted]


def digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def subset_job(whole: Originals, images: int, seed: int, version: str) -> Job:
    """The job that writes the annotations of the first `images` of a seeded order."""
    identity = digest({"step": "subset", "source": whole.digest, "images": images, "seed": seed, "version": version})
    folder = f"data/n{images}-seed{seed}-{identity[:8]}"
    drawn = ("--annotations", str(whole.files.annotations), "--count", str(images), "--seed", str(seed))
    arguments = ("datasets", "subset", *drawn, "--output", f"{FOLDER}/{folder}/annotations.json")
    return Job("subset", "data", f"{images} images, seed {seed}", identity, folder, arguments, (), {}, {})


def data_job(recipe: Recipe, source: Originals, about: str, version: str) -> Job:
    """The job that compiles a source by a recipe."""
    identity = digest({"step": "data", "source": source.digest, "recipe": recipe.text, "version": version})
    folder = f"data/{recipe.name}-{identity[:8]}"
    where = ("--annotations", str(source.files.annotations), "--images", str(source.files.images))
    arguments = ("augment", "build", *where, *_recipe(recipe, folder), "--output", f"{FOLDER}/{folder}/dataset")
    needs = (source.job,) if source.job else ()
    about = " ".join(filter(None, (recipe.name, about)))
    return Job("data", "data", about, identity, folder, arguments, needs, _files(recipe), {})


def _recipe(recipe: Recipe, folder: str, option: str = "--recipe") -> tuple[str, str]:
    return option, recipe.name if recipe.shipped else f"{FOLDER}/{folder}/recipe.yaml"


def _files(recipe: Recipe) -> dict[str, str]:
    return {} if recipe.shipped else {"recipe.yaml": recipe.text}


class Planner:
    """Collects the jobs of trials in order; identical work is one job, in the folder of the first arm. `data` is that
    of each recipe ("" for the images as they are), number of images and seed of their subset; `first` are the jobs that
    make it.
    """

    def __init__(
        self,
        data: dict[tuple[str, int, int], Data],
        val: Val,
        *,
        gpus: int,
        version: str,
        first: Iterable[Job] = (),
    ) -> None:
        self.plan = Plan({job.identity: job for job in first}, {}, {})
        self._data = data
        self._val = val
        self._gpus = gpus
        self._version = version

    def add(self, arm: Composed, trial: Trial, by_name: dict[str, Composed]) -> None:
        """A trial of an arm; those of the arms that it fuses come first."""
        self.plan.trainings[trial] = self._training(arm, trial)
        if not arm.ensemble:
            self.plan.measured[trial] = self._prediction(arm, arm, trial)
            return
        models = [by_name[name] for name in arm.arm.fuse] or [arm]
        inputs = tuple(self._prediction(arm, model, trial) for model in models)
        self.plan.measured[trial] = self._fusion(arm, trial, inputs)

    def _training(self, arm: Composed, trial: Trial) -> str:
        name = arm.recipe.name if arm.recipe and not arm.online else ""
        data = self._data[name, trial.images, trial.data_seed]
        online = arm.recipe if arm.online else None
        iterations = arm.iterations * trial.length
        config = timed(arm.config, iterations, data.images)
        content = {"config": _deciding(config), "seed": trial.seed, "data": data.digest, "gpus": self._gpus}
        identity = self._identity("train", content | ({"online": online.text} if online else {}))
        folder = f"{arm.folder}/{trial.stem}-{identity[:8]}"
        output = f"{FOLDER}/{folder}"
        files = {"model.yaml": _model_text(config), "schedule.yaml": _schedule_text(config)}
        model = ("--model", f"{output}/model.yaml", "--schedule", f"{output}/schedule.yaml")
        draws = _recipe(online, folder, "--online") if online else ()
        gpus = ("--gpus", str(self._gpus)) if self._gpus > 1 else ()
        where = (*data.arguments, *draws, "--output", output)
        arguments = ("train", "fit", *model, *where, "--resume", *gpus, "SEED", str(trial.seed))
        batch = int(config["SOLVER"]["IMS_PER_BATCH"])
        expected = {"iterations": iterations, "batch": batch, "images": data.images}
        files |= _files(online) if online else {}
        return self._put(Job("train", arm.folder, str(trial), identity, folder, arguments, data.needs, files, expected))

    def _prediction(self, arm: Composed, model: Composed, trial: Trial) -> str:
        """The prediction of `model`'s training in the way of `arm`."""
        training = self.plan.trainings[trial._replace(arm=model.name)]
        config = _flat(arm.predict_config)
        wanted = {"--raw": arm.raw, "--tta": arm.tta, "--no-ema": not arm.ema}
        flags = [flag for flag, is_wanted in wanted.items() if is_wanted]
        content = {"training": training, "val": self._val.digest, "flags": flags, "config": config}
        identity = self._identity("predict", content)
        where = ("--annotations", self._val.annotations, "--images", self._val.images)
        name = f"predict-{model.name}" if model.name != arm.name else "predict"
        folder = f"{arm.folder}/{trial.stem}-{name}-{identity[:8]}"
        run = ("--run", f"{FOLDER}/{self.plan.jobs[training].folder}")
        keys = [part for key, value in config.items() for part in (key, str(value))]
        arguments = ("train", "predict", *run, *where, "--output", f"{FOLDER}/{folder}/results.json", *flags, *keys)
        return self._put(Job("predict", arm.folder, str(trial), identity, folder, arguments, (training,), {}, {}))

    def _fusion(self, arm: Composed, trial: Trial, inputs: tuple[str, ...]) -> str:
        content = {"inputs": inputs, "val": self._val.digest, "ensemble": arm.ensemble}
        identity = self._identity("fuse", content)
        folder = f"{arm.folder}/{trial.stem}-fuse-{identity[:8]}"
        output = f"{FOLDER}/{folder}"
        places = [f"{FOLDER}/{self.plan.jobs[item].folder}/results.json" for item in inputs]
        results = [part for path in places for part in ("--results", path)]
        recipe = ("--recipe", f"{output}/recipe.yaml", "--output", f"{output}/results.json")
        arguments = ("ensemble", "fuse", "--annotations", self._val.annotations, *results, *recipe)
        files = {"recipe.yaml": yaml.safe_dump(arm.ensemble, sort_keys=False)}
        return self._put(Job("fuse", arm.folder, str(trial), identity, folder, arguments, inputs, files, {}))

    def _identity(self, step: StepName, content: Tree) -> str:
        return digest({"step": step, "version": self._version, **content})

    def _put(self, job: Job) -> str:
        self.plan.jobs.setdefault(job.identity, job)
        return job.identity


def _flat(config: Tree, prefix: str = "") -> Tree:
    """`{INPUT: {MIN_SIZE_TEST: 176}}` -> `{INPUT.MIN_SIZE_TEST: 176}`."""
    found: Tree = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found


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
