"""The 33 pixel transforms: which they are, and that name, seed and pixels alone decide the outcome."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from augment.operations import pixel
from augment.operations.transforms import ALL_TRANSFORMS, COPY_TRANSFORMS, PAPER_TRANSFORMS, SETTINGS
from datasets.images import Pixels
from tests.protocols import Python

# The paper's section 2.2, in the order in which the integers 0..29 name them.
THIRTY = (
    "Blur CLAHE ChannelDropout ChannelShuffle Downscale Equalize FancyPCA GaussNoise GaussianBlur HueSaturationValue "
    "AdditiveNoise Emboss Sharpen ISONoise InvertImg ImageCompression MedianBlur MotionBlur MultiplicativeNoise "
    "Posterize RGBShift RandomBrightnessContrast RandomGamma RandomRain RandomShadow RandomSnow RandomSunFlare "
    "Solarize ToGray ToSepia"
)
# These have one outcome each.
DRAW_NOTHING = ("Downscale", "Equalize", "InvertImg", "Posterize", "Solarize", "ToGray", "ToSepia")
# Run in another process; prints a digest for each transform. `noise` there is `noise` here.
SCRIPT = """
import hashlib, sys
import numpy as np
from augment.operations import pixel
noise = np.random.default_rng(0).integers(0, 256, (33, 48, 3), dtype=np.uint8)
for name in sys.argv[1:]:
    for seed in (7, 17):
        print(name, seed, hashlib.sha256(pixel.apply(name, seed, noise).tobytes()).hexdigest())
