"""Lint of a submission: everything that an evaluation server would refuse."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from datasets import result_reading
from datasets.errors import DataError, Problems
from datasets.results import Results
from ensemble.pipeline import Images, unknown_ids
from ensemble.recipe import MAX_DETECTIONS

Format = Literal["coco", "vipriors"]

# Pixels by which a box may exceed its image.
TOLERANCE = 1.0


class Checked(NamedTuple):
    detections: int
    images: int
    without: int
    """Images without a detection."""


def file_names(images: Images) -> dict[int, str]:
    """The file name of each image by its id. Raises DataError where two images have the same."""
    names = {image.id: image.file_name for image in images.images}
    if not all(names.values()):
        raise DataError(f"{images.path}: expected a file name for each image, found images without one")
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        raise DataError(f"{images.path}: expected a file name of its own for each image, found some twice", twice)
    return names


def check(path: Path, images: Images, how: Format = "coco", max_dets: int = MAX_DETECTIONS) -> Checked:
    """Lint a submission. Raises DataError with every offender: see `problems_of` and `datasets.result_reading.read`."""
    by_name = {name: id_ for id_, name in file_names(images).items()} if how == "vipriors" else None
    detections = result_reading.read_strictly(path, by_file_name=by_name)
    problems = Problems()
    for problem in unknown_ids(detections, images):
        problems.add(problem)
    problems.extend(problems_of(detections, images, max_dets))
    problems.raise_if_any(f"{path}: {{n}} problem(s) in the submission")
    return Checked(len(detections), len(images.images), len(images.images) - len(np.unique(detections.image_ids)))


def problems_of(detections: Results, images: Images, max_dets: int = MAX_DETECTIONS) -> Problems:
    """Problems: boxes without area or more than 1 px outside their image, images with over `max_dets` detections."""
    sizes = {image.id: (image.width, image.height) for image in images.images}
    problems = Problems()
    boxes = detections.boxes_xywh
    # Boxes of unknown images are reported elsewhere.
    limits = np.array([sizes.get(id_, (np.nan, np.nan)) for id_ in detections.image_ids.tolist()], dtype=np.float64)
    limits = limits.reshape(-1, 2)
    for at in np.flatnonzero((boxes[:, 2:] <= 0).any(axis=1)):
        problems.add(f"$[{at}].bbox: expected a width and a height above 0, found {boxes[at, 2:].tolist()}")
    with np.errstate(over="ignore"):
        outside = (boxes[:, :2] < -TOLERANCE) | (boxes[:, :2] + boxes[:, 2:] > limits + TOLERANCE)
    for at in np.flatnonzero(outside.any(axis=1) & np.isfinite(limits).all(axis=1)):
        width, height = limits[at].astype(int)
        problems.add(f"$[{at}].bbox: expected a box inside {width} x {height} px, found {boxes[at].tolist()}")
    ids, counts = np.unique(detections.image_ids, return_counts=True)
    for id_, count in zip(ids[counts > max_dets], counts[counts > max_dets], strict=True):
        problems.add(f"image {id_}: expected at most {max_dets} detections, found {count}")
    return problems
