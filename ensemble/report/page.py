"""The page of a fusion, from its results files: what was read, measured, and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datasets import percent
from datasets.analysis import RECALLS, Operating, at_least
from datasets.evaluation import category_rows
from datasets.pages import charts, page
from datasets.pages.charts import Axis, Chart, Line
from datasets.pages.page import Choice, Number
from datasets.records import Dataset, Image
from datasets.results import Results
from ensemble import recipe as recipes
from ensemble.inputs import InputRow, Inputs
from ensemble.pipeline import Fused
from ensemble.recipe import Recipe
from ensemble.report import agreement, images, measures, pictures, words
from ensemble.report.images import Judged
from ensemble.report.measures import Measures

FOLDER = Path(__file__).parent
# Pictures of images that fusion helped, as many of those that it hurt, and of a submission.
CHANGED, SUBMITTED = 6, 24


class Asked(NamedTuple):
    """What the page is about: ground truth, the images' folder where it is known, the recipe, and what came of it."""

    truth: Dataset
    where: str
    folder: Path | None
    recipe: str
    chosen: Recipe
    inputs: Inputs
    done: Fused


class Submission(NamedTuple):
    """A results file of test images, to be drawn."""

    path: Path
    images: Sequence[Image]
    results: Results
    folder: Path


def made(asked: Asked, found: Measures, submission: Submission | None) -> str:
    """The page, of what was measured."""
    truth = asked.truth
    points = measures.operating_points(truth, found)
    judged = [
        images.judged(truth, item.results, point.score, found.max_dets)
        for (_, item), point in zip(found.compared, points, strict=True)
    ]
    content = {
        **_head(asked, found),
        "steps": _steps(found),
        "steps_chart": _steps_chart(found),
        **_agreement(truth, found, points, judged),
        "curves": _curves(truth, found),
        "categories": _categories(truth, found),
        **_changes(asked, found, judged),
        **_submitted(truth, submission, points[-1].score),
        "inputs": [[Path(row.name).name, *_input(row)] for row in asked.inputs.rows],
        "recipe": asked.recipe,
        "recipe_text": recipes.dump(asked.chosen),
        # Problems are left where the user trusts the files.
        "notes": [*asked.inputs.problems, *asked.inputs.notes, *asked.done.notes],
    }
    return page.render(FOLDER, "report.html", **content)


def _head(asked: Asked, found: Measures) -> dict[str, Any]:
    gain = found.gain()
    numbers = [
        Number(percent.precision(found.fused.evaluation.ap), "AP after fusion"),
        Number(percent.precision(found.best.evaluation.ap), "AP of the best single model"),
        *([Number(percent.difference(gain.difference), f"difference (95 %: {gain.interval})")] if gain else []),
        Number(f"{len(asked.truth.images):,}", "images"),
        Number(f"{int(images.objects(asked.truth).sum()):,}", "objects"),
    ]
    return {
        "title": words.title(found),
        "where": asked.where,
        "verdict": words.verdict(found),
        "comparison": words.comparison(found),
        "numbers": numbers,
        "seen": [f"{step.name}: {step.note}" for step in found.steps if step.note],
        "explained": words.EXPLAINED,
        "intervals": words.INTERVALS,
    }


def _steps(found: Measures) -> list[list[str]]:
    return [
        [
            step.name,
            f"{len(step.results):,}",
            percent.precision(step.evaluation.ap),
            "-" if step.interval is None else str(step.interval),
            percent.precision(step.evaluation.ap50),
        ]
        for step in found.steps
    ]


def _steps_chart(found: Measures) -> Chart | None:
    called = [name for item in found.members for name in (item.name, "suppressed")]
    measured = [
        (name, step.evaluation.ap, step.interval)
        for name, step in zip([*called, found.fused.name], found.steps, strict=True)
    ]
    rows = [
        (name, 100 * ap, 100 * interval.low, 100 * interval.high)
        for name, ap, interval in measured
        if ap is not None and interval is not None
    ]
    title = "AP of each step, with its 95 % interval"
    # The table below it has the numbers.
    return charts.intervals("steps", title, rows, Axis("AP"))._replace(rows=[]) if rows else None


def _agreement(
    truth: Dataset, found: Measures, points: Sequence[Operating], judged: Sequence[Judged]
) -> dict[str, Any]:
    names = [name for name, _ in found.compared]
    objects = images.objects(truth)
    finds = [item.verdicts.found[objects] for item in judged]
    shares = agreement.agreement(finds)
    matrix = [
        (name, [(percent.share(found_), found_), *_cells(row, place)])
        for place, (name, found_, row) in enumerate(
            zip(names, shares.found.tolist(), shares.alone.tolist(), strict=True)
        )
    ]
    rows = [
        [name, f"{point.score:.2f}", *(percent.precision(value) for value in (point.precision, point.recall, point.f1))]
        for name, point in zip(names, points, strict=True)
    ]
    return {
        "compared": names,
        "matrix": matrix,
        "shared": words.shared(agreement.by_how_many(finds[:-1])),
        "points": rows,
    }


