"""What lies about in the sample's images and belongs to no category: pebbles, sheets of paper, pencils."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from datasets.sample_outlines import Drawing, Part, rectangle, rounded
from datasets.sample_painting import Ints


class Litter(NamedTuple):
    """A kind: what draws one, its least and greatest radius in px, and its (n, 3) colours."""

    draw: Callable[[np.random.Generator], Drawing]
    least: int
    greatest: int
    palette: Ints


def _pebble(rng: np.random.Generator) -> Drawing:
    radii, flat = rng.integers(80, 101, 10).tolist(), int(rng.integers(55, 91))
    angles = [2 * math.pi * corner / len(radii) for corner in range(len(radii))]
    rough = [
        (radius * math.cos(angle) / 100, radius * flat * math.sin(angle) / 100**2)
        for radius, angle in zip(radii, angles, strict=True)
    ]
    return Drawing(rounded(rough))


def _sheet(rng: np.random.Generator) -> Drawing:
    side = int(rng.integers(55, 86)) / 100
    lines = tuple(Part(rectangle(-0.7 * side, y, 0.7 * side, y + 0.05), shade=84) for y in (-0.6, -0.3, 0.0, 0.3))
    return Drawing(rectangle(-side, -0.9, side, 0.9), lines)


def _pencil(rng: np.random.Generator) -> Drawing:
    half = int(rng.integers(5, 9)) / 100
    return Drawing(
        [(-1.0, -half), (0.8, -half), (1.0, 0.0), (0.8, half), (-1.0, half)],
        (
            Part(rectangle(-1.0, -half, -0.86, half), "accent"),
            Part([(0.8, -half), (1.0, 0.0), (0.8, half)], "light", 90),
            Part([(0.92, -0.4 * half), (1.0, 0.0), (0.92, 0.4 * half)], "dark"),
        ),
    )


STONES = np.array([(186, 180, 170), (136, 132, 130), (98, 100, 106), (164, 146, 128), (220, 214, 204), (66, 66, 72)])
PAPERS = np.array([(250, 247, 240), (244, 234, 208), (216, 226, 234), (240, 216, 212), (122, 116, 112)])

LITTER = (
    Litter(_pebble, 5, 24, STONES),
    Litter(_pebble, 5, 24, STONES),
    Litter(_sheet, 14, 46, PAPERS),
    Litter(_pencil, 24, 60, STONES),
)
