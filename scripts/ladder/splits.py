"""The data of a ladder: its splits, the datasets compiled from the training split, and their digests."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from datasets import __version__, coco, spec
from datasets.digests import sha256_file
from datasets.errors import DataError
from datasets.file_names import locate
from datasets.records import Dataset
from datasets.sources import Input
from scripts.ladder.jobs import Data, Job, Val, data_job, digest
from scripts.ladder.rungs import Composed

RECIPES = Path(__file__).resolve().parents[2] / "augment" / "recipes"


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


def data_jobs(rungs: list[Composed], train: Split) -> dict[str, Job]:
    """Recipe -> the job that compiles the training split by it, for what the rungs train on."""
    recipes = dict.fromkeys(rung.data for rung in rungs if rung.data != "original")
    return {recipe: _data_job(recipe, train) for recipe in recipes}


def _data_job(recipe: str, train: Split) -> Job:
    text = (RECIPES / f"{recipe}.yaml").read_text(encoding="utf-8")
    files = train.files
    return data_job(recipe, str(files.annotations), str(files.images), train.digest, text, __version__)


def training_data(
    data: str, train: Split, jobs: dict[str, Job], folder: Path, built: dict[str, Built], *, keep_empty: bool
) -> dict[str, Data]:
    """All training data by name.

    `built` has the recorded datasets of jobs, by identity, for those that were removed since; data not built yet gets a
    placeholder digest.
    """
    found = {"original": Data(data, train.digest, _of(train.dataset, "").trainable(keep_empty))}
    for recipe, job in jobs.items():
        built_at, known = folder / job.folder / "dataset", built.get(job.identity)
        if (built_at / "manifest.json").is_file():
            known = read_built(built_at, known)
        digest_of, count = (known.digest, known.trainable(keep_empty)) if known else (f"of {job.identity}", 1)
        found[recipe] = Data(str(built_at), digest_of, count, job.identity)
    return found


def read_built(folder: Path, known: Built | None = None) -> Built:
    """The dataset that augment built; its annotations are not read again if it is the `known` one."""
    # SHA256SUMS covers the annotations and every image.
    sums = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("SHA256SUMS", "manifest.json")]
    if known is not None and known.digest == digest(sums):
        return known
    return _of(coco.read(folder / "annotations" / "instances.json").dataset, digest(sums))


def _of(dataset: Dataset, sums: str) -> Built:
    objects = {item.image_id for item in dataset.annotations if not item.iscrowd}
    return Built(sums, len(dataset.images), len(objects))


def keeps_empty(config: dict[str, Any]) -> bool:
    """Detectron2's default: images without an object are left out."""
    return not config.get("DATALOADER", {}).get("FILTER_EMPTY_ANNOTATIONS", True)
