"""What fusion promises whatever the detections: order, scores, weights, batches."""

from __future__ import annotations

import random
from functools import partial
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.detections import Detections, join
from ensemble.fuse import ScoreType, nmw, wbf, weighted
from ensemble.suppress import nms
from tests.ensemble.made import (
    Fuse,
    Row,
    coarse_scene,
    content,
    frozen,
    image_of,
    images_of,
    made,
    row_lists,
    rows_of,
    scenes,
)
from tests.ensemble.test_suppress import plain_nms

FUSIONS: dict[str, Fuse] = {"nmw": nmw, **{score: partial(wbf, score=score) for score in get_args(ScoreType)}}

fusions = st.sampled_from(sorted(FUSIONS)).map(FUSIONS.__getitem__)
part_lists = st.lists(row_lists, min_size=1, max_size=4)
weight_lists = st.lists(st.sampled_from([0.25, 1.0, 1.0, 3.0]), min_size=4, max_size=4)
each_fusion = pytest.mark.parametrize("fuse", FUSIONS.values(), ids=FUSIONS)


def made_parts(lists: list[list[Row]]) -> list[Detections]:
    return [made(rows, model) for model, rows in enumerate(lists)]


@given(part_lists, weight_lists, st.randoms(use_true_random=False), fusions)
@settings(max_examples=250, deadline=None)
def test_neither_the_order_of_records_nor_that_of_images_matters(
    lists: list[list[Row]], weights: list[float], shuffler: random.Random, fuse: Fuse
) -> None:
    mixed = [rows.copy() for rows in lists]
    for rows in mixed:
        shuffler.shuffle(rows)

    found = fuse(made_parts(mixed), weights[: len(lists)])

    assert content(found) == content(fuse(made_parts(lists), weights[: len(lists)]))


@given(part_lists, weight_lists, fusions, st.sampled_from([0.0, 0.25, 0.55]))
@settings(max_examples=250, deadline=None)
def test_scores_and_boxes_stay_in_their_bounds(
    lists: list[list[Row]], weights: list[float], fuse: Fuse, iou_threshold: float
) -> None:
    parts = made_parts(lists)

    found = fuse(parts, weights[: len(lists)], iou_threshold=iou_threshold)

    rows = [row for rows in lists for row in rows if row[2][0] < row[2][2] and row[2][1] < row[2][3]]
    assert np.all((found.scores >= 0) & (found.scores <= 1))
    assert len(found) <= len(rows)
    assert {(row[0], row[1]) for row in rows} == set(
        zip(found.image_ids.tolist(), found.category_ids.tolist(), strict=True)
    )
    for image, category, box in zip(found.image_ids, found.category_ids, found.boxes_xyxy, strict=True):
        there = np.array([row[2] for row in rows if row[:2] == (image, category)])
        assert np.all((box >= there.min(axis=0) - 1e-9) & (box <= there.max(axis=0) + 1e-9))


@given(part_lists, weight_lists, fusions)
@settings(max_examples=100, deadline=None)
def test_the_output_is_sorted_as_detections_are(lists: list[list[Row]], weights: list[float], fuse: Fuse) -> None:
    found = fuse(made_parts(lists), weights[: len(lists)])

    keys = zip(
        found.image_ids.tolist(),
        (-found.scores).tolist(),
        found.category_ids.tolist(),
        found.boxes_xyxy.tolist(),
        strict=True,
    )
    listed = list(keys)
    assert listed == sorted(listed)


@given(part_lists, weight_lists, st.integers(-3, 3), fusions)
@settings(max_examples=100, deadline=None)
def test_only_the_ratios_of_the_weights_count(
    lists: list[list[Row]], weights: list[float], power: int, fuse: Fuse
) -> None:
    # A power of 2 changes no digit on the way.
    parts, used = made_parts(lists), weights[: len(lists)]

    found = fuse(parts, [weight * 2.0**power for weight in used])

    assert content(found) == content(fuse(parts, used))


@given(part_lists, weight_lists, st.integers(0, 4), row_lists, fusions)
@settings(max_examples=150, deadline=None)
def test_a_model_with_weight_0_is_as_good_as_none(
    lists: list[list[Row]], weights: list[float], place: int, extra: list[Row], fuse: Fuse
) -> None:
    used = weights[: len(lists)]
    at = min(place, len(lists))

    found = fuse(made_parts([*lists[:at], extra, *lists[at:]]), [*used[:at], 0.0, *used[at:]])

    assert content(found) == content(fuse(made_parts(lists), used))


