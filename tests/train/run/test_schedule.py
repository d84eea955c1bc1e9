"""Epochs into iterations: the paper's own numbers, a plain count, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.train.conftest import small_config
from train.run.schedule import Schedule, derive, describe, iterations
from train.run.solver import learning_rates


def paper(**changes: Any) -> Schedule:
    """The paper's expanded dataset: six images of each of 10,819, in the batch that its learning rate is for."""
    numbers: dict[str, Any] = {
        "images": 6 * 10_819,
        "batch": 16,
        "epochs": 56.0,
        "step_epochs": [40.0, 50.0],
        "warmup_epochs": 0.5,
        "base_lr": 0.02,
        "reference_batch": 16,
    }
    return derive(**{**numbers, **changes})


def test_the_papers_schedule_in_iterations() -> None:
    found = paper()

    assert found.images == 64_914
    assert found.last == 227_199  # 64,914 * 56 / 16 = 227,199.0
    assert found.steps == (162_285, 202_856)  # 64,914 * 40 / 16 = 162,285.0; * 50 / 16 = 202,856.25
    assert found.warmup == 2_028  # 64,914 * 0.5 / 16 = 2,028.56
    assert found.learning_rate == 0.02
    assert len(found.epoch_ends()) == 56
    assert found.epoch_ends()[:2] == (4_057, 8_114)  # 4,057.125 iterations an epoch
    assert found.epoch_ends()[-1] == 227_199


@pytest.mark.parametrize("batch", [1, 2, 4, 16, 24, 64])
def test_the_learning_rate_is_linear_in_the_batch(batch: int) -> None:
    assert paper(batch=batch).learning_rate == pytest.approx(0.02 * batch / 16)
    assert paper(batch=batch, reference_batch=8).learning_rate == pytest.approx(0.02 * batch / 8)


