"""Charts of the evidence: the same bytes, every name and label in them, and nothing odd refused."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.pages.figures import COLOURS, GREY
from scripts.evidence import chart_layout as layout
from scripts.evidence.chart_layout import Chart, Line, Panel, Point
from scripts.evidence.chart_styles import darker, styles
from scripts.evidence.charts import svg

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"
NAMES = ("original", "balanced", "expanded", "paste", "mosaic", "erase", "averaged", "scarce")


def line(name: str, first: float, *, emphasised: bool = True, xs: tuple[int, ...] = (25, 50, 100, 205)) -> Line:
    """An AP that rises by 8 % from point to point, give or take 2 %."""
    means = [first + 0.08 * at for at in range(len(xs))]
    points = [Point(x, mean, mean - 0.02, mean + 0.02) for x, mean in zip(xs, means, strict=True)]
    return Line(name, points, emphasised)


def chart(*panels: Panel) -> Chart:
    return Chart("Is it <better> & cheaper?", "training pictures", "AP on val", panels, "bands: 95 % intervals")


TWO = chart(Panel([line("original", 0.3), line("scarce", 0.35)]))
EIGHT = chart(Panel([line(name, 0.3, emphasised=name == "scarce") for name in NAMES]))
PANELS = chart(
    *(Panel([line("original", 0.3, xs=(600, 2400)), line("scarce", 0.4, xs=(600,))], f"{n} pictures") for n in (25, 50))
)


def texts(document: str) -> list[str]:
    return ["".join(item.itertext()) for item in ElementTree.fromstring(document).iter(f"{SVG}text")]


@pytest.mark.parametrize("shown", [TWO, EIGHT, PANELS], ids=["two", "eight", "panels"])
def test_every_name_and_label_is_text(shown: Chart) -> None:
    document = svg(shown)
    found = texts(document)
    for text in (shown.title, shown.x_label, shown.y_label, shown.note, *layout.names(shown)):
        assert found.count(text) == 1
    for panel in shown.panels:
        assert not panel.title or panel.title in found
        assert {layout.number(point.x) for item in panel.lines for point in item.points} <= set(found)
    assert len(document) < 40_000
    assert not re.search(r"\b(nan|inf)\b", document)


def test_screen_readers_get_the_numbers() -> None:
    root = ElementTree.fromstring(svg(PANELS))
    assert root.get("role") == "img"
    assert [child.tag for child in root][:2] == [f"{SVG}title", f"{SVG}desc"]
    assert root[0].text == "Is it <better> & cheaper?"
    assert root[1].text == (
        "AP on val by training pictures."
        " 25 pictures: original: 30.0 (28.0 to 32.0) at 600, 38.0 (36.0 to 40.0) at 2,400."
        " scarce: 40.0 (38.0 to 42.0) at 600."
        " 50 pictures: original: 30.0 (28.0 to 32.0) at 600, 38.0 (36.0 to 40.0) at 2,400."
        " scarce: 40.0 (38.0 to 42.0) at 600."
        " bands: 95 % intervals"
    )


def test_another_process_gives_the_same_bytes_without_a_date() -> None:
    code = "from tests.scripts.test_evidence_charts import EIGHT, svg; print(svg(EIGHT), end='')"
    # Ids would be drawn anew, and sets ordered anew, in each process.
    run = [sys.executable, "-W", "ignore", "-c", code]
    there = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert svg(EIGHT) == there
    assert not re.search(r"dc:date|matplotlib v|Matplotlib v|20\d\d-\d\d", there)


def test_settings_of_the_user_change_nothing() -> None:
    import matplotlib as mpl

    before = svg(TWO)
    with mpl.rc_context({"axes.grid": True, "font.size": 20, "lines.linewidth": 9, "savefig.facecolor": "black"}):
        assert svg(TWO) == before
        assert mpl.rcParams["font.size"] == 20


@pytest.mark.parametrize(
    "panel",
    [
        Panel([Line("one", [Point(50, 0.4, 0.4, 0.4)])]),
        Panel([Line("one", [Point(50, 0.0, 0.0, 0.0)]), line("two", 0.3)]),
        Panel([Line("nothing yet", [])]),
        Panel([line("$x_1$ -- <b>", 0.3)]),
        Panel([Line("steps", [Point(0.5, 0.1, 0.1, 0.2), Point(1e6, 0.2, 0.1, 0.3)])]),
        Panel([]),
    ],
    ids=["one point", "an AP of 0", "no point", "signs", "far apart", "no line"],
)
def test_nothing_odd_is_refused(panel: Panel) -> None:
    document = svg(chart(panel))
    assert {item.name for item in panel.lines} <= set(texts(document))
    assert not re.search(r"\b(nan|inf)\b", document)


def test_a_legend_names_lines_where_labels_cannot() -> None:
    lines = [line("a", 0.3), line("b", 0.3)]
    assert layout.labels_fit(chart(Panel(lines)), height=0.4)
    assert not layout.labels_fit(chart(Panel(lines)), height=0.3), "two labels take 0.38 inches"
    assert layout.labels_fit(chart(Panel(lines[:1]), Panel(lines)), height=3)
    assert not layout.labels_fit(chart(Panel(lines), Panel(lines[:1])), height=3), "b is not in the last panel"
    for shown in (chart(Panel(lines), Panel(lines[:1])), chart(Panel([line(f"line {at}", 0.3) for at in range(30)]))):
        found = texts(svg(shown))
        assert all(found.count(name) == 1 for name in layout.names(shown))


def test_no_two_lines_look_the_same() -> None:
    looks = styles(chart(Panel([line(str(at), 0.3) for at in range(50)])))
    assert len({(look.colour, look.marker) for look in looks.values()}) == 50
    grey = styles(EIGHT)
    assert [look.colour for look in grey.values()] == [GREY] * 7 + [COLOURS[0]]
    assert len({(look.marker, look.dashes) for look in grey.values()}) == 8
    # A band needs no room beside others; bars are centred.
    assert [look.band for look in grey.values()] == [False] * 7 + [True]
    assert sum(look.shift for look in grey.values()) == pytest.approx(0)


def luminance(colour: str) -> float:
    """Relative, by WCAG 2."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", COLOURS)
