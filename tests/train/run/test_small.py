"""What `--schedule small` chooses: a run that fits the data, with the command line above it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.sources import Input
from tests.train.run.test_fit import overrides
from train import config
from train.checkpoints import checkpoint
from train.run import fit, small, solver
from train.run.request import Request


def chosen(images: int, shorter: int = 480, anchor: float = 8) -> dict[str, Any]:
    return {choice.key: choice.value for choice in small.choose(images, shorter, anchor)}


def test_for_the_blood_cells() -> None:
    """205 images of 640 x 480 px, and `tiny`, whose anchors begin at 8 px."""
    assert chosen(205) == {
        "INPUT.MIN_SIZE_TRAIN": [144, 176],  # 160 px, 10 % more or less
        "INPUT.MIN_SIZE_TRAIN_SAMPLING": "range",
        "INPUT.MIN_SIZE_TEST": 160,  # 20 x 8
        "INPUT.MAX_SIZE_TRAIN": 352,
        "INPUT.MAX_SIZE_TEST": 352,
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.BASE_LR": 0.24,
        "SOLVER.EPOCHS": 68.3,  # 14,000 / 205
        "SOLVER.STEP_EPOCHS": [51.22, 61.47],
        "SOLVER.WARMUP_EPOCHS": 5.46,
        "SOLVER.VALIDATE_EPOCHS": 3,
    }


def test_images_are_not_enlarged_beyond_their_own_size() -> None:
    assert chosen(205, shorter=480, anchor=32)["INPUT.MIN_SIZE_TEST"] == 480  # not 20 x 32
    assert chosen(205, shorter=900, anchor=32)["INPUT.MIN_SIZE_TEST"] == 640


@pytest.mark.parametrize(("images", "row"), [(1, 0), (50, 0), (51, 1), (12_000, 6), (1_000_000, 6)])
def test_rows_go_up_to_their_number(images: int, row: int) -> None:
    assert small.row_of(images) == small.TABLE[row]


def test_more_images_are_shown_longer_and_each_less_often() -> None:
    rows = small.TABLE
    assert [row.most for row in rows] == sorted(row.most for row in rows)
    for one, other in itertools.pairwise(rows):
        assert one.shown < other.shown
        assert one.shown / one.most > other.shown / other.most


@given(st.integers(1, 20_000), st.integers(8, 4000), st.sampled_from([4.0, 8.0, 32.0]))
def test_every_choice_is_a_schedule_that_can_be_run(images: int, shorter: int, anchor: float) -> None:
    cfg = config.load("tiny", "sample")
    for choice in small.choose(images, shorter, anchor):
        config.merge_overrides(cfg, [choice.key, str(choice.value)])
    config.check(cfg)
    schedule = solver.schedule_of(cfg, images)
    row = small.row_of(images)
    # To the tenth of an epoch in which the run is given.
    assert abs(schedule.last * row.batch - row.shown) <= 0.05 * images + row.batch
    assert schedule.warmup < schedule.steps[0] < schedule.steps[1] < schedule.last
    assert 1 <= len(schedule.epoch_ends()) <= 45


def test_the_plan_gives_reasons_and_what_was_given() -> None:
    lines = small.describe(small.choose(1_230, 480, 8), ["SOLVER.EPOCHS"])
    assert "  SOLVER.EPOCHS: as given, not 39.0" in lines
    assert "  SOLVER.BASE_LR 0.24: 0.03 a step of 2" in lines
    assert "  INPUT.MIN_SIZE_TRAIN [144, 176]: around 160 px: 20 of the model's smallest anchors, 8 px" in lines


def test_a_run_takes_what_is_chosen_and_the_command_line_first(
    drawn: Input, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = overrides(SOLVER__MAX_ITER="1")
    kept = [at for at in range(0, len(given), 2) if given[at] not in ("INPUT.MIN_SIZE_TEST", "SOLVER.EPOCHS")]
    request = Request(
        "tiny", drawn, tmp_path / "run", "small", tuple(part for at in kept for part in given[at : at + 2])
    )
    fit.fit(request)
    said = capsys.readouterr().out
    cfg = config.from_text(checkpoint.read(tmp_path / "run" / checkpoint.LAST).content["config"], "run")
    # Seven images with objects, of which the median shorter side is 71 px; 6,000 / 7.
    assert cfg.INPUT.MIN_SIZE_TEST == 71
    assert cfg.SOLVER.EPOCHS == 857.1
    assert list(cfg.INPUT.MIN_SIZE_TRAIN) == [48, 64]
    assert "INPUT.MIN_SIZE_TRAIN: as given, not [64, 78]" in said
    assert "beyond the paper: SOLVER.SMALL True" in said
    fit.fit(request._replace(resume=True))
    assert "complete" in capsys.readouterr().out
