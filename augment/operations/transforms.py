"""The table of pixel transforms: names and settings only, so that recipes can be checked without albumentations.

Strengths are those of albumentations 0.4.6, of July 2020, which the paper used. Settings are what has to be told to
albumentations 2.0.8 for that; {} where its defaults are the same. Other strengths than those of 2020 say why.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

Settings = dict[str, Any]

# Drawn as a uniform integer 0..29 (paper, section 2.2), so the order is part of every draw: append, never sort.
_PAPER: dict[str, Settings] = {
    "Blur": {},
    "CLAHE": {},
    "ChannelDropout": {},
    "ChannelShuffle": {},
    "Downscale": {},
    "Equalize": {},
    # 2020: 0.1, at which no pixel changes by more than 2 levels in two of three draws. 2.0.8 multiplies where 2020 adds
    # (see `restored`), which changes even less.
    "FancyPCA": {"alpha": 0.5},
    # 2020: a variance of 10 to 50 squared grey levels. 2.0.8 has 51 to 112 levels, in which small objects vanish.
    "GaussNoise": {"std_range": (math.sqrt(10) / 255, math.sqrt(50) / 255)},
    "GaussianBlur": {},
    # 2020 also shifted the saturation of grey pixels, which turned red.
    "HueSaturationValue": {},
    # 2020: IAAAdditiveGaussianNoise, the same for all channels. 2.0.8 adds one colour to the whole image.
    "AdditiveNoise": {
        "noise_type": "gaussian",
        "spatial_mode": "shared",
        "noise_params": {"mean_range": (0.0, 0.0), "std_range": (0.01, 0.05)},
    },
    "Emboss": {},
    "Sharpen": {},
    # 2.0.8 has the same settings in other units: white dots, and no colour; see `restored`.
    "ISONoise": {"color_shift": (0.01, 0.05), "intensity": (0.1, 0.5)},
    "InvertImg": {},
    # 2020: a quality of 99 to 100, which has no visible effect.
    "ImageCompression": {"quality_range": (30, 80)},
    "MedianBlur": {},
    # 2020: a line anywhere in the kernel, which moves objects by up to 3 px, but not their boxes.
    "MotionBlur": {"allow_shifted": False},
    "MultiplicativeNoise": {},
    "Posterize": {},
    "RGBShift": {},
    "RandomBrightnessContrast": {},
    "RandomGamma": {},
    # 2020: a drop for 600 square pixels, a row of COCO's. 2.0.8 draws a third of them, three times as long. 2020 then
    # blurred the whole image by 7 px, which erases small objects.
    "RandomRain": {"rain_type": "heavy"},
    # Where two shadows overlap, a quarter of the light is left; in 2020 it was half.
    "RandomShadow": {},
    "RandomSnow": {},
    "RandomSunFlare": {},
    "Solarize": {},
    "ToGray": {},
    "ToSepia": {},
}

# Excluded from the 30 for their cost (70 to 130 ms an image); a recipe may name them.
_SLOW: dict[str, Settings] = {
    "RandomFog": {},
    "Superpixels": {},
    "GlassBlur": {},
}

# The shorter side, in pixels, that the strengths of 2020 were made for: COCO's.
USUAL_SIDE = 480


def _kernels(scale: float) -> tuple[int, int]:
    """Odd kernel sizes, 3 to 7 px at scale 1; 3 px is the smallest kernel."""
    return 3, max(3, 2 * int(7 * scale / 2) + 1)


# Settings in pixels, which would erase small images: by the shorter side / USUAL_SIDE, at most 1. They do not grow with
# larger images, whose objects need not be larger.
_IN_PIXELS: dict[str, Callable[[float], Settings]] = {
    "Blur": lambda scale: {"blur_limit": _kernels(scale)},
    # Blocks of 4 px; those of less than 2 px are none.
    "Downscale": lambda scale: {"scale_range": (1 / max(2.0, 4 * scale),) * 2},
    # OpenCV's sigma for kernels of 3 to 7 px, as in 2020; below 0.5 px there is no effect. 2.0.8 has 0.5 to 3 px.
    "GaussianBlur": lambda scale: {"sigma_limit": (max(0.5, 0.8 * scale), max(0.5, 1.4 * scale))},
    "MedianBlur": lambda scale: {"blur_limit": _kernels(scale)},
    "MotionBlur": lambda scale: {"blur_limit": _kernels(scale)},
    # 2020: lines of 20 px. 2.0.8 has an eighth of the height.
    "RandomRain": lambda scale: {
        "drop_length": max(1, round(20 * scale)),
        "slant_range": (-10 * scale, 10 * scale),
        "blur_value": max(3, round(7 * scale)),
    },
    # 2020: 400 px, a white disc over a third of an image of COCO. Reflections had a radius of 1 or 8 px at a height of
    # 480, which grew with its cube; 2.0.8 has up to 64.
    "RandomSunFlare": lambda scale: {"radius": 200 * scale, "circle": 8 * scale},
}

SETTINGS = {**_PAPER, **_SLOW}
PAPER_TRANSFORMS = tuple(_PAPER)
ALL_TRANSFORMS = tuple(SETTINGS)
# Transforms of balance copies (paper, section 2.1).
COPY_TRANSFORMS = ("ChannelShuffle", "HueSaturationValue", "RandomBrightnessContrast")


def settings(name: str, side: int) -> Settings:
    """The settings of a transform for images whose shorter side has `side` pixels."""
    in_pixels = _IN_PIXELS.get(name)
    return SETTINGS[name] | (in_pixels(min(1.0, side / USUAL_SIDE)) if in_pixels else {})