def test_names_can_be_read_on_white(colour: str) -> None:
    """WCAG asks for a contrast of 3 for bold text."""
    assert 1.05 / (luminance(darker(colour)) + 0.05) >= 3
    assert darker("#0a64ff") == "#0746b2"  # 7, 70, 178.5


WANTED = st.lists(st.floats(-1, 4), max_size=12)


@given(wanted=WANTED)
def test_labels_keep_their_order_and_distance(wanted: list[float]) -> None:
    found = layout.spread(wanted, 0.2, 0, 3)
    order = sorted(range(len(wanted)), key=lambda at: wanted[at])
    positions = [found[at] for at in order]
    assert all(after - before >= 0.2 - 1e-9 for before, after in pairwise(positions))
    assert not positions or (positions[0] >= 0 and positions[-1] <= 3 + 1e-9)


def test_labels_move_no_further_than_they_must() -> None:
    assert layout.spread([1.0, 0.5, 2.0], 0.2, 0, 3) == pytest.approx([1.0, 0.5, 2.0])
    # Around 1.05 both, and 0.1 from there.
    assert layout.spread([1.1, 1.0], 0.2, 0, 3) == pytest.approx([1.15, 0.95])
    # The third pushes them: the mean of 1.0, 1.0 and 1.1 is 1.0333.
    assert layout.spread([1.0, 1.0, 1.1], 0.2, 0, 3) == pytest.approx([1.0333 - 0.2, 1.0333, 1.0333 + 0.2], abs=1e-4)
    assert layout.spread([2.95, 2.95], 0.2, 0, 3) == pytest.approx([2.8, 3.0])
    assert layout.spread([0.0, 0.0, 0.0], 0.2, 0, 0.3) == pytest.approx([0, 0.2, 0.4]), "no room for all"


def test_ticks_are_the_values_where_their_labels_have_room() -> None:
    assert layout.ticks([205, 25, 50, 100, 50], width=4) == [25, 50, 100, 205]
    # From 200 to 205 it is 1 % of the way from 25 to 205.
    assert layout.ticks([25, 200, 205], width=4) == [25, 200]
    assert layout.ticks([600], width=1) == [600]
    assert [layout.number(value) for value in (25, 2400.0, 0.5, 1e6)] == ["25", "2,400", "0.5", "1,000,000"]
