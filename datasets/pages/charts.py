"""Charts of a page: bars, intervals, lines, panels, histograms and points, each with its numbers as a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from datasets.pages import axes, figures
from datasets.pages.axes import LETTER, WIDTH, number, shortened
from datasets.pages.figures import COLOURS, FAINT, GROUND

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches.
HEIGHT, PANEL, ROW = 3.2, 1.75, 0.22
# Rows of bars from which on they are closer, and the chart narrower: readable on a phone, and others fit beside it.
MANY, CLOSE, NARROW = 30, 0.16, 4.0
BINS = 24
# The numbers of a line.
ENDS = ["", "first", "last", "lowest", "highest"]
# Points whose names do not cover each other.
NAMED = 15


class Chart(NamedTuple):
    """A chart as SVG, and what it shows as a table, without rows where that would be no use."""

    title: str
    svg: Markup
    header: list[str]
    rows: list[list[str]]


class Line(NamedTuple):
    name: str
    x: Sequence[float]
    y: Sequence[float]


class Axis(NamedTuple):
    label: str
    log: bool = False


class Panel(NamedTuple):
    """One of several charts that share their x axis and the names of their lines; a line may have no point."""

    y: Axis
    lines: Sequence[Line]


def bars(name: str, title: str, rows: Sequence[tuple[str, Sequence[float]]], series: Sequence[str], x: Axis) -> Chart:
    """A horizontal bar of each series for each row, as (label, values); the first row on top."""

    def make() -> Figure:
        figure, ax = _rows(rows, len(series))
        each = 0.8 / len(series)
        for at, of_series in enumerate(series):
            places = [row + (at - (len(series) - 1) / 2) * each for row in range(len(rows))]
            ax.barh(places, [values[at] for _, values in rows], each, color=COLOURS[at], label=of_series, linewidth=0)
        axes.scale(ax, "x", *x, [value for _, values in rows for value in values])
        axes.finish(figure, ax, "x", len(series))
        return figure

    table = [[label, *map(number, values)] for label, values in rows]
    return _chart(name, title, make, ["", *series], table, f"{x.label}: {_few(table)}")


def intervals(name: str, title: str, rows: Sequence[tuple[str, float, float, float]], x: Axis) -> Chart:
    """A point with the ends of its interval for each row, as (label, value, low, high); the first row on top."""

    def make() -> Figure:
        left = 0.3 + LETTER * max((len(shortened(label)) for label, *_ in rows), default=0)
        figure, ax = axes.new(WIDTH, 0.9 + 1.2 * ROW * max(1, len(rows)), left, top=0.1)
        places = range(len(rows))
        ax.hlines(places, [row[2] for row in rows], [row[3] for row in rows], color=COLOURS[0], linewidth=2)
        ax.plot([row[1] for row in rows], places, "o", color=COLOURS[0], markersize=6)
        ax.set_yticks(places, [shortened(label) for label, *_ in rows])
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.tick_params(axis="y", length=0)
        # Points need no origin, from which differences would look small.
        ax.set_xlabel(x.label)
        axes.finish(figure, ax, "x", 1)
        return figure

    table = [[label, *map(number, values)] for label, *values in rows]
    return _chart(name, title, make, ["", "value", "from", "to"], table, f"{x.label}: {_few(table)}")


def shares(
    name: str, title: str, rows: Sequence[tuple[str, Sequence[float]]], series: Sequence[str], colours: Sequence[str]
) -> Chart:
    """A horizontal bar of 100 % for each row, as (label, values), divided by the shares of the series in its sum."""

    def make() -> Figure:
        figure, ax = _rows(rows, len(series))
        starts = [0.0] * len(rows)
        for at, of_series in enumerate(series):
            wide = [100 * values[at] / (sum(values) or 1) for _, values in rows]
            ax.barh(range(len(rows)), wide, 0.75, starts, color=colours[at], label=of_series, linewidth=0)
            starts = [start + share for start, share in zip(starts, wide, strict=True)]
        ax.set_xlim(0, 100)
        ax.set_xlabel("% of them")
        axes.finish(figure, ax, "x", len(series))
        return figure

    table = [[label, *map(number, values)] for label, values in rows]
    return _chart(name, title, make, ["", *series], table, f"{', '.join(series)}: {_few(table)}")


def lines(name: str, title: str, shown: Sequence[Line], x: Axis, y: Axis) -> Chart:
    """Lines on shared axes; values that are not finite are gaps."""

    def make() -> Figure:
        top = axes.room_for_legend([line.name for line in shown])
        figure, ax = axes.new(WIDTH, HEIGHT - 0.35 + top, 0.75, top)
        axes.draw_lines(ax, shown)
        axes.scale(ax, "x", *x, [value for line in shown for value in line.x])
        axes.scale(ax, "y", *y, [value for line in shown for value in line.y])
        axes.finish(figure, ax, "y", len(shown))
        return figure

    table = [[line.name, *_ends(line)] for line in shown]
    return _chart(name, title, make, ENDS, table, f"{y.label} by {x.label}: {_few(table)}")


def panels(name: str, title: str, shown: Sequence[Panel], x: Axis) -> Chart:
    """Lines in panels, one above the other on one x axis."""

    def make() -> Figure:
        from matplotlib.figure import Figure

        top = axes.room_for_legend([line.name for line in shown[0].lines] if shown else [])
        height = 0.5 + top + PANEL * len(shown)
        figure = Figure((WIDTH, height))
        figure.patch.set_visible(False)
        figure.subplots_adjust(0.75 / WIDTH, 0.5 / height, 1 - 0.2 / WIDTH, 1 - top / height, hspace=0.15)
        rows = figure.subplots(len(shown), sharex=True, squeeze=False)[:, 0]
        for at, (ax, panel) in enumerate(zip(rows, shown, strict=True)):
            ax.patch.set_visible(False)
            axes.draw_lines(ax, panel.lines)
            axes.scale(ax, "y", *panel.y, [value for line in panel.lines for value in line.y if math.isfinite(value)])
            # One legend for all.
            axes.finish(figure, ax, "y", 1 if at else len(panel.lines))
        axes.scale(rows[-1], "x", *x, [value for panel in shown for line in panel.lines for value in line.x])
        figure.align_ylabels(rows)
        return figure

    table = [
        [panel.y.label if len(panel.lines) == 1 else f"{panel.y.label}, {line.name}", *_ends(line)]
        for panel in shown
        for line in panel.lines
        if line.x
    ]
    return _chart(name, title, make, ENDS, table, f"by {x.label}: {_few(table)}")


def histograms(name: str, title: str, values: Mapping[str, Sequence[float]], x: Axis) -> Chart:
    """The share of each series in bins that all have in common, as outlines."""
    finite = {key: [value for value in items if math.isfinite(value)] for key, items in values.items()}
    edges = _edges([value for items in finite.values() for value in items], x.log)

    def make() -> Figure:
        import numpy as np

        figure, ax = axes.new(WIDTH, HEIGHT, 0.75, top=0.35)
        for at, (key, items) in enumerate(finite.items()):
            counts, _ = np.histogram(items, edges)
            shares = 100 * counts / max(1, len(items))
            ax.stairs(shares, edges, color=COLOURS[at % len(COLOURS)], label=key, linewidth=1.8)
            ax.stairs(shares, edges, color=COLOURS[at % len(COLOURS)], fill=True, alpha=0.12)
        axes.scale(ax, "x", *x, edges)
        axes.scale(ax, "y", *Axis("% of them"), [0.0])
        axes.finish(figure, ax, "y", len(finite))
        return figure

    table = [[key, f"{len(items):,}", *map(number, _quartiles(items))] for key, items in finite.items()]
    header = ["", "number", "a quarter below", "median", "three quarters below"]
    return _chart(name, title, make, header, table, f"{x.label}: {_few(table)}")


def points(
    name: str, title: str, shown: Sequence[tuple[str, float, float]], x: Axis, y: Axis, line: Sequence[float] = ()
) -> Chart:
    """Points, as (name, x, y), with their names where there is room; `line` has the ends of a dashed diagonal."""

    def make() -> Figure:
        figure, ax = axes.new(WIDTH, HEIGHT, 0.75, top=0.1)
        if line:
            ax.plot(line, line, color=FAINT, linestyle=(0, (4, 3)), linewidth=1)
        kind: dict[str, Any] = {"color": COLOURS[0], "markeredgecolor": GROUND, "markeredgewidth": 0.6}
        ax.plot([item[1] for item in shown], [item[2] for item in shown], "o", markersize=6, **kind)
        axes.scale(ax, "x", *x, [item[1] for item in shown])
        axes.scale(ax, "y", *y, [item[2] for item in shown])
        for label, at, value in shown if len(shown) <= NAMED else ():
            # Towards the middle, where there is room.
            right = ax.transLimits.transform(ax.transScale.transform((at, value)))[0] > 0.6
            side: dict[str, Any] = {"xytext": (-5 if right else 5, 3), "ha": "right" if right else "left"}
            ax.annotate(shortened(label), (at, value), textcoords="offset points", fontsize=8, color=FAINT, **side)
        axes.finish(figure, ax, "both", 1)
        return figure

    table = [[label, number(at), number(value)] for label, at, value in shown]
    return _chart(name, title, make, ["", x.label, y.label], table, f"{y.label} by {x.label}: {_few(table)}")


def _rows(rows: Sequence[tuple[str, Sequence[float]]], series: int) -> tuple[Figure, Axes]:
    """Axes with a labelled row for each, the first on top."""
    each = CLOSE if len(rows) > MANY else ROW * (1 if series == 1 else 1.35)
    left = 0.3 + LETTER * max((len(shortened(label)) for label, _ in rows), default=0)
    legend = 0.25 if series > 1 else 0
    width, height = NARROW if len(rows) > MANY else WIDTH, 0.9 + each * max(1, len(rows)) + legend
    figure, ax = axes.new(width, height, left, top=0.3 if series > 1 else 0.1)
    ax.set_yticks(range(len(rows)), [shortened(label) for label, _ in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    return figure, ax


def _edges(values: Sequence[float], log: bool) -> list[float]:
    positive = [value for value in values if value > 0] if log else list(values)
    low, high = (min(positive), max(positive)) if positive else (1.0, 2.0)
    if low == high:
        low, high = (low / 2, high * 2) if log else (low - 0.5, high + 0.5)
    if log:
        return [low * (high / low) ** (at / BINS) for at in range(BINS + 1)]
    return [low + (high - low) * at / BINS for at in range(BINS + 1)]


def _quartiles(values: Sequence[float]) -> list[float]:
    import numpy as np

    return [float(value) for value in np.percentile(values, (25, 50, 75))] if values else [math.nan] * 3


def _ends(line: Line) -> list[str]:
    finite = [value for value in line.y if math.isfinite(value)]
    return [number(value) for value in (finite[0], finite[-1], min(finite), max(finite))] if finite else ["-"] * 4


def _few(table: Sequence[Sequence[str]]) -> str:
    """The first rows in words, for screen readers; all are in the table."""
    rows = [" ".join(row) for row in table[:8]]
    return "; ".join([*rows, f"and {len(table) - 8:,} more"] if len(table) > 8 else rows)


def _chart(
    name: str, title: str, make: Callable[[], Figure], header: list[str], table: list[list[str]], description: str
) -> Chart:
    return Chart(title, figures.inline(make, name, title, description), header, table)