def test_a_larger_batch_takes_fewer_iterations_over_the_same_images() -> None:
    assert paper(batch=32).last == 227_199 // 2
    assert paper(batch=32).steps == (162_285 // 2, 64_914 * 50 // 32)


@pytest.mark.parametrize(
    ("epochs", "images", "batch", "expected"),
    [
        (0.29, 100, 1, 29),  # as floats 28.999999999999996
        (1e-05, 300_000, 1, 3),  # written as 1e-05
        (0.5, 7, 2, 1),  # 1.75
        (3.0, 7, 2, 10),  # 10.5: batches run on across the end of an epoch
        (1.0, 3, 16, 0),  # not one whole batch
    ],
)
def test_fractions_are_what_they_are_written_as_and_iterations_whole(
    epochs: float, images: int, batch: int, expected: int
) -> None:
    assert iterations(epochs, images, batch) == expected


@settings(deadline=None, max_examples=200)
@given(
    images=st.integers(1, 60), batch=st.integers(1, 20), epochs=st.floats(0.1, 12).map(lambda value: round(value, 1))
)
def test_an_epoch_ends_with_the_last_batch_that_it_fills(images: int, batch: int, epochs: float) -> None:
    found = paper(images=images, batch=batch, epochs=epochs)

    # Counted: how many batches fit in so many images.
    last = max((at for at in range(1000) if at * batch * 10 <= round(epochs * 10) * images), default=0)
    filled = {max(at for at in range(1000) if at * batch <= epoch * images) for epoch in range(1, int(epochs) + 1)}
    assert found.last == max(1, last)
    assert found.epoch_ends() == tuple(sorted({end for end in filled if end > 0} | {found.last}))
    assert [found.at(epoch) for epoch in (0, 1)] == [0, images // batch]


def test_the_end_of_a_run_is_an_epoch_end_even_in_mid_epoch() -> None:
    assert paper(images=10, batch=2, epochs=2.5).epoch_ends() == (5, 10, 12)


def test_of_several_epochs_the_last_one_s_end_counts() -> None:
    # 2.5 iterations an epoch: epochs 3, 6, 9 end at 7.5, 15 and 22.5.
    assert paper(images=10, batch=4, epochs=10.0, validate_epochs=3).epoch_ends() == (7, 15, 22, 25)
    assert paper(images=10, batch=4, epochs=2.0, validate_epochs=3).epoch_ends() == (5,)


def test_epochs_that_a_batch_swallows_end_once() -> None:
    # Batches of 8 out of 3 images: 2.67 epochs each, so the ends of epochs 3, 6, 8 (9, 18, 24 images) are seen.
    assert paper(images=3, batch=8, epochs=8.0).epoch_ends() == (1, 2, 3)


def test_a_run_has_at_least_one_iteration() -> None:
    found = paper(images=3, batch=16, epochs=1.0)

    assert (found.last, found.epoch_ends(), found.steps, found.warmup) == (1, (1,), (), 0)


def test_the_epoch_of_an_iteration() -> None:
    assert paper(images=10, batch=4).epoch(5) == 5 * 4 / 10


def test_steps_after_the_end_of_the_run_never_come() -> None:
    assert paper(epochs=45.0).steps == (162_285,)
    # At the very end there is nothing left to lower the rate for.
    assert paper(epochs=40.0).steps == ()
    assert paper(step_epochs=[]).steps == ()


@pytest.mark.parametrize(
    ("images", "step_epochs", "expected"),
    [
        (
            10,
            [2.0, 4.0],
            [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2],
        ),  # iterations 10 * 2 / 4 = 5 and 10 * 4 / 4 = 10
        (2, [4.5, 5.5], [0, 0, 2]),  # 2 * 4.5 / 4 = 2.25 and 2 * 5.5 / 4 = 2.75
        (2, [1.0, 3.0], [1, 2, 2]),  # 2 * 1 / 4 = 0.5 and 2 * 3 / 4 = 1.5
        (10, [4.0, 4.0], [0] * 10 + [2] * 5),
    ],
)
def test_every_step_lowers_the_rate_even_where_two_fall_on_one_iteration(
    images: int, step_epochs: list[float], expected: list[int]
) -> None:
    schedule = paper(images=images, batch=4, epochs=6.0, step_epochs=step_epochs, warmup_epochs=0.0)
    rate = learning_rates(small_config(), schedule)

    lowered = [round(-math.log10(rate(at) / schedule.learning_rate)) for at in range(schedule.last)]

    assert lowered == expected


def test_max_iter_ends_the_run_and_leaves_the_rest_as_it_is() -> None:
    whole, early = paper(), paper(max_iter=10_000)

    assert early == whole._replace(last=10_000)
    assert early.epoch_ends() == (4_057, 8_114, 10_000)
    # It makes no run longer, and 0 means none.
    assert paper(max_iter=10**9) == paper(max_iter=0) == whole


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": 0}, "expected at least one image, found 0"),
        ({"batch": 0}, "SOLVER.IMS_PER_BATCH: expected 1 or more, found 0"),
        ({"batch": -4}, "SOLVER.IMS_PER_BATCH: expected 1 or more, found -4"),
        ({"epochs": 0.0}, "SOLVER.EPOCHS: expected more than 0, found 0.0"),
        ({"epochs": math.nan}, "SOLVER.EPOCHS: expected more than 0, found nan"),
        ({"epochs": math.inf}, "SOLVER.EPOCHS: expected more than 0, found inf"),
        ({"step_epochs": [50.0, 40.0]}, "SOLVER.STEP_EPOCHS: expected rising numbers above 0, found [50.0, 40.0]"),
        ({"step_epochs": [0.0, 40.0]}, "SOLVER.STEP_EPOCHS: expected rising numbers above 0, found [0.0, 40.0]"),
        ({"step_epochs": [math.nan]}, "SOLVER.STEP_EPOCHS: expected rising numbers above 0, found [nan]"),
        ({"step_epochs": [math.inf]}, "SOLVER.STEP_EPOCHS: expected rising numbers above 0, found [inf]"),
        ({"warmup_epochs": -0.5}, "SOLVER.WARMUP_EPOCHS: expected 0 or more, found -0.5"),
        ({"warmup_epochs": math.nan}, "SOLVER.WARMUP_EPOCHS: expected 0 or more, found nan"),
        ({"warmup_epochs": math.inf}, "SOLVER.WARMUP_EPOCHS: expected 0 or more, found inf"),
        ({"base_lr": 0.0}, "SOLVER.BASE_LR: expected more than 0, found 0.0"),
        ({"base_lr": math.nan}, "SOLVER.BASE_LR: expected more than 0, found nan"),
        ({"base_lr": math.inf}, "SOLVER.BASE_LR: expected more than 0, found inf"),
        ({"reference_batch": 0}, "SOLVER.REFERENCE_BATCH: expected 1 or more, found 0"),
    ],
)
def test_numbers_that_make_no_run_are_refused_by_their_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        paper(**changes)
    assert str(caught.value) == message


def test_every_refused_number_is_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"SOLVER\.EPOCHS.*; SOLVER\.WARMUP_EPOCHS.*; SOLVER\.BASE_LR"):
        paper(epochs=-1.0, warmup_epochs=-1.0, base_lr=-1.0)


def test_what_is_about_to_happen() -> None:
    assert describe(paper()) == [
        "64,914 images, batch 16: 4,057.1 iterations an epoch",
        "56 epochs = 227,199 iterations; learning rate 0.02 after 2,028 of warm-up, lowered at 162,285, 202,856",
    ]
    assert describe(paper(step_epochs=[]))[1].endswith("lowered at none")


def test_a_run_that_ends_early_is_not_said_to_be_all_its_epochs() -> None:
    assert (
        "56 epochs = 227,199 iterations (SOLVER.MAX_ITER ends it at 500); learning" in describe(paper(max_iter=500))[1]
    )
