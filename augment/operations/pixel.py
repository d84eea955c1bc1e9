"""Pixel transforms by name and seed; the only module that imports albumentations."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np

from augment.operations import restored
from augment.operations.transforms import USUAL_SIDE, settings
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
# Draws of a variant before it stays without effect, as ToGray does on grey images.
TRIES = 8
# Levels that cannot be seen; JPEG changes single values by more, at quality 95 too.
UNSEEN = 2


class Restored(albumentations.ImageOnlyTransform):  # type: ignore[misc]
    """A function of `restored` as albumentations calls it."""

    def __init__(self, function: Callable[..., Pixels], **settings: Any) -> None:
        super().__init__(p=1.0)
        self.function = functools.partial(function, **settings)

    def apply(self, img: Pixels, **_: Any) -> Pixels:
        return self.function(img, self.random_generator)


RESTORED: dict[str, Callable[..., Pixels]] = {
    "FancyPCA": restored.fancy_pca,
    "ISONoise": restored.iso_noise,
    "RandomSunFlare": restored.sun_flare,
}


def transform(name: str, side: int) -> Any:
    """The transform for images whose shorter side has `side` pixels; it is called as `transform(image=...)["image"]`
    after `set_random_seed`.
    """
    return _transform(name, min(max(side, SMALLEST), USUAL_SIDE))


@functools.lru_cache(maxsize=1024)
def _transform(name: str, side: int) -> Any:
    if name in RESTORED:
        return Restored(RESTORED[name], **settings(name, side))
    return getattr(albumentations, name)(p=1.0, **settings(name, side))


def apply(name: str, seed: int, pixels: Pixels) -> Pixels:
    """(height, width, 3) uint8 RGB -> the same shape; equal name, seed and pixels give equal bytes in every process.

    What cannot be told from its source is drawn again, with seeds that follow from `seed`, TRIES times at most.
    """
    drawn = draw(name, seed, pixels)
    for other in np.random.SeedSequence(seed).generate_state(TRIES - 1):
        if differs(drawn, pixels):
            break
        drawn = draw(name, int(other), pixels)
    return drawn


def draw(name: str, seed: int, pixels: Pixels) -> Pixels:
    """One draw of `apply`, which may be without effect."""
    height, width = pixels.shape[:2]
    chosen = transform(name, min(height, width))
    chosen.set_random_seed(seed)
    if min(height, width) < SMALLEST:
        pixels = np.pad(pixels, ((0, max(0, SMALLEST - height)), (0, max(0, SMALLEST - width)), (0, 0)), mode="edge")
    changed = chosen(image=pixels)["image"]
    return np.ascontiguousarray(changed[:height, :width])


def differs(one: Pixels, other: Pixels) -> bool:
    """Whether any value of two images differs by more than UNSEEN levels."""
    return cv2.norm(one, other, cv2.NORM_INF) > UNSEEN
