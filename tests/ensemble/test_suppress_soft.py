"""Soft-NMS against a plain loop of the paper's formula (Bodla et al., 2017), and what it promises by itself."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.detections import Detections
from ensemble.groups import Floats
from ensemble.suppress import Kind, soft_nms
from tests.ensemble.made import (
    Row,
    coarse_scene,
    content,
    frozen,
    image_of,
    images_of,
    joined_scene,
    made,
    made_rows,
    row_lists,
    rows_of,
)
from tests.ensemble.test_suppress import LEFT, MIDDLE, NONE, RIGHT, THIRD, iou

KINDS: list[Kind] = ["gaussian", "linear"]
# The second is 96 of the first's 100 x 10 pixels.
WHOLE, PART = (0.0, 0.0, 100.0, 10.0), (0.0, 0.0, 96.0, 10.0)

kinds = st.sampled_from(KINDS)


def plain_soft_nms(
    rows: list[Row], kind: Kind, *, class_agnostic: bool, sigma: float = 0.5, iou_threshold: float = 0.3
) -> list[float]:
    """The decayed score of each of `rows`, which stand in the order in which ties are taken."""
    scores = [row[3] for row in rows]
    left = list(range(len(rows)))
    while left:
        best = max(left, key=lambda at: scores[at])
        left.remove(best)
        for at in left:
            if rows[at][0] != rows[best][0] or not (class_agnostic or rows[at][1] == rows[best][1]):
                continue
            overlap = iou(rows[best][2], rows[at][2])
            if kind == "gaussian":
                scores[at] *= math.exp(-(overlap**2) / sigma)
            elif overlap > iou_threshold:
                scores[at] *= 1 - overlap
    return scores


def by_origin(detections: Detections, count: int) -> Floats:
    """(count,) the score of each box of the input, NaN where it was left out."""
    scores = np.full(count, np.nan)
    scores[detections.rows] = detections.scores
    return scores


def soft(rows: list[Row], kind: Kind = "gaussian", **options: Any) -> Detections:
    return soft_nms(made(rows), kind=kind, **{"class_agnostic": True, "score_threshold": 0.0, **options})


def test_gaussian_scores_fall_by_the_square_of_the_overlap() -> None:
    found = soft([(1, 1, WHOLE, 0.875), (1, 1, PART, 0.75)], sigma=0.5)

    assert found.scores.tolist() == pytest.approx([0.875, 0.75 * math.exp(-(0.96**2) / 0.5)], rel=1e-15)


def test_linear_scores_fall_by_the_overlap() -> None:
    found = soft([(1, 1, WHOLE, 0.875), (1, 1, PART, 0.75)], "linear", iou_threshold=0.3)

    assert found.scores.tolist() == pytest.approx([0.875, 0.75 * (1 - 0.96)], rel=1e-15)


def test_linear_leaves_an_overlap_of_the_threshold() -> None:
    rows = [(1, 1, LEFT, 0.75), (1, 1, MIDDLE, 0.5)]

    assert soft(rows, "linear", iou_threshold=THIRD).scores.tolist() == [0.75, 0.5]
    below = float(np.nextafter(THIRD, 0))
    assert soft(rows, "linear", iou_threshold=below).scores.tolist() == [0.75, 0.5 * (1 - THIRD)]


def test_boxes_are_taken_by_their_decayed_scores() -> None:
    found = soft([(1, 1, LEFT, 0.875), (1, 1, MIDDLE, 0.75), (1, 1, RIGHT, 0.625)], "linear", iou_threshold=0.25)

    # The middle one falls to 0.5 first, so that the right one comes before it and stays as it is.
    decayed = 0.75 * (1 - THIRD) * (1 - THIRD)
    assert rows_of(found) == [(1, 1, LEFT, 0.875), (1, 1, RIGHT, 0.625), (1, 1, MIDDLE, decayed)]


def test_of_two_that_tie_the_first_in_order_keeps_its_score() -> None:
    half = (0.0, 0.0, 10.0, 5.0)

    found = soft([(1, 2, half, 0.5), (1, 1, LEFT, 0.5)], "linear")
    assert rows_of(found) == [(1, 1, LEFT, 0.5), (1, 2, half, 0.5 * (1 - 0.5))]

    found = soft([(1, 1, LEFT, 0.5), (1, 1, half, 0.5)], "linear")
    assert rows_of(found) == [(1, 1, half, 0.5), (1, 1, LEFT, 0.5 * (1 - 0.5))]


def test_of_two_that_tie_after_a_decay_the_first_in_order_is_taken_first() -> None:
    whole, twice, below = (0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 10.0, 20.0), (0.0, 10.0, 10.0, 20.0)

    found = soft([(1, 1, whole, 0.875), (1, 1, below, 0.25), (1, 1, twice, 0.5)], "linear")

    # 0.5 falls to the 0.25 that the one below has, who overlaps nothing but it.
    assert rows_of(found) == [(1, 1, whole, 0.875), (1, 1, twice, 0.5 * (1 - 0.5)), (1, 1, below, 0.25 * (1 - 0.5))]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("class_agnostic", [True, False])
def test_soft_nms_is_the_plain_loop(kind: Kind, class_agnostic: bool) -> None:
    rng = np.random.default_rng(3)
    # Groups of all lengths in the same blocks, and some long enough to be compacted often.
    given = joined_scene(rng, [*rng.integers(0, 7, 150).tolist(), 11, 12, 12, 13, 24, 25, 60, 100])
    options: dict[str, Any] = {"class_agnostic": class_agnostic, "sigma": 0.3, "iou_threshold": 0.4}

    found = soft_nms(given, kind=kind, score_threshold=0.0, **options)

    scores = by_origin(found, len(given))
    assert np.unique(given.image_ids, return_counts=True)[1].max() > 200
    assert np.count_nonzero(scores[given.rows] < given.scores) > len(given) / 4
    for image in images_of([given]):
        there = image_of(given, image)
        expected = plain_soft_nms(rows_of(there), kind, **options)
        assert scores[there.rows].tolist() == pytest.approx(expected, rel=1e-12, abs=1e-300)


@given(row_lists, st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans())
@settings(max_examples=300, deadline=None)
def test_linear_soft_nms_is_the_plain_loop_with_ties(
    rows: list[Row], iou_threshold: float, class_agnostic: bool
) -> None:
    ordered = made(rows)

    found = soft(rows, "linear", class_agnostic=class_agnostic, iou_threshold=iou_threshold)

    expected = plain_soft_nms(rows_of(ordered), "linear", class_agnostic=class_agnostic, iou_threshold=iou_threshold)
    # The same numbers in the same order: to the last bit.
    assert by_origin(found, len(rows))[ordered.rows].tolist() == expected


def test_ties_among_many_are_taken_in_their_order() -> None:
    rows = coarse_scene(np.random.default_rng(21), 150)
    ordered = made(rows)

    found = soft(rows, "linear", iou_threshold=0.3)

    expected = plain_soft_nms(rows_of(ordered), "linear", class_agnostic=True, iou_threshold=0.3)
    assert by_origin(found, len(rows))[ordered.rows].tolist() == expected


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 10, 15, 16, 17, 31, 32, 33, 35, 36, 64, 65, 130])
def test_every_number_of_boxes_is_compacted_right(count: int) -> None:
    rng = np.random.default_rng(count)
    corners = rng.uniform(0, 30, (count, 2))
    boxes = np.hstack([corners, corners + rng.uniform(10, 40, (count, 2))])
    # Three groups in one block: all, three quarters, and all but one.
    lengths = {1: count, 2: count * 3 // 4, 3: count - 1}
    rows = [
        (image, *row[1:])
        for image, length in lengths.items()
        for row in made_rows(boxes[:length], rng.uniform(0.01, 1, length))
    ]
    ordered = made(rows)

    found = soft(rows)

    expected = plain_soft_nms(rows_of(ordered), "gaussian", class_agnostic=True)
    assert by_origin(found, len(rows))[ordered.rows].tolist() == pytest.approx(expected, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("kind", KINDS)
def test_of_many_duplicates_one_keeps_its_score(kind: Kind) -> None:
    found = soft([(1, 1, LEFT, 0.5)] * 40, kind, sigma=2.0, score_threshold=0.0)

    # Each is decayed once by each before it: by exp(-1 / sigma), or to nothing.
    factors = [math.exp(-at / 2.0) if kind == "gaussian" else float(at == 0) for at in range(40)]
    assert found.scores.tolist() == pytest.approx([0.5 * factor for factor in factors], rel=1e-12)


@pytest.mark.parametrize("sigma", [1e-3, 1e-6, 1e-300])
def test_a_tiny_sigma_lets_only_those_without_overlap_live(sigma: float) -> None:
    rows = [(1, 1, LEFT, 0.75), (1, 1, MIDDLE, 0.5), (1, 1, (50.0, 0.0, 60.0, 10.0), 0.25), (1, 1, LEFT, 0.125)]

    found = soft(rows, sigma=sigma)

    assert rows_of(found)[:2] == [rows[0], rows[2]]
    # exp(-(1 / 9) / 0.001) is 5e-49.
    assert np.all(found.scores[2:] < 1e-40)


def test_categories_compete_only_where_they_are_to() -> None:
    rows = [(1, 1, WHOLE, 0.875), (1, 2, PART, 0.75), (2, 1, PART, 0.625)]

    assert by_origin(soft(rows, "linear", class_agnostic=False), 3).tolist() == [0.875, 0.75, 0.625]
    # Nothing is said about images: each by itself.
    agnostic = by_origin(soft(rows, "linear", class_agnostic=True), 3).tolist()
    assert agnostic == pytest.approx([0.875, 0.75 * (1 - 0.96), 0.625], rel=1e-15)


def test_a_score_of_the_threshold_stays() -> None:
    rows = [(1, 1, (0.0, 0.0, 10.0, 10.0), 0.75), (1, 1, (0.0, 0.0, 10.0, 5.0), 0.5)]

    # 0.5 * (1 - 0.5)
    assert soft(rows, "linear", score_threshold=0.25).scores.tolist() == [0.75, 0.25]
    assert soft(rows, "linear", score_threshold=float(np.nextafter(0.25, 1))).scores.tolist() == [0.75]
    assert soft([(1, 1, LEFT, 0.001)], score_threshold=0.001).scores.tolist() == [0.001]


@given(row_lists, kinds, st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_threshold_only_leaves_out(rows: list[Row], kind: Kind, class_agnostic: bool) -> None:
    every = soft(rows, kind, class_agnostic=class_agnostic)
    some = soft(rows, kind, class_agnostic=class_agnostic, score_threshold=0.25)

    assert len(every) == len(rows)
    assert content(some) == content(every.take(every.scores >= 0.25))


@given(row_lists, kinds, st.booleans(), st.sampled_from([0.01, 0.5, 100.0]))
@settings(max_examples=150, deadline=None)
def test_no_score_rises_and_none_leaves_0_to_1(rows: list[Row], kind: Kind, class_agnostic: bool, sigma: float) -> None:
    found = soft(rows, kind, class_agnostic=class_agnostic, sigma=sigma, iou_threshold=0.0)

    before = np.array([row[3] for row in rows])
    after = by_origin(found, len(rows))
    assert np.all((after >= 0) & (after <= before))
    # The best of each image stands as it was.
    for image in {row[0] for row in rows}:
        assert image_of(found, image).scores[0] == max(row[3] for row in rows if row[0] == image)


@given(row_lists, st.randoms(use_true_random=False), kinds, st.booleans())
@settings(max_examples=150, deadline=None)
def test_neither_the_order_of_records_nor_that_of_images_matters(
    rows: list[Row], shuffler: random.Random, kind: Kind, class_agnostic: bool
) -> None:
    mixed = rows.copy()
    shuffler.shuffle(mixed)

    found = soft(mixed, kind, class_agnostic=class_agnostic)

    assert content(found) == content(soft(rows, kind, class_agnostic=class_agnostic))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("class_agnostic", [True, False])
def test_an_image_has_the_same_scores_whichever_others_there_are(kind: Kind, class_agnostic: bool) -> None:
    given = joined_scene(np.random.default_rng(8), [1, 2, 30, 5, 4, 6, 28, 0, 5, 3, 80])

    together = soft_nms(given, kind=kind, class_agnostic=class_agnostic)

    for image in images_of([given]):
        alone = soft_nms(image_of(given, image), kind=kind, class_agnostic=class_agnostic)
        assert content(image_of(together, image)) == content(alone)


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_without_area_and_scores_of_0_are_nothing_special(kind: Kind) -> None:
    point = (5.0, 5.0, 5.0, 5.0)
    rows = [(1, 1, point, 0.75), (1, 1, point, 0.5), (1, 1, LEFT, 0.25), (1, 1, point, 0.0), (1, 1, LEFT, 0.0)]

    assert rows_of(soft(rows, kind)) == sorted(rows, key=lambda row: (-row[3], row[2]))
    assert len(soft([(1, 1, LEFT, 0.0)] * 3, kind, score_threshold=0.001)) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("class_agnostic", [True, False])
def test_none_of_no_boxes(kind: Kind, class_agnostic: bool) -> None:
    assert len(soft(NONE, kind, class_agnostic=class_agnostic)) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("class_agnostic", [True, False])
def test_the_input_stays_as_it_was(kind: Kind, class_agnostic: bool) -> None:
    given = frozen(joined_scene(np.random.default_rng(2), [4, 9, 1]))
    before = content(given)

    found = soft_nms(given, kind=kind, class_agnostic=class_agnostic)

    assert found.scores.sum() < given.scores.sum()
    assert content(given) == before
