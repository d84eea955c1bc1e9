"""Pages: what datasets name cannot become elements, charts have their numbers, pictures their outlines."""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from datasets.errors import DataError
from datasets.images import decode, encode_jpeg, examine
from datasets.masks import mask_to_rle
from datasets.pages import axes, charts, figures, page, pictures
from datasets.pages.charts import Axis, Chart, Line, Panel
from datasets.pages.thumbnails import thumbnails
from datasets.records import Annotation, Image
from tests.browser import check_page, chromium

HOSTILE = "<script>alert('#0072b2')</script>"
TEMPLATE = """{% extends "page.html" %}
{% import "parts.html" as parts %}
{% block title %}{{ name }}{% endblock %}
{% block summary %}{{ parts.numbers(numbers) }}{% endblock %}
{% block sections %}{{ parts.link("charts", "Charts") }}{% endblock %}
{% block content %}
<section id="charts"><h2>Charts</h2>
{% for item in charts %}{{ parts.chart(item) }}{% endfor %}
{{ parts.matrix(name, ["", name], [(name, [("3", 0.5)])]) }}
{{ parts.legend([("kept", name)]) }}
{{ parts.filters("pictures", [choice]) }}
<ul data-gallery="pictures">
{% for item in pictures %}<li data-kind="{{ loop.cycle("even", "odd") }}">{{ item }}</li>{% endfor %}
</ul>
</section>
{% endblock %}
"""


def every_chart() -> list[Chart]:
    two = [(HOSTILE, [3, 5]), ("cup", [10, 200])]
    return [
        charts.bars("a", "Boxes", two, ["before", "after"], Axis("boxes")),
        charts.bars("b", "Boxes, log", two, ["before", "after"], Axis("boxes", log=True)),
        charts.shares("s", "What became of them", two, ["kept", "dropped"], figures.COLOURS),
        charts.lines(
            "c", "AP", [Line(HOSTILE, [1, 2], [0.5, 0.75]), Line("b", [1, 2], [math.nan, 1])], Axis("x"), Axis("y")
        ),
        charts.histograms("d", "Sizes", {"before": [1, 2, 2, 4], "after": []}, Axis("px", log=True)),
        charts.panels(
            "f",
            "AP and loss",
            [
                Panel(Axis("AP"), [Line(HOSTILE, [1, 2], [0.5, 0.75]), Line("b", [], [])]),
                Panel(Axis("loss"), [Line(HOSTILE, [1, 2], [2, math.nan]), Line("b", [1], [3])]),
            ],
            Axis("x"),
        ),
        charts.points("e", "AP by boxes", [(HOSTILE, 3, 50), ("cup", 100, 20)], Axis("boxes", log=True), Axis("AP")),
        charts.intervals("g", "AP with its interval", [(HOSTILE, 3, 2.5, 4), ("cup", 5, 4, 6)], Axis("AP")),
    ]


def made(tmp_path: Path) -> Path:
    (tmp_path / "test.html").write_text(TEMPLATE, encoding="utf-8")
    jpeg = pictures.thumbnail(np.zeros((30, 40, 3), np.uint8))
    shown = [pictures.picture(jpeg, 30, 40, [pictures.Shape("kept", (1, 2, 3, 4), HOSTILE)], HOSTILE) for _ in range(3)]
    content = {
        "name": HOSTILE,
        "numbers": [page.Number("64,914", "images")],
        "charts": every_chart(),
        "pictures": shown,
    }
    choice = page.Choice("kind", "Kind", [("even", "Even"), ("odd", "Odd")])
    page.write(tmp_path / "page.html", page.render(tmp_path, "test.html", choice=choice, **content))
    return tmp_path / "page.html"


def test_names_from_datasets_stay_text(tmp_path: Path) -> None:
    text = made(tmp_path).read_text(encoding="utf-8")
    # The page's own.
    assert text.count("<script>") == 1
    # In the title and the heading, as a label of the chart, in its table, for screen readers, over the pictures ...
    assert text.count("&lt;script&gt;alert(") > 10
    # A colour in a name is no colour of the page's.
    assert "var(--series-1)')" not in text


def test_nothing_is_fetched(tmp_path: Path) -> None:
    text = made(tmp_path).read_text(encoding="utf-8")
    addresses = re.findall(r'(?:src|href)="([^"#]*)', text)
    assert all(address.startswith("data:") for address in addresses if address)
    assert "@import" not in text


def test_in_a_browser(tmp_path: Path) -> None:
    written = made(tmp_path)
    with chromium(tmp_path / "profile") as browser:
        check_page(browser, written)
        shown = "[...document.querySelectorAll('[data-gallery] > *')].filter((item) => item.offsetParent).length"
        told = "document.querySelector('output').textContent"
        assert (browser.ask(shown), browser.ask(told)) == (3, "3 of 3 shown")
        browser.driver.find_element(By.CSS_SELECTOR, "option[value=even]").click()
        assert (browser.ask(shown), browser.ask(told)) == (2, "2 of 3 shown")
        select = browser.driver.find_element(By.CSS_SELECTOR, "select")
        select.send_keys(Keys.ARROW_DOWN)
        assert (browser.ask(shown), browser.ask(told)) == (1, "1 of 3 shown")


