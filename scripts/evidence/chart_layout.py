"""What a chart shows, and where its ticks and labels go. Pure functions; lengths in inches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from datasets import percent

# Between the middles of two labels, and of a letter.
LABEL_GAP = 0.19
LETTER = 0.085


class Point(NamedTuple):
    """A measurement at `x` > 0: the mean AP and the ends of its interval, as fractions."""

    x: float
    mean: float
    low: float
    high: float


class Line(NamedTuple):
    """An arm's measurements, in the order of x; grey where it is not `emphasised`."""

    name: str
    points: Sequence[Point]
    emphasised: bool = True


class Panel(NamedTuple):
    """One of the plots side by side. Lines of the same name look the same in all."""

    lines: Sequence[Line]
    title: str = ""


class Chart(NamedTuple):
    """Plots that share the y axis; `note` stands below them, as what the intervals are."""

    title: str
    x_label: str
    y_label: str
    panels: Sequence[Panel]
    note: str = ""


def names(chart: Chart) -> dict[str, bool]:
    """The name of each line, in the order of the panels, and whether it is emphasised."""
    found: dict[str, bool] = {}
    for line in lines(chart):
        found[line.name] = found.get(line.name, False) or line.emphasised
    return found


def lines(chart: Chart) -> list[Line]:
    return [line for panel in chart.panels for line in panel.lines]


def labels_fit(chart: Chart, height: float) -> bool:
    """Whether labels at the right of the last panel can name all lines: it has them all, and there is room."""
    last = {line.name for line in chart.panels[-1].lines if line.points}
    return last == set(names(chart)) and len(last) * LABEL_GAP <= height


def text_width(texts: Iterable[str]) -> float:
    return LETTER * max(map(len, texts), default=0)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones, in the same order, at least `gap` apart and from `low` to `high`.

    Neighbours that are too close form a group around the mean of what they want, until no two groups touch: the least
    squares solution. Where there is no room for all, they stand `gap` apart from `low` on.
    """
    order = sorted(range(len(wanted)), key=lambda at: wanted[at])
    # Of each group: the sum of what its first member would have to be, and the number of members.
    groups: list[tuple[float, int]] = []
    for rank, at in enumerate(order):
        group = (wanted[at] - rank * gap, 1)
        while groups and groups[-1][0] / groups[-1][1] >= group[0] / group[1]:
            total, members = groups.pop()
            group = (total + group[0], members + group[1])
        groups.append(group)
    bases = [total / members for total, members in groups for _ in range(members)]
    last = high - (len(wanted) - 1) * gap
    positions = [0.0] * len(wanted)
    for rank, at in enumerate(order):
        positions[at] = max(low, min(bases[rank], last)) + rank * gap
    return positions


def x_limits(values: Sequence[float]) -> tuple[float, float]:
    """Of a logarithmic axis, with some room on both sides."""
    low, high = (min(values), max(values)) if values else (1.0, 1.0)
    room = (high / low) ** 0.06 if high > low else 2.0
    return low / room, high * room


def moved(value: float, by: float, limits: tuple[float, float], width: float) -> float:
    """The value that stands `by` to the right of another one, on a logarithmic axis of this width."""
    low, high = limits
    return value * math.pow(high / low, by / width)


def y_limits(points: Sequence[Point]) -> tuple[float, float]:
    """In AP, with some room above and below, but none below 0."""
    low, high = (min(point.low for point in points), max(point.high for point in points)) if points else (0.0, 1.0)
    room = max(0.05 * (high - low), 0.005)
    return 100 * max(low - room, 0.0), 100 * (high + room)


def ticks(values: Iterable[float], width: float) -> list[float]:
    """The values themselves, but for those whose labels would run into the one before on an axis of this width."""
    ordered = sorted(set(values))
    low, high = x_limits(ordered)
    an_inch = math.log(high / low) / width
    kept: list[float] = []
    for value in ordered:
        if not kept or math.log(value / kept[-1]) >= an_inch * (text_width([number(value), number(kept[-1])]) + LETTER):
            kept.append(value)
    return kept


def number(value: float) -> str:
    """`2,400`"""
    return f"{value:,.10g}"


def description(chart: Chart) -> str:
    """All that the chart shows, for those who cannot see it."""
    parts = [f"{chart.y_label} by {chart.x_label}."]
    for panel in chart.panels:
        parts += [f"{panel.title}:"] if panel.title else []
        parts += [f"{line.name}: {', '.join(map(_described, line.points))}." for line in panel.lines]
    return " ".join([*parts, chart.note]).strip()


def _described(point: Point) -> str:
    low, mean, high = map(percent.precision, (point.low, point.mean, point.high))
    return f"{mean} ({low} to {high}) at {number(point.x)}"
