"""Models against each other, object by object: who finds what another one misses.

M: models, G: objects that are not crowds
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Found = npt.NDArray[np.bool_]


class Agreement(NamedTuple):
    """Shares of the objects."""

    found: npt.NDArray[np.float64]
    """(M,) what each model finds."""
    alone: npt.NDArray[np.float64]
    """(M, M) what the model of the row finds and that of the column does not."""


def agreement(found: Sequence[Found]) -> Agreement:
    """`found` has (G,) for each model: whether it finds each object. The shares of no object are 0."""
    table = np.array(found, dtype=np.float64).reshape(len(found), -1)
    objects = max(1, table.shape[1])
    return Agreement(table.sum(axis=1) / objects, table @ (1 - table).T / objects)


def by_how_many(found: Sequence[Found]) -> list[float]:
    """(M + 1,) the share of the objects that none of the models finds, that one does, ..., that all do."""
    table = np.array(found, dtype=np.bool_).reshape(len(found), -1)
    counts = np.bincount(table.sum(axis=0), minlength=len(found) + 1)
    return [float(count) / max(1, table.shape[1]) for count in counts]
