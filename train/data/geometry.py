"""How large an image becomes for the network: sizes by epoch, drawn scales, mirroring. Numbers only, no pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Size(NamedTuple):
    """In pixels."""

    height: int
    width: int


class Geometry(NamedTuple):
    """The geometric transform of an image: mirrored (if `flip`), then resized to (height, width)."""

    height: int
    width: int
    mirrored: bool


class Sizes(NamedTuple):
    """What the shorter side of an image is drawn from: `choices`, or all integers of the range of these two."""

    choices: tuple[int, ...]
    is_range: bool

    def draw(self, rng: np.random.Generator) -> int:
        if self.is_range:
            return int(rng.integers(self.choices[0], self.choices[1] + 1))
        return self.choices[int(rng.choice(len(self.choices)))]


class SizesByEpoch:
    """INPUT.MIN_SIZE_TRAIN, or from the epochs of INPUT.SIZE_STEPS on what they say."""

    def __init__(self, cfg: Any) -> None:
        self._is_range = cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING == "range"
        self._steps = [(0.0, cfg.INPUT.MIN_SIZE_TRAIN), *cfg.INPUT.SIZE_STEPS]

    def at(self, epoch: int) -> Sizes:
        """The sizes of an epoch, counted from 0."""
        _, sizes = next(step for step in reversed(self._steps) if step[0] <= epoch)
        return Sizes(tuple(sizes), self._is_range)

    def largest(self) -> int:
        """The largest shorter side of the whole run."""
        first = [] if any(epoch == 0 for epoch, _ in self._steps[1:]) else [self._steps[0]]
        return int(max(max(sizes) for _, sizes in [*first, *self._steps[1:]]))


def scale_of(height: int, width: int, shorter: int, longest: int) -> float:
    """The factor that makes the shorter side `shorter`, unless the other would exceed `longest`."""
    return min(shorter / min(height, width), longest / max(height, width))


def scaled(height: int, width: int, scale: float) -> Size:
    """Rounded as in Detectron2, and at least 1 px."""
    return Size(max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5)))


def resized(height: int, width: int, shorter: int, longest: int) -> Size:
    """The size with the shorter side `shorter`, unless the other would exceed `longest`."""
    return scaled(height, width, scale_of(height, width, shorter, longest))


def draw_geometry(
    size: Size, rng: np.random.Generator, *, sizes: Sizes, longest: int, flip: bool, scaled_as: Size | None = None
) -> Geometry:
    """Draws the shorter side; mirrors half the time.

    `scaled_as` is the size of another picture, whose factor this image gets: a crop then shows its objects as large as
    the whole picture would.
    """
    scale = scale_of(*(scaled_as or size), sizes.draw(rng), longest)
    mirrored = flip and bool(rng.integers(2))
    return Geometry(*scaled(*size, scale), mirrored)


def describe_steps(steps: Sequence[tuple[float, Sequence[int]]]) -> str:
    """INPUT.SIZE_STEPS as text: `[96, 128] from epoch 0, [144, 176] from epoch 8`."""
    return ", ".join(f"{list(sizes)} from epoch {epoch:g}" for epoch, sizes in steps)
