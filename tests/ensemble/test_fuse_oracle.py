"""WBF and NMW against ensemble-boxes 1.0.9, which works on one image at a time, on fractions, partly in float32."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, get_args

import ensemble_boxes
import numpy as np
import pytest

from ensemble.detections import Detections
from ensemble.fuse import ScoreType, nmw, wbf
from ensemble.groups import Floats
from tests.ensemble.made import CANVAS, image_of, images_of, scenes

# Sums of float32: seven digits of up to 1280 pixels.
PIXELS, SCORE = 1e-3, 5e-7


def table(image_ids: Any, category_ids: Any, boxes: Floats, scores: Any) -> Floats:
    """(N, 7) image, category, box, score; by image, category and x0, which no two of random boxes share."""
    found: Floats = np.column_stack([image_ids, category_ids, boxes, scores]).astype(np.float64)
    return np.asarray(found[np.lexsort((found[:, 2], found[:, 1], found[:, 0]))])


def oracle(
    function: Callable[..., tuple[Floats, Floats, Floats]],
    parts: list[Detections],
    weights: list[float],
    **options: Any,
) -> Floats:
    """What `function` of ensemble-boxes makes of the same, image by image."""
    tables: list[Floats] = [np.empty((0, 7))]
    for image in images_of(parts):
        there = [image_of(part, image) for part in parts]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            boxes, scores, labels = function(
                [part.boxes_xyxy / CANVAS for part in there],
                [part.scores for part in there],
                [part.category_ids for part in there],
                weights=weights,
                **options,
            )
        # Above 1, it is 1 in ours.
        tables.append(table(np.full(len(scores), image), labels, boxes * CANVAS, np.minimum(scores, 1.0)))
    return np.concatenate(tables)


def compare(found: Detections, expected: Floats) -> None:
    ours = table(found.image_ids, found.category_ids, found.boxes_xyxy, found.scores)
    assert ours.shape == expected.shape
    assert np.array_equal(ours[:, :2], expected[:, :2])
    assert np.allclose(ours[:, 2:6], expected[:, 2:6], rtol=0, atol=PIXELS)
    assert np.allclose(ours[:, 6], expected[:, 6], rtol=0, atol=SCORE)


def objects(rng: np.random.Generator, images: int) -> list[int]:
    """How many there are in each image: mostly few, in some none, in the last ones many."""
    return [*rng.choice([0, 1, 2, 3, 5, 8], images).tolist(), 30, 20]


# Weights, IoU threshold, skip threshold.
SETTINGS: list[tuple[list[float], float, float]] = [
    ([1.0], 0.55, 0.0),
    ([1.0, 1.0], 0.7, 0.0),
    ([0.5, 2.0], 0.55, 0.3),
    ([1.0, 1.0, 1.0], 0.3, 0.05),
    ([3.0, 1.0, 0.25], 0.55, 0.0),
    ([1.0, 2.0, 3.0, 4.0], 0.4, 0.1),
    ([0.2, 0.2, 0.2, 0.2, 0.2], 0.6, 0.0),
    ([1.0, 0.1, 5.0, 2.0, 0.7], 0.5, 0.001),
]


@pytest.mark.parametrize("score", get_args(ScoreType))
@pytest.mark.parametrize(("weights", "iou_threshold", "skip_threshold"), SETTINGS)
def test_wbf_is_that_of_ensemble_boxes(
    weights: list[float], iou_threshold: float, skip_threshold: float, score: ScoreType
) -> None:
    rng = np.random.default_rng([len(weights), int(100 * iou_threshold), len(score)])
    parts = scenes(rng, objects(rng, 250), models=len(weights))

    found = wbf(parts, weights, iou_threshold=iou_threshold, skip_threshold=skip_threshold, score=score)

    expected = oracle(
        ensemble_boxes.weighted_boxes_fusion,
        parts,
        weights,
        iou_thr=iou_threshold,
        skip_box_thr=skip_threshold,
        conf_type=score,
    )
    assert len(found) < 0.8 * sum(map(len, parts))
    compare(found, expected)


@pytest.mark.parametrize(("weights", "iou_threshold", "skip_threshold"), SETTINGS)
def test_nmw_is_that_of_ensemble_boxes(weights: list[float], iou_threshold: float, skip_threshold: float) -> None:
    rng = np.random.default_rng([len(weights), int(100 * iou_threshold)])
    parts = scenes(rng, objects(rng, 500), models=len(weights))

    found = nmw(parts, weights, iou_threshold=iou_threshold, skip_threshold=skip_threshold)

    expected = oracle(
        ensemble_boxes.non_maximum_weighted, parts, weights, iou_thr=iou_threshold, skip_box_thr=skip_threshold
    )
    assert len(found) < 0.8 * sum(map(len, parts))
    compare(found, expected)


def test_scores_above_1_are_cut_where_ensemble_boxes_lets_them_be() -> None:
    rng = np.random.default_rng(4)
    parts = scenes(rng, [6] * 100, models=2)
    weights = [5.0, 1.0]

    found = wbf(parts, weights)

    compare(found, oracle(ensemble_boxes.weighted_boxes_fusion, parts, weights, iou_thr=0.55))
    assert np.count_nonzero(found.scores == 1.0) > 10


@pytest.mark.parametrize("empty", [[0], [1], [0, 2], [1, 2], [0, 1, 2]])
@pytest.mark.parametrize("score", get_args(ScoreType))
def test_models_without_a_detection_count_as_they_do_there(empty: list[int], score: ScoreType) -> None:
    rng = np.random.default_rng(6)
    parts = scenes(rng, [3, 0, 5, 1], models=3)
    for at in empty:
        parts[at] = parts[at].take(np.empty(0, dtype=np.int64))

    found = wbf(parts, [1.0, 2.0, 3.0], score=score)

    compare(
        found,
        oracle(ensemble_boxes.weighted_boxes_fusion, parts, [1.0, 2.0, 3.0], iou_thr=0.55, conf_type=score),
    )


def test_one_image_of_hundreds_of_boxes_beside_many_of_one() -> None:
    rng = np.random.default_rng(7)
    parts = scenes(rng, [1] * 40 + [150] + [1] * 40, models=3, categories=1)

    assert max(np.unique(part.image_ids, return_counts=True)[1].max() for part in parts) > 150
    compare(wbf(parts, [1.0, 1.0, 2.0]), oracle(ensemble_boxes.weighted_boxes_fusion, parts, [1.0, 1.0, 2.0]))
    compare(nmw(parts, [1.0, 1.0, 2.0]), oracle(ensemble_boxes.non_maximum_weighted, parts, [1.0, 1.0, 2.0]))
