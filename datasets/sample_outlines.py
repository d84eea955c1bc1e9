"""Outlines of what the sample shows, made of arcs and curves; y points down."""

from __future__ import annotations

import itertools
import math
from typing import Literal, NamedTuple

Outline = list[tuple[float, float]]


class Part(NamedTuple):
    """A detail within a thing's outline. Its colour is the thing's own, the thing's second one, dark or light; `shade`
    percent of it.
    """

    outline: Outline
    colour: Literal["body", "accent", "dark", "light"] = "body"
    shade: int = 100


class Drawing(NamedTuple):
    """A thing's silhouette, which is its mask, and details on it."""

    outline: Outline
    parts: tuple[Part, ...] = ()


def curve(*points: tuple[float, float]) -> Outline:
    """An open line with its corners cut twice; begins and ends where `points` do. Chaikin's algorithm (1974)."""
    line = list(points)
    for _ in range(2):
        line = [line[0], *_cut(line)[1:-1], line[-1]]
    return line


def _cut(line: Outline) -> Outline:
    """Two points on each piece of a line, a quarter of it from its ends."""
    return [
        (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share)
        for a, b in itertools.pairwise(line)
        for share in (0.25, 0.75)
    ]


def arc(x: float, y: float, across: float, down: float, start: int, end: int, steps: int) -> Outline:
    """A part of an ellipse around (x, y) from one angle to another in degrees, clockwise from the right."""
    angles = [math.radians(start + (end - start) * step / steps) for step in range(steps + 1)]
    return [(x + across * math.cos(angle), y + down * math.sin(angle)) for angle in angles]


def rounded(outline: Outline) -> Outline:
    """A closed outline with its corners cut twice, as `curve` cuts them."""
    for _ in range(2):
        outline = _cut([*outline, outline[0]])
    return outline


def oval(x: float, y: float, across: float, down: float, steps: int = 12) -> Outline:
    return arc(x, y, across, down, 0, 360, steps)[:-1]


def rectangle(x0: float, y0: float, x1: float, y1: float) -> Outline:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def both_sides(right: Outline) -> Outline:
    """An outline from its right half, which runs from the top to the bottom."""
    return [*right, *((-x, y) for x, y in reversed(right) if x)]
