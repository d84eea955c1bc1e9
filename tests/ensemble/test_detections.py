"""Detections as parallel arrays: their order, and the way from and to results."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.results import Results
from ensemble.detections import Detections, best_of_each_image, from_results, join, sort, to_results
from tests.ensemble.made import Row, content, frozen, made, row_lists, rows_of

NONE: list[Row] = []
BOX = (0.0, 0.0, 8.0, 4.0)


def order_of(row: Row) -> tuple[object, ...]:
    """All keys of the order, as Python compares them."""
    image, category, box, score = row
    return image, -score, category, *box


def results_of(rows: list[Row]) -> Results:
    boxes = [(x0, y0, x1 - x0, y1 - y0) for _, _, (x0, y0, x1, y1), _ in rows]
    return Results(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        np.array([row[3] for row in rows], dtype=np.float64),
    )


@given(row_lists)
@settings(max_examples=200, deadline=None)
def test_they_stand_by_image_falling_score_category_and_box(rows: list[Row]) -> None:
    assert rows_of(made(rows)) == sorted(rows, key=order_of)


# As far apart as ids may be, and scores that differ from 1 or from each other by less than the sorted words tell.
far_rows = st.builds(
    lambda image, score, category: (image, category, BOX, score),
    st.sampled_from([-(2**53), -1, 0, 1, 2**31, 2**53]),
    st.sampled_from([0.0, 5e-324, 1e-20, 2e-20, 0.5, 0.5 + 2**-53, 1 - 2**-53, 1.0]) | st.floats(0, 1),
    st.integers(1, 2),
)


@given(st.lists(far_rows, max_size=20))
def test_ids_far_apart_and_scores_close_together_are_told_apart(rows: list[Row]) -> None:
    assert rows_of(made(rows)) == sorted(rows, key=order_of)


@given(st.lists(row_lists, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_joined_ones_stand_by_model_where_all_else_is_equal(parts: list[list[Row]]) -> None:
    found = join([made(rows, model) for model, rows in enumerate(parts)])

    every = [(*order_of(row), model) for model, rows in enumerate(parts) for row in rows]
    keys = zip(map(order_of, rows_of(found)), found.models.tolist(), strict=True)
    assert [(*key, model) for key, model in keys] == sorted(every)


@given(row_lists, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_of_the_records_does_not_matter(rows: list[Row], shuffler: random.Random) -> None:
    mixed = rows.copy()
    shuffler.shuffle(mixed)

    assert content(made(mixed)) == content(made(rows))


def test_one_difference_in_any_key_decides() -> None:
    # Each differs from the one before in one key more to the left: y1, x1, y0, x0, category, score, image.
    first = [
        (1, 1, (0.0, 0.0, 8.0, 4.0), 0.5),
        (1, 1, (0.0, 0.0, 8.0, 5.0), 0.5),
        (1, 1, (0.0, 0.0, 9.0, 3.0), 0.5),
        (1, 1, (0.0, 1.0, 7.0, 2.0), 0.5),
        (1, 1, (1.0, 0.0, 6.0, 1.0), 0.5),
        (1, 2, (0.0, 0.0, 5.0, 1.0), 0.5),
        (1, 1, (0.0, 0.0, 4.0, 1.0), 0.25),
        (2, 1, (0.0, 0.0, 3.0, 1.0), 0.75),
    ]

    assert made(reversed(first)).rows.tolist() == [7, 6, 5, 4, 3, 2, 1, 0]


def test_every_array_is_sorted_along() -> None:
    found = made([(5, 1, BOX, 0.25), (5, 2, (1.0, 1.0, 2.0, 2.0), 0.75), (-3, 3, BOX, 0.125)], model=4)

    assert rows_of(found) == [(-3, 3, BOX, 0.125), (5, 2, (1, 1, 2, 2), 0.75), (5, 1, BOX, 0.25)]
    assert found.rows.tolist() == [2, 1, 0]
    assert found.models.tolist() == [4, 4, 4]
    assert len(found) == 3


def test_what_is_sorted_stays_as_it_was() -> None:
    given = frozen(made([(1, 1, BOX, 0.25), (1, 1, BOX, 0.25), (0, 1, BOX, 0.5)]))
    mixed = frozen(given.take(np.array([2, 0, 1])))

    assert content(sort(mixed)) == content(given)
    assert mixed.image_ids.tolist() == [1, 0, 1]


def test_other_scores_make_another_order() -> None:
    given = frozen(made([(1, 1, BOX, 0.75), (1, 2, BOX, 0.5), (1, 3, BOX, 0.25)]))

    found = given.with_scores(np.array([0.125, 0.5, 1.0]))

    assert found.category_ids.tolist() == [3, 2, 1]
    assert found.scores.tolist() == [1, 0.5, 0.125]
    assert given.scores.tolist() == [0.75, 0.5, 0.25]


def test_some_are_taken_by_flags_or_by_places() -> None:
    given = made([(1, 1, BOX, 0.75), (1, 2, BOX, 0.5), (1, 3, BOX, 0.25)])

    assert given.take(np.array([True, False, True])).category_ids.tolist() == [1, 3]
    assert given.take(np.array([2, 1])).category_ids.tolist() == [3, 2]


@given(row_lists, st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_the_best_of_each_image_are_its_first(rows: list[Row], count: int) -> None:
    found = best_of_each_image(made(rows), count)

    ordered = sorted(rows, key=order_of)
    expected = [[row for row in ordered if row[0] == image][:count] for image in (-1, 0, 1)]
    assert rows_of(found) == [row for image in expected for row in image]


def test_the_best_hundred_of_an_image_of_thousands() -> None:
    scores = np.random.default_rng(1).permutation(5000) / 5000
    given = made([(image, 1, BOX, score) for image in (7, 9) for score in scores])

    found = best_of_each_image(given, 100)

    assert found.image_ids.tolist() == [7] * 100 + [9] * 100
    assert found.scores.tolist() == [(4999 - at) / 5000 for at in range(100)] * 2


@given(row_lists)
@settings(max_examples=100, deadline=None)
def test_results_become_detections_and_results_again(rows: list[Row]) -> None:
    given = results_of(rows)

    found = from_results(given, 3)
    back = to_results(found)

    assert content(found) == content(made(rows, model=3))
    assert found.rows.tolist() == made(rows).rows.tolist()
    # The same records, in the detections' order.
    for name in ("image_ids", "category_ids", "boxes_xywh", "scores"):
        assert np.array_equal(getattr(back, name), getattr(given, name)[found.rows])


def test_results_stay_as_they_were() -> None:
    given = results_of([(1, 1, (3.0, 4.0, 8.0, 9.0), 0.5), (0, 1, BOX, 0.75)])
    arrays = (given.image_ids, given.category_ids, given.boxes_xywh, given.scores)
    for array in arrays:
        array.flags.writeable = False

    found = from_results(given)
    found.boxes_xyxy[:] = 0
    found.scores[:] = 0

    assert given.boxes_xywh.tolist() == [[3, 4, 5, 5], [0, 0, 8, 4]]
    assert given.scores.tolist() == [0.5, 0.75]


def test_a_box_that_averaging_turned_inside_out_by_a_digit_is_written_without_size() -> None:
    given = made([(1, 1, (3.0, 4.0, float(np.nextafter(3, 0)), 5.0), 0.5)])

    assert to_results(given).boxes_xywh.tolist() == [[3, 4, 0, 1]]


@pytest.mark.parametrize("count", [1, 100])
def test_no_detections_go_every_way(count: int) -> None:
    none = from_results(results_of(NONE))

    for found in (none, sort(none), join([none, none]), best_of_each_image(none, count), none.with_scores(none.scores)):
        assert len(found) == 0
        assert found.boxes_xyxy.shape == (0, 4)
        assert [getattr(found, name).dtype for name in Detections.__struct_fields__] == [
            getattr(made([(1, 1, BOX, 0.5)]), name).dtype for name in Detections.__struct_fields__
        ]
    assert len(to_results(none)) == 0
