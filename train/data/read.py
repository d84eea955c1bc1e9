"""Reading the data that a run trains and is validated on: checked, and converted to records."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from augment.operations import suitable
from augment.operations.donors import Donors
from augment.operations.parameters import Recipe
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
from train.data import notes
from train.data import online as online_draws
from train.data.categories import choose, restricted
from train.data.geometry import Size
from train.data.online import OnlineData
from train.data.packed import Packed
from train.data.records import Categories, Records, histogram, histogram_notes, is_trainable, to_record, without_outline
from train.data.source_sizes import source_sizes

# isort: split
from detectron2.utils import comm

IMAGES = "images"


class TrainingData(NamedTuple):
    """The training data. `identity` distinguishes it from any other data and is stored in every checkpoint."""

    records: Records
    categories: Categories
    masks: bool
    unmasked: bool
    """Whether some objects have no mask, where others do: they train their boxes only."""
    tall: npt.NDArray[np.bool_]
    histogram: npt.NDArray[np.int64]
    identity: dict[str, Any]
    left_out: list[Category]
    """Categories of the dataset that the run does not train on."""
    seen: SeenImages
    """Every source image of it."""
    notes: list[str]
    online: OnlineData | None = None


class ValidationData(NamedTuple):
    records: Records
    truth: Dataset
    seen: int
    """The number of images that were trained on."""
    notes: list[str]
    source: Input
    sha256: str
    """Of the annotation file."""
    skipped: tuple[int, ...] = ()
    """Ids of images that were left out."""


def read_training(
    source: Input,
    *,
    keep_empty: bool,
    masks: bool | None,
    progress: Progress | None,
    only: str | None = None,
    leniency: Leniency = STRICT,
    online: Recipe | None = None,
    as_source: bool = False,
) -> TrainingData:
    """Read a dataset to train on; with `progress`, check every image file too.

    Images without a kept object are left out unless `keep_empty`. `masks` None trains masks if any object has one.
    `only` selects the categories to train on (see `categories.choose`). With `online`, variants are drawn by that
    recipe; with `as_source`, every image knows the size of the picture that it is a part of. Raises DataError for bad
    data, where `masks` is requested and no object has one, and where a source's size is not known.
    """
    read = read_inputs([source], provenance=True, leniency=leniency)
    stored = _examine(read, progress, leniency)
    chosen, left_out = _choose(read, only)
    categories = Categories(chosen)
    labelled = restricted(read.sources, chosen) if left_out else read.sources
    trained = [index for index, item in enumerate(labelled) if keep_empty or is_trainable(item)]
    sources = [labelled[index] for index in trained]
    if not any(is_trainable(item) for item in sources):
        raise DataError(f"{source.annotations}: expected objects to train on, found none but crowds")
    objects, bare = without_outline(sources)
    if masks and bare == objects:
        raise DataError(
            f"{source.annotations}: MODEL.MASK_ON asks for objects with a segmentation, none of {objects:,} has one"
        )
    with_masks = bare < objects if masks is None else masks
    counts = histogram(sources, categories)
    sizes = _source_sizes(source, read) if as_source and online is None else {}
    return TrainingData(
        records=Records(
            to_record(
                item,
                categories,
                masks=with_masks,
                on_stored_pixels=stored,
                source_size=sizes.get(item.image.id),
            )
            for item in sources
        ),
        categories=categories,
        masks=with_masks,
        unmasked=with_masks and bare > 0,
        tall=np.array([item.image.height > item.image.width for item in sources], dtype=np.bool_),
        histogram=counts,
        identity=_identity(source, read, categories, left_out, online) | leniency.decided(),
        left_out=left_out,
        seen=_seen(source, read, progress),
        notes=[
            *notes.size_notes(source, read, sources),
            *histogram_notes(categories, counts),
            *notes.left_out_notes(categories, left_out),
            *notes.mask_notes(objects, bare, with_masks),
            *notes.build_notes(source, online),
            *(f"repaired: {count:,} x {kind}" for kind, count in read.repairs.counts().items()),
            *cli.skipped_lines(read),
            *cli.warning_lines(read.warnings),
        ],
        online=None
        if online is None
        else _online_data(online, labelled, trained, categories, stored, keep_empty, str(source.annotations)),
    )


def _online_data(
    recipe: Recipe,
    labelled: list[Source],
    trained: list[int],
    categories: Categories,
    stored: bool,
    keep_empty: bool,
    name: str,
) -> OnlineData:
    """What variants are drawn from. Raises DataError where the recipe does not suit the data."""
    suitable.check_tiles(recipe, ((str(item.path), item.image) for item in labelled))
    donors = Donors((item.input, item.image, item.annotations) for item in labelled)
    suitable.check_masks(recipe, donors, name)
    return OnlineData(
        recipe=recipe,
        sources=Packed(labelled),
        trained=trained,
        categories=categories,
        donors=donors,
        on_stored_pixels=stored,
        keep_empty=keep_empty,
    )


def _source_sizes(source: Input, read: Inputs) -> dict[int, Size | None]:
    """The size by which INPUT.SCALE source resizes each image. Raises DataError where it is not known."""
    if all(item.image.window is None for item in read.sources):
        raise DataError(
            f"{source.annotations}: INPUT.SCALE source is for parts of images, as in a build with crops, or drawn by "
            "--online; found whole images only",
            advice="Leave INPUT.SCALE at picture.",
        )
    sizes = source_sizes(item.image for item in read.sources)
    unknown = [item.image for item in read.sources if sizes[item.image.id] is None]
    if unknown:
        raise DataError(
            f"{source.annotations}: INPUT.SCALE source needs the size of the picture that an image is a part of, which "
            f"a build's other images of it tell; {len(unknown):,} image(s) have none",
            [image.file_name for image in unknown],
            advice="Have `original` in the recipe, or leave INPUT.SCALE at picture.",
        )
    return sizes


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
    skipped = tuple(item.id for item in read.skipped)
    return ValidationData(measured_on, _truth(read), count, notes, source, read.sha256[0], skipped)


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


def _identity(
    source: Input, read: Inputs, categories: Categories, left_out: list[Category], online: Recipe | None
) -> dict[str, Any]:
    folder = build_of(source.annotations)
    return {
        "annotations": source.annotations.name,
        "annotations_sha256": read.sha256[0],
        "manifest_sha256": sha256_file(folder / MANIFEST) if folder else None,
        "images": len(read.sources),
        "categories": [list(pair) for pair in categories.pairs()],
        "left_out": [list(pair) for pair in Categories(left_out).pairs()],
        "online": None if online is None else online_draws.identity(online),
    }
