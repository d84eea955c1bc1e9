"""Image by image, what fusion made better or worse than the best single model: the difference of their F1.

N: images, D: detections, G: annotations
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datasets import analysis
from datasets.analysis import Verdicts
from datasets.records import Dataset
from datasets.results import Results

Fractions = npt.NDArray[np.float64]


class Judged(NamedTuple):
    """The detections from a score on, and what came of each and of each annotation."""

    score: float
    results: Results
    verdicts: Verdicts
    f1: Fractions
    """(N,) of each image, in the order of the dataset."""


class Change(NamedTuple):
    """An image, by its place in the dataset, and the F1 of the best single model and of the fusion there."""

    image: int
    before: float
    after: float

    @property
    def helped(self) -> bool:
        return self.after > self.before


def judged(truth: Dataset, results: Results, score: float, max_dets: int) -> Judged:
    sure = analysis.at_least(results, score)
    verdicts = analysis.verdicts(truth, sure, max_dets=max_dets)
    return Judged(score, sure, verdicts, f1_of_images(truth, sure, verdicts))


def objects(truth: Dataset) -> npt.NDArray[np.bool_]:
    """(G,) whether an annotation is an object to find, not a crowd."""
    return np.array([not item.iscrowd for item in truth.annotations], dtype=np.bool_)


def f1_of_images(truth: Dataset, results: Results, verdicts: Verdicts) -> Fractions:
    """(N,) twice the right detections over all detections and objects; 1 where there is neither."""
    places = {image.id: place for place, image in enumerate(truth.images)}
    of_detections = np.array([places[id_] for id_ in results.image_ids.tolist()], dtype=np.int64)
    of_objects = np.array([places[item.image_id] for item in truth.annotations], dtype=np.int64)[objects(truth)]
    right, counted, there = (
        np.bincount(which, minlength=len(places))
        for which in (of_detections[verdicts.hits], of_detections[~verdicts.ignored], of_objects)
    )
    every = counted + there
    return np.where(every > 0, 2 * right / np.maximum(every, 1), 1.0)


def most_changed(before: Fractions, after: Fractions, count: int) -> list[Change]:
    """Up to `count` images on which fusion helped most, then as many on which it hurt most."""
    gains = after - before
    helped, hurt = np.argsort(-gains, kind="stable")[:count], np.argsort(gains, kind="stable")[:count]
    places = [*helped[gains[helped] > 0].tolist(), *hurt[gains[hurt] < 0].tolist()]
    return [Change(place, float(before[place]), float(after[place])) for place in places]


def spread(count: int, shown: int) -> Sequence[int]:
    """Up to `shown` of `count` places, evenly over all."""
    return range(count) if count <= shown else [place * count // shown for place in range(shown)]
