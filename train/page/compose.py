"""The page of one or several runs, from their folders to the HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datasets import coco, percent
from datasets.errors import DataError
from datasets.pages import page
from datasets.pages.page import Number
from train.page import categories, curves, gallery, judged, measured, mistakes, runs, settings, story
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
    content = _of_runs(found)
    if files is None:
        content |= {"measured": None, "reason": reason, "command": _command(first)}
    else:
        content |= _of_detections(measured.measure(files, [id_ for id_, _ in first.categories]), first)
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


def _of_runs(found: Sequence[Run]) -> dict[str, Any]:
    """What is known without detections."""
    first = found[0]
    losses = [(first.epochs(done), value) for done, value in first.metrics.points("total_loss")]
    return {
        "title": f"Training of {', '.join(run.name for run in found)}",
        "run": first,
        "trained": story.trained(first),
        "best": story.best(first),
        "seen": int(first.metrics.last("bbox/images_seen_in_training") or 0),
        "findings": [story.trend(first.validations), story.overfitting(first.validations, losses)],
        "numbers": _numbers(first),
        "charts": curves.curves(found),
        "runs": [_run_row(run) for run in found] if len(found) > 1 else [],
        "settings": settings.settings_of(first),
    }


def _numbers(run: Run) -> list[Number]:
    best = run.best
    known = [
        Number("-" if best is None else percent.precision(best.ap), "best AP"),
        Number("-" if best is None else str(best.epoch), "its epoch"),
        Number(f"{run.epochs(run.iterations):.3g}", "epochs"),
        Number(duration(run.metrics.seconds), "of steps"),
        Number(f"{run.data.get('images', '-')}", "training images"),
        Number(f"{len(run.categories)}", "categories"),
    ]
    return known if best is not None else known[2:]


def _run_row(run: Run) -> list[str]:
    best = "-" if run.best is None else str(run.best.epoch)
    return [
        run.name,
        run.model,
        run.best_text,
        best,
        f"{run.epochs(run.iterations):.3g}",
        duration(run.metrics.seconds),
    ]


def _of_detections(of: Measured, first: Run) -> dict[str, Any]:
    """What detections on validation data tell."""
    judgement = judged.judge(of)
    rows = categories.rows(of, judgement.kept, judgement.verdicts)
    shown = gallery.galleries(of, judgement)
    return {
        "measured": of,
        "what": _what(of, first),
        "rows": [row.cells() for row in rows],
        "categories_header": categories.HEADER,
        "categories_chart": categories.chart(rows),
        "label_next": categories.label_next(rows),
        "mistakes": mistakes.find(of),
        "galleries": shown,
        "legend": gallery.LEGEND,
        "suspect_legend": gallery.SUSPECT_LEGEND,
        "precision": percent.share(of.at.precision),
        "recall": percent.share(of.at.recall),
    }


def _what(of: Measured, first: Run) -> str:
    """Which detections, with their AP."""
    interval = f" ({of.interval} in 95 % of cases)" if of.interval else ""
    ap = f"AP {percent.precision(of.evaluation.ap)}{interval} on {len(of.truth.images):,} images"
    if of.files.epoch is None:
        return f"the detections of {of.files.results} on {of.files.annotations}: {ap}"
    best = first.best
    other = f"; the best epoch is {best.epoch}" if best is not None and best.epoch != of.files.epoch else ""
    return f"the detections of the validation of epoch {of.files.epoch} on {of.files.annotations}: {ap}{other}"