"""


def noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def grey(height: int, width: int) -> Pixels:
    """What a greyscale file is decoded to: three equal channels."""
    return np.repeat(noise(height, width)[:, :, :1], 3, axis=2)


IMAGES = {
    "noise": noise(33, 48),
    "odd": noise(37, 53),
    "tall": noise(61, 9),
    "tiny": noise(8, 8),
    "grey": grey(24, 32),
    "black": np.zeros((16, 16, 3), dtype=np.uint8),
    "white": np.full((16, 16, 3), 255, dtype=np.uint8),
    # Rare, but a dataset that has one must not end a build in a traceback.
    "5 x 3": noise(3, 5),
    "1 x 1": noise(1, 1),
    "9 x 1": noise(1, 9),
    "1 x 9": noise(9, 1),
}


def test_the_thirty_are_the_paper_s_in_its_order() -> None:
    assert tuple(THIRTY.split()) == PAPER_TRANSFORMS
    assert len(PAPER_TRANSFORMS) == 30


def test_three_slow_ones_may_be_named() -> None:
    assert ALL_TRANSFORMS[30:] == ("RandomFog", "Superpixels", "GlassBlur")
    assert ALL_TRANSFORMS[:30] == PAPER_TRANSFORMS
    assert tuple(SETTINGS) == ALL_TRANSFORMS


def test_copies_are_altered_by_the_paper_s_three() -> None:
    assert COPY_TRANSFORMS == ("ChannelShuffle", "HueSaturationValue", "RandomBrightnessContrast")


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("name", ALL_TRANSFORMS)
def test_shape_and_type_stay_and_the_input_is_not_touched(name: str, image: str) -> None:
    pixels = IMAGES[image].copy()
    for seed in range(3):
        changed = pixel.apply(name, seed, pixels)
        assert changed.shape == pixels.shape
        assert changed.dtype == np.uint8
        assert not np.shares_memory(changed, pixels)
        np.testing.assert_array_equal(pixels, IMAGES[image])


@pytest.mark.parametrize("image", ["noise", "odd", "tiny", "grey"])
@pytest.mark.parametrize("name", ALL_TRANSFORMS)
def test_a_seed_gives_the_same_pixels_whatever_was_made_before(name: str, image: str) -> None:
    pixels = IMAGES[image]
    first = pixel.apply(name, 7, pixels)
    np.testing.assert_array_equal(pixel.apply(name, 7, pixels), first)
    pixel.apply(name, 2**31 - 1, IMAGES["noise"])
    np.random.default_rng().random()
    np.testing.assert_array_equal(pixel.apply(name, 7, pixels), first)


def test_a_seed_gives_the_same_pixels_in_another_process(
    python: Python,
) -> None:
    names = ALL_TRANSFORMS[::-1]
    # With seed 17 ChannelShuffle is drawn again.
    here = [
        f"{name} {seed} {hashlib.sha256(pixel.apply(name, seed, IMAGES['noise']).tobytes()).hexdigest()}"
        for name in names
        for seed in (7, 17)
    ]
    # Over there they run in another order, so that nothing can hang on what ran before.
    there = python("-c", SCRIPT, *ALL_TRANSFORMS)
    assert sorted(there.stdout.splitlines()) == sorted(here)


@pytest.mark.parametrize("name", ALL_TRANSFORMS)
def test_seeds_change_what_is_drawn_and_nothing_else(name: str) -> None:
    # A gradient with some noise, large enough for CLAHE's tiles to differ and for kernels of 3 and 5 px.
    gradient = np.mgrid[0:330, 0:330].sum(axis=0)[:, :, None] // 3
    pixels = (gradient + noise(330, 330) // 8).astype(np.uint8)
    outcomes = {pixel.apply(name, seed, pixels).tobytes() for seed in range(4)}
    assert outcomes - {pixels.tobytes()}, "no seed of four changes the image"
    assert (len(outcomes) == 1) == (name in DRAW_NOTHING)


@pytest.mark.parametrize("name", PAPER_TRANSFORMS)
def test_a_colourful_image_is_never_left_as_it_is(name: str) -> None:
    # Not in all levels alike, which Equalize would leave as they are.
    pixels = noise(96, 128) // 2 + 60
    for seed in range(8):
        assert pixel.differs(pixel.apply(name, seed, pixels), pixels)


def identity_seed(pixels: Pixels) -> int:
    return next(seed for seed in range(100) if np.array_equal(pixel.draw("ChannelShuffle", seed, pixels), pixels))


def test_a_variant_equal_to_its_source_is_drawn_again_from_the_same_seed() -> None:
    pixels = IMAGES["noise"]
    seed = identity_seed(pixels)
    again = [int(other) for other in np.random.SeedSequence(seed).generate_state(pixel.TRIES - 1)]
    first = next(other for other in again if pixel.differs(pixel.draw("ChannelShuffle", other, pixels), pixels))
    expected = pixel.draw("ChannelShuffle", first, pixels)
    np.testing.assert_array_equal(pixel.apply("ChannelShuffle", seed, pixels), expected)


def test_a_variant_that_differs_is_the_seed_s_own() -> None:
    pixels = IMAGES["noise"]
    for seed in range(5):
        drawn = pixel.draw("HueSaturationValue", seed, pixels)
        np.testing.assert_array_equal(pixel.apply("HueSaturationValue", seed, pixels), drawn)


@pytest.mark.parametrize("name", ["ToGray", "ChannelShuffle"])
def test_what_cannot_change_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []
    draw = pixel.draw

    def counted(name: str, seed: int, pixels: Pixels) -> Pixels:
        tries.append(seed)
        return draw(name, seed, pixels)

    monkeypatch.setattr(pixel, "draw", counted)
    np.testing.assert_array_equal(pixel.apply(name, 3, IMAGES["grey"]), IMAGES["grey"])
    assert len(tries) == len(set(tries)) == pixel.TRIES


def test_two_levels_are_not_seen() -> None:
    pixels = np.full((4, 4, 3), 100, dtype=np.uint8)
    for levels, seen in ((2, False), (3, True)):
        other = pixels.copy()
        other[1, 2, 0] -= levels
        assert pixel.differs(other, pixels) == pixel.differs(pixels, other) == seen


def test_compression_is_strong_enough_to_matter() -> None:
    # JPEG at quality 80 changes these pixels by 5.9 levels on average; at 99, albumentations' default, by 0.1.
    grey_pixels = IMAGES["grey"]
    assert np.abs(pixel.apply("ImageCompression", 0, grey_pixels).astype(int) - grey_pixels).mean() > 5


def test_torch_is_not_imported_along(python: Python) -> None:
    """albumentations imports it where it is installed: half a GB in every worker."""
    code = (
        "import sys, augment.operations.pixel, importlib.util\n"
        "print('torch' in sys.modules)\n"
        "print(importlib.util.find_spec('torch'))"
    )
    done = python("-c", code)
    assert done.returncode == 0
    loaded, found = done.stdout.splitlines()
    assert loaded == "False"
    # It stays to be had by whoever wants it.
    assert found.startswith("ModuleSpec") or found == "None"
