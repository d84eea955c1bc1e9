"""Statistics of a build: images per operation, what became of each annotation, boxes per category."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

from augment.operations.labels import CASES, Labels
from augment.operations.parameters import OPERATION_NAMES, Copy, Recipe
from datasets.records import Category


class Counts(msgspec.Struct):
    """Sums over variants; `cases` is keyed by (operation, case), `before` and `after` by category id.

    `before` counts the boxes of source images, `after` those of all variants, both without crowds and ignored boxes.
    """

    images: Counter[str]
    cases: Counter[tuple[str, str]]
    before: Counter[int]
    after: Counter[int]

    @classmethod
    def empty(cls) -> Counts:
        return cls(Counter(), Counter(), Counter(), Counter())

    def add_variant(self, operation: str, labels: Labels) -> None:
        self.images[operation] += 1
        for case, count in labels.cases.items():
            self.cases[operation, case] += count
        self.after.update(item.category_id for item in labels.annotations if not item.iscrowd)

    def add(self, other: Counts) -> None:
        self.images.update(other.images)
        self.cases.update(other.cases)
        self.before.update(other.before)
        self.after.update(other.after)

    def operations(self) -> list[str]:
        return [name for name in OPERATION_NAMES if self.images[name]]

    def total(self, case: str) -> int:
        return sum(self.cases[name, case] for name in self.operations())

    def as_json(self, categories: Iterable[Category]) -> dict[str, Any]:
        """Plain types in a fixed order, for the manifest and for `plan --json`."""
        return {
            "images": self.images.total(),
            "operations": {
                name: {"images": self.images[name], **{case: self.cases[name, case] for case in CASES}}
                for name in self.operations()
            },
            "boxes_per_category": [
                {"id": item.id, "name": item.name, "before": self.before[item.id], "after": self.after[item.id]}
                for item in categories
            ],
        }


def operations_table(counts: Counts) -> list[str]:
    """Lines of text: images and cases of each operation, with totals."""
    rows = [(name, counts.images[name], *(counts.cases[name, case] for case in CASES)) for name in counts.operations()]
    rows.append(("total", counts.images.total(), *(counts.total(case) for case in CASES)))
    head = f"{'operation':<14}{'images':>10}" + "".join(f"{case:>11}" for case in CASES)
    return [head, *(f"{row[0]:<14}{row[1]:>10,}" + "".join(f"{value:>11,}" for value in row[2:]) for row in rows)]


def categories_table(counts: Counts, categories: Iterable[Category]) -> list[str]:
    """Lines of text: boxes per category before and after, rarest first, with the ratio."""
    lines = [f"{'category':<24}{'before':>10}{'after':>12}{'times':>9}"]
    for item in sorted(categories, key=lambda item: (counts.before[item.id], item.id)):
        before, after = counts.before[item.id], counts.after[item.id]
        times = f"{after / before:.1f}" if before else "-"
        lines.append(f"{item.name[:23]:<24}{before:>10,}{after:>12,}{times:>9}")
    shares = [f"{name} {_imbalance(boxes)}" for name, boxes in (("before", counts.before), ("after", counts.after))]
    return [*lines, f"commonest to rarest category present: {', '.join(shares)}"]


def warnings(counts: Counts, recipe: Recipe) -> list[str]:
    """Warnings about operations of a recipe that have no effect on this data."""
    copy = next((operation for operation in recipe.operations if isinstance(operation, Copy)), None)
    if copy is None or counts.images[Copy.name]:
        return []
    boxes = [count for count in counts.before.values() if count]
    target = f"{copy.target_boxes} boxes" if copy.target_boxes else f"{copy.target_fraction:g} x the number of images"
    return [
        f"the recipe {recipe.name} copies no image: the rarest category of each has more boxes than the target, "
        f"{target}"
        + (f"; the rarest of all has {min(boxes):,} (operations, copy: target_fraction, target_boxes)" if boxes else "")
    ]


def _imbalance(boxes: Counter[int]) -> str:
    present = [count for count in boxes.values() if count]
    return f"{max(present) / min(present):,.0f} : 1" if present else "-"
