"""The grounds of the sample's images: plain, boards, tiles or cloth, in the soft light of one lamp or window."""

from __future__ import annotations

import numpy as np

from datasets.images import Pixels
from datasets.sample_painting import ONE, Ints, Light, averaged, blurred

# In `ONE`ths of the ground's colour: where boards and tiles meet, and what a corner away from the light loses.
JOINT = -44
FALLOFF = 80


def ground(width: int, height: int, colour: Ints, light: Light, rng: np.random.Generator) -> Pixels:
    """(height, width, 3): a pattern in shades of a (3,) colour, brightest towards the light."""
    pattern = PATTERNS[rng.integers(len(PATTERNS))]
    shades = pattern(width, height, rng).T if rng.integers(2) else pattern(height, width, rng)
    bright = (ONE + shades) * _brightness(height, width, light) // ONE
    return np.clip(colour * bright[..., None] // ONE, 0, 255).astype(np.uint8)


def _brightness(height: int, width: int, light: Light) -> Ints:
    """(height, width), falling with the square of the distance from a spot near the border."""
    rows, columns = np.mgrid[0:height, 0:width]
    x, y = (width * (ONE + light.x) // (2 * ONE), height * (ONE + light.y) // (2 * ONE))
    squares: Ints = (columns - x) ** 2 + (rows - y) ** 2
    return ONE + FALLOFF // 4 - FALLOFF * squares // (height**2 + width**2)


def _plain(height: int, width: int, rng: np.random.Generator) -> Ints:
    """(height, width): faint clouds."""
    cell = 40
    coarse = rng.integers(-26, 27, (height // cell + 1, width // cell + 1))
    return blurred(coarse.repeat(cell, axis=0).repeat(cell, axis=1)[:height, :width], cell // 2)


def _boards(height: int, width: int, rng: np.random.Generator) -> Ints:
    """(height, width): boards from left to right, with their grain."""
    board = _numbered(height, 30, 64, rng)
    grain = rng.integers(-30, 31, (height, width // 40 + 1)).repeat(40, axis=1)[:, :width]
    shades = rng.integers(-14, 15, height)[board][:, None] + averaged(averaged(grain, 1, 0), 20, 1)
    shades[_joints(board)] = JOINT
    return shades


def _tiles(height: int, width: int, rng: np.random.Generator) -> Ints:
    """(height, width): tiles, each with a shade of its own."""
    row, column = (np.arange(length) // 58 for length in (height, width))
    shades: Ints = rng.integers(-10, 11, (row[-1] + 1, column[-1] + 1))[row][:, column]
    shades[_joints(row)] = shades[:, _joints(column)] = JOINT
    return shades


def _cloth(height: int, width: int, rng: np.random.Generator) -> Ints:
    """(height, width): checks, woven of stripes."""
    stripe = int(rng.integers(10, 22))
    down, across = (np.arange(length) // stripe % 2 for length in (height, width))
    return -13 * (down[:, None] + across)


def _numbered(length: int, narrowest: int, widest: int, rng: np.random.Generator) -> Ints:
    """(length,): which board each row belongs to, of boards with random widths."""
    ends = np.cumsum(rng.integers(narrowest, widest + 1, length // narrowest + 1))
    return np.searchsorted(ends, np.arange(length), side="right")


def _joints(numbers: Ints) -> Ints:
    """The rows before which a new number begins."""
    return np.flatnonzero(np.diff(numbers)) + 1


PATTERNS = (_plain, _plain, _boards, _tiles, _cloth)
