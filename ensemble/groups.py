"""Many small groups of boxes processed at once: blocks of groups of similar length, as numpy tables.

N: boxes of all groups, G: groups of a block, L: length of a block, the longest of its groups
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# Cells of a block's tables: few enough for all tables of a step to stay in the processor's cache.
CELLS = 24576


class Block(NamedTuple):
    """Groups of similar length, the longest first; rows are padded with the index of their first box."""

    places: Indices
    """(G, L) index of each box among the N."""
    lengths: Indices
    """(G,) descending."""

    @property
    def filled(self) -> npt.NDArray[np.bool_]:
        """(G, L)"""
        return np.arange(self.places.shape[1]) < self.lengths[:, None]


def blocks(keys: tuple[npt.NDArray[np.int64], ...], order: Indices) -> Iterator[Block]:
    """Blocks of groups; boxes with equal `keys` (each (N,)) form a group, in the order of `order`.

    `order` is a permutation of N in which equal keys are adjacent.
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
    rising = -lengths[by_length]
    begin = 0
    while begin < len(by_length):
        longest = int(lengths[by_length[begin]])
        # Groups not much shorter than the longest, to keep padding small, and bounded in number.
        fits = np.searchsorted(rising, -(longest * 3 // 4), side="right")
        end = min(int(fits), begin + max(1, CELLS // longest))
        chosen = by_length[begin:end]
        columns = np.arange(longest)
        inside = columns < lengths[chosen][:, None]
        places = np.where(inside, starts[chosen][:, None] + columns, starts[chosen][:, None])
        yield Block(order[places], lengths[chosen])
        begin = end


def order_of_pairs(first: Indices, second: Indices) -> Indices:
    """The stable order by `first`, then `second`, each (N,)."""
    if not len(first):
        return np.empty(0, dtype=np.int64)
    rises, bits = int(first.max()) - int(first.min()), (int(second.max()) - int(second.min())).bit_length()
    if rises.bit_length() + bits > 63:
        return np.asarray(np.lexsort((second, first)))
    # One column is sorted several times as fast as two.
    pairs = (first - first.min() << bits) | (second - second.min())
    return np.asarray(np.argsort(pairs, kind="stable"))


class Corners(NamedTuple):
    """Corners and areas of boxes as five tables, on which numpy is several times faster than on (G, L, 4)."""

    x0: Floats
    y0: Floats
    x1: Floats
    y1: Floats
    area: Floats

    @classmethod
    def of(cls, boxes_xyxy: Floats) -> Corners:
        """(..., 4) -> tables of (...)"""
        x0, y0, x1, y1 = (np.ascontiguousarray(boxes_xyxy[..., side]) for side in range(4))
        # Keeps the IoU of two boxes without area defined (0 / tiny); no other area is changed by it.
        return cls(x0, y0, x1, y1, (x1 - x0) * (y1 - y0) + np.finfo(np.float64).tiny)

    def at(self, cell: Any) -> Corners:
        """Indexes every table with `cell`."""
        return Corners(*(table[cell] for table in self))

    def put(self, cell: Any, values: Corners) -> None:
        for table, value in zip(self, values, strict=True):
            table[cell] = value

    def stacked(self) -> Floats:
        """Tables of (...) -> (..., 4)"""
        return np.stack(self[:4], axis=-1)


def iou_with(boxes: Corners, others: Corners) -> Floats:
    """(G, L) boxes and (G, 1) others -> (G, L) IoU of each box with its group's other; 0 where both have no area."""
    width = np.minimum(boxes.x1, others.x1)
    width -= np.maximum(boxes.x0, others.x0)
    np.maximum(width, 0.0, out=width)
    common = np.minimum(boxes.y1, others.y1)
    common -= np.maximum(boxes.y0, others.y0)
    np.maximum(common, 0.0, out=common)
    common *= width
    union = np.add(boxes.area, others.area, out=width)
    union -= common
    common /= union
    return common
