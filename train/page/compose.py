"""The page of one or several runs, from their folders to the HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datasets import coco, percent
from datasets.errors import DataError
from datasets.pages import page
from datasets.pages.page import Number
from train.page import categories, compared, curves, gallery, judged, measured, mistakes, runs, settings, story
from train.page.measured import Files, Measured, objects_of
from train.page.runs import Run
from train.run import best_results
from train.run.schedule import duration

TEMPLATE = "run.html"
OUTPUT = "report.html"


class Asked(NamedTuple):
    """The parameters of `python -m train report`; without `annotations`, the detections that the first run has kept."""

    runs: Sequence[Path]
    output: Path | None = None
    results: Path | None = None
    annotations: Path | None = None
    images: Path | None = None
    train_annotations: Path | None = None


class Made(NamedTuple):
    """The page, and why a part of it is missing, for the user."""

    path: Path
    notes: list[str]


def write(asked: Asked) -> Made:
    """Write the page. Raises DataError for runs and files that cannot be read."""
    found = runs.read(asked.runs)
    first = found[0]
    output = asked.output or first.folder / OUTPUT
    files, reason = _files(asked, first)
    of = None if files is None else measured.measure(files, [id_ for id_, _ in first.categories])
    content = {**_of_runs(found, of), "measured": of, "reason": reason, "command": _command(first)}
    if of is not None:
        content |= _of_detections(of, first)
    page.write(output, page.render(Path(__file__).parent, TEMPLATE, **content), _inputs(asked, files))
    return Made(output, [f"curves only: {reason}"] if files is None else [])


def _inputs(asked: Asked, files: Files | None) -> tuple[Path, ...]:
    of_runs = [path for folder in asked.runs for path in folder.iterdir() if path.name != OUTPUT]
    return (*of_runs, *((files.results, files.annotations) if files is not None else ()))


def _files(asked: Asked, first: Run) -> tuple[Files | None, str]:
    """What is measured; or why nothing is, where nothing was asked for. Raises DataError for what was asked for."""
    if asked.annotations is not None:
        files = measured.named(first.folder, asked.results, asked.annotations, asked.images)
        return _with_training(files, asked.train_annotations), ""
    try:
        kept = measured.kept_by(first.folder)
    except DataError as error:
        return None, str(error)
    if kept is None:
        return None, f"{first.folder} has no {best_results.RESULTS}, which a training with --val writes since 0.4"
    return _with_training(kept, asked.train_annotations), ""


def _with_training(files: Files, annotations: Path | None) -> Files:
    """With the objects of this annotation file as those that were trained on."""
    return files if annotations is None else files._replace(trained_objects=objects_of(coco.read(annotations).dataset))


def _command(run: Run) -> list[str]:
    """What makes the whole page."""
    return [
        f"python -m train predict --run {run.folder} --annotations VAL.json --images VAL --output PREDICTED.json",
        f"python -m train report {run.folder} --results PREDICTED.json --annotations VAL.json --images VAL",
    ]


def _of_runs(found: Sequence[Run], of: Measured | None) -> dict[str, Any]:
    """What the head of the page, its curves and its end tell."""
    first = found[0]
    return {
        "title": f"Training of {', '.join(run.name for run in found)}",
        "run": first,
        "trained": story.trained(first),
        "best": story.best(first, of),
        "seen": story.seen(first, of),
        "findings": story.findings(first),
        "numbers": _numbers(first, of),
        "charts": curves.curves(found),
        "runs": _run_rows(found, of) if len(found) > 1 else [],
        "settings": settings.settings_of(first),
    }


def _numbers(run: Run, of: Measured | None) -> list[Number]:
    best = run.best
    aps = [] if of is None else [Number(percent.precision(of.evaluation.ap), "AP")]
    if best is not None:
        aps = [Number(percent.precision(best.ap), "best AP"), Number(str(best.epoch), "its epoch")]
    return [
        *aps,
        Number(f"{run.epochs(run.iterations):.3g}", "epochs"),
        Number(duration(run.metrics.seconds), "of steps"),
        Number(f"{run.data.get('images', '-')}", "training images"),
        Number(f"{len(run.categories)}", "categories"),
    ]


def _run_rows(found: Sequence[Run], of: Measured | None) -> list[list[str]]:
    differences = ["", *compared.differences(of, found[1:])]
    return [
        [
            run.name,
            Path(run.model).name,
            run.best_text,
            "-" if run.best is None else str(run.best.epoch),
            difference,
            f"{run.epochs(run.iterations):.3g}",
            duration(run.metrics.seconds),
        ]
        for run, difference in zip(found, differences, strict=True)
    ]


def _of_detections(of: Measured, first: Run) -> dict[str, Any]:
    """What detections on validation data tell."""
    judgement = judged.judge(of)
    rows = categories.rows(of, judgement.kept, judgement.verdicts)
    shown = gallery.galleries(of, judgement)
    return {
        "what": _what(of, first),
        "rows": [row.cells() for row in rows],
        "categories_header": categories.HEADER,
        "categories_chart": categories.chart(rows),
        "to_do": [*categories.label_next(rows), *shown.findings()],
        "mistakes": mistakes.find(of),
        "galleries": shown,
        "legend": gallery.LEGEND,
        "suspect_legend": gallery.SUSPECT_LEGEND,
        "precision": percent.share(of.at.precision),
        "recall": percent.share(of.at.recall),
    }


def _what(of: Measured, first: Run) -> str:
    """Which detections, with their AP."""
    ap = story.measured_ap(of)
    if of.files.epoch is None:
        return f"the detections of {of.files.results.name} in the images of {of.files.annotations.name}: {ap}."
    best = first.best
    other = f" The best epoch is {best.epoch}." if best is not None and best.epoch != of.files.epoch else ""
    return (
        f"the detections of the validation after epoch {of.files.epoch}, in the images of {of.files.annotations.name}: "
        f"{ap}.{other}"
    )
