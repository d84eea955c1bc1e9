"""Results files as `evaluate` reads them: for the images and categories of a dataset, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from datasets import listed_names, plausibility
from datasets.checks import Repairs
from datasets.errors import DataError
from datasets.records import Dataset
from datasets.result_names import Names, Numbering
from datasets.result_reading import read_numbered
from datasets.results import Results, check_ids


class Read(NamedTuple):
    """Detections with the dataset's own ids, what was respelled, and ids of RESULTS.images.json -> the dataset's."""

    detections: Results
    spellings: Repairs
    ids: Mapping[int, int]


def read(results: Path, dataset: Dataset, annotations: Path, numbering: Numbering = "ids") -> Read:
    """Raises DataError for results that are no detections of this dataset, or whose boxes are fractions."""
    category_ids = [item.id for item in dataset.categories]
    names = Names(dataset.images, dataset.categories)
    detections, spellings = read_numbered(results, names, numbering, category_ids)
    ids = listed_names.renumbering(dataset.images, detections, results)
    detections = listed_names.renumbered(detections, ids)
    check_ids(results, detections, [image.id for image in dataset.images], category_ids, annotations)
    if plausibility.are_fractions(detections):
        raise DataError(f"{results}: {plausibility.FRACTIONS}")
    return Read(detections, spellings, ids)