@pytest.mark.parametrize("chart", every_chart(), ids=lambda chart: chart.title)
def test_charts_are_sound_and_described(chart: Chart) -> None:
    root = ElementTree.fromstring(chart.svg)
    assert root.get("role") == "img"
    title, description = root[0].text, root[1].text
    assert title == chart.title
    assert chart.rows[0][0] in (description or "")
    assert not re.search(r"\b(nan|inf)\b", str(chart.svg))
    assert all(len(row) == len(chart.header) for row in chart.rows)


def test_ids_are_the_charts_own() -> None:
    both = [charts.bars(name, "Boxes", [("cup", [3])], ["boxes"], Axis("boxes")) for name in ("one", "two")]
    ids = [set(re.findall(r' id="([^"]*)"', str(chart.svg))) for chart in both]
    assert ids[0]
    assert not ids[0] & ids[1]
    for chart, own in zip(both, ids, strict=True):
        assert set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", str(chart.svg))) == own


def test_tables_of_charts() -> None:
    bars, _, shares, line, histogram, panels, points, intervals = every_chart()
    assert bars.rows == [[HOSTILE, "3", "5"], ["cup", "10", "200"]]
    # Not the shares themselves.
    assert shares.rows == [[HOSTILE, "3", "5"], ["cup", "10", "200"]]
    # First, last, lowest, highest; what is no number is left out.
    assert line.rows == [[HOSTILE, "0.5", "0.75", "0.5", "0.75"], ["b", "1", "1", "1", "1"]]
    # Quartiles of 1, 2, 2, 4, between them as numpy has it.
    assert histogram.rows[0] == ["before", "4", "1.75", "2", "2.5"]
    assert histogram.rows[1][:2] == ["after", "0"]
    # A panel's line without points is left out.
    assert panels.rows == [
        [f"AP, {HOSTILE}", "0.5", "0.75", "0.5", "0.75"],
        [f"loss, {HOSTILE}", "2", "2", "2", "2"],
        ["loss, b", "3", "3", "3", "3"],
    ]
    assert points.rows[1] == ["cup", "100", "20"]
    assert intervals.rows[0] == [HOSTILE, "3", "2.5", "4"]


def test_long_names_of_lines_stand_below_each_other() -> None:
    def height(names: list[str]) -> float:
        shown = [Line(name, [1, 2], [3, 4]) for name in names]
        chart = charts.lines("a", "AP", shown, Axis("x"), Axis("y"))
        return float(ElementTree.fromstring(chart.svg).get("viewBox", "").split()[3])

    # Points: 72 an inch.
    assert height(["a", "b", "c"]) == pytest.approx(72 * charts.HEIGHT, abs=0.1)
    assert height([name * 20 for name in "abc"]) == pytest.approx(72 * (charts.HEIGHT + axes.LEGEND), abs=0.1)


def test_nothing_to_show() -> None:
    empty = [
        charts.bars("a", "None", [], ["boxes"], Axis("boxes", log=True)),
        charts.shares("s", "None", [("cup", [0, 0])], ["kept", "dropped"], figures.COLOURS),
        charts.lines("b", "None", [], Axis("x"), Axis("y")),
        charts.panels("f", "None", [Panel(Axis("y"), [])], Axis("x")),
        charts.histograms("c", "None", {"before": [], "after": []}, Axis("px", log=True)),
        charts.points("d", "None", [], Axis("x"), Axis("y")),
        charts.intervals("e", "None", [], Axis("x")),
    ]
    assert all(ElementTree.fromstring(chart.svg).get("role") == "img" for chart in empty)


def test_shares_fill_each_row() -> None:
    chart = charts.shares("s", "Shares", [("cup", [1, 3]), ("dog", [6, 2])], ["kept", "dropped"], figures.COLOURS)
    paths = ElementTree.fromstring(chart.svg).iterfind(".//{*}path[@clip-path]")
    bars = [path.get("d", "") for path in paths if "fill: var(--series-" in path.get("style", "")]
    across = [[float(x) for x in re.findall(r"[ML] ([0-9.]+)", bar)] for bar in bars]
    ends = [(min(bar), max(bar)) for bar in across]
    left, right = min(start for start, _ in ends), max(end for _, end in ends)
    # 1 : 3 and 6 : 2, kept first.
    shares = [[(place - left) / (right - left) for place in bar] for bar in ends]
    assert shares == [pytest.approx(bar, abs=1e-4) for bar in ((0, 0.25), (0, 0.75), (0.25, 1), (0.75, 1))]


