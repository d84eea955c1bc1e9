"""What goes wrong over all images: kinds of errors, confusions, and scores that promise too much."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from datasets import analysis, percent
from datasets.analysis import KINDS, Calibration, Confusion, ErrorKinds, Kind
from datasets.analysis_text import confused
from datasets.pages import charts
from datasets.pages.charts import Axis, Chart
from train.page.measured import Measured

# Categories that a confusion matrix shows.
SHOWN = 12
NOTHING = "nothing"
# A mean gap between scores and the share of right detections that is worth a warning.
GAP = 0.1
# What helps against each kind.
REMEDIES: dict[Kind, str] = {
    "Cls": "Look at both categories side by side: are they labelled by one rule? More boxes of the rarer one help.",
    "Loc": "Are boxes drawn tightly and alike in all images? Larger test images help small objects (choose-size).",
    "Both": "These go with weak training on the whole: train longer, or label more.",
    "Dupe": "Suppression is too lenient: ensemble fuse has soft-NMS of each category; MODEL.ROI_HEADS.NMS_THRESH_TEST "
    "lowers the IoU.",
    "Bkg": "Objects that nobody labelled, or things that look like them: see the labels to check. Images without "
    "objects teach what is none.",
    "Miss": "Too few boxes of this kind, or too small in the image: label more, or use larger images.",
}

Matrix = tuple[list[str], list[tuple[str, list[tuple[str, float]]]]]


class Mistakes(NamedTuple):
    """Charts and tables; `matrix` is its header and rows, `left_out` how many categories it does not show."""

    kinds: Chart
    kind_rows: list[list[str]]
    remedies: list[tuple[str, str]]
    """A kind of error; what it is, and what helps."""
    matrix: Matrix
    left_out: int
    calibration: Chart
    calibrated: str


def find(measured: Measured) -> Mistakes:
    judged = analysis.at_least(measured.found, measured.at.score)
    found = analysis.error_kinds(measured.truth, measured.found)
    confusion = analysis.confusion(measured.truth, measured.found, score=measured.at.score)
    shown = _most_confused(confusion)
    calibration = analysis.calibration(measured.truth, measured.found)
    return Mistakes(
        kinds=_kinds_chart(found),
        kind_rows=_kind_rows(found, analysis.error_kinds(measured.truth, judged)),
        remedies=[(KINDS[kind][0], f"{KINDS[kind][1]}. {REMEDIES[kind]}") for kind in _costly_first(found)],
        matrix=_matrix(confusion, shown, [measured.names[id_] for id_ in confusion.category_ids]),
        left_out=len(confusion.category_ids) - len(shown),
        calibration=_calibration_chart(calibration),
        calibrated=calibrated(calibration),
    )


def _costly_first(found: ErrorKinds) -> list[Kind]:
    return sorted(KINDS, key=lambda kind: -found.gains[kind])


def _kinds_chart(found: ErrorKinds) -> Chart:
    bars = [(KINDS[kind][0], [100 * found.gains[kind]]) for kind in _costly_first(found)]
    title = f"What AP50, now {percent.precision(found.ap50)}, would gain without each kind of error"
    return charts.bars("kinds", title, bars, ["AP50 gained"], Axis("AP50 gained"))


def _kind_rows(found: ErrorKinds, judged: ErrorKinds) -> list[list[str]]:
    return [
        [KINDS[kind][0], percent.difference(found.gains[kind]), f"{judged.counts[kind]:,}"]
        for kind in _costly_first(found)
    ]


def _most_confused(found: Confusion) -> list[int]:
    """Rows of the categories that are confused most, in the order of the matrix; all where they are few."""
    count = len(found.category_ids)
    if count <= SHOWN:
        return list(range(count))
    ranked: dict[int, None] = {}
    for truth, as_, _ in confused(found):
        ranked |= {truth: None, as_: None}
    # Then those that are found worst.
    missed = np.argsort(-found.counts[:-1, -1], kind="stable").tolist()
    return sorted([*ranked, *(row for row in missed if row not in ranked)][:SHOWN])


def _matrix(found: Confusion, shown: list[int], names: list[str]) -> Matrix:
    """Each row in shades of its own shares."""
    rows = [*shown, len(names)]
    labels = [*(names[row] for row in shown), NOTHING]
    sums = np.maximum(found.counts.sum(axis=1), 1)
    body = [
        (label, [(f"{found.counts[row, column]:,}", float(found.counts[row, column] / sums[row])) for column in rows])
        for row, label in zip(rows, labels, strict=True)
    ]
    return ["", *labels], body


def _calibration_chart(found: Calibration) -> Chart:
    points = [(f"{item.detections:,}", 100 * item.score, 100 * item.right) for item in found.bins]
    title = "How many detections of each score are right; on the dashed line, scores mean what they say"
    return charts.points("calibration", title, points, Axis("mean score, in %"), Axis("right, in %"), line=(0, 100))


def calibrated(found: Calibration) -> str:
    """What scores are worth, in a sentence."""
    total = sum(item.detections for item in found.bins)
    if not total:
        return "There is no detection."
    score, right = (
        sum(item.detections * value for item, value in zip(found.bins, values, strict=True)) / total
        for values in ([item.score for item in found.bins], [item.right for item in found.bins])
    )
    told = f"Scores say {percent.share(score)} on average, and {percent.share(right)} of the detections are right"
    if found.error < GAP:
        return f"{told}: scores can be read as chances, within {percent.share(found.error)} on average."
    way = "too high" if score > right else "too low"
    return (
        f"{told}: scores are {way}, by {percent.share(found.error)} on average. Do not read them as chances; choose a "
        "threshold by what it finds, as above."
    )
