"""How the lines of a chart look: in all panels alike, and no two of them.

Markers and dashes differ too, not the colours alone.
"""

from __future__ import annotations

from itertools import cycle
from typing import Any, NamedTuple

from datasets.pages.figures import COLOURS, FAINT, GREY
from scripts.evidence import chart_layout as layout
from scripts.evidence.chart_layout import Chart

# Names are darker than their lines, since letters are thin.
DARKER = 0.7
# Above this number, bands cover each other.
MOST_BANDS = 3
# One more than colours, so that no two of the first 56 lines share both.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)), (0, (3, 1.5)))
# Inches between bars side by side, and from the first to the last.
SHIFT, MOST_SHIFT = 0.025, 0.2


class Style(NamedTuple):
    """How a line looks, in every panel."""

    colour: str
    marker: str
    dashes: Any
    emphasised: bool
    band: bool
    """Its intervals are a band, instead of a bar at each point."""
    shift: float
    """Of its points to the right, in inches, so that bars stand side by side."""

    @property
    def text_colour(self) -> str:
        return darker(self.colour) if self.emphasised else FAINT

    @property
    def weight(self) -> dict[str, Any]:
        width, size = (2.0, 6.0) if self.emphasised else (1.0, 4.0)
        return {"linewidth": width, "markersize": size, "markeredgecolor": "white", "markeredgewidth": 0.5}


def styles(chart: Chart) -> dict[str, Style]:
    """The look of each line by its name."""
    found = layout.names(chart)
    bands = sum(found.values()) <= MOST_BANDS
    bars = [name for name, emphasised in found.items() if not (emphasised and bands)]
    step = min(SHIFT, MOST_SHIFT / max(len(bars), 1))
    shifts = {name: step * (at - (len(bars) - 1) / 2) for at, name in enumerate(bars)}
    colours, markers, dashes = cycle(COLOURS), cycle(MARKERS), cycle(DASHES)
    return {
        name: Style(
            next(colours) if emphasised else GREY,
            next(markers),
            next(dashes),
            emphasised,
            band=name not in shifts,
            shift=shifts.get(name, 0.0),
        )
        for name, emphasised in found.items()
    }


def darker(colour: str) -> str:
    """`#rrggbb`"""
    return "#" + "".join(f"{round(DARKER * int(colour[at : at + 2], 16)):02x}" for at in (1, 3, 5))
