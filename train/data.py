"""Which data a run trains and is measured on: read, checked, and turned into records."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from datasets import spec
from datasets.errors import DataError
from datasets.records import Annotation, Dataset, Image
from datasets.sources import Input, Inputs, Source, examine_images, read_inputs
from datasets.terminal import Progress
from train import catalog
from train.catalog import Categories, Records

INSTANCES = Path("annotations/instances.json")
IMAGES = Path("images")
MANIFEST = "manifest.json"


class TrainingData(NamedTuple):
    """What is trained on. `identity` tells it from any other data, and goes into every checkpoint."""

    records: Records
    categories: Categories
    masks: bool
    tall: npt.NDArray[np.bool_]
    histogram: npt.NDArray[np.int64]
    identity: dict[str, Any]
    originals: frozenset[tuple[int, str]]
    """(image id, file name) of every source image that has a part in it, as its own dataset names it."""
    notes: list[str]


class ValidationData(NamedTuple):
    records: Records
    truth: Dataset
    notes: list[str]


def locate(data: str) -> Input:
    """The files of a folder that `augment build` made, or of the training split of data by name.

    Raises DataError, saying how to make it, where there is neither.
    """
    folder = Path(data)
    if folder.is_dir():
        if (folder / INSTANCES).is_file():
            return Input(folder / INSTANCES, folder / IMAGES)
        raise DataError(f"{folder}: expected a dataset that `python -m augment build` made, found no {INSTANCES}")
    if data in spec.shipped() or folder.is_file():
        return spec.split_input(data, "train")
    raise DataError(
        f"{data}: expected a folder that `python -m augment build` made (`make dataset`) or one of "
        f"{', '.join(spec.shipped())}, found neither"
    )


def read_training(source: Input, *, keep_empty: bool, masks: bool | None, progress: Progress | None) -> TrainingData:
    """Read a dataset to train on; with `progress`, look at every image file too.

    Images without a kept object are left out unless `keep_empty`. `masks` None means: if every object has one. Raises
    DataError for bad data, and where `masks` is asked for and an object has none.
    """
    read = read_inputs([source], provenance=True)
    _examine(read, progress)
    categories = Categories(read.categories)
    sources = read.sources if keep_empty else [item for item in read.sources if catalog.is_trainable(item)]
    if not any(catalog.is_trainable(item) for item in sources):
        raise DataError(f"{source.annotations}: expected objects to train on, found none but crowds")
    objects, bare = catalog.without_outline(sources)
    if masks and bare:
        raise DataError(
            f"{source.annotations}: MODEL.MASK_ON asks for a segmentation of every object, "
            f"{bare:,} of {objects:,} have none"
        )
    with_masks = not bare if masks is None else masks
    return TrainingData(
        records=Records(catalog.to_record(item, categories, masks=with_masks) for item in sources),
        categories=categories,
        masks=with_masks,
        tall=np.array([item.image.height > item.image.width for item in sources], dtype=np.bool_),
        histogram=catalog.histogram(sources, categories),
        identity=_identity(source, read, categories),
        originals=frozenset(_original(item.image) for item in read.sources),
        notes=[
            *_size_notes(source, read, sources),
            *_mask_notes(objects, bare, with_masks),
            *(f"repaired: {count:,} x {kind}" for kind, count in read.repairs.counts().items()),
        ],
    )


def read_validation(source: Input, data: TrainingData, *, progress: Progress | None) -> ValidationData:
    """Read a dataset to be measured on; its categories must be those of the training data. Raises DataError."""
    read = read_inputs([source], provenance=True)
    data.categories.check_same(read.categories, "the training data", str(source.annotations))
    _examine(read, progress)
    seen = sum(_original(item.image) in data.originals for item in read.sources)
    notes = [f"validation: {len(read.sources):,} images of {source.annotations}"]
    if seen:
        notes.append(
            f"  {seen:,} of them are seen: the training data holds them or what was made of them, so AP says "
            "little about new images"
        )
    records = Records(catalog.to_record(item, data.categories, masks=False) for item in read.sources)
    return ValidationData(records, _truth(read), notes)


def _examine(read: Inputs, progress: Progress | None) -> None:
    if progress is not None:
        for done in examine_images(read, read.sources):
            progress("checking images", done, len(read.sources))


def _truth(read: Inputs) -> Dataset:
    """The dataset that detections are compared with; outlines are not needed for that."""
    annotations: list[Annotation] = []
    for source in read.sources:
        annotations += [msgspec.structs.replace(item, segmentation=None) for item in source.annotations]
    images = [source.image for source in read.sources]
    return Dataset(info={}, licenses=[], categories=read.categories, images=images, annotations=annotations)


def _original(image: Image) -> tuple[int, str]:
    """The image that this one was made of, as its own dataset names it."""
    if image.source_id is None or image.source_file_name is None:
        return image.id, image.file_name
    return image.source_id, image.source_file_name


def _identity(source: Input, read: Inputs, categories: Categories) -> dict[str, Any]:
    manifest = source.annotations.parent.parent / MANIFEST
    is_built = source.annotations.parts[-2:] == INSTANCES.parts and manifest.is_file()
    return {
        "annotations": source.annotations.name,
        "annotations_sha256": read.sha256[0],
        "manifest_sha256": hashlib.sha256(manifest.read_bytes()).hexdigest() if is_built else None,
        "images": len(read.sources),
        "categories": [list(pair) for pair in categories.pairs()],
    }


def _size_notes(source: Input, read: Inputs, sources: Sequence[Source]) -> list[str]:
    left_out = len(read.sources) - len(sources)
    note = f"training: {len(sources):,} images of {source.annotations}"
    if left_out:
        note += f"; {left_out:,} without a kept object left out (DATALOADER.FILTER_EMPTY_ANNOTATIONS False keeps them)"
    ignored = sum(item.iscrowd for entry in sources for item in entry.annotations)
    kept = sum(len(entry.annotations) for entry in sources) - ignored
    return [note, f"  {kept:,} objects, {ignored:,} ignored regions that cost no loss"]


def _mask_notes(objects: int, bare: int, masks: bool) -> list[str]:
    if bare == objects:
        return ["  boxes only: no object has a segmentation, so there is no mask head"]
    if bare:
        return [f"  {bare:,} of {objects:,} objects have no segmentation, so there is no mask head"]
    return [] if masks else ["  no mask head, as MODEL.MASK_ON False asks for"]
