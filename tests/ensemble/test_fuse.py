"""WBF and NMW on boxes that are worked out by hand; tests/ensemble/test_fuse_oracle.py compares with a library."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.errors import DataError
from ensemble.detections import Detections
from ensemble.fuse import MAX_MODELS, ScoreType, nmw, wbf, weighted
from tests.ensemble.made import BoxXYXY, Fuse, Row, content, made, rows_of

NONE: list[Row] = []
BOX = (0.0, 0.0, 10.0, 10.0)


def tall(height: float, score: float, category: int = 1) -> Row:
    """A box that begins where BOX does, `height` of its 10 pixels high: their IoU is a tenth of that."""
    return 1, category, (0.0, 0.0, 10.0, height), score


def at(x: float, score: float) -> Row:
    """BOX, moved right by `x`; its IoU with another of these is (10 - d) / (10 + d)."""
    return 1, 1, (x, 0.0, x + 10, 10.0), score


def one(detections: Detections) -> tuple[BoxXYXY, float]:
    """Box and score of the only detection."""
    ((_, _, box, score),) = rows_of(detections)
    return box, score


# Weighted scores of the boxes 10, 9 and 8 pixels high: 2 * 0.75, 2 * 0.25 and 1 * 0.375.
SUM = 1.5 + 0.5 + 0.375


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        # Three boxes, three models.
        ("avg", SUM / 3 * 3 / (2 + 1 + 1)),
        ("max", 1.5 / 2),
        # The boxes weigh 2 + 2 + 1; two of the models are there, and one of weight 1 is not.
        ("box_and_model_avg", SUM / (2 + 2 + 1) * (2 + 1) / (2 + 1 + 1)),
        ("absent_model_aware_avg", SUM / (2 + 2 + 1 + 1)),
    ],
)
def test_boxes_are_averaged_by_weighted_score_and_scores_as_they_are_to(score: ScoreType, expected: float) -> None:
    parts = [made([tall(10, 0.75), tall(9, 0.25)]), made([tall(8, 0.375)]), made(NONE)]

    box, found = one(wbf(parts, [2.0, 1.0, 1.0], score=score))

    assert box == pytest.approx((0, 0, 10, (1.5 * 10 + 0.5 * 9 + 0.375 * 8) / SUM), rel=1e-15)
    assert found == pytest.approx(expected, rel=1e-15)


def test_a_model_with_two_boxes_in_a_cluster_counts_once_in_avg() -> None:
    parts = [made([tall(10, 0.75), tall(9, 0.25)]), made(NONE)]

    # Two boxes, two models: as if the other had agreed. A third box changes only the average.
    assert one(wbf(parts, [1.0, 1.0]))[1] == (0.75 + 0.25) / 2 * 2 / 2
    parts[0] = made([tall(10, 0.75), tall(9, 0.25), tall(9, 0.125)])
    assert one(wbf(parts, [1.0, 1.0]))[1] == pytest.approx((0.75 + 0.25 + 0.125) / 3 * 2 / 2, rel=1e-15)


def test_nmw_averages_by_score_and_overlap_and_keeps_the_best_score() -> None:
    parts = [made([tall(10, 0.75)]), made([tall(8, 0.5)])]

    box, score = one(nmw(parts, [2.0, 1.0]))

    # Weights are shares of the largest: 1 and 0.5.
    share = 0.5 * 0.5 * 0.8
    assert box == pytest.approx((0, 0, 10, (0.75 * 10 + share * 8) / (0.75 + share)), rel=1e-15)
    assert score == 0.75


def test_the_best_score_of_nmw_is_the_best_weighted_one() -> None:
    parts = [made([tall(10, 0.75)]), made([tall(8, 0.5)])]

    assert one(nmw(parts, [1.0, 2.0]))[1] == 0.5


def test_the_fused_box_moves_in_wbf_and_stays_in_nmw() -> None:
    # The last is 0.55 of the first, which is too little, but 5.5 / 8.8 of the mean of the first two.
    assert (0.75 * 10 + 0.5 * 7) / (0.75 + 0.5) == 8.8
    parts = [made([tall(10, 0.75), tall(7, 0.5), tall(5.5, 0.25)])]

    assert one(wbf(parts, [1.0], iou_threshold=0.6))[0][3] == pytest.approx((7.5 + 3.5 + 0.25 * 5.5) / 1.5)
    assert [box[3] for _, _, box, _ in rows_of(nmw(parts, [1.0], iou_threshold=0.6))] == [
        pytest.approx((0.75 * 10 + 0.5 * 0.7 * 7) / (0.75 + 0.5 * 0.7)),
        5.5,
    ]


@pytest.mark.parametrize("fuse", [wbf, nmw])
def test_a_box_joins_the_cluster_that_it_overlaps_most(fuse: Fuse) -> None:
    # The last overlaps the first by 4 / 16 and the second by 8 / 12.
    found = fuse([made([at(0, 0.75), at(8, 0.5), at(6, 0.25)])], [1.0], iou_threshold=0.2)

    first, second = sorted(box for _, _, box, _ in rows_of(found))
    assert first == BOX
    assert 6 < second[0] < 8


@pytest.mark.parametrize("fuse", [wbf, nmw])
def test_of_two_clusters_that_it_overlaps_as_much_it_joins_the_first(fuse: Fuse) -> None:
    # The first two tie, and (10 - 4) / (10 + 4) is too little; the last overlaps both by 8 / 12.
    found = fuse([made([at(2, 0.25), at(4, 0.5), at(0, 0.5)])], [1.0], iou_threshold=0.5)

    first, second = sorted(box for _, _, box, _ in rows_of(found))
    assert 0 < first[0] < 2
    assert second[0] == 4


@pytest.mark.parametrize("fuse", [wbf, nmw])
def test_only_an_overlap_above_the_threshold_joins(fuse: Fuse) -> None:
    parts = [made([tall(10, 0.75)]), made([tall(5, 0.5)])]

    assert len(fuse(parts, [1.0, 1.0], iou_threshold=0.5)) == 2
    assert len(fuse(parts, [1.0, 1.0], iou_threshold=float(np.nextafter(0.5, 0)))) == 1


@pytest.mark.parametrize("fuse", [wbf, nmw])
def test_boxes_of_other_categories_and_other_images_are_other_clusters(fuse: Fuse) -> None:
    parts = [made([tall(10, 0.75)]), made([tall(10, 0.5, category=2), (2, 1, BOX, 0.25)])]

    found = fuse(parts, [1.0, 1.0])

    assert [(image, category, box) for image, category, box, _ in rows_of(found)] == [
        (1, 1, BOX),
        (1, 2, BOX),
        (2, 1, BOX),
    ]


@pytest.mark.parametrize("fuse", [wbf, nmw, weighted])
def test_a_score_of_the_skip_threshold_counts_before_its_weight(fuse: Fuse) -> None:
    parts = [made([tall(10, 0.25)]), made([(2, 1, BOX, 0.75)])]

    assert len(fuse(parts, [0.5, 1.0], skip_threshold=0.25)) == 2
    assert len(fuse(parts, [0.5, 1.0], skip_threshold=float(np.nextafter(0.25, 1)))) == 1


def test_a_score_above_1_is_1() -> None:
    parts = [made([tall(10, 1.0), tall(9, 0.75)]), made(NONE)]

    # (3 + 2.25) / 2 * 2 / 4 = 1.3125
    assert one(wbf(parts, [3.0, 1.0]))[1] == 1.0


def test_weighted_scores_are_shares_of_the_largest_weight() -> None:
    found = weighted([made([at(0, 0.5)], model=8), made([at(1, 0.75), at(2, 0.25)], model=9)], [2.0, 1.0])

    assert rows_of(found) == [at(0, 0.5), at(1, 0.75 / 2), at(2, 0.25 / 2)]
    # Whose each is, by the number among those that count, and where it stands in its file.
    assert found.models.tolist() == [0, 1, 1]
    assert found.rows.tolist() == [0, 0, 1]


def test_weighted_scores_are_sorted_again() -> None:
    found = weighted([made([at(0, 0.5)]), made([at(1, 0.25)])], [1.0, 4.0])

    assert rows_of(found) == [at(1, 0.25), at(0, 0.5 / 4)]


@pytest.mark.parametrize("fuse", [wbf, nmw])
def test_a_fused_box_is_no_model_s_own(fuse: Fuse) -> None:
    found = fuse([made(NONE), made([at(0, 0.5), at(5, 0.25)])], [1.0, 1.0])

    assert found.rows.tolist() == [-1, -1]
    assert found.models.tolist() == [0, 0]


@pytest.mark.parametrize("fuse", [wbf, nmw, weighted])
def test_another_number_of_weights_is_refused(fuse: Fuse) -> None:
    parts = [made([at(0, 0.5)])] * 2

    for weights in ([1.0], [1.0, 1.0, 1.0], []):
        with pytest.raises(DataError, match=rf"^expected a weight for each of 2 results, found {len(weights)}$"):
            fuse(parts, weights)


@pytest.mark.parametrize("fuse", [wbf, nmw, weighted])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_no_weight_above_0_is_refused(fuse: Fuse, count: int) -> None:
    with pytest.raises(DataError, match=r"^expected a weight above 0, found none$"):
        fuse([made([at(0, 0.5)])] * count, [0.0] * count)


@pytest.mark.parametrize("fuse", [wbf, nmw, weighted])
def test_more_models_than_a_number_has_bits_are_refused(fuse: Fuse) -> None:
    parts = [made([at(0, 0.5)])] * (MAX_MODELS + 1)

    with pytest.raises(DataError, match=r"^expected at most 62 results, found 63$"):
        fuse(parts, [1.0] * (MAX_MODELS + 1))
    # One without a weight is none.
    assert len(fuse(parts, [0.0] + [1.0] * MAX_MODELS))


@pytest.mark.parametrize("position", [0, 30, MAX_MODELS - 1])
def test_each_of_the_most_models_is_told_apart(position: int) -> None:
    parts = [made(NONE) for _ in range(MAX_MODELS)]
    parts[position] = made([at(0, 0.5), at(0, 0.5)])
    weights = [1.0] * MAX_MODELS
    weights[position] = 3.0

    # The two boxes weigh 3 each, and the absent models 61.
    _, absent_aware = one(wbf(parts, weights, score="absent_model_aware_avg"))
    assert absent_aware == pytest.approx(2 * 3 * 0.5 / (2 * 3 + 61), rel=1e-15)
    _, box_and_model = one(wbf(parts, weights, score="box_and_model_avg"))
    assert box_and_model == pytest.approx(0.5 * 3 / (61 + 3), rel=1e-15)


@pytest.mark.parametrize("fuse", [wbf, nmw, weighted])
def test_boxes_without_area_are_left_out(fuse: Fuse) -> None:
    point, line = (1, 1, (5.0, 5.0, 5.0, 5.0), 0.875), (1, 1, (0.0, 5.0, 10.0, 5.0), 0.75)

    assert len(fuse([made([point, line])] * 2, [1.0, 1.0])) == 0
    left = fuse([made([point, line, at(0, 0.5)])] * 2, [1.0, 1.0])
    assert content(left) == content(fuse([made([at(0, 0.5)])] * 2, [1.0, 1.0]))


@pytest.mark.parametrize("fuse", [wbf, nmw, weighted])
def test_none_of_no_boxes(fuse: Fuse) -> None:
    for count in (1, 3):
        found = fuse([made(NONE)] * count, [1.0] * count)

        assert len(found) == 0
        assert found.boxes_xyxy.shape == (0, 4)


@pytest.mark.parametrize("score", ["avg", "max", "box_and_model_avg", "absent_model_aware_avg"])
def test_boxes_whose_scores_are_all_0_have_the_first_box_and_0(score: ScoreType) -> None:
    parts = [made([tall(9, 0.0)]), made([tall(10, 0.0), tall(8, 0.0)])]

    # The lowest box is the first of those that tie.
    assert one(wbf(parts, [1.0, 2.0], score=score)) == ((0, 0, 10, 8), 0)
    assert one(nmw(parts, [1.0, 2.0])) == ((0, 0, 10, 8), 0)
