"""Which images form which batch: a function of the seed and the division, for any iteration.

Epochs of shuffled images form one endless sequence, of which each iteration takes the next batch. To reduce padding,
batches within a window of iterations are grouped by orientation, wide with wide and tall with tall.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

# Maximum iterations of a window; one part of each window has mixed orientations.
WINDOW = 16


def window_of(images: int, batch: int) -> int:
    """Iterations of a window: at most an epoch's, so that small data does not mix epochs."""
    return max(1, min(WINDOW, images // batch))


# The purpose of a generator; no two purposes share a stream of random numbers.
Purpose = Literal["shuffle", "group", "augment", "step", "recipe", "variant"]
# The order is part of every run: a purpose is its position.
_PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


def generator(seed: int, purpose: Purpose, *point: int) -> np.random.Generator:
    """The random generator for one point of a run, such as (epoch, image): a function of its arguments alone."""
    return np.random.default_rng([_PURPOSES.index(purpose) + 1, seed, *point])


class Key(NamedTuple):
    """One image in one epoch."""

    epoch: int
    image: int
    """Its index among the records."""


class Division(NamedTuple):
    """The division of a batch: `processes` x `accumulate` parts of `part` images each."""

    batch: int
    processes: int = 1
    accumulate: int = 1

    @property
    def part(self) -> int:
        return self.batch // (self.processes * self.accumulate)

    def problem(self) -> str | None:
        """Why the batch cannot be divided like this; None where it can."""
        parts = self.processes * self.accumulate
        if self.batch % parts == 0 and self.batch >= parts:
            return None
        return (
            f"SOLVER.IMS_PER_BATCH: expected a multiple of {self.processes} processes x SOLVER.ACCUMULATE "
            f"{self.accumulate} = {parts}, found {self.batch}"
        )


def shuffled(images: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """(images,) the order of an epoch."""
    return generator(seed, "shuffle", epoch).permutation(images)


class BatchSampler:
    """For one process: the parts of iterations `first` to `last` (exclusive), `accumulate` lists of keys each.

    `tall` marks images that are higher than wide; None keeps the shuffled order.
    """

    def __init__(
        self,
        *,
        images: int,
        division: Division,
        seed: int,
        rank: int = 0,
        first: int = 0,
        last: int,
        tall: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        self._images = images
        self._division = division
        self._seed = seed
        self._rank = rank
        self._first = first
        self._last = last
        self._tall = tall
        self._window = window_of(images, division.batch)

    def __len__(self) -> int:
        return (self._last - self._first) * self._division.accumulate

    def __iter__(self) -> Iterator[list[Key]]:
        per_iteration = self._division.processes * self._division.accumulate
        size = self._window
        for window in range(self._first // size, -(-self._last // size)):
            parts = self._parts(window)
            for iteration in range(max(window * size, self._first), min((window + 1) * size, self._last)):
                start = (iteration - window * size) * per_iteration + self._rank
                yield from (parts[at] for at in range(start, start + per_iteration, self._division.processes))

    def _parts(self, window: int) -> list[list[Key]]:
        """The parts of all processes in a window of iterations, in processing order."""
        count = self._window * self._division.batch
        keys = self._keys(window * count, count)
        size = self._division.part
        if self._tall is None:
            return [keys[at : at + size] for at in range(0, len(keys), size)]
        keys = [key for tall in (False, True) for key in keys if self._tall[key.image] == tall]
        parts = [keys[at : at + size] for at in range(0, len(keys), size)]
        order = generator(self._seed, "group", window).permutation(len(parts))
        return [parts[at] for at in order]

    def _keys(self, start: int, count: int) -> list[Key]:
        """The images at positions `start` to `start + count` of the sequence of epochs."""
        keys: list[Key] = []
        while count:
            epoch, offset = divmod(start, self._images)
            taken = shuffled(self._images, self._seed, epoch)[offset : offset + count].tolist()
            keys += [Key(epoch, image) for image in taken]
            start, count = start + len(taken), count - len(taken)
        return keys
