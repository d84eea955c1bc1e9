"""What a detector gets wrong, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from datasets import percent
from datasets.analysis import KINDS, Confusion, ErrorKinds, Operating
from datasets.comparison import Difference

# Categories up to which a confusion matrix is printed whole, and pairs that are printed of a larger one.
WHOLE, PAIRS = 10, 20
BACKGROUND = "nothing"


def errors_table(found: ErrorKinds) -> list[str]:
    """Lines of text, the kind that costs most first."""
    kinds = sorted(KINDS, key=lambda kind: -found.gains[kind])
    return [
        f"{'errors (TIDE)':<30}{'number':>8}{'AP50':>7}",
        *(
            f"{KINDS[kind][0]:<30}{found.counts[kind]:>8,}{percent.difference(found.gains[kind]):>7}   {KINDS[kind][1]}"
            for kind in kinds
        ),
        f"AP50 is {percent.precision(found.ap50)}; the column has what it would gain without errors of a kind",
    ]


def errors_json(found: ErrorKinds) -> dict[str, Any]:
    kinds = {kind: {"count": found.counts[kind], "ap50_gain": found.gains[kind]} for kind in KINDS}
    return {"ap50": found.ap50, "kinds": kinds}


def confusion_table(found: Confusion, names: Mapping[int, str], at: Operating) -> list[str]:
    """Lines of text: a row for the objects of each category, a column for what they were found as; of many categories
    the most frequent confusions.
    """
    labels = [names[id_] for id_ in found.category_ids]
    head = f"confusion, of detections with a score of {at.score:.2f} or more, where F1 is best ({at.f1:.2f})"
    return [head, *(_whole(found, labels) if len(labels) <= WHOLE else _pairs(found, labels))]


def _whole(found: Confusion, labels: list[str]) -> list[str]:
    columns = [label[:11] for label in [*labels, BACKGROUND]]
    rows = zip([*labels, BACKGROUND], found.counts.tolist(), strict=True)
    return [
        f"{'annotated, found as':<24}" + "".join(f"{label:>13}" for label in columns),
        *(f"{label[:23]:<24}" + "".join(f"{count:>13,}" for count in counts) for label, counts in rows),
    ]


def _pairs(found: Confusion, labels: list[str]) -> list[str]:
    pairs = confused(found)
    shown = [f"{count:>8,}  {labels[truth]} as {labels[as_]}" for truth, as_, count in pairs[:PAIRS]]
    left = len(pairs) - len(shown)
    return [
        *shown,
        *([f"{'':>8}  and {left:,} more pairs; --json has all"] if left else []),
        f"{found.counts[:-1, -1].sum():>8,}  objects as nothing",
        f"{found.counts[-1, :-1].sum():>8,}  detections of nothing",
    ]


def confused(found: Confusion) -> list[tuple[int, int, int]]:
    """(row of the object's category, column of the detection's, number) of each pair of categories, the most frequent
    first.
    """
    counts = found.counts[:-1, :-1].copy()
    np.fill_diagonal(counts, 0)
    pairs = [(int(row), int(column), int(counts[row, column])) for row, column in np.argwhere(counts)]
    return sorted(pairs, key=lambda pair: -pair[2])


def confusion_json(found: Confusion, at: Operating) -> dict[str, Any]:
    return {"score": at.score, "f1": at.f1, "category_ids": found.category_ids, "counts": found.counts.tolist()}


def comparison_line(found: Difference, name: str, other: str) -> str:
    """`new.json and old.json: AP 54.2 and 51.0, +3.2 (1.0 to 5.4), ...`"""
    verdict = "which other images like these would tell, too" if found.excludes_zero else "which may be chance"
    aps = f"{percent.precision(found.arm)} and {percent.precision(found.base)}"
    return f"{name} and {other}: AP {aps}, {percent.difference(found.difference)} ({found.interval}), {verdict}"


def comparison_json(found: Difference) -> dict[str, Any]:
    return {"ap": found.base, "difference": found.difference, "low": found.interval.low, "high": found.interval.high}
