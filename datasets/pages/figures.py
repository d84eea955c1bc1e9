"""matplotlib figures as SVG for pages: compact, described, and in the colours of the page's scheme."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

# Okabe and Ito, "Color universal design" (2008), without yellow: told apart with any colour vision.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
TEXT, FAINT, GREY, RULE, GROUND = "#333333", "#666666", "#8c8c8c", "#dddddd", "#ffffff"
# The page's custom property of each.
VARIABLES = {
    **{colour: f"series-{number}" for number, colour in enumerate(COLOURS, 1)},
    TEXT: "text",
    FAINT: "faint",
    GREY: "grey",
    RULE: "rule",
    GROUND: "ground",
}
SETTINGS = {
    "svg.fonttype": "none",
    # Ids are counted from this instead of drawn.
    "svg.hashsalt": "scarcedet",
    # Names may have a $.
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "sans-serif"],
    "font.size": 10,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), TEXT),
    "axes.edgecolor": GREY,
}
# With dates or versions, the same data would not give the same bytes.
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
# CSS pixels an inch: matplotlib's figures are in points.
PIXELS = 96


@contextmanager
def styled() -> Iterator[None]:
    """matplotlib's own defaults and ours, whatever the user has set for other charts."""
    # matplotlib takes a while to import.
    import matplotlib.style

    with matplotlib.style.context(["default", SETTINGS]):
        yield


def document(make: Callable[[], Figure], title: str, description: str) -> str:
    """A figure as an SVG document of its own, the same for the same data and version of matplotlib."""
    text = io.StringIO()
    with styled():
        make().savefig(text, format="svg", metadata=NO_METADATA | {"Title": title})
    return _described(_compact(text.getvalue()), description)


def inline(make: Callable[[], Figure], name: str, title: str, description: str) -> Markup:
    """A figure as an element of a page, in which no other one has the same `name`, a word."""
    from markupsafe import Markup

    text = document(make, title, description)
    text = text[text.index("<svg ") :]
    # A style of all elements, which would be those of the page.
    text = re.sub(r"<metadata>.*?</metadata>\n?|<defs>\n<style.*?</style>\n</defs>\n?", "", text, flags=re.DOTALL)
    text = re.sub(r"(?<=: )#[0-9a-f]{6}(?=[;\"])", lambda match: _variable(match[0]), _with_own_ids(text, name))
    points = re.search(r' width="([0-9.]+)pt"', text)
    width = float(points[1]) * PIXELS / 72 if points else 0
    # matplotlib escapes all texts.
    return Markup(text.replace("<svg ", f'<svg style="--width: {width:.0f}px" ', 1))


def _variable(colour: str) -> str:
    return f"var(--{VARIABLES[colour]})" if colour in VARIABLES else colour


def _with_own_ids(text: str, name: str) -> str:
    """Only what is referred to needs an id, one that no other figure of the page has."""
    refers = r"(url\(#|href=\"#)([^\")]+)"
    used = {match[1] for match in re.findall(refers, text)}
    text = re.sub(r' id="([^"]*)"', lambda match: f' id="{name}-{match[1]}"' if match[1] in used else "", text)
    return re.sub(refers, rf"\1{name}-\2", text)


def _described(text: str, description: str) -> str:
    """With a description beside matplotlib's title, for screen readers."""
    text = text.replace("<svg ", '<svg role="img" ', 1)
    return text.replace("</title>", f"</title>\n<desc>{escape(description, quote=False)}</desc>", 1)


def _compact(text: str) -> str:
    """Without indentation, and without matplotlib's turns by no angle."""
    return re.sub(r' transform="rotate\(-0 [^"]*\)"', "", re.sub(r"\n +", "\n", text))
