"""Whether one arm is better than another: the paired difference of their APs, by a bootstrap over images and seeds.

An arm is one way to make a detector, trained once with each seed. Two arms are compared seed by seed, on the same
resamples of the images, so what makes images or a seed hard for both cancels out.

Seeds that are drawn with replacement spread too little, by sqrt((S - 1) / S), so their deviations are widened
(Hesterberg, What Teachers Should Know about the Bootstrap, 2015). Intervals of few seeds still hold less than 95 %:
were seeds the only noise, and normal, 62 % with 2 seeds, 80 % with 3, 87 % with 5, 91 % with 10. Where images add as
much noise to the mean of 3, they hold 92 %.

S: seeds, B: resamples, N: images
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datasets import percent
from datasets.errors import DataError
from datasets.evaluation import MAX_DETS, Interval
from datasets.intervals import all_and_drawn, around, resampled_aps
from datasets.records import Dataset
from datasets.results import Results
from datasets.subsets import with_objects

# More than for the interval of one AP: whether 0 is outside must not hang on a few draws.
RESAMPLES = 1000

Fractions = npt.NDArray[np.float64]


class ArmAps(NamedTuple):
    """The APs of an arm, as fractions: what all its comparisons need, so that results are matched once."""

    aps: Fractions
    """(S,) on all images."""
    resampled: Fractions
    """(S, B) on resamples of the images; NaN where one has no object."""
    seed: int
    """Of the resamples, which two arms must share."""


class Mean(NamedTuple):
    """The mean AP over seeds with its 95 % interval, as fractions."""

    ap: float
    interval: Interval
    seeds: int

    def __str__(self) -> str:
        """`55.1 (52.0 to 58.2)`"""
        return f"{percent.precision(self.ap)} {_in_brackets(self.interval, self.seeds)}"


class Difference(NamedTuple):
    """The mean APs of two arms, and the mean of `arm` less `base` over seeds with its 95 % interval, as fractions."""

    arm: float
    base: float
    difference: float
    interval: Interval
    seeds: int

    @property
    def excludes_zero(self) -> bool:
        """Whether it is a gain or a loss, and not maybe chance."""
        return not self.interval.low <= 0 <= self.interval.high

    def __str__(self) -> str:
        """`+3.1 (1.2 to 5.0)`"""
        return f"{percent.difference(self.difference)} {_in_brackets(self.interval, self.seeds)}"


def _in_brackets(interval: Interval, seeds: int) -> str:
    return f"({interval})" if seeds > 1 else f"({interval}, over images alone: one seed)"


def measured(
    dataset: Dataset,
    results: Sequence[Results],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    max_dets: int = MAX_DETS,
    name: str = "results",
    truth: str = "annotations",
) -> ArmAps:
    """The APs of an arm's results, one for each seed of its trainings.

    `seed` is that of the resamples. Raises DataError, which calls the results `name` and the dataset `truth`, where
    results have ids that the dataset lacks, and where fewer than two images have an object to find.
    """
    images = len(with_objects(dataset))
    if images < 2:
        raise DataError(f"{truth}: expected at least 2 images with an object that is not a crowd, found {images}")
    draws = all_and_drawn(len(dataset.images), resamples, seed)
    aps = np.array([resampled_aps(dataset, item, draws, max_dets=max_dets, name=name) for item in results])
    return ArmAps(aps[:, 0], aps[:, 1:], seed)


def mean(arm: ArmAps) -> Mean:
    """The mean AP of an arm, with its interval over images and seeds."""
    ap = float(arm.aps.mean())
    return Mean(ap, around(ap, _drawn(arm)), len(arm.aps))


def difference(arm: ArmAps, base: ArmAps) -> Difference:
    """`arm` less `base`, seed by seed: their results must be of the same seeds in the same order.

    Raises ValueError for arms with different numbers of seeds, or different resamples.
    """
    if arm.resampled.shape != base.resampled.shape or arm.seed != base.seed:
        raise ValueError(f"not paired: {arm.resampled.shape}, {arm.seed} and {base.resampled.shape}, {base.seed}")
    paired = ArmAps(arm.aps - base.aps, arm.resampled - base.resampled, arm.seed)
    found = float(paired.aps.mean())
    interval = around(found, _drawn(paired), bounds=(-1.0, 1.0))
    return Difference(float(arm.aps.mean()), float(base.aps.mean()), found, interval, len(arm.aps))


def _drawn(arm: ArmAps) -> Fractions:
    """(B,) the mean over seeds with images and seeds drawn; over images alone for one seed."""
    seeds, resamples = arm.resampled.shape
    over_images: Fractions = arm.resampled.mean(axis=0)
    if seeds == 1:
        return over_images
    # Another stream than that of the images.
    generator = np.random.default_rng((arm.seed, 1))
    draws = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    deviations: Fractions = draws @ arm.aps - arm.aps.mean()
    return over_images + math.sqrt(seeds / (seeds - 1)) * deviations
