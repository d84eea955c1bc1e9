"""Line charts of AP against a logarithmic axis as SVG, by matplotlib.

On a white ground, since pages show them in light and in dark. Text stays text, in whatever sans-serif the reader has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from datasets.pages import figures
from datasets.pages.figures import FAINT, RULE
from scripts.evidence import chart_layout as layout
from scripts.evidence.chart_layout import Chart, Line, Panel
from scripts.evidence.chart_styles import Style, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches.
HEIGHT, WIDTH_OF_ONE, WIDTH_OF_MANY = 3.0, 4.6, 2.5
LEFT, BETWEEN, RIGHT = 0.75, 0.25, 0.2
ABOVE, TITLE, BELOW, LEGEND_ROW, NOTE = 0.15, 0.35, 0.65, 0.22, 0.25


def svg(chart: Chart) -> str:
    """The chart as an SVG document, the same for the same data and version of matplotlib."""
    return figures.document(lambda: _figure(chart), chart.title, layout.description(chart))


class _Frame(NamedTuple):
    """Where everything is, in inches."""

    width: float
    height: float
    panel_width: float
    bottom: float
    """Of the panels."""
    legend_rows: int
    legend_columns: int

    def of_panel(self, at: int) -> tuple[float, float, float, float]:
        """Left, bottom, width, height, as shares of the figure."""
        left = LEFT + at * (self.panel_width + BETWEEN)
        return left / self.width, self.bottom / self.height, self.panel_width / self.width, HEIGHT / self.height


def _frame(chart: Chart, looks: dict[str, Style]) -> _Frame:
    count = len(chart.panels)
    panel_width = WIDTH_OF_ONE if count == 1 else WIDTH_OF_MANY
    labelled = layout.labels_fit(chart, HEIGHT)
    name_width = layout.text_width(looks)
    panels = LEFT + count * panel_width + (count - 1) * BETWEEN + RIGHT
    # The title is larger and bold, the note smaller.
    texts = 1.2 * layout.text_width([chart.title]), 0.9 * layout.text_width([chart.note])
    width = max(panels + (name_width + RIGHT if labelled else 0), *texts)
    columns = max(1, int((width - LEFT) / (name_width + 0.6)))
    rows = 0 if labelled else -(-len(looks) // columns)
    bottom = BELOW + rows * LEGEND_ROW + (NOTE if chart.note else 0)
    titled = any(panel.title for panel in chart.panels)
    height = bottom + HEIGHT + (TITLE if titled else ABOVE) + TITLE
    return _Frame(width, height, panel_width, bottom, rows, columns)


def _figure(chart: Chart) -> Figure:
    from matplotlib.figure import Figure

    looks = styles(chart)
    frame = _frame(chart, looks)
    figure = Figure((frame.width, frame.height))
    axes = [figure.add_axes(frame.of_panel(at)) for at in range(len(chart.panels))]
    for ax, panel in zip(axes, chart.panels, strict=True):
        _draw_panel(ax, panel, looks, frame.panel_width)
    _draw_y_axis(axes, chart)
    if frame.legend_rows:
        _draw_legend(figure, looks, frame)
    else:
        _draw_labels(axes[-1], chart.panels[-1].lines, looks, frame.panel_width)
    _draw_texts(figure, chart, frame)
    return figure


def _draw_panel(ax: Axes, panel: Panel, looks: dict[str, Style], width: float) -> None:
    values = [point.x for line in panel.lines for point in line.points]
    ax.patch.set_visible(False)
    ax.set_title(panel.title, loc="left", fontsize=10)
    ax.set_xscale("log")
    ax.set_xlim(*layout.x_limits(values))
    shown = layout.ticks(values, width)
    ax.set_xticks(shown, [layout.number(value) for value in shown])
    ax.set_xticks([], minor=True)
    # Grey ones below the others.
    for line in sorted(panel.lines, key=lambda item: looks[item.name].emphasised):
        _draw_line(ax, line, looks[line.name], width)


def _draw_line(ax: Axes, line: Line, look: Style, width: float) -> None:
    x = [layout.moved(point.x, look.shift, ax.get_xlim(), width) for point in line.points]
    low, mean, high = ([100 * getattr(point, key) for point in line.points] for key in ("low", "mean", "high"))
    if look.band and len(x) > 1:
        ax.fill_between(x, low, high, color=look.colour, alpha=0.15, linewidth=0, zorder=1, clip_on=False)
    else:
        ax.vlines(x, low, high, color=look.colour, alpha=0.6, linewidth=1, zorder=1, clip_on=False)
    kind: dict[str, Any] = {"color": look.colour, "marker": look.marker, "linestyle": look.dashes}
    ax.plot(x, mean, zorder=3 if look.emphasised else 2, clip_on=False, **kind, **look.weight)


def _draw_y_axis(axes: Sequence[Axes], chart: Chart) -> None:
    limits = layout.y_limits([point for line in layout.lines(chart) for point in line.points])
    for at, ax in enumerate(axes):
        ax.set_ylim(*limits)
        ax.grid(axis="y", color=RULE, linewidth=0.8, clip_on=False)
        ax.set_axisbelow(True)
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.tick_params(axis="y", length=0, labelleft=at == 0)
    axes[0].set_ylabel(chart.y_label)


def _draw_labels(ax: Axes, lines: Sequence[Line], looks: dict[str, Style], width: float) -> None:
    """The names at the ends of the lines, moved apart, each with a thin line to its end."""
    low, high = ax.get_ylim()
    ends = [line.points[-1] for line in lines]
    last = max((end.x for end in ends), default=0.0)
    wanted = [HEIGHT * (100 * end.mean - low) / (high - low) for end in ends]
    for line, end, y in zip(lines, ends, layout.spread(wanted, layout.LABEL_GAP, 0, HEIGHT), strict=True):
        look = looks[line.name]
        # Dotted across the panel, not to be taken for a measurement.
        leader = {"color": look.colour, "linewidth": 0.6, "linestyle": "-" if end.x == last else ":"}
        ax.annotate(
            line.name,
            (layout.moved(end.x, look.shift, ax.get_xlim(), width), 100 * end.mean),
            (1.03, y / HEIGHT),
            textcoords="axes fraction",
            va="center",
            color=look.text_colour,
            fontweight="bold" if look.emphasised else "normal",
            arrowprops={"arrowstyle": "-", "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 4, **leader},
        )


def _draw_legend(figure: Figure, looks: dict[str, Style], frame: _Frame) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, linestyle=look.dashes, label=name, **look.weight)
        for name, look in looks.items()
    ]
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(LEFT / frame.width, (frame.bottom - BELOW) / frame.height),
        ncols=frame.legend_columns,
        frameon=False,
        borderaxespad=0,
        borderpad=0,
        handlelength=3,
    )


def _draw_texts(figure: Figure, chart: Chart, frame: _Frame) -> None:
    def put(x: float, y: float, text: str, **kind: Any) -> None:
        figure.text(x / frame.width, y / frame.height, text, **kind)

    count = len(chart.panels)
    middle = LEFT + (count * frame.panel_width + (count - 1) * BETWEEN) / 2
    put(0.1, frame.height - ABOVE, chart.title, va="top", fontweight="bold", fontsize=11)
    put(middle, frame.bottom - 0.5, chart.x_label, ha="center")
    put(0.1, 0.1, chart.note, fontsize=8.5, color=FAINT)
