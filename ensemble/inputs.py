"""The table of input files shown before fusion, and the errors and notes that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from datasets import percent, plausibility
from datasets.boxes import xywh_to_xyxy
from datasets.errors import DataError
from datasets.plausibility import Sizes
from datasets.results import Results
from ensemble import recipe
from ensemble.pairs import Pairs
from ensemble.pipeline import Images, Model
from ensemble.recipe import Recipe

# Thresholds of notes: share of boxes outside, ratio of two models' highest scores, highest score of all.
SOME_OUTSIDE, OTHER_SCALE, LOW = 0.01, 5.0, 0.001


class InputRow(NamedTuple):
    """One row of the table: a results file with the number of its images and boxes.

    `outside` is the share of boxes more than 1 px outside their image, `furthest` the largest distance in px. `met` is
    the share of its best boxes that overlap a box of another model (IoU 0.5), `same` the share of these with the same
    category; None for a single model, or without a common image.
    """

    name: str
    images: int
    boxes: int
    outside: float
    furthest: float
    lowest: float | None
    highest: float | None
    weight: float
    duplicates: int
    met: float | None = None
    same: float | None = None


class Inputs(NamedTuple):
    """The table of inputs; `problems` are errors unless --trust is given, `notes` merely look odd."""

    rows: list[InputRow]
    images: int
    problems: list[str]
    notes: list[str]

    def check(self, *, trust: bool) -> None:
        """Raises DataError for the problems, unless the user trusts the files."""
        if self.problems and not trust:
            raise DataError(
                f"{len(self.problems)} thing(s) about the results files cannot be right",
                self.problems,
                advice="--trust continues anyway.",
            )


def examine(models: Sequence[Model], weights: Sequence[float], images: Images, chosen: Recipe) -> Inputs:
    """Examine every file by itself, then each pair of those without problems."""
    sizes = Sizes({image.id: (image.width, image.height) for image in images.images})
    alone = [_alone(model, weight, sizes) for model, weight in zip(models, weights, strict=True)]
    wrong = {at: text for at, model in enumerate(models) if (text := _cannot_be(model, sizes))}
    pairs = Pairs([model.results for model in models])
    names = [str(model.path) for model in models]
    problems = [f"{names[at]}: {text}" for at, text in wrong.items()]
    problems += pairs.problems(names, [item.id for item in images.categories], leave_out=set(wrong))
    problems += _nothing_left(alone, chosen)
    notes = [
        f"{row.name}: {note}" for at, row in enumerate(alone) for note in _odd(row, chosen, is_explained=at in wrong)
    ]
    notes += [*_scale_notes(alone), *_copies(models), *([] if problems else pairs.notes(names))]
    rows = [row._replace(met=pairs.met(at), same=pairs.same(at)) for at, row in enumerate(alone)]
    return Inputs(rows, len(images.images), problems, notes)


def _alone(model: Model, weight: float, sizes: Sizes) -> InputRow:
    results = model.results
    out = plausibility.pixels_outside(xywh_to_xyxy(results.boxes_xywh), sizes.of(results.image_ids))
    return InputRow(
        name=str(model.path),
        images=len(np.unique(results.image_ids)),
        boxes=len(results),
        outside=float(np.mean(out > plausibility.TOLERANCE)) if len(out) else 0.0,
        furthest=float(out.max(initial=0.0)),
        lowest=float(results.scores.min()) if len(results) else None,
        highest=float(results.scores.max()) if len(results) else None,
        weight=weight,
        duplicates=plausibility.duplicates(results),
    )


def _cannot_be(model: Model, sizes: Sizes) -> str:
    """The problem of a file, judged by itself; empty for none."""
    if plausibility.are_fractions(model.results):
        return plausibility.FRACTIONS
    other = plausibility.format_by_place(model.results, sizes)
    return f"many of its boxes lie outside their images; they look like {other}" if other else ""


def _odd(row: InputRow, chosen: Recipe, *, is_explained: bool) -> list[str]:
    notes = []
    if row.outside >= SOME_OUTSIDE and not is_explained:
        notes.append(
            f"{percent.share(row.outside)} of its boxes lie outside their images, by up to {row.furthest:,.0f} px"
        )
    if row.highest is not None and row.highest < max(LOW, _threshold(chosen)):
        limit = _threshold(chosen)
        lost = f", and the recipe leaves out all below {limit:g}" if row.highest < limit else ""
        notes.append(f"no score is above {row.highest:.2g}{lost}")
    if row.duplicates:
        notes.append(f"{row.duplicates:,} detections are exact duplicates of others")
    return notes


def _threshold(chosen: Recipe) -> float:
    """The score below which a recipe drops detections before fusion."""
    return chosen.suppress.score_threshold if isinstance(chosen.suppress, recipe.SoftNms) else 0.0


def _nothing_left(rows: Sequence[InputRow], chosen: Recipe) -> list[str]:
    counted = [row for row in rows if row.weight > 0 and row.highest is not None]
    limit = _threshold(chosen)
    if not counted or any((row.highest or 0.0) >= limit for row in counted):
        return []
    return [
        f"all scores are below {limit:g}, where the recipe leaves detections out (suppress.score_threshold), so that "
        "none would be left: scale the scores, or lower the threshold"
    ]


def _scale_notes(rows: Sequence[InputRow]) -> list[str]:
    counted = [row for row in rows if row.weight > 0 and row.highest]
    if len(counted) < 2:
        return []
    low, high = (pick(counted, key=lambda row: row.highest or 0.0) for pick in (min, max))
    if (high.highest or 0.0) < OTHER_SCALE * (low.highest or 0.0):
        return []
    return [
        f"{low.name}: its scores reach {low.highest:.2g}, those of {high.name} {high.highest:.2g}; "
        "models whose scores differ in scale are not weighed as they should be"
    ]


def _copies(models: Sequence[Model]) -> list[str]:
    return [
        f"{second.path}: the same detections as {first.path}"
        for first, second in combinations(models, 2)
        if len(first.results) and _are_same(first.results, second.results)
    ]


def _are_same(first: Results, second: Results) -> bool:
    return len(first) == len(second) and all(
        np.array_equal(getattr(first, name), getattr(second, name)) for name in ("scores", "image_ids", "boxes_xywh")
    )


def table(inputs: Inputs) -> list[str]:
    """Lines of text: a header, then one file each."""
    width = max([len("results"), *(len(row.name) for row in inputs.rows)])
    compared = any(row.met is not None for row in inputs.rows)
    head = f"{'results':<{width}}{'images':>16}{'boxes':>11}{'outside':>9}{'scores':>21}{'weight':>8}"
    lines = [head + (f"{'met':>7}{'same':>7}" if compared else "")]
    for row in inputs.rows:
        scores = "-" if row.lowest is None else f"{row.lowest:.2g} to {row.highest:.2g}"
        line = f"{row.name:<{width}}{f'{row.images:,} of {inputs.images:,}':>16}{row.boxes:>11,}"
        line += f"{percent.share(row.outside):>9}{scores:>21}{row.weight:>8g}"
        lines.append(line + (f"{_maybe(row.met):>7}{_maybe(row.same):>7}" if compared else ""))
    return lines


def _maybe(share: float | None) -> str:
    return "-" if share is None else percent.share(share)
