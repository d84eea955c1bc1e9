"""Pixel transforms by name and seed; the only module that imports albumentations."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from augment.operations.transforms import SETTINGS
from datasets.images import Pixels

# Otherwise albumentations asks an index for its newest version at import.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Make `import module` fail as if it were not installed."""
    known = {name: value for name, value in sys.modules.items() if name == module}
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
        sys.modules.update(known)


# Where torch is installed, albumentations would import it for tensors that are not used here: 480 MB and a second per
# worker.
with _without("torch"):
    import albumentations

# Several transforms fail on smaller sides: they shrink, average or draw shadows, which need some room.
SMALLEST = 32


@functools.cache
def _transform(name: str) -> Any:
    return getattr(albumentations, name)(p=1.0, **SETTINGS[name])


def apply(name: str, seed: int, pixels: Pixels) -> Pixels:
    """(height, width, 3) uint8 RGB -> the same shape; equal name, seed and pixels give equal bytes in every process."""
    transform = _transform(name)
    transform.set_random_seed(seed)
    height, width = pixels.shape[:2]
    if min(height, width) < SMALLEST:
        pixels = np.pad(pixels, ((0, max(0, SMALLEST - height)), (0, max(0, SMALLEST - width)), (0, 0)), mode="edge")
    changed = transform(image=pixels)["image"]
    return np.ascontiguousarray(changed[:height, :width])
