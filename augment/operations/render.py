"""Renders one variant of a decoded image."""

from __future__ import annotations

from collections.abc import Callable

from augment.operations import erase, mosaic, paste, turns
from augment.operations.parameters import Mosaic
from augment.operations.plan import Variant
from augment.operations.variant_labels import NO_LENDER, Lender
from datasets.images import Pixels
from datasets.records import Donor

# The pixels of a donor's whole picture, in the order of the image's own.
PixelsOf = Callable[[Donor], Pixels]


def _no_donors(donor: Donor) -> Pixels:
    raise AssertionError(f"a variant with donors needs their pixels: {donor}")


def render(pixels: Pixels, variant: Variant, lender: Lender = NO_LENDER, pixels_of: PixelsOf = _no_donors) -> Pixels:
    """(height, width, 3) uint8 -> the variant's pixels. A crop is a view of its source; a transform needs RGB.

    `lender` and `pixels_of` have the annotations and pixels of the pictures that the variant's donors name.
    """
    if variant.operation == Mosaic.name:
        return mosaic.render(pixels.shape[1], pixels.shape[0], variant.donors, pixels_of)
    if variant.window is not None:
        x0, y0, x1, y1 = variant.window
        pixels = pixels[y0:y1, x0:x1]
    if variant.transform is not None and variant.seed is not None:
        from augment.operations import (
            pixel,  # albumentations takes a second to import, which plans and crops do not need
        )

        pixels = pixel.apply(variant.transform, variant.seed, pixels)
    if variant.donors:
        pixels = pixels.copy()
        for donor in variant.donors:
            _, mask = lender.pasted(donor)
            paste.blend(pixels, donor, pixels_of(donor), mask, variant.edge)
    if variant.turn is not None:
        pixels = turns.pixels(pixels, variant.turn)
    if variant.erased is not None:
        pixels = erase.render(pixels, variant.erased)
    return pixels
