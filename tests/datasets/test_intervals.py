"""How noisy AP is: resamples against COCO's AP of a dataset in which images stand as often as they were drawn."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from datasets.evaluation import Interval, evaluate
from datasets.intervals import ap_interval, around, resampled_aps
from datasets.records import Dataset
from datasets.results import Results
from tests.datasets.test_evaluation import dataset, drawn, objects, results

BOX = (0.0, 0.0, 10.0, 10.0)
ELSEWHERE = (100.0, 100.0, 10.0, 10.0)


def repeated(given: Dataset, found: Results, draw: list[int]) -> tuple[Dataset, Results]:
    """Images, with their objects and detections, as often as `draw` has it for each, in the order of their ids."""
    images = sorted(given.images, key=lambda image: image.id)
    origins = [image for image, times in zip(images, draw, strict=True) for _ in range(times)]
    annotations = [
        msgspec.structs.replace(item, image_id=at)
        for at, image in enumerate(origins)
        for item in given.annotations
        if item.image_id == image.id
    ]
    rows = [np.flatnonzero(found.image_ids == image.id) for image in origins]
    whole = np.concatenate([*rows, np.zeros(0, dtype=np.int64)])
    again = Results(
        np.repeat(np.arange(len(origins)), [len(part) for part in rows]),
        found.category_ids[whole],
        found.boxes_xywh[whole],
        found.scores[whole],
    )
    return dataset(list(range(len(origins))), [item.id for item in given.categories], annotations), again


@pytest.mark.parametrize("seed", range(20))
def test_each_image_once_is_the_ap_of_evaluate(seed: int) -> None:
    given, found = drawn(seed)
    (ap,) = resampled_aps(given, found, np.ones((1, len(given.images)), dtype=np.int64))
    assert ap == pytest.approx(evaluate(given, found).ap, abs=1e-12)


# Without equal scores, whose order within an image that stands there twice is another one.
@pytest.mark.parametrize("seed", range(0, 20, 2))
def test_an_image_that_is_drawn_twice_counts_twice(seed: int) -> None:
    given, found = drawn(seed)
    draws = np.random.default_rng(seed).multinomial(
        len(given.images), np.full(len(given.images), 1 / len(given.images)), size=8
    )
    expected = [evaluate(*repeated(given, found, draw)).ap for draw in draws.tolist()]
    assert resampled_aps(given, found, draws) == pytest.approx(
        [np.nan if ap is None else ap for ap in expected], abs=1e-12, nan_ok=True
    )


def test_images_that_are_all_alike_leave_no_doubt() -> None:
    """And those of which half is found, one way or the other, as much as a coin does."""
    ids = list(range(1, 101))
    truth = dataset(ids, [7], [item for id_ in ids for item in objects(id_, 7, BOX)])
    assert ap_interval(truth, results(*((id_, 7, BOX, 0.9) for id_ in ids))) == (1, 1)
    assert ap_interval(truth, results()) == (0, 0)
    half = ap_interval(truth, results(*((id_, 7, BOX, 0.9) for id_ in ids[:50])))
    # A binomial share: 0.5 +- 1.96 x sqrt(0.5 x 0.5 / 100), and AP of hits alone is recall, to the next of 101.
    assert half == pytest.approx((0.5 - 0.098, 0.5 + 0.098), abs=0.02)


def test_an_interval_lies_around_its_ap() -> None:
    # 0, 1, ..., 40 %: from 1 to 39 in 95 % of them, and 20 on average.
    drawn = np.arange(41) / 100
    assert around(0.5, drawn) == pytest.approx((0.5 - 0.19, 0.5 + 0.19))
    assert around(0.1, drawn) == pytest.approx((0, 0.1 + 0.19))
    assert around(1.0, np.array([np.nan, 0.25])) == (1, 1)
    # Nothing is known then.
    assert around(0.5, np.array([np.nan])) == (0, 1)


def test_blocks_of_resamples_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    given, found = drawn(2)
    draws = np.random.default_rng(0).multinomial(
        len(given.images), np.full(len(given.images), 1 / len(given.images)), 7
    )
    whole = resampled_aps(given, found, draws)
    monkeypatch.setattr("datasets.intervals.BLOCK", 1)
    assert resampled_aps(given, found, draws) == pytest.approx(whole, abs=1e-12, nan_ok=True)


def test_the_same_seed_draws_the_same() -> None:
    given, found = drawn(2)
    assert ap_interval(given, found, seed=1) == ap_interval(given, found, seed=1)
    assert ap_interval(given, found, seed=1) != ap_interval(given, found, seed=2)
    low, high = ap_interval(given, found) or Interval(1, 0)
    assert 0 <= low < high <= 1


def test_resamples_without_objects_have_no_ap() -> None:
    """Of two images the second alone has objects: a quarter of the resamples has none."""
    truth = dataset([1, 2], [7], objects(2, 7, BOX))
    aps = resampled_aps(truth, results((2, 7, BOX, 0.9)), np.array([[2, 0], [1, 1], [0, 2]]))
    assert np.isnan(aps).tolist() == [True, False, False]
    # One image with objects tells nothing about others.
    assert ap_interval(truth, results((2, 7, BOX, 0.9))) is None


@pytest.mark.parametrize(
    "truth",
    [dataset([], [7], []), dataset([1], [7], []), dataset([1], [], []), dataset([1], [7], objects(1, 7, BOX, crowd=1))],
)
def test_where_there_is_no_object_there_is_no_interval(truth: Dataset) -> None:
    assert ap_interval(truth, results()) is None
    if truth.images and truth.categories:
        assert ap_interval(truth, results((1, 7, ELSEWHERE, 0.5))) is None
