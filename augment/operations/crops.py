"""Where: the windows of crops, half-open ranges of source pixels that always lie inside the image."""

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
    """The crop in the middle; where a pixel is left over, it is on the right and below."""
    crop_width, crop_height = crop_size(fraction, width, height)
    return _window((width - crop_width) // 2, (height - crop_height) // 2, crop_width, crop_height)


def random_window(fraction: float, width: int, height: int, rng: np.random.Generator) -> Window:
    """The crop at one of all places inside the image, each equally likely."""
    crop_width, crop_height = crop_size(fraction, width, height)
    left = int(rng.integers(0, width - crop_width, endpoint=True))
    top = int(rng.integers(0, height - crop_height, endpoint=True))
    return _window(left, top, crop_width, crop_height)


def _window(left: int, top: int, width: int, height: int) -> Window:
    return left, top, left + width, top + height


def _round(value: float) -> int:
    """Half up: Python's own round() goes to the even neighbour."""
    return int(value + 0.5)
