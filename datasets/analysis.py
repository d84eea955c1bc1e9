"""What a detector gets wrong: kinds of errors, confusions, calibration, precision, suspect labels, by hotcoco.

Detections and objects are matched at an IoU of 0.5; crowds and ignored objects are ignored regions.

D: detections, G: annotations, K: categories, R: recalls
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from datasets.evaluation import MAX_DETS, checked_ids, matched, prepared
from datasets.records import Dataset
from datasets.results import Results

IOU = 0.5
# COCO's recalls, at which precision is measured.
RECALLS = np.linspace(0, 1, 101)

Kind = Literal["Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"]
# Bolya et al., TIDE, 2020, by the names of its authors.
KINDS: dict[Kind, tuple[str, str]] = {
    "Cls": ("wrong category", "found in the right place, as another category"),
    "Loc": ("badly placed", "of the right category, but it overlaps its object by an IoU of 0.1 to 0.5 only"),
    "Both": ("wrong category, badly placed", "both at once"),
    "Dupe": ("found twice", "another detection with a higher score has the same object"),
    "Bkg": ("background", "nothing is annotated there"),
    "Miss": ("missed", "an object that nothing was found for, not even badly"),
}


class ErrorKinds(NamedTuple):
    """AP at IoU 0.5 as a fraction, what it would gain if all errors of a kind were mended, and how many there are."""

    ap50: float
    gains: dict[Kind, float]
    counts: dict[Kind, int]


class Confusion(NamedTuple):
    """Objects by what they were found as.

    `counts` is (K + 1, K + 1): a row is the category of an object, a column that of the detection matched to it, in the
    order of `category_ids`. The last column counts objects without a detection, the last row detections without an
    object.
    """

    category_ids: list[int]
    counts: npt.NDArray[np.int64]


class Bin(NamedTuple):
    """Detections of similar scores: their number, mean score, and the share that has an object."""

    detections: int
    score: float
    right: float


class Calibration(NamedTuple):
    """How far scores are from the share of right detections: the mean gap over all of them, and it bin by bin."""

    error: float
    bins: list[Bin]


class Verdicts(NamedTuple):
    """What came of each detection and of each annotation."""

    hits: npt.NDArray[np.bool_]
    """(D,) whether a detection has an object of its category."""
    ignored: npt.NDArray[np.bool_]
    """(D,) whether it counts neither way: it lies in an ignored region, or beyond the limit of detections."""
    found: npt.NDArray[np.bool_]
    """(G,) whether an annotation has a detection; always true of crowds."""
    object_of: npt.NDArray[np.int64]
    """(D,) the row of a detection's annotation, -1 for none."""


class Suspect(NamedTuple):
    """A label that may be wrong: `detection` is the row of a confident detection, `annotation` that of the object that
    is annotated there as another category, or None where nothing is.
    """

    image_id: int
    detection: int
    annotation: int | None
    score: float


class Operating(NamedTuple):
    """The score from which on detections have the best F1 of all categories together, with its precision and recall."""

    score: float
    f1: float
    precision: float
    recall: float


def error_kinds(dataset: Dataset, results: Results, *, max_dets: int = MAX_DETS) -> ErrorKinds:
    """TIDE's kinds of errors. Raises DataError as `evaluation.evaluate`, as all of this module do."""
    evaluation = _evaluated(dataset, results, max_dets)
    found = evaluation.tide_errors(pos_thr=IOU)
    return ErrorKinds(
        max(0.0, found["ap_base"]),
        {kind: found["delta_ap"].get(kind, 0.0) for kind in KINDS},
        {kind: found["counts"].get(kind, 0) for kind in KINDS},
    )


def confusion(dataset: Dataset, results: Results, *, score: float, max_dets: int = MAX_DETS) -> Confusion:
    """Of the detections with at least this score."""
    images, categories = checked_ids(dataset, results, "results")
    evaluation = prepared(dataset, results, images, categories, max_dets)
    counts = evaluation.confusion_matrix(iou_thr=IOU, max_det=max_dets, min_score=score)["matrix"]
    return Confusion(categories.tolist(), counts.astype(np.int64))


def calibration(dataset: Dataset, results: Results, *, bins: int = 10, max_dets: int = MAX_DETS) -> Calibration:
    """The expected calibration error (Guo et al., 2017) of the scores."""
    found = _evaluated(dataset, results, max_dets).calibration(n_bins=bins, iou_threshold=IOU)
    filled = [item for item in found["bins"] if item["count"]]
    return Calibration(
        found["ece"], [Bin(item["count"], item["avg_confidence"], item["avg_accuracy"]) for item in filled]
    )


