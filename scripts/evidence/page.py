"""From numbers to the page: tables of AP and of differences, and what they say. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from datasets.comparison import Difference
from datasets.percent import difference as percent_difference
from scripts.experiments.numbers import Spread, markdown, percent


class ArmAbout(NamedTuple):
    """`base` is what it differs from, "" for the first."""

    name: str
    about: str
    base: str


class Cell(NamedTuple):
    """One arm on a number of images, for a number of steps: its AP over the seeds, and the differences, as fractions,
    from the reference (the first arm) and from its base; None where one of the two is not measured.
    """

    arm: str
    images: int
    steps: int
    ap: Spread
    seeds: int
    from_reference: Difference | None = None
    from_base: Difference | None = None


class Doubled(NamedTuple):
    """An arm on some images against the reference on twice as many, or as near to that as there are."""

    images: int
    of_reference: int
    steps: int
    difference: Difference


class Tables(NamedTuple):
    """All that is measured, on `split`. `headline` is the arm that the page is about, "" for none."""

    arms: list[ArmAbout]
    cells: list[Cell]
    doubled: list[Doubled]
    headline: str
    split: str

    @property
    def steps(self) -> list[int]:
        return sorted({cell.steps for cell in self.cells})

    @property
    def images(self) -> list[int]:
        return sorted({cell.images for cell in self.cells})

    @property
    def reference(self) -> str:
        return self.arms[0].name

    def cell(self, arm: str, images: int, steps: int) -> Cell | None:
        wanted = (arm, images, steps)
        return next((cell for cell in self.cells if (cell.arm, cell.images, cell.steps) == wanted), None)


# What must be gained with this few images: AP points.
WANTED_IMAGES, WANTED = 50, 5.0


def document(tables: Tables, notes: Sequence[str], title: str, pictures: Sequence[tuple[str, str]]) -> str:
    """The whole page; `pictures` are (alternative text, file name)."""
    parts = [f"# {title}", *(f"![{text}]({name})" for text, name in pictures)]
    if tables.headline:
        parts += ["\n".join(f"- {line}" for line in findings(tables))]
    for steps in tables.steps:
        parts += [f"## {steps:,} steps", "\n".join(table(tables, steps))]
    if tables.doubled:
        parts += ["## With twice the images", "\n".join(doubled_table(tables))]
    return "\n\n".join([*filter(None, parts), "\n".join(f"- {line}" for line in notes)]) + "\n"


def table(tables: Tables, steps: int) -> list[str]:
    """Lines of Markdown: a row an arm, and for each number of images its AP and the difference from the reference."""
    images = [count for count in tables.images if any(cell.images == count for cell in _at(tables, steps))]
    head = ["arm", "what it is", *(f"{count:,} images" for count in images)]
    rows = [head]
    for arm in tables.arms:
        cells = [tables.cell(arm.name, count, steps) for count in images]
        if any(cells):
            rows.append([arm.name, arm.about, *map(_shown, cells)])
    return markdown(rows, left=2)


def _at(tables: Tables, steps: int) -> list[Cell]:
    return [cell for cell in tables.cells if cell.steps == steps]


def _shown(cell: Cell | None) -> str:
    """`52.7 ± 0.4<br>+1.2 (-0.3 to 2.6)`; what is told from chance is bold."""
    if cell is None:
        return "-"
    lines = [percent(cell.ap)]
    if cell.from_reference is not None:
        lines.append(_bold(cell.from_reference))
    if cell.from_base is not None:
        lines.append(f"on its base {_bold(cell.from_base)}")
    return "<br>".join(lines)


def _bold(difference: Difference) -> str:
    return f"**{_plain(difference)}**" if difference.excludes_zero else _plain(difference)


def _plain(difference: Difference) -> str:
    """`+3.1 (1.2 to 5.0)`, also with one seed, of which the notes tell."""
    return f"{percent_difference(difference.difference)} ({difference.interval})"


def doubled_table(tables: Tables) -> list[str]:
    """Lines of Markdown: the headline's arm against the reference on twice the images."""
    head = ["steps", f"images of {tables.headline}", f"images of {tables.reference}", "difference of AP"]
    rows = [
        [f"{item.steps:,}", f"{item.images:,}", f"{item.of_reference:,}", _bold(item.difference)]
        for item in tables.doubled
    ]
    return markdown([head, *rows], left=0)


def findings(tables: Tables) -> list[str]:
    """What the headline's arm brings, against what is wanted of it, and which arms gain or lose what can be told."""
    lines = [_goal(tables, steps) for steps in tables.steps]
    for steps in tables.steps:
        cells = [cell for cell in _at(tables, steps) if cell.from_reference is not None]
        for word, sign in (("gains", 1), ("loses", -1)):
            told = [
                f"{cell.arm} on {cell.images:,}"
                for cell in cells
                if cell.from_reference
                and cell.from_reference.excludes_zero
                and cell.from_reference.difference * sign > 0
            ]
            lines.append(f"{steps:,} steps, {word} more than chance would: {', '.join(told) or 'none'}.")
    return list(filter(None, lines))


def _goal(tables: Tables, steps: int) -> str:
    found = [cell for cell in _at(tables, steps) if cell.arm == tables.headline]
    differences = {cell.images: cell.from_reference for cell in found if cell.from_reference is not None}
    if not differences:
        return ""
    told = [count for count, item in differences.items() if item.excludes_zero and item.difference > 0]
    parts = [f"better than {tables.reference} for certain on {len(told)} of {len(differences)} numbers of images"]
    if (few := differences.get(WANTED_IMAGES)) is not None:
        missed = _missed(100 * few.difference - WANTED)
        parts.append(f"{_plain(few)} AP with {WANTED_IMAGES} images, of {WANTED:.0f} wanted{missed}")
    twice = [item for item in tables.doubled if item.steps == steps]
    as_good = [item for item in twice if item.difference.interval.high >= 0]
    if twice:
        parts.append(f"as good as {tables.reference} with twice the images in {len(as_good)} of {len(twice)} cases")
    return f"{steps:,} steps: {tables.headline} is {'; '.join(parts)}."


def _missed(by: float) -> str:
    return f" (missed by {-by:.1f})" if by < 0 else ""


def as_json(tables: Tables, about: dict[str, Any]) -> dict[str, Any]:
    """The page's content as JSON: fractions, unrounded."""
    return {
        **about,
        "headline": tables.headline,
        "split": tables.split,
        "arms": [arm._asdict() for arm in tables.arms],
        "cells": [_as_plain(cell._asdict()) for cell in tables.cells],
        "doubled": [_as_plain(item._asdict()) for item in tables.doubled],
        "findings": findings(tables) if tables.headline else [],
    }


def _as_plain(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: _as_plain(value._asdict()) if hasattr(value, "_asdict") else value for key, value in entry.items()}


def nearest_double(images: int, known: Iterable[int]) -> int | None:
    """The number of images nearest to twice as many, where one is within 5 % of that."""
    near = [other for other in known if abs(other - 2 * images) <= 0.05 * 2 * images]
    return min(near, key=lambda other: abs(other - 2 * images), default=None)
