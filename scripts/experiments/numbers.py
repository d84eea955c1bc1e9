"""The numbers of an experiment: those of a result, their spread over seeds, and how they are written."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from datasets.seen import seen_note

# COCO's numbers: key -> column.
METRICS = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_small": "small", "ap_medium": "medium", "ap_large": "large"}
# The number of images measured on, and of those seen in training.
IMAGES, SEEN = "images", "images_seen_in_training"
Numbers = dict[str, float | None]


class Spread(NamedTuple):
    """Mean and sample standard deviation; None for a single value."""

    mean: float
    sd: float | None


def spread(values: Sequence[float | None]) -> Spread | None:
    """Of at least one value; None where one is undefined."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return Spread(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None)


def percent(value: Spread | None, *, sign: bool = False) -> str:
    """Fractions as `12.3 ± 0.4`."""
    if value is None:
        return "-"
    shown = f"{100 * value.mean:+.1f}" if sign else f"{100 * value.mean:.1f}"
    return shown if value.sd is None else f"{shown} ± {100 * value.sd:.1f}"


def said_of(numbers: Numbers, doubt: str) -> str:
    """The note on an AP measured on images that were, or may have been, seen in training; "" for none."""
    known = seen_note(int(numbers[SEEN] or 0), int(numbers[IMAGES] or 0))
    unknown = f"seen in training or not is unknown: {doubt}" if doubt else ""
    return "; ".join(filter(None, (known, unknown)))


def markdown(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """The lines of a table, its head first; all but the `left` first columns are numbers."""
    rule = ["---"] * left + ["---:"] * (len(rows[0]) - left)
    return [f"| {' | '.join(cells)} |" for cells in (rows[0], rule, *rows[1:])]
