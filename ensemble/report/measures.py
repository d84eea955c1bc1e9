"""Every step of an ensemble measured on ground truth: each model as read and suppressed, and the fusion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datasets import comparison
from datasets.analysis import Operating, curve, operating_point
from datasets.comparison import ArmAps, Difference
from datasets.evaluation import MAX_DETS, Evaluation, Interval, evaluate
from datasets.records import Dataset
from datasets.results import Results
from datasets.subsets import with_objects
from ensemble import matching
from ensemble.pipeline import Fused, Step
from ensemble.recipe import Recipe


class Measured(NamedTuple):
    """The detections of a step and what was measured of them.

    `aps` are for intervals; None where fewer than two images have an object. `note` says that images were trained on.
    """

    name: str
    results: Results
    evaluation: Evaluation
    aps: ArmAps | None
    note: str

    @property
    def interval(self) -> Interval | None:
        return comparison.mean(self.aps).interval if self.aps is not None else None


class Member(NamedTuple):
    """A model of the ensemble, before and after suppression."""

    name: str
    weight: float
    raw: Measured
    suppressed: Measured

    @property
    def best(self) -> Measured:
        """What the model does best alone: that of the two with the higher AP."""
        return max(self.suppressed, self.raw, key=_ap)


class Measures(NamedTuple):
    """All steps. `max_dets` is the number of detections of an image that are measured."""

    members: list[Member]
    fused: Measured
    max_dets: int

    @property
    def steps(self) -> list[Measured]:
        return [*chain.from_iterable((item.raw, item.suppressed) for item in self.members), self.fused]

    @property
    def best(self) -> Measured:
        """The best single model."""
        return max((item.best for item in self.members), key=_ap)

    @property
    def compared(self) -> list[tuple[str, Measured]]:
        """Each model as it does best, and the fusion, by name."""
        return [*((item.name, item.best) for item in self.members), (self.fused.name, self.fused)]

    def gain(self) -> Difference | None:
        """The fusion less the best single model, on the same resamples of the images; None where there are too few."""
        fused, best = self.fused.aps, self.best.aps
        return None if fused is None or best is None else comparison.difference(fused, best)


def _ap(item: Measured) -> float:
    return -1.0 if item.evaluation.ap is None else item.evaluation.ap


def measure(
    truth: Dataset,
    paths: Sequence[Path],
    done: Fused,
    chosen: Recipe,
    *,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Measures:
    """Measure the steps of a fusion of the results files `paths`, with intervals from resampled images."""
    max_dets = max(MAX_DETS, chosen.detections_per_image)
    count = len(done.steps)

    def measured(at: int, name: str, results: Results) -> Measured:
        progress("measuring", at, count)
        return _measured(truth, results, name, done.steps[at], max_dets)

    members = []
    named = zip(names(paths), chosen.weights(len(paths)), done.read, done.suppressed, strict=True)
    for at, (name, weight, raw, suppressed) in enumerate(named):
        first = measured(2 * at, name, raw)
        members.append(Member(name, weight, first, measured(2 * at + 1, f"{name}, suppressed", suppressed)))
    fused = measured(count - 1, "fusion", done.results)
    progress("measuring", count, count)
    return Measures(members, fused, max_dets)


def _measured(truth: Dataset, results: Results, name: str, step: Step, max_dets: int) -> Measured:
    evaluation = evaluate(truth, results, name=name, max_dets=max_dets)
    enough = len(with_objects(truth)) > 1
    aps = comparison.measured(truth, [results], max_dets=max_dets, name=name) if enough else None
    return Measured(name, results, evaluation, aps, step.note)


def names(paths: Sequence[Path]) -> list[str]:
    """The files' names without suffixes and splits, `r50` of r50_val.json; with their folders where these tell them
    apart.
    """
    parts = [(*path.absolute().parts[1:-1], matching.model_name(path)) for path in paths]
    for depth in range(1, max(map(len, parts), default=1) + 1):
        short = ["/".join(part[-depth:]) for part in parts]
        if len(set(short)) == len(short):
            return short
    return [str(path) for path in paths]


def operating_points(truth: Dataset, measures: Measures) -> list[Operating]:
    """The score of the best F1 of each model and of the fusion."""
    return [operating_point(truth, item.results, max_dets=measures.max_dets) for _, item in measures.compared]


def curves(truth: Dataset, measures: Measures) -> list[npt.NDArray[np.float64]]:
    """(recalls,) precision of each model and of the fusion, at `analysis.RECALLS`."""
    return [curve(truth, item.results, max_dets=measures.max_dets) for _, item in measures.compared]
