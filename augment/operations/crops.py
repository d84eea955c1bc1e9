"""Crop windows: half-open ranges of source pixels, always inside the image."""

from __future__ import annotations

import numpy as np

from datasets.records import Window


def crop_size(fraction: float, width: int, height: int) -> tuple[int, int]:
    """(width, height) of a crop whose short side is `round(fraction * short)`; the long side keeps the aspect ratio.

    Both sides are at least 1 px and at most the image's.
    """
    short, long = min(width, height), max(width, height)
    short_out = max(1, _round(fraction * short))
    long_out = max(1, _round(long * short_out / short))
    return (short_out, long_out) if width <= height else (long_out, short_out)


def center_window(fraction: float, width: int, height: int) -> Window:
    """The centred crop; an odd pixel is left over on the right and below."""
    crop_width, crop_height = crop_size(fraction, width, height)
    return _window((width - crop_width) // 2, (height - crop_height) // 2, crop_width, crop_height)


def random_window(fraction: float, width: int, height: int, rng: np.random.Generator) -> Window:
    """A crop at a position drawn uniformly from all those inside the image."""
    crop_width, crop_height = crop_size(fraction, width, height)
    left = int(rng.integers(0, width - crop_width, endpoint=True))
    top = int(rng.integers(0, height - crop_height, endpoint=True))
    return _window(left, top, crop_width, crop_height)


def _window(left: int, top: int, width: int, height: int) -> Window:
    return left, top, left + width, top + height


def _round(value: float) -> int:
    """Rounds half up; Python's round() rounds half to even."""
    return int(value + 0.5)
