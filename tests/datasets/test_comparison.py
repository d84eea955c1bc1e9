"""Paired differences of arms: a plain loop over datasets in which images stand as often as drawn is the oracle."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from datasets.comparison import ArmAps, Difference, Mean, difference, mean, measured
from datasets.errors import DataError
from datasets.evaluation import Interval
from datasets.intervals import ap_interval
from datasets.records import Dataset
from datasets.results import Results
from tests.datasets.test_evaluation import dataset, drawn, objects, oracle, results
from tests.datasets.test_intervals import repeated

BOX = (0.0, 0.0, 10.0, 10.0)
# Of `drawn`: seven images with objects, a hundred detections, no two scores alike.
DATA = 0
RESAMPLES = 5


def variant(found: Results, seed: int) -> Results:
    """Results of another training: two of three detections, with other boxes and scores."""
    rng = np.random.default_rng(seed)
    kept = np.flatnonzero(rng.random(len(found)) < 2 / 3)
    boxes = np.maximum(found.boxes_xywh[kept] + rng.normal(0, 1, (len(kept), 4)), 0)
    return Results(found.image_ids[kept], found.category_ids[kept], boxes, rng.random(len(kept)))


def ap(truth: Dataset, found: Results, draw: list[int]) -> float:
    value = oracle(*repeated(truth, found, draw)).ap
    return np.nan if value is None else value


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_difference_is_that_of_a_plain_loop(seeds: int) -> None:
    """Images are drawn from the generator of the seed, the arms' seeds from that of (seed, 1)."""
    truth, found = drawn(DATA)
    arm, base = ([variant(found, start + at) for at in range(seeds)] for start in (0, 100))
    images = len(truth.images)
    image_draws = np.random.default_rng(5).multinomial(images, [1 / images] * images, size=RESAMPLES).tolist()
    seed_draws = np.random.default_rng((5, 1)).multinomial(seeds, [1 / seeds] * seeds, size=RESAMPLES).tolist()

    def differences(draw: list[int]) -> npt.NDArray[np.float64]:
        return np.array([ap(truth, a, draw) - ap(truth, b, draw) for a, b in zip(arm, base, strict=True)])

    of_all = differences([1] * images)
    expected = []
    for image_draw, seed_draw in zip(image_draws, seed_draws, strict=True):
        over_seeds = np.repeat(of_all, seed_draw).mean() - of_all.mean()
        expected.append(differences(image_draw).mean() + np.sqrt(3 / 2) * over_seeds)
    low, high = of_all.mean() + np.quantile(expected, [0.025, 0.975]) - np.mean(expected)

    compared = difference(*(measured(truth, item, resamples=RESAMPLES, seed=5) for item in (arm, base)))

    assert compared.difference == pytest.approx(of_all.mean(), abs=1e-12)
    assert compared.arm - compared.base == pytest.approx(of_all.mean(), abs=1e-12)
    assert compared.interval == pytest.approx((low, high), abs=1e-12)
    assert high - low > 0.01, "there is something to draw"


def test_the_mean_of_one_seed_has_the_interval_of_its_ap() -> None:
    truth, found = drawn(DATA)
    of_one = mean(measured(truth, [found], resamples=50, seed=3))
    assert of_one.interval == ap_interval(truth, found, resamples=50, seed=3)
    assert of_one.ap == pytest.approx(oracle(truth, found).ap, abs=1e-12)


def test_the_limit_of_detections_is_obeyed() -> None:
    """Of three hits in an image one counts: recall is 1/3, which 34 of the 101 points reach."""
    boxes = [(20.0 * at, 0.0, 10.0, 10.0) for at in range(3)]
    truth = dataset([1, 2], [7], [*objects(1, 7, *boxes), *objects(2, 7, *boxes)])
    found = results(*((image, 7, box, 0.9) for image in (1, 2) for box in boxes))
    assert mean(measured(truth, [found], max_dets=1)).ap == pytest.approx(34 / 101)
    assert mean(measured(truth, [found])).ap == pytest.approx(1)


# (S, 1 + B)
APS = arrays.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(2, 9)), elements=st.floats(0, 1))


def arm_of(aps: npt.NDArray[np.float64]) -> ArmAps:
    """An arm with the first column on all images and the others on resamples."""
    return ArmAps(aps[:, 0], aps[:, 1:], seed=0)