@given(part_lists, st.integers(0, 4), row_lists)
@settings(max_examples=50, deadline=None)
def test_weighting_leaves_out_a_model_with_weight_0_too(lists: list[list[Row]], place: int, extra: list[Row]) -> None:
    at, used = min(place, len(lists)), [1.0, 3.0, 0.25, 1.0][: len(lists)]

    found = weighted(made_parts([*lists[:at], extra, *lists[at:]]), [*used[:at], 0.0, *used[at:]])

    expected = weighted(made_parts(lists), used)
    assert content(found) == content(expected)
    assert found.rows.tolist() == expected.rows.tolist()


@each_fusion
@pytest.mark.parametrize("weights", [[1.0], [1.0] * 2, [0.7] * 5, [3.0, 1.0, 0.5]])
def test_a_model_fused_with_itself_keeps_its_boxes_and_scores(fuse: Fuse, weights: list[float]) -> None:
    (found,) = scenes(np.random.default_rng(11), [5] * 50)
    # Boxes of one model that overlap are fused; there are none of these.
    model = nms(found, iou_threshold=0.3, class_agnostic=False)

    fused = fuse([model] * len(weights), weights, iou_threshold=0.5)

    assert np.array_equal(fused.image_ids, model.image_ids)
    assert np.array_equal(fused.category_ids, model.category_ids)
    assert np.allclose(fused.boxes_xyxy, model.boxes_xyxy, rtol=1e-14, atol=0)
    assert np.allclose(fused.scores, model.scores, rtol=1e-14, atol=0)


@each_fusion
def test_boxes_that_nothing_overlaps_keep_every_digit(fuse: Fuse) -> None:
    (found,) = scenes(np.random.default_rng(12), [5] * 50)
    model = nms(found, iou_threshold=0.3, class_agnostic=False)

    fused = fuse([model, model.take(np.empty(0, dtype=np.int64))], [0.7, 0.3], iou_threshold=0.5)

    # Their order may be another, where scores are cut at 1.
    assert sorted(map(tuple, fused.boxes_xyxy.tolist())) == sorted(map(tuple, model.boxes_xyxy.tolist()))


@each_fusion
def test_the_order_of_the_models_does_not_matter(fuse: Fuse) -> None:
    # No two weighted scores are the same; only ties are broken by the order of models.
    parts, weights = scenes(np.random.default_rng(13), [4] * 40 + [30], models=4), [1.0, 0.3, 2.0, 0.7]
    order = [2, 0, 3, 1]

    found = fuse([parts[at] for at in order], [weights[at] for at in order])

    expected = fuse(parts, weights)
    assert np.array_equal(found.boxes_xyxy, expected.boxes_xyxy)
    assert np.allclose(found.scores, expected.scores, rtol=1e-14, atol=0)


@pytest.mark.parametrize("weights", [[1.0, 1.0], [1.0, 2.0], [4.0, 1.0]])
def test_ties_among_many_are_taken_in_the_order_of_detections(weights: list[float]) -> None:
    rng = np.random.default_rng(21)
    parts = [made(coarse_scene(rng, 100), model) for model in range(2)]

    found = nmw(parts, weights, iou_threshold=0.4)

    # By weighted score, which Python sorts without changing the order of those that tie.
    both = join(parts)
    scores = both.scores * np.array(weights)[both.models] / max(weights)
    rows = [(1, 1, box, score) for (_, _, box, _), score in zip(rows_of(both), scores.tolist(), strict=True)]
    rows.sort(key=lambda row: -row[3])
    # The first of a cluster is one that NMS keeps, and the cluster has its score.
    kept = plain_nms(rows, 0.4, class_agnostic=True)
    assert 10 < len(kept) < 150
    assert found.scores.tolist() == [row[3] for row in kept]


@each_fusion
def test_an_image_is_fused_the_same_whichever_others_there_are(fuse: Fuse) -> None:
    parts = scenes(np.random.default_rng(14), [1, 0, 7, 30, 1, 2, 2, 90, 5, 3], models=3)
    weights = [1.0, 0.3, 2.0]

    together = fuse(parts, weights)

    for image in images_of(parts):
        alone = fuse([image_of(part, image) for part in parts], weights)
        assert content(image_of(together, image)) == content(alone)


@pytest.mark.parametrize("fuse", [*FUSIONS.values(), weighted], ids=[*FUSIONS, "weighted"])
def test_the_input_stays_as_it_was(fuse: Fuse) -> None:
    parts = [frozen(part) for part in scenes(np.random.default_rng(15), [3] * 20, models=3)]
    before = [content(part) for part in parts]
    weights = [1.0, 0.5, 2.0]

    found = fuse(parts, weights, skip_threshold=0.1)

    assert 0 < len(found) < sum(map(len, parts))
    assert [content(part) for part in parts] == before
    assert weights == [1.0, 0.5, 2.0]
