"""Many small groups of boxes worked on at once: sorted into blocks of equal length, so that numpy works on tables.

    N: boxes of all groups, G: groups of a block, L: length of a block, the longest of its groups
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# Cells of a block's tables: few enough that all tables of a step stay in a processor's cache.
CELLS = 8192


class Block(NamedTuple):
    """Groups of about equal length, the longest first. Rows are filled up with the place of their first box."""

    places: Indices
    """(G, L) where each box stands among the N."""
    lengths: Indices
    """(G,) falling."""

    @property
    def filled(self) -> npt.NDArray[np.bool_]:
        """(G, L)"""
        return np.arange(self.places.shape[1]) < self.lengths[:, None]


def blocks(keys: tuple[npt.NDArray[np.int64], ...], order: Indices) -> Iterator[Block]:
    """Boxes that agree in all `keys` (each (N,)) are a group; within a group they stand in the order of `order`.

    `order` is a permutation of N; it must have equal keys side by side.
    """
    if not len(order):
        return
    changes = np.zeros(len(order), dtype=np.bool_)
    changes[0] = True
    for key in keys:
        sorted_key = key[order]
        changes[1:] |= sorted_key[1:] != sorted_key[:-1]
    starts = np.flatnonzero(changes)
    lengths = np.diff(np.append(starts, len(order)))
    by_length = np.argsort(-lengths, kind="stable")
    begin = 0
    while begin < len(by_length):
        longest = int(lengths[by_length[begin]])
        # Not much shorter than the longest, so that little is filled up; not too many at once.
        fits = np.searchsorted(-lengths[by_length], -(longest * 3 // 4), side="right")
        end = min(int(fits), begin + max(1, CELLS // longest))
        chosen = by_length[begin:end]
        columns = np.arange(longest)
        inside = columns < lengths[chosen][:, None]
        places = np.where(inside, starts[chosen][:, None] + columns, starts[chosen][:, None])
        yield Block(order[places], lengths[chosen])
        begin = end


def iou_with(boxes_xyxy: Floats, others_xyxy: Floats) -> Floats:
    """(G, L, 4) boxes, (G, 4) others -> (G, L) IoU of each box with its group's other; 0 where both have no area."""
    left_top = np.maximum(boxes_xyxy[..., :2], others_xyxy[:, None, :2])
    right_bottom = np.minimum(boxes_xyxy[..., 2:], others_xyxy[:, None, 2:])
    sides = np.maximum(right_bottom - left_top, 0.0)
    common = sides[..., 0] * sides[..., 1]
    union = area(boxes_xyxy) + area(others_xyxy)[:, None] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def area(boxes_xyxy: Floats) -> Floats:
    """(..., 4) -> (...)"""
    sides = boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]
    return np.asarray(sides[..., 0] * sides[..., 1])
