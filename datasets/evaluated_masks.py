"""The masks that are compared in an evaluation: those of a dataset's objects and of detections, as COCO's runs.

Each is {"size": [height, width], "counts": compressed string}, in the size of its image.
"""

from __future__ import annotations

from typing import Any

import msgspec

from datasets import coco_runs
from datasets.as_written import any_mask
from datasets.checks import RleJson
from datasets.errors import Problems
from datasets.records import Dataset, Image, Polygons, Rle
from datasets.results import Results

Runs = dict[str, Any]
# How tools write that there is no mask; and how much of anything else is shown.
_NONE = ("", "null", "[]", "[[]]")
_SHOWN = 60


def of_objects(dataset: Dataset, name: str) -> list[Runs]:
    """The masks of all annotations, in their order. Raises DataError, which calls the file `name`, for every object
    without a mask, and for runs of another size than their image.
    """
    images = {image.id: image for image in dataset.images}
    problems = Problems()
    masks = []
    for index, item in enumerate(dataset.annotations):
        mask = _runs(item.segmentation, images[item.image_id], "none that can be used")
        if isinstance(mask, str):
            problems.add(f"$.annotations[{index}].segmentation: {mask}")
        else:
            masks.append(mask)
    problems.raise_if_any(
        f"{name}: {{n}} object(s) whose masks cannot be compared", "Objects without masks are compared by their boxes."
    )
    return masks


def of_detections(results: Results, dataset: Dataset, name: str) -> list[Runs]:
    """As `of_objects`, of N detections whose images `dataset` has."""
    images = {image.id: image for image in dataset.images}
    problems = Problems()
    masks = []
    texts = results.segmentations if results.segmentations is not None else [b""] * len(results)
    for row, (image_id, text) in enumerate(zip(results.image_ids.tolist(), texts, strict=True)):
        mask = _runs(parsed(text), images[image_id], text.decode("utf-8", "replace")[:_SHOWN])
        if isinstance(mask, str):
            problems.add(f"$[{row}].segmentation: {mask}")
        else:
            masks.append(mask)
    problems.raise_if_any(
        f"{name}: {{n}} detection(s) whose masks cannot be compared",
        "`python -m train predict --masks` writes masks; without them, boxes are compared.",
    )
    return masks


def parsed(text: bytes) -> Polygons | Rle | None:
    """None for what is no mask."""
    if not text:
        return None
    try:
        return any_mask(msgspec.json.decode(text, type=list[list[float]] | RleJson))
    except msgspec.DecodeError:
        return None


def _runs(segmentation: Polygons | Rle | None, image: Image, shown: str = "") -> Runs | str:
    """The mask in the image's size, or what is wrong with it, which is `shown`."""
    if segmentation is None:
        found = "none" if shown in _NONE else shown
        return f"expected a mask, polygons or runs, found {found}"
    if isinstance(segmentation, Rle) and tuple(segmentation.size) != (image.height, image.width):
        height, width = segmentation.size
        return (
            f"expected runs of the image's {image.height} x {image.width} px (height x width), found {height} x {width}"
        )
    rle = coco_runs.to_rle(coco_runs.from_segmentation(segmentation, image.height, image.width))
    return {"size": list(rle.size), "counts": rle.counts}
