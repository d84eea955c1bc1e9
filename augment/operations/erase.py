"""Erase: squares in a regular grid are made black, and objects that they hide become ignored (GridMask)."""

from __future__ import annotations

import numpy as np

from augment.operations.labels import CROWD, IGNORE, KEEP, Labels, area, clipped_box
from augment.operations.occlusion import Cover, ignored, visible_mask_share
from augment.operations.parameters import Erase, LabelRule
from datasets.images import Pixels
from datasets.records import Annotation, Grid, Window


def draw(operation: Erase, width: int, height: int, rng: np.random.Generator) -> Grid:
    """A grid of squares at a drawn distance and position."""
    unit = max(2, round(float(rng.uniform(*operation.unit)) * min(width, height)))
    square = min(unit - 1, max(1, round(unit * (1 - operation.kept))))
    # From -square on, so that the first square may be cut, and every pixel is erased as often as any other.
    left, top = (int(rng.integers(0, unit)) - square for _ in range(2))
    return Grid(unit=unit, square=square, left=left, top=top)


def _visible_share(item: Annotation, cover: Cover, grid: Grid) -> float:
    """The share of an object's mask, or of its box without one, that is not erased; 1 for one without area."""
    share = visible_mask_share(item, cover)
    if share is not None:
        return share
    x0, y0, x1, y1 = box = clipped_box(item, cover.height, cover.width)
    # Squares are columns times rows, and so is what they cover of a box.
    columns, rows = _spans(grid.left, grid, cover.width), _spans(grid.top, grid, cover.height)
    return 1.0 - _covered(x0, x1, columns) * _covered(y0, y1, rows) / area(box) if area(box) else 1.0


def _covered(start: float, end: float, spans: list[tuple[int, int]]) -> float:
    return sum(max(0.0, min(end, last) - max(start, first)) for first, last in spans)


def squares(grid: Grid, width: int, height: int) -> list[Window]:
    """The erased pixels of a width x height image, row by row."""
    columns = _spans(grid.left, grid, width)
    return [(x0, y0, x1, y1) for y0, y1 in _spans(grid.top, grid, height) for x0, x1 in columns]


def _spans(first: int, grid: Grid, length: int) -> list[tuple[int, int]]:
    starts = range(first, length, grid.unit)
    spans = [(max(0, start), min(length, start + grid.square)) for start in starts]
    return [(start, end) for start, end in spans if start < end]


def render(pixels: Pixels, grid: Grid) -> Pixels:
    """(height, width, 3) -> the same with black squares."""
    erased = pixels.copy()
    for x0, y0, x1, y1 in squares(grid, pixels.shape[1], pixels.shape[0]):
        erased[y0:y1, x0:x1] = 0
    return erased


def labels(shown: Labels, width: int, height: int, grid: Grid, rule: LabelRule) -> Labels:
    """The labels of an erased image: an object of which less than the rule's share is left is ignored.

    Others keep their boxes and masks: where a square hides a part, the object is still there, and its extent can be
    told from the rest. Crowds stay as they are.
    """
    cover = Cover.of_windows(squares(grid, width, height), height, width)
    annotations: list[Annotation] = []
    outcomes: list[str] = []
    for item in shown.annotations:
        hidden = not item.iscrowd and _visible_share(item, cover, grid) < rule.min_visible
        annotations.append(ignored(item, height, width) if hidden else item)
        outcomes.append(CROWD if item.iscrowd else IGNORE if hidden else KEEP)
    return Labels(annotations, outcomes, shown.dropped)
