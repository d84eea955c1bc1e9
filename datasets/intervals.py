"""How noisy AP is on so few images: a bootstrap over images (Efron, 1979).

Detections are matched to objects image by image, so a resample of the images needs no new matching: every image counts
as often as it was drawn. Not hotcoco's own bootstrap (`compare` of version 1.3): it counts an image that was drawn
twice once, which makes intervals a quarter too narrow.

B: resamples, N: images, D: detections of a category, T: IoU thresholds
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from datasets.evaluation import MAX_DETS, Interval, matched
from datasets.records import Dataset
from datasets.results import Results
from datasets.subsets import with_objects

RESAMPLES = 300
CONFIDENCE = 0.95
# Detections times resamples that are weighed at a time: some arrays of 16 MB.
BLOCK = 2**21
# COCO's recalls, at which precision is averaged.
RECALLS = np.linspace(0, 1, 101)

Counts = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class _Category(NamedTuple):
    """The matches of a category in all images, the highest score first."""

    images: Counts
    """(D,) the image of each detection, by its rank."""
    hits: Flags
    """(T, D) whether it is matched to an object."""
    ignored: Flags
    """(T, D) whether it is neither a hit nor a false alarm, since it is matched to a crowd."""
    objects: Counts
    """(N,) objects in each image, without crowds."""


def ap_interval(
    dataset: Dataset, results: Results, *, resamples: int = RESAMPLES, seed: int = 0, max_dets: int = MAX_DETS
) -> Interval | None:
    """The 95 % interval of `evaluate`'s AP over images drawn like these; None where fewer than two have an object to
    find, which tell nothing about others.

    The percentiles of the AP of `resamples` drawings of as many images with replacement, moved so that their mean is
    the AP: a drawing has fewer different images, of which AP is higher on average. Drawings without any object have no
    AP and are left out.
    """
    if len(with_objects(dataset)) < 2:
        return None
    ap, *drawn = resampled_aps(dataset, results, all_and_drawn(len(dataset.images), resamples, seed), max_dets=max_dets)
    if np.isnan(ap):
        return None
    return around(float(ap), np.array(drawn))


def all_and_drawn(images: int, resamples: int, seed: int) -> Counts:
    """(1 + B, N) how often each image counts: once in the first row, in the others as often as it was drawn."""
    draws = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=resamples)
    return np.vstack([np.ones_like(draws[:1]), draws])


def around(estimate: float, drawn: npt.NDArray[np.float64], bounds: tuple[float, float] = (0.0, 1.0)) -> Interval:
    """The interval of an estimate within `bounds`, by what was drawn, moved to its mean; NaN is none."""
    defined = drawn[~np.isnan(drawn)]
    if not defined.size:
        return Interval(*bounds)
    quantiles = np.quantile(defined, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    low, high = np.clip(estimate + quantiles - defined.mean(), *bounds).tolist()
    return Interval(min(low, estimate), max(high, estimate))


def resampled_aps(
    dataset: Dataset, results: Results, draws: Counts, *, max_dets: int = MAX_DETS, name: str = "results"
) -> npt.NDArray[np.float64]:
    """(B,) the AP with each image counted as often as a row of `draws`, (B, N) in the order of image ids, has it.

    NaN where a resample has no object. Raises DataError, which calls the results `name`, where these have ids that the
    dataset lacks.
    """
    categories = _categories(matched(dataset, results, max_dets, name=name), draws.shape[1])
    # (categories, B)
    aps = np.array([_aps_in_blocks(category, draws) for category in categories]).reshape(-1, len(draws))
    defined = ~np.isnan(aps)
    means: npt.NDArray[np.float64] = np.divide(
        np.nansum(aps, axis=0), defined.sum(axis=0), out=np.full(len(draws), np.nan), where=defined.any(axis=0)
    )
    return means


def _categories(entries: list[dict[str, Any]], images: int) -> list[_Category]:
    """hotcoco's matches, one entry for an image and a category, by category."""
    by_category: dict[int, list[dict[str, Any]]] = {}
    for entry in entries:
        by_category.setdefault(entry["category_id"], []).append(entry)
    return [_category(sorted(group, key=lambda entry: entry["image_id"]), images) for group in by_category.values()]


def _category(entries: list[dict[str, Any]], images: int) -> _Category:
    scores = np.concatenate([np.array(entry["dtScores"], dtype=np.float64) for entry in entries])
    counts = [len(entry["dtScores"]) for entry in entries]
    # Stable, as COCOeval's: ties are broken by image.
    order = np.argsort(-scores, kind="stable")
    hits, ignored = (
        np.concatenate([np.array(entry[key], dtype=np.bool_) for entry in entries], axis=1)
        for key in ("dtMatched", "dtIgnore")
    )
    objects = np.zeros(images, dtype=np.int64)
    for entry in entries:
        objects[entry["image_id"]] = len(entry["gtIgnore"]) - sum(entry["gtIgnore"])
    of_images = np.repeat([entry["image_id"] for entry in entries], counts)
    return _Category(of_images[order], (hits & ~ignored)[:, order], ignored[:, order], objects)


def _aps_in_blocks(category: _Category, draws: Counts) -> npt.NDArray[np.float64]:
    """`_aps`, of so many resamples at a time that the memory is bounded."""
    at_once = max(1, BLOCK // max(1, len(category.images)))
    parts = [_aps(category, draws[at : at + at_once]) for at in range(0, len(draws), at_once)]
    return np.concatenate(parts)


def _aps(category: _Category, draws: Counts) -> npt.NDArray[np.float64]:
    """(B,) a category's AP in each resample; NaN without objects."""
    objects = draws @ category.objects
    weights = draws[:, category.images]
    shown = np.cumsum(weights, axis=1)
    thresholds = zip(category.hits, category.ignored, strict=True)
    aps = np.array([_ap(weights, shown, *flags, objects) for flags in thresholds]).mean(axis=0)
    return np.where(objects > 0, aps, np.nan)


def _ap(weights: Counts, shown: Counts, hits: Flags, ignored: Flags, objects: Counts) -> npt.NDArray[np.float64]:
    """(B,) the mean precision at COCO's recalls, for one threshold; `shown` are sums of `weights`.

    Only hits matter: recall rises at no other detection, and the highest precision from any point on is at a hit.
    """
    at, left_out = np.flatnonzero(hits), np.flatnonzero(ignored)
    found = np.cumsum(weights[:, at], axis=1)
    not_counted = np.cumsum(np.pad(weights[:, left_out], ((0, 0), (1, 0))), axis=1)
    counted = shown[:, at] - not_counted[:, np.searchsorted(left_out, at)]
    precision = np.divide(found, counted, out=np.zeros(found.shape), where=counted > 0)
    best_from_here = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = found / np.maximum(objects, 1)[:, None]
    reached = np.searchsorted(RECALLS, recall, side="right")
    steps = np.diff(reached, axis=1, prepend=0)
    aps: npt.NDArray[np.float64] = (best_from_here * steps).sum(axis=1) / len(RECALLS)
    return aps
