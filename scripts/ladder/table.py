"""From numbers to the table that people read. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from scripts.ladder.rungs import Paper

# COCO's numbers in the table: key -> column.
METRICS = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_small": "small", "ap_medium": "medium", "ap_large": "large"}
Numbers = dict[str, float | None]


class Spread(NamedTuple):
    """Mean and sample standard deviation; None for a single value."""

    mean: float
    sd: float | None


class Row(NamedTuple):
    """A rung; one entry a seed, or none while a seed is missing. `measured` has COCO's numbers from 0 to 1, `trained`
    what is known of the training, `seconds` the time of the predictions, and of
    their fusion, that were measured."""

    folder: str
    name: str
    about: str
    section: str
    paper: Paper | None
    trains: bool
    measured: tuple[Numbers, ...] = ()
    trained: tuple[Numbers, ...] = ()
    seconds: tuple[float, ...] = ()


def spread(values: Sequence[float | None]) -> Spread | None:
    """Of at least one value; None where one of them is not defined."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return Spread(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None)


def metric(row: Row, key: str) -> Spread | None:
    return spread([numbers[key] for numbers in row.measured])


def change(before: Row, row: Row) -> Spread | None:
    """Of AP, seed by seed."""
    if len(before.measured) != len(row.measured):
        return None
    pairs = [(old["ap"], new["ap"]) for old, new in zip(before.measured, row.measured, strict=True)]
    return spread([None if old is None or new is None else new - old for old, new in pairs])


def percent(value: Spread | None, *, sign: bool = False) -> str:
    """`12.3 ± 0.4`, of fractions."""
    if value is None:
        return "-"
    shown = f"{100 * value.mean:+.1f}" if sign else f"{100 * value.mean:.1f}"
    return shown if value.sd is None else f"{shown} ± {100 * value.sd:.1f}"


def table(rows: Sequence[Row]) -> list[str]:
    """Markdown lines."""
    head = ["rung", "what changes", "section", "paper's AP", *METRICS.values(), "change of AP"]
    head += ["images seen", "time a seed", "parameters"]
    lines = [head, ["---"] * 4 + ["---:"] * (len(head) - 4)]
    for at, row in enumerate(rows):
        changed = change(rows[at - 1], row) if at else None
        metrics = [percent(metric(row, key)) for key in METRICS]
        metrics[0] += _remark(row)
        first = [row.folder, row.about, row.section, _paper(row.paper), *metrics, percent(changed, sign=True)]
        lines.append([*first, *_work(row)])
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _remark(row: Row) -> str:
    """What stands next to an AP on images that a training had seen."""
    return " (seen in training)" if any(numbers.get("images_seen_in_training") for numbers in row.measured) else ""


def _paper(paper: Paper | None) -> str:
    return "-" if paper is None else f"{paper.ap:.1f} ({paper.split})"


def _work(row: Row) -> list[str]:
    """Images seen, time, parameters."""
    trained = row.trained[0] if row.trained else None
    parameters = f"{(trained['parameters'] or 0) / 1e6:.2f} M" if trained else "-"
    if not row.trains:
        seconds = spread(row.seconds)
        return ["no training", f"{seconds.mean:,.0f} s, no training" if seconds else "-", parameters]
    if trained is None:
        return ["-", "-", "-"]
    seen = int((trained["iterations"] or 0) * (trained["batch"] or 0))
    time = spread([numbers["seconds"] for numbers in row.trained])
    return [f"{seen:,}", f"{time.mean:,.0f} s" if time else "-", parameters]


def findings(rows: Sequence[Row]) -> list[str]:
    """A sentence for each rung that does not help: its change of AP is no gain, or lies within one spread of none."""
    lines = []
    for before, row in pairwise(rows):
        found = change(before, row)
        if found is None:
            continue
        shown = f"{percent(found, sign=True)} AP against {before.name}"
        if found.mean <= 0:
            lines.append(f"{row.name} does not help: {shown}.")
        elif found.sd is not None and found.mean <= found.sd:
            lines.append(f"{row.name} does not help for certain: {shown} is within one spread.")
    return lines


def document(rows: Sequence[Row], notes: Sequence[str], title: str) -> str:
    """The whole page."""
    seeds = max((len(row.measured) for row in rows), default=0)
    sentences = findings(rows)
    if not sentences and any(change(before, row) for before, row in pairwise(rows)):
        sentences = ["Every rung that could be compared with the one before helps."]
    if seeds == 1:
        sentences.append("One seed says nothing of the spread: differences may be chance.")
    parts = [f"# {title}", "\n".join(table(rows))]
    if sentences:
        parts.append("\n".join(f"- {line}" for line in sentences))
    return "\n\n".join([*parts, "\n".join(f"- {line}" for line in notes)]) + "\n"


def as_json(rows: Sequence[Row], about: dict[str, Any]) -> dict[str, Any]:
    """Everything of the page, unrounded, with the numbers of every seed."""
    found = []
    for at, row in enumerate(rows):
        entry = {key: value for key, value in row._asdict().items() if key != "paper"}
        entry["paper"] = None if row.paper is None else {"ap": row.paper.ap, "split": row.paper.split}
        entry["mean"] = {key: _dict(metric(row, key)) for key in METRICS}
        entry["change"] = _dict(change(rows[at - 1], row)) if at else None
        found.append(entry)
    return {**about, "rungs": found, "findings": findings(rows)}


def _dict(value: Spread | None) -> dict[str, float | None] | None:
    return None if value is None else value._asdict()
