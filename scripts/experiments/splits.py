"""The data of an experiment: its splits, subsets of the training split, what is compiled from them, and digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from datasets import __version__, coco, spec
from datasets.digests import sha256_file
from datasets.errors import DataError
from datasets.file_names import locate
from datasets.records import Dataset
from datasets.sources import Input
from datasets.subsets import with_objects
from scripts.experiments.arms import Composed, Recipe
from scripts.experiments.jobs import FOLDER, Data, Job, Originals, Trial, Val, data_job, digest, subset_job


class Split(NamedTuple):
    """A split, and the digest of its annotations and of the names and bytes of its images."""

    files: Input
    dataset: Dataset
    digest: str


class Built(NamedTuple):
    """A built dataset: its digest, the number of its images, and of those with an object other than a crowd."""

    digest: str
    images: int
    with_objects: int

    def trainable(self, keep_empty: bool) -> int:
        """The number of images that `fit` trains on: those with an object other than a crowd, unless empty ones are
        kept. At least one, so that planning works; `fit` reports none.
        """
        return max(1, self.images if keep_empty else self.with_objects)


class DataKey(NamedTuple):
    """Training data: by which recipe ("" for the images as they are), of how many images (0 for all), drawn with which
    seed.
    """

    recipe: str
    images: int
    seed: int


class DataPlan(NamedTuple):
    """What is trained on, before anything is compiled: the jobs that make it, the original images, and the compiling
    job of each recipe.
    """

    jobs: dict[str, Job]
    originals: dict[DataKey, Originals]
    compiled: dict[DataKey, Job]


def read_split(data: str, name: spec.SplitName) -> Split:
    """Raises DataError for data that is missing or invalid."""
    files = spec.input_of(data, name)
    read = coco.read(files.annotations)
    return Split(files, read.dataset, digest([read.sha256, _digests(files, read.dataset)]))


def _digests(files: Input, dataset: Dataset) -> list[tuple[str, str]]:
    paths = {item.file_name: locate(files.images.absolute(), item.file_name).path for item in dataset.images}
    missing = sorted(name for name, path in paths.items() if not path.is_file())
    if missing:
        raise DataError(f"{files.images}: {len(missing)} image(s) of {files.annotations} are missing", missing)
    return sorted((name, sha256_file(path)) for name, path in paths.items())


def val_of(split: Split) -> Val:
    return Val(str(split.files.annotations), str(split.files.images), split.digest)


def drawable(sizes: Iterable[int], train: Split) -> tuple[int, ...]:
    """The numbers of images of which there are more to draw from, and 0, which is all."""
    there = len(with_objects(train.dataset))
    return tuple(size for size in sizes if size < there)


def plan_data(name: str, train: Split, arms: Mapping[str, Composed], trials: Iterable[Trial]) -> DataPlan:
    """The data of the trials on the training split of the data `name`."""
    whole = Originals(train.files, train.digest, 0, name=name)
    plan = DataPlan({}, {}, {})
    for trial in trials:
        key = DataKey("", trial.images, trial.data_seed)
        if key not in plan.originals:
            plan.originals[key] = _originals(whole, trial, plan.jobs)
        recipe = compiled_by(arms[trial.arm])
        if recipe and (of_recipe := key._replace(recipe=recipe.name)) not in plan.compiled:
            originals = plan.originals[key]
            about = plan.jobs[originals.job].about if originals.job else ""
            job = data_job(recipe, originals, about, __version__)
            plan.compiled[of_recipe] = job
            plan.jobs.setdefault(job.identity, job)
    return plan


def compiled_by(arm: Composed) -> Recipe | None:
    """The recipe that must have been compiled before an arm is trained."""
    return None if arm.online else arm.recipe


def _originals(whole: Originals, trial: Trial, jobs: dict[str, Job]) -> Originals:
    if not trial.images:
        return whole
    job = subset_job(whole, trial.images, trial.data_seed, __version__)
    jobs[job.identity] = job
    files = Input(Path(FOLDER) / job.folder / "annotations.json", whole.files.images)
    return Originals(files, job.identity, trial.images, job.identity)


def training_data(
    train: Split, plan: DataPlan, folder: Path, built: dict[str, Built], *, keep_empty: bool
) -> dict[tuple[str, int, int], Data]:
    """All training data.

    `built` has the recorded datasets of jobs, by identity, for those that were removed since; data not built yet gets a
    placeholder digest.
    """
    of_all = trainable(train, keep_empty=keep_empty)
    found: dict[tuple[str, int, int], Data] = {
        key: _as_they_are(item, item.images or of_all) for key, item in plan.originals.items()
    }
    for key, job in plan.compiled.items():
        built_at, known = folder / job.folder / "dataset", built.get(job.identity)
        if (built_at / "manifest.json").is_file():
            known = read_built(built_at, known)
        digest_of, count = (known.digest, known.trainable(keep_empty)) if known else (f"of {job.identity}", 1)
        found[key] = Data(("--data", str(built_at)), digest_of, count, (job.identity,))
    return found


def _as_they_are(item: Originals, count: int) -> Data:
    if item.name:
        return Data(("--data", item.name), item.digest, count)
    where = ("--annotations", str(item.files.annotations), "--images", str(item.files.images))
    return Data(where, item.digest, count, (item.job,))


def read_built(folder: Path, known: Built | None = None) -> Built:
    """The dataset that augment built; its annotations are not read again if it is the `known` one."""
    # SHA256SUMS covers the annotations and every image.
    sums = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("SHA256SUMS", "manifest.json")]
    if known is not None and known.digest == digest(sums):
        return known
    return _of(coco.read(folder / "annotations" / "instances.json").dataset, digest(sums))


def trainable(split: Split, *, keep_empty: bool) -> int:
    return _of(split.dataset, "").trainable(keep_empty)


def _of(dataset: Dataset, sums: str) -> Built:
    return Built(sums, len(dataset.images), len(with_objects(dataset)))


def keeps_empty(config: dict[str, Any]) -> bool:
    """Detectron2's default: images without an object are left out."""
    return not config.get("DATALOADER", {}).get("FILTER_EMPTY_ANNOTATIONS", True)