def _cells(shares: Sequence[float], itself: int) -> list[tuple[str, float]]:
    """What one finds and each other one misses; nothing is said of itself."""
    return [("", 0.0) if place == itself else (percent.share(share), share) for place, share in enumerate(shares)]


def _curves(truth: Dataset, found: Measures) -> Chart:
    curves = zip(found.compared, measures.curves(truth, found), strict=True)
    shown = [Line(name, RECALLS.tolist(), curve.tolist()) for (name, _), curve in curves]
    title = "Precision by recall at IoU 0.50, mean of the categories"
    chart = charts.lines("precision", title, shown, Axis("recall"), Axis("precision"))
    header = ["at a recall of", *(f"{line:g}" for line in RECALLS[::10].tolist())]
    return chart._replace(header=header, rows=[[line.name, *(f"{at:.2f}" for at in line.y[::10])] for line in shown])


def _categories(truth: Dataset, found: Measures) -> list[list[str]]:
    """Those with objects, the most gained first: name, objects, the AP of each model and of the fusion, the gain."""
    by_step = [category_rows(item.evaluation, truth) for _, item in found.compared]
    best = category_rows(found.best.evaluation, truth)
    rows = []
    for of_steps, base in zip(zip(*by_step, strict=True), best, strict=True):
        aps, before = [row["ap"] for row in of_steps], base["ap"]
        if before is not None and aps[-1] is not None:
            gain = aps[-1] - before
            rows.append((gain, [base["name"], f"{base['objects']:,}", *map(percent.precision, aps)]))
    rows.sort(key=lambda row: -row[0])
    return [[*cells, percent.difference(gain)] for gain, cells in rows]


def _changes(asked: Asked, found: Measures, judged: Sequence[Judged]) -> dict[str, Any]:
    names = [name for name, _ in found.compared]
    place = [item.best for item in found.members].index(found.best)
    before, after = judged[place], judged[-1]
    changes = images.most_changed(before.f1, after.f1, CHANGED)
    called = (names[place], names[-1])
    items = (
        pictures.compared(asked.truth, changes, before, after, called, asked.folder) if asked.folder is not None else []
    )
    gains = after.f1 - before.f1
    return {
        "best": found.best.name,
        "changes": items,
        "helped": int((gains > 0).sum()),
        "hurt": int((gains < 0).sum()),
        "same": int((gains == 0).sum()),
        "legend": pictures.LEGEND,
        "change_filters": [
            Choice("effect", "Fusion", [("helped", "helped"), ("hurt", "hurt")]),
            _category_filter(asked.truth, items),
        ],
        "has_folder": asked.folder is not None,
    }


def _submitted(truth: Dataset, submission: Submission | None, score: float) -> dict[str, Any]:
    if submission is None:
        return {"submission": None}
    shown = [submission.images[place] for place in images.spread(len(submission.images), SUBMITTED)]
    items = pictures.submitted(shown, at_least(submission.results, score), truth.categories, submission.folder)
    return {
        "submission": submission.path.name,
        "submitted": items,
        "submitted_of": len(submission.images),
        "submitted_score": f"{score:.2f}",
        "submitted_legend": _legend(truth, items),
        "submitted_filters": [_category_filter(truth, items)],
    }


def _legend(truth: Dataset, items: Sequence[pictures.Item]) -> list[tuple[str, str]]:
    """Empty where some categories share a colour."""
    names = pictures.Names.of(truth.categories)
    legend = [(names.kind(id_), names.name(id_)) for id_ in _shown(truth, items)]
    return legend if len({kind for kind, _ in legend}) == len(legend) else []


def _shown(truth: Dataset, items: Sequence[pictures.Item]) -> list[int]:
    """The ids of the categories of a gallery."""
    there = {word for item in items for word in item.words["category"].split()}
    return [item.id for item in sorted(truth.categories, key=lambda item: item.id) if pictures.word(item.id) in there]


def _category_filter(truth: Dataset, items: Sequence[pictures.Item]) -> Choice:
    names = pictures.Names.of(truth.categories)
    return Choice("category", "Category", [(pictures.word(id_), names.name(id_)) for id_ in _shown(truth, items)])


def _input(row: InputRow) -> list[str]:
    scores = "-" if row.lowest is None else f"{row.lowest:.2g} to {row.highest:.2g}"
    return [f"{row.weight:g}", f"{row.images:,}", f"{row.boxes:,}", scores]
