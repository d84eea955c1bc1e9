"""The data of a ladder: its splits by name, the datasets that augment makes of the first, and digests of them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from datasets import __version__, coco, images, spec
from datasets.errors import DataError
from datasets.records import Dataset
from datasets.sources import Input
from scripts.ladder.jobs import Data, Job, Val, data_job, digest
from scripts.ladder.rungs import Composed

RECIPES = Path(__file__).resolve().parents[2] / "augment" / "recipes"


class Split(NamedTuple):
    """A split as it is read, and the digest of its annotations and of its images' names and sizes in bytes."""

    place: Input
    dataset: Dataset
    digest: str


def read_split(data: str, name: spec.SplitName) -> Split:
    """Raises DataError for data that is not there or not good."""
    place = spec.split_input(data, name)
    read = coco.read(place.annotations)
    return Split(place, read.dataset, digest([read.sha256, _sizes(place, read.dataset)]))


def _sizes(place: Input, dataset: Dataset) -> list[tuple[str, int]]:
    paths = {item.file_name: images.path_inside(place.images.absolute(), item.file_name) for item in dataset.images}
    missing = sorted(name for name, path in paths.items() if not path.is_file())
    if missing:
        raise DataError(f"{place.images}: {len(missing)} image(s) of {place.annotations} are missing", missing)
    return sorted((name, path.stat().st_size) for name, path in paths.items())


def val_of(split: Split) -> Val:
    return Val(str(split.place.annotations), str(split.place.images), split.digest)


def data_jobs(rungs: list[Composed], train: Split) -> dict[str, Job]:
    """Recipe -> the job that compiles the training split by it, for what the rungs train on."""
    recipes = dict.fromkeys(rung.data for rung in rungs if rung.data != "original")
    return {recipe: _data_job(recipe, train) for recipe in recipes}


def _data_job(recipe: str, train: Split) -> Job:
    text = (RECIPES / f"{recipe}.yaml").read_text(encoding="utf-8")
    place = train.place
    return data_job(recipe, str(place.annotations), str(place.images), train.digest, text, __version__)


def training_data(data: str, train: Split, jobs: dict[str, Job], folder: Path, *, keep_empty: bool) -> dict[str, Data]:
    """Everything that is trained on, by name. What is not built yet stands for itself, with a digest of no data."""
    found = {"original": Data(data, train.digest, _trainable(train.dataset, keep_empty))}
    for recipe, job in jobs.items():
        place = folder / job.folder / "dataset"
        found[recipe] = _built(place, keep_empty) if (place / "manifest.json").is_file() else Data(str(place), "", 1)
    return found


def _built(place: Path, keep_empty: bool) -> Data:
    # SHA256SUMS has the digest of the annotations and of every image.
    sums = [hashlib.sha256((place / name).read_bytes()).hexdigest() for name in ("SHA256SUMS", "manifest.json")]
    dataset = coco.read(place / "annotations" / "instances.json").dataset
    return Data(str(place), digest(sums), _trainable(dataset, keep_empty))


def _trainable(dataset: Dataset, keep_empty: bool) -> int:
    """Images that `fit` trains on: with an object that is no crowd, unless those without are kept."""
    objects = {item.image_id for item in dataset.annotations if not item.iscrowd}
    return len(dataset.images) if keep_empty else len(objects)


def keeps_empty(config: dict[str, Any]) -> bool:
    """As Detectron2 has it, images without an object are left out where nothing else is said."""
    return not config.get("DATALOADER", {}).get("FILTER_EMPTY_ANNOTATIONS", True)
