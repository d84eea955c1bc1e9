"""Renders one variant of a decoded image: a crop or a pixel transform."""

from __future__ import annotations

from augment.operations.plan import Variant
from datasets.images import Pixels


def render(pixels: Pixels, variant: Variant) -> Pixels:
    """(height, width, 3) uint8 -> the variant's pixels. A crop is a view of its source; a transform needs RGB."""
    if variant.window is not None:
        x0, y0, x1, y1 = variant.window
        pixels = pixels[y0:y1, x0:x1]
    if variant.transform is not None and variant.seed is not None:
        from augment.operations import (
            pixel,  # albumentations takes a second to import, which plans and crops do not need
        )

        pixels = pixel.apply(variant.transform, variant.seed, pixels)
    return pixels
