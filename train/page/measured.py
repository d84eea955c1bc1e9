"""Detections on validation data, read and measured: those that a run has kept, or a results file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from datasets import analysis, coco, evaluated_results, provenance
from datasets.analysis import Operating
from datasets.checks import Leniency
from datasets.digests import sha256_file
from datasets.errors import DataError
from datasets.evaluation import Evaluation, Interval, evaluate
from datasets.intervals import ap_interval
from datasets.provenance import ResultsProvenance
from datasets.records import Dataset
from datasets.results import Results
from train.run import best_results
from train.run.best_results import MeasuredOn


class Files(NamedTuple):
    """A results file and what it is of; `images` is None where pictures are not to be shown."""

    results: Path
    annotations: Path
    images: Path | None
    leniency: Leniency | None = None
    skipped: Collection[int] = ()
    """Ids of images that were left out."""
    trained_objects: Mapping[int, int] | None = None
    """Objects that were trained on, by category id, where that is known."""
    epoch: int | None = None
    """That of the best validation, where these are its detections."""


class Measured(NamedTuple):
    files: Files
    truth: Dataset
    found: Results
    evaluation: Evaluation
    interval: Interval | None
    at: Operating
    """The score from which on detections are judged one by one."""
    provenance: ResultsProvenance
    """Which of the images were trained on, as `predict` has written it beside its results."""

    @property
    def names(self) -> dict[int, str]:
        """Of the categories, by id."""
        return {item.id: item.name for item in self.truth.categories}


def kept_by(folder: Path) -> Files | None:
    """What a run has kept; None where it kept nothing. Raises DataError where its data are no longer there."""
    of = best_results.read_measured_on(folder)
    if of is None:
        return None
    annotations = Path(of.annotations)
    if not annotations.is_file():
        raise DataError(f"{annotations}: expected the annotation file that {folder} was validated on, found none")
    if sha256_file(annotations) != of.annotations_sha256:
        raise DataError(f"{annotations}: expected the annotation file that {folder} was validated on, found another")
    return _files(folder, annotations, of)


def named(folder: Path, results: Path | None, annotations: Path, images: Path | None) -> Files:
    """What was named on the command line: `results`, by default those that the run has kept, of `annotations`.

    Raises DataError where the run has kept none, or others.
    """
    of = best_results.read_measured_on(folder)
    if results is not None:
        return Files(results, annotations, images, trained_objects=None if of is None else of.trained_objects)
    if of is None:
        raise DataError(
            f"{folder}: expected {best_results.RESULTS}, which a training with --val writes, found none; --results "
            "names predictions of these images"
        )
    if not annotations.is_file() or sha256_file(annotations) != of.annotations_sha256:
        raise DataError(
            f"{annotations}: expected the annotation file that {folder} was validated on, found another; --results "
            "names predictions of these images"
        )
    return _files(folder, annotations, of)._replace(images=images)


def _files(folder: Path, annotations: Path, of: MeasuredOn) -> Files:
    return Files(
        results=folder / best_results.RESULTS,
        annotations=annotations,
        images=Path(of.images),
        leniency=Leniency(of.clip_boxes, of.skip_bad, of.follow_links),
        skipped=of.skipped,
        trained_objects=of.trained_objects,
        epoch=of.epoch,
    )


def measure(files: Files, category_ids: Collection[int]) -> Measured:
    """Measure detections in the categories with these ids.

    Raises DataError for files that cannot be read, and for results that are not of this data.
    """
    truth = _truth(files, category_ids)
    found = evaluated_results.read(files.results, truth, files.annotations).detections
    return Measured(
        files=files,
        truth=truth,
        found=found,
        evaluation=evaluate(truth, found),
        interval=ap_interval(truth, found),
        at=analysis.operating_point(truth, found),
        provenance=provenance.read(files.results),
    )


def _truth(files: Files, category_ids: Collection[int]) -> Dataset:
    """The images and objects that detections are compared with; other categories are background, as in training."""
    read = coco.read(files.annotations, leniency=files.leniency, images=files.images).dataset
    known, skipped = set(category_ids), set(files.skipped)
    categories = [item for item in read.categories if item.id in known]
    if not categories:
        raise DataError(f"{files.annotations}: expected categories that the run was trained on, found none of them")
    return Dataset(
        info={},
        licenses=[],
        categories=categories,
        images=[item for item in read.images if item.id not in skipped],
        annotations=[item for item in read.annotations if item.category_id in known and item.image_id not in skipped],
    )


def objects_of(truth: Dataset) -> Counter[int]:
    """Objects to find, by category id, without crowds."""
    return Counter(item.category_id for item in truth.annotations if not item.iscrowd)
