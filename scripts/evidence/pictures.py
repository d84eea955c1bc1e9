"""The pictures of the page: AP against the number of images, and against steps. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scripts.evidence import charts
from scripts.evidence.chart_layout import Chart, Line, Panel, Point
from scripts.evidence.page import Cell, Tables

NOTE = "Bars and bands: one standard deviation over the seeds, where there are several."


def draw(tables: Tables) -> dict[str, tuple[str, str]]:
    """Name -> (what it shows, SVG); pictures whose lines would all be points are left out."""
    found = {}
    for name, title, chart in (
        ("images", "AP against the number of training images", _by_images(tables)),
        ("steps", "AP against the number of steps", _by_steps(tables)),
    ):
        if any(len(line.points) > 1 for panel in chart.panels for line in panel.lines):
            found[name] = (f"{title}, a line an arm", charts.svg(chart))
    return found


def _by_images(tables: Tables) -> Chart:
    panels = [
        Panel(_lines(tables, [cell for cell in tables.cells if cell.steps == steps], _images), f"{steps:,} steps")
        for steps in tables.steps
    ]
    return Chart("AP against the number of training images", "training images", f"AP on {tables.split}", panels, NOTE)


def _by_steps(tables: Tables) -> Chart:
    panels = [
        Panel(_lines(tables, [cell for cell in tables.cells if cell.images == count], _steps), f"{count:,} images")
        for count in tables.images
    ]
    return Chart("AP against the number of steps", "steps", f"AP on {tables.split}", panels, NOTE)


def _images(cell: Cell) -> int:
    return cell.images


def _steps(cell: Cell) -> int:
    return cell.steps


def _lines(tables: Tables, cells: Sequence[Cell], at: Callable[[Cell], int]) -> Sequence[Line]:
    """A line for each arm that is shown and has some of the cells; the reference and the headline stand out."""
    bold, shown = {tables.reference, tables.headline}, _shown(tables)
    lines = []
    for arm in tables.arms:
        if arm.name not in shown:
            continue
        of_arm = sorted((cell for cell in cells if cell.arm == arm.name), key=at)
        if of_arm:
            lines.append(Line(arm.name, [_point(cell, at(cell)) for cell in of_arm], arm.name in bold))
    return lines


def _shown(tables: Tables) -> set[str]:
    """The reference, the headline and what it is based on: a picture of every arm is a thicket. All arms where there is
    no headline.
    """
    bases = {arm.name: arm.base for arm in tables.arms}
    if not tables.headline:
        return set(bases)
    shown, name = {tables.reference}, tables.headline
    while name:
        shown.add(name)
        name = bases[name]
    return shown


def _point(cell: Cell, at: int) -> Point:
    spread = cell.ap.sd or 0.0
    return Point(at, cell.ap.mean, cell.ap.mean - spread, cell.ap.mean + spread)