def test_a_logarithmic_scale_of_few_decades_has_marks_between_them() -> None:
    for most, between in ((200, True), (1_000_000, False)):
        chart = charts.bars("b", "Boxes", [("cup", [3]), ("dog", [most])], ["boxes"], Axis("boxes", log=True))
        assert (">20<" in chart.svg) == between


def test_many_rows_are_closer() -> None:
    def height(rows: int) -> float:
        chart = charts.bars("b", "Boxes", [(str(at), [at]) for at in range(rows)], ["boxes"], Axis("boxes"))
        return float(ElementTree.fromstring(chart.svg).get("height", "").removesuffix("pt"))

    # 72 points an inch.
    assert height(100) - height(90) == pytest.approx(72 * 10 * charts.CLOSE)
    assert height(20) - height(10) == pytest.approx(72 * 10 * charts.ROW)


def test_thumbnails_keep_their_shape() -> None:
    jpeg = pictures.thumbnail(np.zeros((300, 600, 3), np.uint8), side=100)
    assert decode(jpeg, examine(jpeg, 100, 50)).shape == (50, 100, 3)
    small = pictures.thumbnail(np.zeros((3, 6, 3), np.uint8))
    assert decode(small, examine(small, 6, 3)).shape == (3, 6, 3)


def test_thumbnails_of_files_or_why_there_is_none(tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere.jpg", tmp_path / "images"
    folder.mkdir()
    elsewhere.write_bytes(encode_jpeg(np.zeros((30, 40, 3), np.uint8), 90))
    (folder / "a.jpg").write_bytes(elsewhere.read_bytes())
    (folder / "b.jpg").write_bytes(b"no picture")
    (folder / "e.jpg").symlink_to(elsewhere)
    names = ("a.jpg", "b.jpg", "c.jpg", "../elsewhere.jpg", "e.jpg")
    shown = [Image(id=id_, file_name=name, width=40, height=30) for id_, name in enumerate(names)]
    good, broken, missing, outside, link = thumbnails(shown, folder).values()
    assert isinstance(good, bytes)
    assert broken == "expected a JPEG or PNG file, found something else or a damaged head"
    assert str(missing).startswith("expected an image file, found none")
    assert outside == "climbs out of the image folder"
    assert "link" in str(link)
    assert isinstance(thumbnails(shown, folder, follow_links=True)[4], bytes)
    assert set(thumbnails(shown, None).values()) == {"the folder of the images is not known"}


def test_a_picture_without_its_image_has_its_shapes_with_their_labels() -> None:
    shape = pictures.Shape(pictures.category_kind(7), (20, 10, 8, 8), "cup 0.5", label=HOSTILE)
    drawn = str(pictures.picture(b"", 64, 64, [shape], "a.jpg"))
    assert "<image" not in drawn
    assert 'class="shape category-1"' in drawn
    # Letters of 11 px in a thumbnail of 320 are 2.2 px in a picture of 64.
    assert 'y="12.4" font-size="2.2" aria-hidden="true">&lt;script&gt;' in drawn


def test_labels_neither_cover_each_other_nor_leave_the_picture() -> None:
    boxes = [(4.0, 4.0, 40.0, 40.0), (5.0, 6.0, 40.0, 40.0), (4.0, 40.0, 40.0, 40.0), (310.0, 4.0, 9.0, 9.0)]
    shapes = [pictures.Shape("predicted", box, "", label=f"cup {at}") for at, box in enumerate(boxes)]
    drawn = str(pictures.picture(b"", 320, 320, shapes, "a.jpg"))
    assert re.findall(r">(cup \d)</text>", drawn) == ["cup 0", "cup 2", "cup 3"]
    # Five letters of 11 px, 0.58 as wide as they are high, end at 320.
    assert re.findall(r'<text class="label" x="([0-9.]+)"', drawn)[-1] == f"{320 - 5 * 11 * 0.58:.1f}"


def test_outlines_of_runs_go_around_their_pixels() -> None:
    mask = np.zeros((10, 10), np.uint8)
    mask[2:6, 3:8] = 1
    rle = mask_to_rle(mask)
    crowd = Annotation(id=1, image_id=1, category_id=1, bbox=(3, 2, 5, 4), area=20, iscrowd=1, segmentation=rle)
    (outline,) = pictures.outlines_of(crowd)
    # From the middle of the first pixel to that of the last.
    assert (outline.min(axis=0).tolist(), outline.max(axis=0).tolist()) == ([3.5, 2.5], [7.5, 5.5])


def test_a_page_never_replaces_what_it_was_made_from(tmp_path: Path) -> None:
    source = tmp_path / "manifest.json"
    source.write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="would replace an input"):
        page.write(source, "<p>", (source,))
    assert source.read_text(encoding="utf-8") == "{}"


def test_a_page_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere/page\.html: cannot be written: No such file or directory$"):
        page.write(tmp_path / "nowhere" / "page.html", "<p>")
