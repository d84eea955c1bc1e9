"""The strengths that differ from albumentations 2.0.8's defaults, by their effect on images that show it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from augment.operations import pixel, restored
from augment.operations.transforms import ALL_TRANSFORMS, settings
from datasets.images import Pixels

GREY = np.full((160, 160, 3), 128, dtype=np.uint8)


def changes(name: str, pixels: Pixels, seeds: int) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    return [pixel.draw(name, seed, pixels).astype(np.float64) - pixels for seed in range(seeds)]


def test_gauss_noise_has_the_variance_of_2020_in_each_channel() -> None:
    for change in changes("GaussNoise", GREY, 12):
        # Within 3 %, as 25,600 draws are.
        assert 0.97 * 10**0.5 < change[:, :, 0].std() < 1.03 * 50**0.5
        assert abs(np.corrcoef(change[:, :, 0].ravel(), change[:, :, 1].ravel())[0, 1]) < 0.05


def test_additive_noise_is_normal_and_equal_in_all_channels() -> None:
    spreads = [change[:, :, 0].std() for change in changes("AdditiveNoise", GREY, 12)]
    assert 0.97 * 0.01 * 255 < min(spreads) < max(spreads) < 1.03 * 0.05 * 255
    assert max(spreads) > 2 * min(spreads)
    for change in changes("AdditiveNoise", GREY, 3):
        np.testing.assert_array_equal(change, change[:, :, :1].repeat(3, axis=2))
        assert abs(change.mean()) < 0.5


def edge(side: int) -> Pixels:
    pixels = np.zeros((side, side, 3), dtype=np.uint8)
    pixels[:, side // 2 :] = 255
    return pixels


@pytest.mark.parametrize(("side", "low", "high"), [(480, 0.8, 1.4), (240, 0.5, 0.7), (120, 0.5, 0.5)])
def test_gaussian_blur_has_opencv_s_sigma_for_the_kernels_of_2020(side: int, low: float, high: float) -> None:
    for seed in range(6):
        row = pixel.draw("GaussianBlur", seed, edge(side))[side // 2, :, 0].astype(float)
        # The slope across an edge is the kernel, whose standard deviation is sigma but for its ends, which are cut.
        weights = np.diff(row) / 255
        positions = np.arange(len(weights))
        mean = (weights * positions).sum()
        spread = float((weights * (positions - mean) ** 2).sum() ** 0.5)
        assert 0.9 * low < spread < 1.02 * high


def dot(side: int) -> Pixels:
    pixels = np.zeros((side, side, 3), dtype=np.uint8)
    pixels[side // 2, side // 2] = 255
    return pixels


@pytest.mark.parametrize("side", [480, 120])
def test_motion_blur_spreads_every_point_and_does_not_move_it_away(side: int) -> None:
    for seed in range(30):
        rows, columns = pixel.draw("MotionBlur", seed, dot(side))[:, :, 0].nonzero()
        assert len(rows) >= 2
        assert (side // 2, side // 2) in set(zip(rows.tolist(), columns.tolist(), strict=True))


def test_fancy_pca_adds_one_colour_of_the_image() -> None:
    # Two halves of 88 and 168 have a variance of 40 squared in each channel; the first component is grey, with a
    # variance of three times that.
    pixels = np.full((40, 40, 3), 88, dtype=np.uint8)
    pixels[20:] = 168
    added = restored.fancy_pca(pixels, np.random.default_rng(4), alpha=0.5).astype(int) - pixels
    draw = np.random.default_rng(4).normal(0, 0.5, 3)[2]
    assert np.unique(added).size == 1
    assert abs(added[0, 0, 0]) == round(abs(draw) * 3 * (40 / 255) ** 2 / 3**0.5 * 255)
    assert settings("FancyPCA", 480) == {"alpha": 0.5}


def test_fancy_pca_can_be_seen_on_most_images() -> None:
    gradient = np.mgrid[0:240, 0:240][1].astype(np.uint8)
    pixels = np.stack((gradient, gradient[:, ::-1] // 2, gradient.T), axis=2)
    mean_changes = [np.abs(change).mean() for change in changes("FancyPCA", pixels, 21)]
    assert 3 < np.median(mean_changes) < 15


def test_iso_noise_is_poisson_in_lightness() -> None:
    # Halves of 60 and 180 have a standard deviation of 60; at intensity 0.3 the noise has a mean of 18 levels, times
    # what is missing to white.
    pixels = np.full((200, 200, 3), 60, dtype=np.uint8)
    pixels[100:] = 180
    noisy = restored.iso_noise(pixels, np.random.default_rng(0), color_shift=(0.03, 0.03), intensity=(0.3, 0.3))
    dark = noisy[:100].astype(float) - 60
    assert dark.mean() == pytest.approx(18 * (1 - 60 / 255), rel=0.01)
    assert dark.std() == pytest.approx(18**0.5 * (1 - 60 / 255), rel=0.03)


def test_iso_noise_turns_hues() -> None:
    red = np.full((200, 200, 3), 40, dtype=np.uint8)
    red[:, :, 0] = 220
    noisy = restored.iso_noise(red, np.random.default_rng(0), color_shift=(0.03, 0.03), intensity=(0.3, 0.3))
    hues = cv2.cvtColor(noisy.astype(np.float32) / 255, cv2.COLOR_RGB2HLS)[:, :, 0]
    # Degrees around 0; 0.03 times 0.3 of a turn.
    assert ((hues + 180) % 360 - 180).std() == pytest.approx(0.03 * 0.3 * 360, rel=0.03)


@pytest.mark.parametrize("side", [480, 120, 60])
def test_a_sun_flare_leaves_most_of_an_image_as_it_is(side: int) -> None:
    pixels = np.full((side, side * 4 // 3, 3), 60, dtype=np.uint8)
    white = []
    for change in changes("RandomSunFlare", pixels, 10):
        assert (np.abs(change) > 8).mean() < 0.25
        white.append((change > 150).mean())
    # And is there, equally large at all sizes.
    assert 0.04 < np.mean(white) < 0.08


def test_rain_has_about_as_many_and_as_long_drops_as_in_2020() -> None:
    pixels = np.zeros((480, 640, 3), dtype=np.uint8)
    rain = pixel.draw("RandomRain", 0, pixels)[:, :, 0].astype(float)
    # Blurred lines keep their light: 480 lines in a level of 200, darkened to 0.7, of 20 px and what their slant of up
    # to 10 px adds.
    assert 20 < rain.sum() / (480 * 200 * 0.7) < 31


@pytest.mark.parametrize(
    ("name", "side", "expected"),
    [
        ("Blur", 480, {"blur_limit": (3, 7)}),
        ("Blur", 427, {"blur_limit": (3, 7)}),
        # 7 px * 330 / 480 = 4.8 px; the nearest odd number.
        ("Blur", 330, {"blur_limit": (3, 5)}),
        ("Blur", 120, {"blur_limit": (3, 3)}),
        ("Blur", 2000, {"blur_limit": (3, 7)}),
        ("MedianBlur", 240, {"blur_limit": (3, 3)}),
        ("MotionBlur", 480, {"allow_shifted": False, "blur_limit": (3, 7)}),
        ("Downscale", 480, {"scale_range": (0.25, 0.25)}),
        ("Downscale", 320, {"scale_range": (0.375, 0.375)}),
        ("Downscale", 120, {"scale_range": (0.5, 0.5)}),
        (
            "RandomRain",
            120,
            {"rain_type": "heavy", "drop_length": 5, "slant_range": (-2.5, 2.5), "blur_value": 3},
        ),
        ("RandomSunFlare", 480, {"radius": 200.0, "circle": 8.0}),
        ("RandomSunFlare", 120, {"radius": 50.0, "circle": 2.0}),
        ("Solarize", 120, {}),
    ],
)
def test_settings_in_pixels_shrink_with_the_shorter_side(name: str, side: int, expected: dict[str, object]) -> None:
    found = settings(name, side)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == (pytest.approx(value) if isinstance(value, tuple | float) else value)


@pytest.mark.parametrize("name", ALL_TRANSFORMS)
def test_every_size_has_settings_that_albumentations_takes(name: str) -> None:
    for side in (1, 32, 47, 120, 319, 480, 5000):
        assert pixel.transform(name, side) is pixel.transform(name, min(max(side, pixel.SMALLEST), 480))
