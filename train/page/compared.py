"""Whether other runs are better than the first one: by what they have kept of the same validation images."""

from __future__ import annotations

from collections.abc import Sequence

from datasets import comparison, evaluated_results
from datasets.digests import sha256_file
from datasets.errors import DataError
from train.page import measured
from train.page.measured import Measured
from train.page.runs import Run

UNKNOWN = "-"


def differences(first: Measured | None, others: Sequence[Run]) -> list[str]:
    """The AP of each run less the first one's, `+3.1 (1.2 to 5.0)`; `-` where they have no images in common."""
    if first is None:
        return [UNKNOWN] * len(others)
    return [_difference(first, run) for run in others]


def _difference(first: Measured, run: Run) -> str:
    """The paired difference, by a bootstrap over images (see `datasets.comparison`)."""
    try:
        files = measured.kept_by(run.folder)
        if files is None or sha256_file(files.annotations) != sha256_file(first.files.annotations):
            return UNKNOWN
        found = evaluated_results.read(files.results, first.truth, first.files.annotations).detections
        base, arm = (comparison.measured(first.truth, [item]) for item in (first.found, found))
    except DataError:
        # Of other categories, or too few images with objects: not to be compared, and no fault of the page.
        return UNKNOWN
    return str(comparison.difference(arm, base))
