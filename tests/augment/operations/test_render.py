"""Rendering: a window is a slice, a transform is the pixel table's, and nothing else happens."""

from __future__ import annotations

import numpy as np

from augment.operations import pixel
from augment.operations.plan import Variant
from augment.operations.render import render

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def test_a_crop_shows_the_half_open_window() -> None:
    shown = render(PIXELS, Variant("center_crop", window=(10, 5, 50, 40)))
    assert shown.shape == (40 - 5, 50 - 10, 3)
    np.testing.assert_array_equal(shown[0, 0], PIXELS[5, 10])
    np.testing.assert_array_equal(shown[-1, -1], PIXELS[39, 49])
    np.testing.assert_array_equal(shown, PIXELS[5:40, 10:50])


def test_a_pixel_variant_is_the_transform_with_its_seed() -> None:
    shown = render(PIXELS, Variant("pixel", transform="ISONoise", seed=5))
    np.testing.assert_array_equal(shown, pixel.apply("ISONoise", 5, PIXELS))
    assert (shown != render(PIXELS, Variant("pixel", transform="ISONoise", seed=6))).any()


def test_seed_0_is_a_seed() -> None:
    shown = render(PIXELS, Variant("pixel", transform="InvertImg", seed=0))
    np.testing.assert_array_equal(shown, 255 - PIXELS)


def test_a_variant_without_window_and_transform_is_the_image() -> None:
    np.testing.assert_array_equal(render(PIXELS, Variant("original")), PIXELS)


def test_the_decoded_image_serves_every_variant_unchanged() -> None:
    pixels = PIXELS.copy()
    for variant in (
        Variant("random_crop", window=(0, 0, 1, 1)),
        Variant("copy", transform="ChannelShuffle", seed=1),
        Variant("copy", transform="RandomBrightnessContrast", seed=1),
    ):
        render(pixels, variant)
    np.testing.assert_array_equal(pixels, PIXELS)
