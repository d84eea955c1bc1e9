"""What charts are drawn on: a figure and its axes, their scales, grid and legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from datasets.pages.figures import COLOURS, RULE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches: of a chart, of a letter, of a legend's row.
WIDTH, LETTER, LEGEND = 6.0, 0.085, 0.2
MOST_LETTERS = 28
# Up to this range, a logarithmic scale has marks between powers of ten.
DECADES = 1000
# Points of a line that are marked.
FEW = 60


def number(value: float) -> str:
    """`64,914`, `0.25`, `1.2e-05`; a whole number without a point, `-` for none."""
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e15 else f"{value:,.4g}"


def shortened(text: str) -> str:
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}\N{HORIZONTAL ELLIPSIS}"


def new(width: float, height: float, left: float, top: float) -> tuple[Figure, Axes]:
    """A figure of this size with axes `left` and `top` inches from its borders."""
    from matplotlib.figure import Figure

    figure = Figure((width, height))
    figure.patch.set_visible(False)
    below, right = 0.55, 0.2
    ax = figure.add_axes(
        (left / width, below / height, (width - left - right) / width, (height - below - top) / height)
    )
    ax.patch.set_visible(False)
    return figure, ax


def draw_lines(ax: Axes, shown: Sequence[tuple[str, Sequence[float], Sequence[float]]]) -> None:
    """Lines as (name, x, y), each in its colour; the points of short ones are marked."""
    for at, (name, x, y) in enumerate(shown):
        marker = "o" if len(x) <= FEW else ""
        colour = COLOURS[at % len(COLOURS)]
        ax.plot(x, y, color=colour, label=shortened(name), linewidth=1.6, marker=marker, markersize=4)


def scale(ax: Axes, which: str, label: str, log: bool, values: Sequence[float]) -> None:
    """The axis `which`, x or y: its label, and a range that has all values; a logarithmic one those above 0."""
    from matplotlib.ticker import LogLocator

    set_scale, set_label, set_limits = (getattr(ax, f"set_{which}{part}") for part in ("scale", "label", "lim"))
    set_label(label)
    positive = [value for value in values if value > 0 and math.isfinite(value)]
    if log and positive:
        set_scale("log")
        set_limits(min(positive) / 1.6, max(positive) * 1.6)
        if max(positive) / min(positive) < DECADES:
            # Powers of ten alone would be one or two marks.
            getattr(ax, f"{which}axis").set_major_locator(LogLocator(subs=(1, 2, 5)))
        getattr(ax, f"{which}axis").set_major_formatter(lambda value, _: number(value))
        ax.minorticks_off()
    elif values and min(values) >= 0:
        set_limits(0)
        getattr(ax, f"{which}axis").set_major_formatter(lambda value, _: number(round(value, 10)))


def finish(figure: Figure, ax: Axes, grid: str, series: int) -> None:
    """With a grid along `grid` (x, y or both), and a legend of several series."""
    ax.grid(axis=grid, color=RULE, linewidth=0.8)  # type: ignore[arg-type]
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    if series > 1:
        columns = _columns(ax.get_legend_handles_labels()[1])
        figure.legend(loc="upper left", ncols=columns, frameon=False, borderaxespad=0, handlelength=1.5)


def room_for_legend(names: Sequence[str]) -> float:
    """Inches above the axes, for the legend."""
    rows = math.ceil(len(names) / _columns(names))
    return 0.35 + LEGEND * (max(1, rows) - 1)


def _columns(names: Sequence[str]) -> int:
    """Names of a legend that stand beside each other."""
    longest = max((len(shortened(name)) for name in names), default=0)
    return max(1, min(len(names), 4, int(WIDTH / (0.5 + LETTER * longest))))
