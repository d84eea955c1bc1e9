"""What is said of a schedule before and soon after it begins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from datasets.records import Category
from train import config_checks
from train.data import records
from train.data.records import Categories
from train.run.schedule import derive, describe, duration, pace, short, validation_cost

# 100 images in batches of 10: 10 iterations an epoch.
USUAL: dict[str, Any] = {
    "images": 100,
    "batch": 10,
    "epochs": 50.0,
    "step_epochs": [40.0],
    "warmup_epochs": 1.0,
    "base_lr": 0.02,
    "reference_batch": 10,
}


def test_a_cosine_is_told_as_one() -> None:
    schedule = derive(**USUAL)
    assert describe(schedule)[1].endswith("after 10 of warm-up, lowered at 400")
    assert describe(schedule, cosine=True)[1].endswith(
        "after 10 of warm-up, then along half a cosine to 0 (SOLVER.STEP_EPOCHS and GAMMA have no effect)"
    )


def test_what_a_pace_leaves_out_is_said() -> None:
    assert pace(500, 0.25, [], ", validations not counted") == [
        "2 min to go on this machine, at 0.25 s an iteration, validations not counted"
    ]


def test_validations_are_told_where_they_take_long() -> None:
    assert validation_cost(20, 2.9) == []  # 58 s
    assert validation_cost(20, 9) == ["3 min more for 20 validations to come, at 9 s each"]
    assert validation_cost(100, 3600)[0].startswith("warning: 4 days more")


def test_a_run_that_is_validated_less_often_says_so() -> None:
    assert describe(derive(**USUAL, validate_epochs=3))[-1] == "validated every 3 epochs (SOLVER.VALIDATE_EPOCHS)"
    assert len(describe(derive(**USUAL))) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"epochs": 19.0}, "warning: 190 iterations are very few"),
        ({"epochs": 1.0, "step_epochs": []}, "warning: the run ends within the 10 iterations of warm-up"),
        ({"max_iter": 5}, "warning: the run ends within the 10 iterations of warm-up"),
    ],
)
def test_a_short_run_is_warned_of(changes: dict[str, Any], said: str) -> None:
    lines = short(derive(**{**USUAL, **changes}))
    assert bool(lines) == bool(said)
    assert all(line.startswith(said) for line in lines)


def test_every_run_is_told_how_long_it_takes_and_a_long_one_what_is_quicker() -> None:
    assert pace(500, 0.25, ["a GPU"]) == ["2 min to go on this machine, at 0.25 s an iteration"]
    assert pace(926, 2.5, ["a GPU", "less"]) == [
        "39 min to go on this machine, at 2.5 s an iteration",  # 38.6
        "  quicker: a GPU; less",
    ]


def test_a_run_of_days_is_warned_of() -> None:
    assert pace(86_399, 1, ["less"])[0] == "24 h 0 min to go on this machine, at 1 s an iteration"
    assert pace(86_400, 1, ["less"])[0] == "warning: 24 h 0 min to go on this machine, at 1 s an iteration"
    # 21.2 days in seconds.
    assert pace(1_831_680, 1, ["less"])[0] == "warning: 21 days to go on this machine, at 1 s an iteration"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (99, "99 s"),
        (100, "2 min"),
        (99 * 60, "99 min"),
        (100 * 60, "1 h 40 min"),
        (47 * 3600, "47 h 0 min"),
        (48 * 3600, "2 days"),
        (1234 * 86_400, "1,234 days"),
    ],
)
def test_a_duration_has_two_digits_that_matter(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_few_categories_are_shown_one_by_one_and_of_many_both_ends() -> None:
    few = Categories([Category(id=at, name=name) for at, name in enumerate("abc")])
    assert records.histogram_notes(few, np.array([0, 1200, 7])) == ["  of each category: b 1,200, c 7, a 0"]
    many = Categories([Category(id=at, name=f"c{at}") for at in range(20)])
    (line,) = records.histogram_notes(many, np.arange(20))
    assert line == (
        "  of the categories, most: c19 19, c18 18, c17 17, c16 16, c15 15, c14 14; "
        "fewest: c5 5, c4 4, c3 3, c2 2, c1 1, c0 0"
    )


def test_norms_that_only_a_gpu_has_are_refused_without_one() -> None:
    values = {"MODEL.RESNETS.NORM": "SyncBN", "MODEL.FPN.NORM": "GN", "MODEL.SEM_SEG_HEAD.NORM": "SyncBN"}
    assert config_checks.norms_without_gpu(values) == [
        "MODEL.RESNETS.NORM: expected a norm that a CPU has, such as GN or naiveSyncBN, found SyncBN"
    ]
