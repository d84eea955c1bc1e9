"""The table of pixel transforms: names and settings only, so that recipes can be checked without albumentations.

Settings are albumentations 2.0.8's defaults with p = 1; the table states only the differences, with reasons.
"""

from __future__ import annotations

from typing import Any

# Drawn as a uniform integer 0..29 (paper, section 2.2), so the order is part of every draw: append, never sort.
_PAPER: dict[str, dict[str, Any]] = {
    "Blur": {},
    "CLAHE": {},
    "ChannelDropout": {},
    "ChannelShuffle": {},
    "Downscale": {},
    "Equalize": {},
    "FancyPCA": {},
    "GaussNoise": {},
    "GaussianBlur": {},
    "HueSaturationValue": {},
    "AdditiveNoise": {},
    "Emboss": {},
    "Sharpen": {},
    "ISONoise": {},
    "InvertImg": {},
    # The default, quality 99 to 100, has no visible effect.
    "ImageCompression": {"quality_range": (30, 80)},
    "MedianBlur": {},
    "MotionBlur": {},
    "MultiplicativeNoise": {},
    "Posterize": {},
    "RGBShift": {},
    "RandomBrightnessContrast": {},
    "RandomGamma": {},
    "RandomRain": {},
    "RandomShadow": {},
    "RandomSnow": {},
    "RandomSunFlare": {},
    "Solarize": {},
    "ToGray": {},
    "ToSepia": {},
}

# Excluded from the 30 for their cost (70 to 130 ms an image); a recipe may name them.
_SLOW: dict[str, dict[str, Any]] = {
    "RandomFog": {},
    "Superpixels": {},
    "GlassBlur": {},
}

SETTINGS = {**_PAPER, **_SLOW}
PAPER_TRANSFORMS = tuple(_PAPER)
ALL_TRANSFORMS = tuple(SETTINGS)
# Transforms of balance copies (paper, section 2.1).
COPY_TRANSFORMS = ("ChannelShuffle", "HueSaturationValue", "RandomBrightnessContrast")
