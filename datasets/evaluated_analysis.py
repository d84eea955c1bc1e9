"""The analyses that `evaluate` was asked for beside AP."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from datasets import analysis, analysis_text, comparison, evaluated_results
from datasets.records import Dataset
from datasets.result_names import Numbering
from datasets.results import Results


class Asked(NamedTuple):
    """Which analyses, and the results file to compare with."""

    errors: bool
    confusion: bool
    compare: Path | None


class Analyses(NamedTuple):
    """Lines of text, each analysis after an empty one, and the same for JSON."""

    lines: list[str]
    document: dict[str, Any]


def analysed(
    asked: Asked,
    dataset: Dataset,
    detections: Results,
    results: Path,
    annotations: Path,
    numbering: Numbering,
    max_dets: int,
) -> Analyses:
    """Raises DataError for another results file that is no detections of this dataset."""
    lines: list[str] = []
    document: dict[str, Any] = {}
    if asked.errors:
        kinds = analysis.error_kinds(dataset, detections, max_dets=max_dets)
        lines += ["", *analysis_text.errors_table(kinds)]
        document["errors"] = analysis_text.errors_json(kinds)
    if asked.confusion:
        at = analysis.operating_point(dataset, detections, max_dets=max_dets)
        confusion = analysis.confusion(dataset, detections, score=at.score, max_dets=max_dets)
        names = {item.id: item.name for item in dataset.categories}
        lines += ["", *analysis_text.confusion_table(confusion, names, at)]
        document["confusion"] = analysis_text.confusion_json(confusion, at)
    if asked.compare is not None:
        other = evaluated_results.read(asked.compare, dataset, annotations, numbering).detections
        aps = [
            comparison.measured(dataset, [item], max_dets=max_dets, name=str(name), truth=str(annotations))
            for name, item in ((results, detections), (asked.compare, other))
        ]
        difference = comparison.difference(*aps)
        lines += ["", analysis_text.comparison_line(difference, str(results), str(asked.compare))]
        document["compared"] = analysis_text.comparison_json(difference)
    return Analyses(lines, document)
