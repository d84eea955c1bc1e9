"""From numbers to the table and its page. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from scripts.experiments.arms import Paper
from scripts.experiments.numbers import METRICS, Numbers, Spread, markdown, percent, said_of, spread


class Row(NamedTuple):
    """A rung, with one entry per seed, or none while a seed is missing.

    `measured` has COCO's numbers as fractions with their images, `doubts` why more of these may have been trained on
    ("" for none), `trained` the facts of the training, `seconds` the time of the measured predictions and their fusion.
    """

    folder: str
    name: str
    about: str
    section: str
    paper: Paper | None
    trains: bool
    measured: tuple[Numbers, ...] = ()
    doubts: tuple[str, ...] = ()
    trained: tuple[Numbers, ...] = ()
    seconds: tuple[float, ...] = ()


def metric(row: Row, key: str) -> Spread | None:
    return spread([numbers[key] for numbers in row.measured])


def change(before: Row, row: Row) -> Spread | None:
    """The change of AP, seed by seed."""
    if len(before.measured) != len(row.measured):
        return None
    pairs = [(old["ap"], new["ap"]) for old, new in zip(before.measured, row.measured, strict=True)]
    return spread([None if old is None or new is None else new - old for old, new in pairs])


def table(rows: Sequence[Row]) -> list[str]:
    """Lines of Markdown."""
    head = ["rung", "what changes", "section", "paper's AP", *METRICS.values(), "change of AP"]
    head += ["images seen", "time a seed", "parameters"]
    lines = [head]
    for at, row in enumerate(rows):
        changed = change(rows[at - 1], row) if at else None
        metrics = [percent(metric(row, key)) for key in METRICS]
        metrics[0] += _in_brackets(notes_on_seen(row))
        first = [row.folder, row.about, row.section, _paper(row.paper), *metrics, percent(changed, sign=True)]
        lines.append([*first, *_work(row)])
    return markdown(lines, left=4)


def notes_on_seen(row: Row) -> str:
    """The distinct notes of all seeds."""
    said = [said_of(*found) for found in zip(row.measured, row.doubts, strict=True)]
    return "; ".join(dict.fromkeys(filter(None, said)))


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def _of_both(before: Row, row: Row) -> str:
    """The note on a change between two APs."""
    old, new = notes_on_seen(before), notes_on_seen(row)
    named = [f"{item.name}: {said}" for item, said in ((before, old), (row, new)) if said]
    return _in_brackets(new if old == new else "; ".join(named))


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
    """A sentence for each rung that does not help: its change of AP is no gain, or within one standard deviation of
    none.
    """
    lines = []
    for before, row in pairwise(rows):
        found = change(before, row)
        if found is None:
            continue
        shown = f"{percent(found, sign=True)} AP{_of_both(before, row)} against {before.name}"
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
        said = dict.fromkeys(filter(None, map(notes_on_seen, rows)))
        sentences = [f"Every rung that could be compared with the one before helps{_in_brackets('; '.join(said))}."]
    if seeds == 1:
        sentences.append("One seed says nothing of the spread: differences may be chance.")
    parts = [f"# {title}", "\n".join(table(rows))]
    if sentences:
        parts.append("\n".join(f"- {line}" for line in sentences))
    return "\n\n".join([*parts, "\n".join(f"- {line}" for line in notes)]) + "\n"


def as_json(rows: Sequence[Row], about: dict[str, Any]) -> dict[str, Any]:
    """The page's content as JSON, unrounded, with the numbers of every seed."""
    found = []
    for at, row in enumerate(rows):
        entry = {key: value for key, value in row._asdict().items() if key != "paper"}
        entry["paper"] = None if row.paper is None else {"ap": row.paper.ap, "split": row.paper.split}
        entry["note"] = notes_on_seen(row)
        entry["mean"] = {key: _dict(metric(row, key)) for key in METRICS}
        entry["change"] = _dict(change(rows[at - 1], row)) if at else None
        found.append(entry)
    return {**about, "rungs": found, "findings": findings(rows)}


def _dict(value: Spread | None) -> dict[str, float | None] | None:
    return None if value is None else value._asdict()