def curve(dataset: Dataset, results: Results, *, max_dets: int = MAX_DETS) -> npt.NDArray[np.float64]:
    """(R,) precision at each of RECALLS, the mean of the categories with objects; AP at this IoU is its mean."""
    evaluation = _evaluated(dataset, results, max_dets)
    evaluation.accumulate()
    # (thresholds, R, K, areas, limits); -1 for categories without an object.
    precision = evaluation.eval["precision"][0, :, :, 0, 2]
    defined = precision[:, (precision > -1).all(axis=0)]
    means: npt.NDArray[np.float64] = defined.mean(axis=1) if defined.size else np.zeros(len(RECALLS))
    return means


def operating_point(dataset: Dataset, results: Results, *, max_dets: int = MAX_DETS) -> Operating:
    """Where F1 is best; of equal ones the highest score. Score 1 without a right detection."""
    entries = matched(dataset, results, max_dets)
    scores = np.concatenate([[0.0], *(entry["dtScores"] for entry in entries)])[1:]
    hits, ignored = (
        np.concatenate([np.zeros(0, bool), *(np.array(entry[key][0], bool) for entry in entries)])
        for key in ("dtMatched", "dtIgnore")
    )
    objects = sum(len(entry["gtIgnore"]) - sum(entry["gtIgnore"]) for entry in entries)
    order = np.argsort(-scores[~ignored], kind="stable")
    scores, hits = scores[~ignored][order], hits[~ignored][order]
    right, all_ = np.cumsum(hits), np.arange(1, len(hits) + 1)
    # Detections of one score are taken together.
    last = np.append(scores[1:] != scores[:-1], True) if len(scores) else np.zeros(0, bool)
    f1 = np.where(last, 2 * right / (all_ + objects), 0.0)
    if not f1.any():
        return Operating(1.0, 0.0, 0.0, 0.0)
    best = int(np.argmax(f1))
    return Operating(
        float(scores[best]), float(f1[best]), float(right[best] / all_[best]), float(right[best] / objects)
    )


def verdicts(dataset: Dataset, results: Results, *, max_dets: int = MAX_DETS) -> Verdicts:
    """Of all these detections; those of low scores, which are many, are better left out first (`at_least`)."""
    found = _evaluated(dataset, results, max_dets).image_diagnostics(iou_thr=IOU)
    status = [found["dt_status"].get(row + 1, "ignored") for row in range(len(results))]
    object_of = np.full(len(results), -1, dtype=np.int64)
    for detection, annotation in found["dt_match"].items():
        object_of[detection - 1] = annotation - 1
    hits = np.array([item == "tp" for item in status], dtype=np.bool_)
    missed = np.array(
        [found["gt_status"].get(row + 1) == "fn" for row in range(len(dataset.annotations))], dtype=np.bool_
    )
    crowds = np.array([bool(item.iscrowd) for item in dataset.annotations], dtype=np.bool_)
    ignored = np.array([item not in ("tp", "fp") for item in status], dtype=np.bool_)
    return Verdicts(hits, ignored, ~missed | crowds, np.where(hits, object_of, -1))


def suspects(dataset: Dataset, results: Results, *, score: float, max_dets: int = MAX_DETS) -> list[Suspect]:
    """Labels that confident detections contradict, the most confident first."""
    images, _ = checked_ids(dataset, results, "results")
    found = _evaluated(dataset, results, max_dets).image_diagnostics(iou_thr=IOU, score_thr=score)["label_errors"]
    return [
        Suspect(
            int(images[item["image_id"]]),
            item["dt_id"] - 1,
            None if item["gt_id"] is None else item["gt_id"] - 1,
            item["dt_score"],
        )
        for item in found
    ]


def at_least(results: Results, score: float) -> Results:
    """The detections with at least this score."""
    rows = np.flatnonzero(results.scores >= score)
    segmentations = None if results.segmentations is None else [results.segmentations[row] for row in rows]
    return Results(
        results.image_ids[rows],
        results.category_ids[rows],
        results.boxes_xywh[rows],
        results.scores[rows],
        segmentations,
    )


def _evaluated(dataset: Dataset, results: Results, max_dets: int) -> Any:
    """hotcoco's COCOeval, at one IoU and for objects of any size."""
    evaluation = prepared(dataset, results, *checked_ids(dataset, results, "results"), max_dets)
    evaluation.evaluate()
    return evaluation
