"""Pixel transforms whose effect albumentations has changed since 2020, as they were: pure functions of a generator.

Each takes (height, width, 3) uint8 RGB, which it leaves alone, and returns the same shape.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from datasets.images import Pixels

Range = tuple[float, float]

SUN_DISCS = 40
# Pixels that are converted to floats at a time.
BLOCK = 2**18


def fancy_pca(pixels: Pixels, rng: np.random.Generator, *, alpha: float) -> Pixels:
    """Adds one colour to all pixels: along the principal components of the image's colours, normal draws of std
    `alpha` times their variances, in units of 255 levels (Krizhevsky et al., 2012). albumentations 2.0.8 multiplies
    instead, which changes the contrast.
    """
    flat = pixels.reshape(-1, 3)
    # Sums of whole numbers below 2 ** 53 are exact in any order, so that the bytes do not hang on BLAS's threads.
    products, total = np.zeros((3, 3)), np.zeros(3)
    for start in range(0, len(flat), BLOCK):
        block = flat[start : start + BLOCK].astype(np.float64)
        products += block.T @ block
        total += block.sum(axis=0)
    mean = total / len(flat)
    covariance = products / len(flat) - np.outer(mean, mean)
    variances, components = np.linalg.eigh(covariance / 255**2)
    color = components @ (rng.normal(0, alpha, 3) * variances) * 255
    return np.asarray(cv2.LUT(pixels, _to_levels(np.arange(256)[:, None] + color)[None]), dtype=np.uint8)


def iso_noise(pixels: Pixels, rng: np.random.Generator, *, color_shift: Range, intensity: Range) -> Pixels:
    """Noise of a camera's sensor: Poisson in lightness, normal in hue.

    With `intensity` i, the mean in lightness is i times its standard deviation, and the standard deviation in hue is i
    times `color_shift` of a full turn. albumentations 2.0.8 counts levels of 0 to 1 and degrees in place of levels of 0
    to 255 and turns: white dots, and no colour.
    """
    shift, strength = rng.uniform(*color_shift), rng.uniform(*intensity)
    hue, lightness, saturation = cv2.split(cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2HLS))
    levels = rng.poisson(float(lightness.std(dtype=np.float64)) * strength * 255, lightness.shape)
    turned = rng.standard_normal(hue.shape, dtype=np.float32) * (360 * shift * strength)
    noisy = cv2.merge(
        (
            ((hue + turned) % 360).astype(np.float32),
            (lightness + levels / 255 * (1 - lightness)).astype(np.float32),
            saturation,
        )
    )
    return _to_levels(cv2.cvtColor(noisy, cv2.COLOR_HLS2RGB) * 255)


def sun_flare(pixels: Pixels, rng: np.random.Generator, *, radius: float, circle: float) -> Pixels:
    """A white sun in the upper half, which fades towards `radius` px, and 6 to 10 reflections along a line through it.

    2020 drew the sun as nested discs, one for 10 px; here it looks the same at all sizes. Reflections are discs with a
    radius of 1 or `circle` px. In albumentations 2.0.8 theirs grows with the cube of the height.
    """
    height, width = pixels.shape[:2]
    x, y = width * rng.uniform(0, 1), height * rng.uniform(0, 0.5)
    drawn = _reflections(pixels, rng, (x, y), circle)
    left, top = max(0, int(x - radius)), max(0, int(y - radius))
    around = drawn[top : int(y + radius) + 1, left : int(x + radius) + 1]
    rows, columns = np.ogrid[: around.shape[0], : around.shape[1]]
    distance = np.hypot(columns + left - x, rows + top - y)
    opacities = np.linspace(1, 0, SUN_DISCS) ** 3
    # A disc covers all distances up to its radius: what shines through is the product over the larger ones.
    seen = np.cumprod((1 - opacities)[::-1])[::-1]
    share = np.interp(distance, np.linspace(0, radius, SUN_DISCS), seen)[:, :, None]
    around[:] = _to_levels(around * share + 255 * (1 - share))
    return drawn


def _reflections(pixels: Pixels, rng: np.random.Generator, sun: tuple[float, float], circle: float) -> Pixels:
    angle = rng.uniform(0, 2 * np.pi)
    discs, blended = pixels.copy(), pixels.copy()
    for _ in range(int(rng.integers(6, 11))):
        opacity, along = rng.uniform(0.05, 0.2), rng.uniform(0, pixels.shape[1]) - sun[0]
        center = (round(sun[0] + along * np.cos(angle)), round(sun[1] + along * np.sin(angle)))
        color = tuple(int(value) for value in rng.integers(205, 256, 3))
        cv2.circle(discs, center, max(1, round(circle if rng.integers(2) else 1)), color, -1)
        # Discs stay on their layer, so that the first ones are blended most often.
        cv2.addWeighted(discs, opacity, blended, 1 - opacity, 0, dst=blended)
    return blended


def _to_levels(values: npt.ArrayLike) -> Pixels:
    levels: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return levels
