"""A picture of the sample in the making: ground and litter, then things with their light, shadows and colours."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from datasets.images import Pixels
from datasets.masks import Points
from datasets.sample_grounds import ground
from datasets.sample_litter import LITTER
from datasets.sample_outlines import Drawing, Outline, Part
from datasets.sample_painting import ONE, Ints, Light, paint, shadow

# Of things and of their details.
PALETTE = np.array(
    [
        (230, 84, 66), (244, 146, 62), (250, 202, 66), (150, 188, 72), (58, 144, 84), (24, 138, 140), (72, 158, 216),
        (44, 80, 154), (130, 78, 158), (234, 124, 160), (172, 48, 62), (54, 56, 68), (250, 240, 218),
    ]
)  # fmt: skip
GROUNDS = np.array(
    [
        (232, 222, 204), (206, 214, 200), (198, 212, 222), (226, 202, 190), (204, 200, 214),
        (196, 160, 120), (150, 116, 86), (176, 132, 108), (112, 128, 130), (92, 98, 116),
    ]
)  # fmt: skip
DARK, LIGHT = np.array((54, 52, 60)), np.array((246, 240, 228))
# How much a colour of these varies in each channel, and each pixel.
JITTER, GRAIN = 6, 3
# In `ONE`ths: what a shadow takes.
SHADE = 84


class Pose(NamedTuple):
    """Where a drawing lies: its centre and radius in px, its angle in degrees, and whether left is right."""

    x: int
    y: int
    radius: int
    angle: int
    mirrored: bool

    def points(self, outline: Outline) -> Points:
        """(n, 2), to 0.01 px."""
        cos, sin = (self.radius * of(math.radians(self.angle)) for of in (math.cos, math.sin))
        side = -1 if self.mirrored else 1
        return np.round([(self.x + cos * u * side - sin * v, self.y + sin * u * side + cos * v) for u, v in outline], 2)


class Scene:
    """A canvas of (height, width, 3), its light, and the generator of its looks."""

    def __init__(self, width: int, height: int, rng: np.random.Generator) -> None:
        angle = math.radians(int(rng.integers(360)))
        self._rng, self._light = rng, Light(round(ONE * math.cos(angle)), round(ONE * math.sin(angle)))
        self._ground = self._jittered(GROUNDS[rng.integers(len(GROUNDS))])
        self._canvas = ground(width, height, self._ground, self._light, rng)
        for _ in range(int(rng.integers(0, 4))):
            self._litter(width, height)

    def draw(self, drawing: Drawing, pose: Pose, palette: Ints) -> None:
        """Paint a drawing in a colour of an (n, 3) palette over what is there, with its shadow."""
        body = self._colour(self._ground, palette)
        colours = {"body": body, "accent": self._colour(body, PALETTE), "dark": DARK, "light": LIGHT}
        whole = pose.points(drawing.outline)
        shadow(self._canvas, whole, self._light, 2 + pose.radius // 10, SHADE)
        for part in (Part(drawing.outline), *drawing.parts):
            colour = colours[part.colour] * part.shade // 100
            paint(self._canvas, pose.points(part.outline), colour, whole, self._light)

    def finished(self) -> Pixels:
        """The canvas with its grain."""
        grain = self._rng.integers(-GRAIN, GRAIN + 1, (*self._canvas.shape[:2], 1))
        return np.clip(self._canvas + grain, 0, 255).astype(np.uint8)

    def _litter(self, width: int, height: int) -> None:
        integers = self._rng.integers
        kind = LITTER[integers(len(LITTER))]
        radius = int(integers(kind.least, kind.greatest + 1))
        pose = Pose(int(integers(width)), int(integers(height)), radius, int(integers(360)), mirrored=False)
        self.draw(kind.draw(self._rng), pose, kind.palette)

    def _colour(self, beside: Ints, palette: Ints) -> Ints:
        """(3,): of the half of a palette that differs most from what it lies on."""
        nearest_first = np.argsort(np.abs(palette - beside).sum(axis=1), kind="stable")
        apart = palette[nearest_first[len(palette) // 2 :]]
        return self._jittered(apart[self._rng.integers(len(apart))])

    def _jittered(self, colour: Ints) -> Ints:
        return np.clip(colour + self._rng.integers(-JITTER, JITTER + 1, 3), 0, 255)
