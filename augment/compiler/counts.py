"""Statistics of a build: images per operation, what became of each annotation, boxes per category."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

from augment.operations.balance import Balance, median_boxes, target_boxes
from augment.operations.labels import CASES, PASTED, Labels
from augment.operations.parameters import OPERATION_NAMES, Copy, Mosaic, Paste, Recipe, Tile
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

    def shown_cases(self) -> tuple[str, ...]:
        """CASES, without pasted objects where there are none."""
        return tuple(case for case in CASES if case != PASTED or self.total(PASTED))

    def total(self, case: str) -> int:
        return sum(self.cases[name, case] for name in self.operations())

    def as_json(self, categories: Iterable[Category]) -> dict[str, Any]:
        """Plain types in a fixed order, for the manifest and for `plan --json`."""
        return {
            "images": self.images.total(),
            "operations": {
                name: {"images": self.images[name], **{case: self.cases[name, case] for case in self.shown_cases()}}
                for name in self.operations()
            },
            "boxes_per_category": [
                {"id": item.id, "name": item.name, "before": self.before[item.id], "after": self.after[item.id]}
                for item in categories
            ],
        }


def operations_table(counts: Counts) -> list[str]:
    """Lines of text: images and cases of each operation, with totals."""
    cases = counts.shown_cases()
    rows = [(name, counts.images[name], *(counts.cases[name, case] for case in cases)) for name in counts.operations()]
    rows.append(("total", counts.images.total(), *(counts.total(case) for case in cases)))
    head = f"{'operation':<14}{'images':>10}" + "".join(f"{case:>11}" for case in cases)
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


def warnings(counts: Counts, recipe: Recipe, balance: Balance, sources: int) -> list[str]:
    """Warnings about operations of a recipe that have no effect on this data, or on a part of its `sources`."""
    found = []
    for kind, lacks in _LACKS.items():
        wanted = sources * sum(item.count for item in recipe.operations if isinstance(item, kind))
        made = counts.images[kind.name]
        if made < wanted:
            found.append(f"the recipe {recipe.name} makes {made:,} of {wanted:,} images by {kind.name}: {lacks}")
    if any(isinstance(item, Tile) for item in recipe.operations) and not counts.images[Tile.name]:
        found.append(f"the recipe {recipe.name} makes no tile: no image is larger than one (operations, tile: size)")
    copy = next((operation for operation in recipe.operations if isinstance(operation, Copy)), None)
    if copy is not None and not counts.images[Copy.name]:
        found.append(
            f"the recipe {recipe.name} copies no image: the rarest category of each has more boxes than the target; "
            + target_line(copy, balance)
        )
    return found


# Why an operation makes fewer images than there are sources.
_LACKS: dict[type[Paste] | type[Mosaic], str] = {
    Paste: "the others found no object that suits them: in another image, whole, with a mask, and neither too small "
    "nor too large (operations, paste: scale, min_size, boxes)",
    Mosaic: "the others found no other image to show (by `choose: rare`, one with an object), or have a side of 1 px",
}


def target_line(operation: Copy, balance: Balance) -> str:
    """What the number of balance copies follows from."""
    target = target_boxes(operation, balance.images, balance.boxes)
    counts = {category: count for category, count in balance.boxes.items() if count}
    if operation.target_boxes is not None:
        origin = "target_boxes"
    elif operation.target == "median":
        origin = "target: median"
    else:
        origin = f"target_fraction {operation.target_fraction:g} x {balance.images:,} images"
    line = f"{float(target):,g} boxes a category ({origin})"
    if not counts:
        return line
    rarer = sum(count < target for count in counts.values())
    line += f", which {rarer} of {len(counts)} categories lack; the rarest has {min(counts.values()):,}"
    if operation.target == "median":
        return line
    # A share of the images is no measure where an image has many objects.
    return f"{line}, the median one {float(median_boxes(balance.boxes)):,g} (target: median)"


def _imbalance(boxes: Counter[int]) -> str:
    present = [count for count in boxes.values() if count]
    return f"{max(present) / min(present):,.0f} : 1" if present else "-"
