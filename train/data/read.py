"""Reading the data that a run trains and is validated on: checked, and converted to records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from datasets import cli
from datasets.build_layout import MANIFEST, SOURCES, build_of
from datasets.categories import check_same
from datasets.checks import STRICT, Leniency
from datasets.cli import Progress
from datasets.digests import sha256_file
from datasets.errors import DataError
from datasets.records import Annotation, Category, Dataset
from datasets.seen import SeenImages, ids_in, of_build, original
from datasets.sources import Input, Inputs, Source, examine_images, read_inputs
from train.data.categories import choose, restricted
from train.data.records import Categories, Records, histogram, histogram_notes, is_trainable, to_record, without_outline

# isort: split
from detectron2.utils import comm

IMAGES = "images"


class TrainingData(NamedTuple):
    """The training data. `identity` distinguishes it from any other data and is stored in every checkpoint."""

    records: Records
    categories: Categories
    masks: bool
    tall: npt.NDArray[np.bool_]
    histogram: npt.NDArray[np.int64]
    identity: dict[str, Any]
    left_out: list[Category]
    """Categories of the dataset that the run does not train on."""
    seen: SeenImages
    """Every source image of it."""
    notes: list[str]


class ValidationData(NamedTuple):
    records: Records
    truth: Dataset
    seen: int
    """The number of images that were trained on."""
    notes: list[str]


def read_training(
    source: Input,
    *,
    keep_empty: bool,
    masks: bool | None,
    progress: Progress | None,
    only: str | None = None,
    leniency: Leniency = STRICT,
) -> TrainingData:
    """Read a dataset to train on; with `progress`, check every image file too.

    Images without a kept object are left out unless `keep_empty`. `masks` None trains masks if every object has one.
    `only` selects the categories to train on (see `categories.choose`). Raises DataError for bad data, and where
    `masks` is requested and an object has none.
    """
    read = read_inputs([source], provenance=True, leniency=leniency)
    stored = _examine(read, progress, leniency)
    chosen, left_out = _choose(read, only)
    categories = Categories(chosen)
    labelled = restricted(read.sources, chosen) if left_out else read.sources
    sources = labelled if keep_empty else [item for item in labelled if is_trainable(item)]
    if not any(is_trainable(item) for item in sources):
        raise DataError(f"{source.annotations}: expected objects to train on, found none but crowds")
    objects, bare = without_outline(sources)
    if masks and bare:
        raise DataError(
            f"{source.annotations}: MODEL.MASK_ON asks for a segmentation of every object, "
            f"{bare:,} of {objects:,} have none"
        )
    with_masks = not bare if masks is None else masks
    counts = histogram(sources, categories)
    return TrainingData(
        records=Records(to_record(item, categories, masks=with_masks, on_stored_pixels=stored) for item in sources),
        categories=categories,
        masks=with_masks,
        tall=np.array([item.image.height > item.image.width for item in sources], dtype=np.bool_),
        histogram=counts,
        identity=_identity(source, read, categories, left_out) | leniency.decided(),
        left_out=left_out,
        seen=_seen(source, read, progress),
        notes=[
            *_size_notes(source, read, sources),
            *histogram_notes(categories, counts),
            *_left_out_notes(categories, left_out),
            *_mask_notes(objects, bare, with_masks),
            *(f"repaired: {count:,} x {kind}" for kind, count in read.repairs.counts().items()),
            *cli.skipped_lines(read),
            *cli.warning_lines(read.warnings),
        ],
    )


def _choose(read: Inputs, only: str | None) -> tuple[list[Category], list[Category]]:
    """The categories to train on, and the others."""
    if only is None:
        return read.categories, []
    chosen = choose(only, read.categories, histogram(read.sources, Categories(read.categories)))
    ids = {item.id for item in chosen}
    return chosen, [item for item in read.categories if item.id not in ids]


def read_validation(
    source: Input,
    data: TrainingData,
    *,
    progress: Progress | None,
    seen: SeenImages | None = None,
    leniency: Leniency = STRICT,
) -> ValidationData:
    """Read a dataset to validate on.

    Its categories must be those of the training data, of which only the trained ones are measured. `seen` are the
    images trained on before and now, by default those of `data`. Raises DataError.
    """
    read = read_inputs([source], provenance=True, leniency=leniency)
    everything = [*data.categories.categories(), *data.left_out]
    check_same(everything, "the training data", read.categories, str(source.annotations))
    stored = _examine(read, progress, leniency)
    seen = data.seen if seen is None else seen
    # Only the first process reads files.
    folder = source.images if progress else None
    count = len(ids_in(seen, [item.image for item in read.sources], folder, progress))
    notes = [f"validation: {len(read.sources):,} images of {source.annotations}"]
    if data.left_out:
        ids = set(data.categories.ids.tolist())
        read.sources = restricted(read.sources, data.categories.categories())
        read.categories = [item for item in read.categories if item.id in ids]
        notes.append(f"  AP is that of the {len(data.categories)} categories that are trained on")
    if count:
        notes.append(
            f"  {count:,} of them are seen: the training data holds them or what was made of them, so AP says "
            "little about new images"
        )
    if not seen.complete:
        notes.append("  not all that the first weights were trained on is known: some of these may be seen, too")
    if not any(not item.iscrowd for entry in read.sources for item in entry.annotations):
        notes.append("  warning: no object to find in them: there will be no AP, and no best checkpoint")
    measured_on = Records(
        to_record(item, data.categories, masks=False, on_stored_pixels=stored) for item in read.sources
    )
    return ValidationData(measured_on, _truth(read), count, notes)


def _examine(read: Inputs, progress: Progress | None, leniency: Leniency) -> bool:
    """Check the image files, with `progress`; whether the annotations ignore EXIF orientations.

    Every process calls this; those that do not check files are told the result by the first one. With `skip_bad` all
    check, since that decides which images there are.
    """
    if progress is not None or leniency.skip_bad:
        total = len(read.sources)
        looking = examine_images(read, read.sources, skip_bad=leniency.skip_bad, follow_links=leniency.follow_links)
        for done in looking:
            if progress is not None:
                progress("checking images", done, total)
    return bool(comm.all_gather(bool(read.on_stored_pixels))[0])


def _seen(source: Input, read: Inputs, progress: Progress | None) -> SeenImages:
    """The source images: of a build from its sources.jsonl, else the dataset's own files.

    Without `progress`, as in all processes but the first, no file is read for its digest.
    """
    folder = build_of(source.annotations)
    # Builds of earlier versions have no sources.jsonl.
    if folder is not None and (folder / SOURCES).is_file():
        return of_build(folder)
    images = []
    for done, item in enumerate(read.sources, start=1):
        digest = None
        if progress is not None and folder is None:
            digest = sha256_file(item.path)
            progress("reading images", done, len(read.sources))
        images.append((*original(item.image), digest))
    return SeenImages(images)


def _truth(read: Inputs) -> Dataset:
    """The ground truth that detections are compared with, without masks."""
    annotations: list[Annotation] = []
    for source in read.sources:
        annotations += [msgspec.structs.replace(item, segmentation=None) for item in source.annotations]
    images = [source.image for source in read.sources]
    return Dataset(info={}, licenses=[], categories=read.categories, images=images, annotations=annotations)


def _identity(source: Input, read: Inputs, categories: Categories, left_out: list[Category]) -> dict[str, Any]:
    folder = build_of(source.annotations)
    return {
        "annotations": source.annotations.name,
        "annotations_sha256": read.sha256[0],
        "manifest_sha256": sha256_file(folder / MANIFEST) if folder else None,
        "images": len(read.sources),
        "categories": [list(pair) for pair in categories.pairs()],
        "left_out": [list(pair) for pair in Categories(left_out).pairs()],
    }


def _size_notes(source: Input, read: Inputs, sources: Sequence[Source]) -> list[str]:
    left_out = len(read.sources) - len(sources)
    note = f"training: {len(sources):,} images of {source.annotations}"
    if left_out:
        note += f"; {left_out:,} without a kept object left out (DATALOADER.FILTER_EMPTY_ANNOTATIONS False keeps them)"
    ignored = sum(item.iscrowd for entry in sources for item in entry.annotations)
    kept = sum(len(entry.annotations) for entry in sources) - ignored
    return [note, f"  {kept:,} objects, {ignored:,} ignored regions that cost no loss"]


def _left_out_notes(categories: Categories, left_out: list[Category]) -> list[str]:
    if not left_out:
        return []
    return [
        f"  {len(categories)} of {len(categories) + len(left_out)} categories: {', '.join(categories.names)}",
        "  objects of the others are background",
    ]


def _mask_notes(objects: int, bare: int, masks: bool) -> list[str]:
    if bare == objects:
        return ["  boxes only: no object has a segmentation, so there is no mask head"]
    if bare:
        return [f"  {bare:,} of {objects:,} objects have no segmentation, so there is no mask head"]
    return [] if masks else ["  no mask head, as MODEL.MASK_ON False asks for"]