@given(aps=APS)
def test_an_arm_does_not_differ_from_itself(aps: npt.NDArray[np.float64]) -> None:
    found = difference(arm_of(aps), arm_of(aps))
    assert (found.difference, found.interval) == (0, (0, 0))
    assert not found.excludes_zero


@given(aps=APS)
def test_arms_that_change_places_negate_the_difference(aps: npt.NDArray[np.float64]) -> None:
    arm, base = arm_of(aps), arm_of(aps**2)
    there, back = difference(arm, base), difference(base, arm)
    assert there.difference == pytest.approx(-back.difference, abs=1e-12)
    assert there.interval == pytest.approx((-back.interval.high, -back.interval.low), abs=1e-12)


@given(aps=APS)
def test_an_interval_holds_its_estimate_within_bounds(aps: npt.NDArray[np.float64]) -> None:
    over, of_arm = difference(arm_of(aps), arm_of(1 - aps)), mean(arm_of(aps))
    assert -1 <= over.interval.low <= over.difference <= over.interval.high <= 1
    assert 0 <= of_arm.interval.low <= of_arm.ap <= of_arm.interval.high <= 1


def test_seeds_widen_the_interval() -> None:
    """Images that are all alike: of the differences 0, 3 and 6 % the seeds' deviations are all there is."""
    arm = ArmAps(np.array([0.0, 0.03, 0.06]), np.full((3, 1000), 0.03), seed=0)
    base = ArmAps(np.zeros(3), np.zeros((3, 1000)), seed=0)
    found = difference(arm, base)
    # Three times the same seed is drawn in 1 of 27: more than the 2.5 % on each side.
    assert found.interval == pytest.approx((0.03 - np.sqrt(3 / 2) * 0.03, 0.03 + np.sqrt(3 / 2) * 0.03), abs=2e-3)
    assert not found.excludes_zero
    assert difference(arm._replace(aps=arm.aps + 0.01, resampled=arm.resampled + 0.01), base).excludes_zero


def test_80_of_100_intervals_of_3_seeds_hold_the_truth_where_seeds_are_the_only_noise() -> None:
    """As the module says: two standard deviations of a share of 400 are 4 %."""
    rng = np.random.default_rng(0)
    zero = ArmAps(np.zeros(3), np.zeros((3, 200)), seed=0)
    aps = rng.normal(0, 0.01, (400, 3))
    arms = [ArmAps(row, np.full((3, 200), row.mean()), seed=at) for at, row in enumerate(aps)]
    held = [not difference(arm, zero._replace(seed=arm.seed)).excludes_zero for arm in arms]
    assert np.mean(held) == pytest.approx(0.80, abs=0.04)


def test_resamples_without_an_object_count_for_neither() -> None:
    arm = ArmAps(np.array([0.5]), np.array([[0.4, np.nan, 0.6]]), seed=0)
    base = ArmAps(np.array([0.2]), np.array([[0.2, np.nan, 0.2]]), seed=0)
    # 0.2 and 0.4, from 2.5 % to 97.5 % of the way, around 0.3.
    assert difference(arm, base).interval == pytest.approx((0.3 - 0.095, 0.3 + 0.095))


def test_the_texts() -> None:
    found = Difference(arm=0.551, base=0.52, difference=0.031, interval=Interval(0.012, 0.05), seeds=3)
    assert str(found) == "+3.1 (1.2 to 5.0)"
    assert str(Mean(0.551, Interval(0.52, 0.5824), seeds=3)) == "55.1 (52.0 to 58.2)"
    one = found._replace(difference=-0.0001, interval=Interval(-0.02, 0.0199), seeds=1)
    assert str(one) == "0.0 (-2.0 to 2.0, over images alone: one seed)"


def test_what_cannot_be_compared() -> None:
    truth = dataset([1, 2], [7], [*objects(1, 7, BOX), *objects(2, 7, BOX, crowd=1)])
    with pytest.raises(DataError, match=r"val\.json: expected at least 2 images with an object .* found 1$"):
        measured(truth, [results()], truth="val.json")
    truth = dataset([1, 2], [7], [*objects(1, 7, BOX), *objects(2, 7, BOX)])
    with pytest.raises(DataError, match=r"arm\.json: 1 id\(s\) that the annotation file does not have"):
        measured(truth, [results((3, 7, BOX, 0.5))], name="arm.json")
    one, two = measured(truth, [results()], seed=1), measured(truth, [results()] * 2, seed=1)
    for other in (two, one._replace(seed=2)):
        with pytest.raises(ValueError, match="not paired"):
            difference(one, other)
