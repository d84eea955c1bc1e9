"""The charts and tables of a build: boxes per category, what became of objects, sizes and shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from augment.operations.labels import CASES, DROP, IGNORE, KEEP, PASTED
from augment.operations.parameters import Original
from augment.report import words
from augment.report.counted import CategoryCase, Sizes, by_category, by_operation
from augment.report.finished import CategoryCounts, Manifest
from datasets.pages import charts
from datasets.pages.axes import number
from datasets.pages.charts import Axis, Chart
from datasets.pages.figures import COLOURS

# The paper shows its categories also without the six that have the most boxes, where there are many more.
COMMONEST, MANY = 6, 12
# Categories of a chart; the tables have all.
MOST_ROWS = 150
# The colours of the gallery, of a page's series.
CASE_COLOURS = {KEEP: COLOURS[2], PASTED: COLOURS[0], IGNORE: COLOURS[5], DROP: COLOURS[1]}


class Table(NamedTuple):
    header: list[str]
    rows: list[list[str]]


def operations_table(manifest: Manifest) -> Table:
    """What each operation makes, its images, and what became of the objects in them."""
    cases = shown_cases(manifest)
    rows = [
        [words.spoken(name), words.OPERATIONS.get(name, ""), number(item.images)]
        + [number(getattr(item, case)) for case in cases]
        for name, item in manifest.counts.operations.items()
    ]
    sums = [manifest.counts.images, *(words.total(manifest, case) for case in cases)]
    return Table(["operation", "what it makes", "images", *cases], [*rows, ["total", "", *map(number, sums)]])


def shown_cases(manifest: Manifest) -> list[str]:
    """All of CASES that a build has, and always the three that the rule decides between."""
    return [case for case in CASES if case in (KEEP, IGNORE, DROP) or words.total(manifest, case)]


def boxes_charts(manifest: Manifest) -> list[Chart]:
    """Boxes of each category before and after, the rarest first (the paper's Figure 1)."""
    present = [item for item in manifest.counts.boxes_per_category if item.before or item.after]
    rows = sorted(present, key=lambda item: (item.before, item.id))
    found = [
        _boxes("boxes", "Boxes per category", rows, Axis("boxes")),
        _boxes("boxes-log", "The same on a logarithmic scale", rows, Axis("boxes, logarithmic", log=True)),
    ]
    if len(rows) > MANY:
        title = f"Without the {COMMONEST} commonest"
        found.append(_boxes("boxes-rare", title, rows[:-COMMONEST], Axis("boxes")))
    return found


def absent(manifest: Manifest) -> list[str]:
    """The categories without a box before and after."""
    return [item.name for item in manifest.counts.boxes_per_category if not item.before and not item.after]


def cases_charts(manifest: Manifest, cases: Mapping[CategoryCase, int]) -> list[Chart]:
    """The shares of kept, ignored and dropped objects by operation and by category, the originals left out."""
    of_operation, of_category = by_operation(cases), by_category(cases)
    operations = [
        (words.spoken(name), [of_operation[name, case] for case in CASE_COLOURS])
        for name in manifest.counts.operations
        if name != Original.name
    ]
    categories = [
        (item.name, [of_category[item.id, case] for case in CASE_COLOURS])
        for item in sorted(manifest.counts.boxes_per_category, key=lambda item: (item.before, item.id))
    ]
    found = [
        _shares("by-operation", "By operation", operations),
        _shares("by-category", "By category, the rarest first", categories),
    ]
    return [chart for chart in found if chart.rows]


def sizes_charts(before: Sizes, after: Sizes) -> list[Chart]:
    """Distributions of the sizes and the shapes of boxes to learn from."""
    size = Axis("square root of the box's area, px, logarithmic", log=True)
    shape = Axis("width / height, logarithmic", log=True)
    return [
        charts.histograms("sizes", "How large boxes are", _series(before.roots, after.roots), size),
        charts.histograms("shapes", "How wide boxes are for their height", _series(before.ratios, after.ratios), shape),
    ]


def disagreements(manifest: Manifest, cases: Mapping[CategoryCase, int]) -> list[str]:
    """Where the annotations are not those that the manifest counts; empty for a good build."""
    if not manifest.has_originals:
        return []
    found = by_operation(cases)
    return [
        f"{words.spoken(name)}: {getattr(item, case):,} {case} in the manifest, {found[name, case]:,} as annotated"
        for name, item in manifest.counts.operations.items()
        for case in CASES
        if getattr(item, case) != found[name, case]
    ]


def _boxes(name: str, title: str, rows: Sequence[CategoryCounts], x: Axis) -> Chart:
    bars = [(item.name, [item.before, item.after]) for item in rows[:MOST_ROWS]]
    chart = charts.bars(name, _of_the_first(title, len(rows)), bars, ["before", "after"], x)
    table = [
        [item.name, number(item.before), number(item.after), words.ratio(item.before, item.after)] for item in rows
    ]
    return chart._replace(header=[*chart.header, "times"], rows=table)


def _shares(name: str, title: str, rows: Sequence[tuple[str, Sequence[int]]]) -> Chart:
    """Of the rows and cases that have objects."""
    used = [at for at in range(len(CASE_COLOURS)) if any(values[at] for _, values in rows)]
    shown = [(label, [values[at] for at in used]) for label, values in rows if any(values)]
    cases, colours = ([items[at] for at in used] for items in (list(CASE_COLOURS), list(CASE_COLOURS.values())))
    chart = charts.shares(name, _of_the_first(title, len(shown)), shown[:MOST_ROWS], cases, colours)
    return chart._replace(rows=[[label, *map(number, values)] for label, values in shown])


def _of_the_first(title: str, rows: int) -> str:
    return title if rows <= MOST_ROWS else f"{title}: the first {MOST_ROWS:,} of {rows:,}; the numbers are of all"


def _series(before: Sequence[float], after: Sequence[float]) -> dict[str, Sequence[float]]:
    return {"before": before, "after": after} if len(before) else {"after": after}
