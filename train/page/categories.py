"""AP of each category against what there was to learn it from, and what to label next."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from datasets import percent
from datasets.analysis import Verdicts
from datasets.pages import charts
from datasets.pages.charts import Axis, Chart
from datasets.results import Results
from train.page.measured import Measured, objects_of
from train.page.story import Sentence

# Categories that are named to label next; objects below which an AP says little; names in a list.
NEXT, FEW, LISTED = 3, 10, 8


class Row(NamedTuple):
    """A category: objects that were trained on and that were to be found, AP, and what was found of them."""

    name: str
    trained: int | None
    objects: int
    ap: float | None
    right: int
    wrong: int
    """Detections of it without an object."""

    def cells(self) -> list[str]:
        return [
            self.name,
            "-" if self.trained is None else f"{self.trained:,}",
            f"{self.objects:,}",
            percent.precision(self.ap),
            f"{self.right:,}",
            f"{self.objects - self.right:,}",
            f"{self.wrong:,}",
        ]


HEADER = ["category", "boxes in training", "in validation", "AP", "found", "missed", "false alarms"]


def rows(measured: Measured, judged: Results, verdicts: Verdicts) -> list[Row]:
    """The lowest AP first, those without an object in the validation data last."""
    objects, trained = objects_of(measured.truth), measured.files.trained_objects
    made = [
        Row(
            name=item.name,
            trained=None if trained is None else trained.get(item.id, 0),
            objects=objects[item.id],
            ap=measured.evaluation.per_category[item.id],
            right=int((verdicts.hits & (judged.category_ids == item.id)).sum()),
            wrong=int((~verdicts.hits & ~verdicts.ignored & (judged.category_ids == item.id)).sum()),
        )
        for item in measured.truth.categories
    ]
    return sorted(made, key=lambda row: (row.ap is None, row.ap or 0.0, row.name))


def chart(found: Sequence[Row]) -> Chart | None:
    """AP by boxes; None where it is not known what was trained on."""
    points = [(row.name, float(row.trained), 100 * row.ap) for row in found if row.trained and row.ap is not None]
    if not points:
        return None
    return charts.points(
        "categories",
        "AP of each category by its boxes in training",
        points,
        Axis("boxes in training", log=True),
        Axis("AP"),
    )


def label_next(found: Sequence[Row]) -> list[Sentence]:
    """What to label next, and which AP says little."""
    measured = [row for row in found if row.ap is not None]
    return [*([_next(measured)] if measured else []), *_unsure(found)]


def _next(found: Sequence[Row]) -> Sentence:
    mean = statistics.fmean(row.ap or 0.0 for row in found)
    low = [row for row in found if (row.ap or 0.0) < mean]
    if not low:
        return Sentence("What to label next", "No category is worse than the others; any.")
    if any(row.trained is None for row in found):
        return Sentence("The lowest AP", f"{_named(low)}. How many boxes these had in training is not known.")
    middle = statistics.median(row.trained or 0 for row in found)
    rare = [row for row in low if (row.trained or 0) <= middle]
    if not rare:
        return Sentence(
            "The lowest AP", f"{_named(low)}, though boxes are many: their mistakes say more than new labels."
        )
    rare.sort(key=lambda row: row.trained or 0)
    return Sentence(
        "What to label next", f"{_named(rare)}: few boxes, and less AP than the mean, {percent.precision(mean)}."
    )


def _named(found: Sequence[Row]) -> str:
    return ", ".join(
        f"{row.name} (AP {percent.precision(row.ap)}"
        + (f", {row.trained:,} boxes)" if row.trained is not None else ")")
        for row in found[:NEXT]
    )


def _unsure(found: Sequence[Row]) -> list[Sentence]:
    few = [row for row in found if 0 < row.objects < FEW]
    none = [row for row in found if not row.objects]
    return [
        *(
            [Sentence("Uncertain", f"{_listed(few)}: fewer than {FEW} objects to find, so that AP says little.")]
            if few
            else []
        ),
        *([Sentence("Not measured", f"{_listed(none)}: no object in the validation data.")] if none else []),
    ]


def _listed(found: Sequence[Row]) -> str:
    shown = ", ".join(row.name for row in found[:LISTED])
    return shown if len(found) <= LISTED else f"{shown} and {len(found) - LISTED:,} more"
