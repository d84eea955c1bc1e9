"""Search for the recipe with the highest AP on validation data.

Random trials first, then coordinate steps around the best one. Everything is drawn from one seed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
import numpy as np

from datasets import parallel
from datasets.errors import DataError
from ensemble import pipeline, recipe
from ensemble.detections import Detections
from ensemble.fuse import ScoreType
from ensemble.pipeline import Images, Model
from ensemble.recipe import Recipe, SoftNms, Wbf

# The search space. Methods are fixed (soft-NMS, then WBF); their parameters depend on the data.
SIGMAS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
SUPPRESSION_SCORES = (0.0001, 0.001, 0.01)
IOU_THRESHOLDS = (0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75)
SKIP_THRESHOLDS = (0.0, 0.001, 0.01, 0.05)
SCORE_TYPES: tuple[ScoreType, ...] = ("avg", "max", "box_and_model_avg", "absent_model_aware_avg")
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)


class Trial(NamedTuple):
    """A point of the search: indices into the lists above, and the index of a weight for each model."""

    sigma: int
    suppression_score: int
    class_agnostic: int
    iou_threshold: int
    skip_threshold: int
    score: int
    weights: tuple[int, ...]

    def recipe(self, names: Sequence[str], detections_per_image: int) -> Recipe:
        return Recipe(
            models=tuple(
                recipe.Model(results=name, weight=WEIGHTS[at]) for name, at in zip(names, self.weights, strict=True)
            ),
            suppress=SoftNms(
                sigma=SIGMAS[self.sigma],
                score_threshold=SUPPRESSION_SCORES[self.suppression_score],
                class_agnostic=bool(self.class_agnostic),
            ),
            fuse=Wbf(
                iou_threshold=IOU_THRESHOLDS[self.iou_threshold],
                skip_threshold=SKIP_THRESHOLDS[self.skip_threshold],
                score=SCORE_TYPES[self.score],
            ),
            detections_per_image=detections_per_image,
        )


SIZES = (len(SIGMAS), len(SUPPRESSION_SCORES), 2, len(IOU_THRESHOLDS), len(SKIP_THRESHOLDS), len(SCORE_TYPES))


def check_unseen(models: Sequence[Model], images: Images) -> None:
    """Raises DataError, naming each model, where images were trained on: parameters tuned on them do not transfer.

    Unknown provenance is not refused.
    """
    total = len(images.images)
    counts = [(model.path, len(model.seen(images))) for model in models]
    problems = [f"{path}: {count:,} of {total:,} images" for path, count in counts if count]
    if problems:
        raise DataError(
            f"{images.path}: expected images to tune on that no model was trained on, found some seen in training",
            problems,
            advice="Tune on other images, or say --if-seen tune to do it all the same, --if-seen keep to write the "
            "recipe to start from as it is.",
        )


class Tuned(NamedTuple):
    recipe: Recipe
    ap: float
    trials: int


def tune(
    models: list[Model],
    images: Images,
    *,
    names: Sequence[str],
    trials: int,
    seed: int,
    start: Recipe,
    workers: int = 1,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Tuned:
    """The best of `trials` recipes, `start` included; ties keep the first. Raises DataError without ground truth.

    The same for any number of worker processes, which measure recipes ahead in the order in which one would.
    """
    if images.truth is None:
        raise DataError(f"{images.path}: expected annotations to measure with, found none")
    weights = start.weights(len(models))
    rng = np.random.default_rng(seed)
    point = _point(start, weights)
    tried = {point}
    # Half of the trials are random, half coordinate steps, which start over whenever one improves.
    drawn = _untried([_draw(rng, len(models)) for _ in range(trials // 2)], tried)

    def made(trial: Trial) -> Recipe:
        return trial.recipe(names, start.detections_per_image)

    with _measuring(models, images, min(workers, trials)) as measure:
        aps = measure([start, *map(made, drawn)])
        # File names in `start` are relative to another folder.
        best = _Best(_named(start, names, weights), next(aps), point)
        progress("tuning", len(tried), trials)
        for trial, ap in zip(drawn, aps, strict=True):
            tried.add(trial)
            progress("tuning", len(tried), trials)
            best.offer(trial, made(trial), ap)
        improved = True
        while improved and best.point is not None and len(tried) < trials:
            steps = _untried(_neighbours(best.point, rng), tried)[: trials - len(tried)]
            improved = False
            for trial, ap in zip(steps, measure(map(made, steps)), strict=True):
                tried.add(trial)
                progress("tuning", len(tried), trials)
                improved = best.offer(trial, made(trial), ap)
                if improved:
                    break
    if len(tried) < trials:
        progress("tuning", trials, trials)
    return Tuned(best.recipe, best.ap, len(tried))


class _Best:
    """The best recipe so far, and the best point of the search space, which `start` may lie outside of."""

    def __init__(self, start: Recipe, ap: float, point: Trial | None) -> None:
        self.recipe, self.ap = start, ap
        self.point, self._point_ap = point, -1.0 if point is None else ap

    def offer(self, point: Trial, made: Recipe, ap: float) -> bool:
        """Whether this point is better than all before."""
        if ap > self.ap:
            self.recipe, self.ap = made, ap
        improved = ap > self._point_ap
        if improved:
            self.point, self._point_ap = point, ap
        return improved


def _untried(trials: Iterable[Trial], tried: Container[Trial | None]) -> list[Trial]:
    return [trial for trial in dict.fromkeys(trials) if trial not in tried]


def _named(chosen: Recipe, names: Sequence[str], weights: list[float]) -> Recipe:
    models = [recipe.Model(results=name, weight=weight) for name, weight in zip(names, weights, strict=True)]
    return msgspec.structs.replace(chosen, models=tuple(models))


def _point(chosen: Recipe, weights: list[float]) -> Trial | None:
    """The point of a recipe in the search space; None outside it."""
    how, fusion = chosen.suppress, chosen.fuse
    if not isinstance(how, SoftNms) or how.kind != "gaussian" or not isinstance(fusion, Wbf):
        return None
    try:
        return Trial(
            sigma=SIGMAS.index(how.sigma),
            suppression_score=SUPPRESSION_SCORES.index(how.score_threshold),
            class_agnostic=int(how.class_agnostic),
            iou_threshold=IOU_THRESHOLDS.index(fusion.iou_threshold),
            skip_threshold=SKIP_THRESHOLDS.index(fusion.skip_threshold),
            score=SCORE_TYPES.index(fusion.score),
            weights=tuple(WEIGHTS.index(weight) for weight in weights),
        )
    except ValueError:
        return None


class _Search:
    """Evaluates recipes; caches suppressed detections, which many trials share."""

    def __init__(self, detections: list[Detections], images: Images) -> None:
        self._detections, self._images = detections, images
        self._suppressed: dict[Any, list[Detections]] = {}

    def measure(self, chosen: Recipe) -> float:
        return self.ap_of(chosen, chosen.weights(len(self._detections)))

    def ap_of(self, chosen: Recipe, weights: list[float]) -> float:
        if chosen.suppress not in self._suppressed:
            # A few entries: all settings of large results would fill the memory.
            if len(self._suppressed) >= 4:
                self._suppressed.pop(next(iter(self._suppressed)))
            self._suppressed[chosen.suppress] = [
                pipeline.suppressed(detections, chosen.suppress) for detections in self._detections
            ]
        fused = pipeline.fused(self._suppressed[chosen.suppress], weights, chosen.fuse)
        return pipeline.ap_of(fused, self._images, chosen)


Measure = Callable[[Iterable[Recipe]], Iterator[float]]
"""The AP of each recipe, in their order."""


@contextmanager
def _measuring(models: list[Model], images: Images, workers: int) -> Iterator[Measure]:
    detections = [model.detections for model in models]
    if workers == 1:
        search = _Search(detections, images)
        yield lambda recipes: map(search.measure, recipes)
        return
    with parallel.processes(workers, [__name__], _start_worker, detections, images) as run:
        yield lambda recipes: run(_measured_by_worker, recipes)


_of_worker: list[_Search] = []
"""That of a worker process, which gets the detections once."""


def _start_worker(detections: list[Detections], images: Images) -> None:
    # hotcoco would start as many threads as there are cores, in each of as many workers.
    os.environ["RAYON_NUM_THREADS"] = "1"
    _of_worker[:] = [_Search(detections, images)]


def _measured_by_worker(chosen: Recipe) -> float:
    return _of_worker[0].measure(chosen)


def _draw(rng: np.random.Generator, models: int) -> Trial:
    places = [int(rng.integers(size)) for size in SIZES]
    weights = [int(rng.integers(len(WEIGHTS))) for _ in range(models)]
    if not any(weights):
        weights[int(rng.integers(models))] = len(WEIGHTS) - 1
    return Trial._make([*places, tuple(weights)])


def _neighbours(trial: Trial, rng: np.random.Generator) -> list[Trial]:
    """The points one step away in one coordinate, in random order."""
    neighbours = []
    fields = Trial._fields[:-1]
    for field, size in zip(fields, SIZES, strict=True):
        for step in (-1, 1):
            place = getattr(trial, field) + step
            if 0 <= place < size:
                neighbours.append(trial._replace(**{field: place}))
    for at, place in enumerate(trial.weights):
        for step in (-1, 1):
            weights = [*trial.weights[:at], place + step, *trial.weights[at + 1 :]]
            if 0 <= place + step < len(WEIGHTS) and any(weights):
                neighbours.append(trial._replace(weights=tuple(weights)))
    return [neighbours[at] for at in rng.permutation(len(neighbours))]
