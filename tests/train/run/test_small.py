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
from train.data.read import TrainingData
from train.run import fit, small, solver
from train.run.request import Request


def chosen(images: int, shorter: int = 480, anchor: float = 8, **given: Any) -> dict[str, Any]:
    """Key -> value; `given` by keys with a double underscore for a dot."""
    keys = {key.replace("__", "."): value for key, value in given.items()}
    choices = small.choose(images, shorter, anchor, {"SOLVER.REFERENCE_BATCH": 16, **keys})
    return {choice.key: choice.value for choice in choices if not choice.given}


def test_for_the_blood_cells() -> None:
    """205 images of 640 x 480 px, and `tiny`, whose anchors begin at 8 px."""
    assert chosen(205) == {
        "INPUT.MIN_SIZE_TRAIN": [144, 176],  # 160 px, 10 % more or less
        "INPUT.MIN_SIZE_TRAIN_SAMPLING": "range",
        "INPUT.MIN_SIZE_TEST": 160,  # 20 x 8
        "INPUT.MAX_SIZE_TRAIN": 352,
        "INPUT.MAX_SIZE_TEST": 352,
        "TEST.AUG.MIN_SIZES": [144, 160, 176],
        "TEST.AUG.MAX_SIZE": 352,
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.BASE_LR": 0.24,  # 0.03 x 16 / 2
        "SOLVER.EPOCHS": 68.3,  # 14,000 / 205
        "SOLVER.STEP_EPOCHS": [51.22, 61.47],
        "SOLVER.WARMUP_EPOCHS": 5.46,
        "SOLVER.VALIDATE_EPOCHS": 3,
        "SOLVER.EMA": 0.998,  # 7,000 steps
    }


def test_what_depends_on_a_given_length_follows_it() -> None:
    found = chosen(205, SOLVER__EPOCHS=10.0)
    assert found["SOLVER.STEP_EPOCHS"] == [7.5, 9.0]
    assert found["SOLVER.WARMUP_EPOCHS"] == 0.8
    assert found["SOLVER.VALIDATE_EPOCHS"] == 1
    # 1,025 steps are too few for it.
    assert found["SOLVER.EMA"] == 0
    assert chosen(200, SOLVER__EPOCHS=20.0)["SOLVER.EMA"] == 0.998  # 2,000
    assert chosen(200, SOLVER__EPOCHS=19.9)["SOLVER.EMA"] == 0


def test_the_rate_follows_a_given_batch_and_its_reference() -> None:
    assert chosen(205, SOLVER__IMS_PER_BATCH=8)["SOLVER.BASE_LR"] == 0.08  # 0.04 x 16 / 8
    assert chosen(205, SOLVER__IMS_PER_BATCH=6)["SOLVER.BASE_LR"] == pytest.approx(0.035 * 16 / 6, abs=1e-6)
    assert chosen(205, SOLVER__REFERENCE_BATCH=2)["SOLVER.BASE_LR"] == 0.03


@pytest.mark.parametrize(
    ("given", "train", "test", "longest"),
    [
        ({"INPUT__MIN_SIZE_TRAIN": [400, 500]}, None, 450, 1000),
        ({"INPUT__MIN_SIZE_TEST": 100}, [90, 110], None, 220),
        ({"INPUT__SIZE_STEPS": [[0, [96, 128]], [8, [300, 420]]]}, [324, 396], 360, 840),
        ({"INPUT__MIN_SIZE_TRAIN": [100, 120], "INPUT__MIN_SIZE_TEST": 200}, None, None, 440),
    ],
)
def test_sizes_follow_those_that_are_given(
    given: dict[str, Any], train: list[int] | None, test: int | None, longest: int
) -> None:
    found = chosen(205, **given)
    assert found.get("INPUT.MIN_SIZE_TRAIN") == train
    assert found.get("INPUT.MIN_SIZE_TEST") == test
    assert found["INPUT.MAX_SIZE_TRAIN"] == found["TEST.AUG.MAX_SIZE"] == longest


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


@given(
    st.integers(1, 20_000),
    st.integers(8, 4000),
    st.sampled_from([4.0, 8.0, 32.0]),
    st.sampled_from([None, 0.5, 3.0, 80.0]),
    st.sampled_from([None, 1, 2, 5, 16, 64]),
)
def test_every_choice_is_a_schedule_that_can_be_run(
    images: int, shorter: int, anchor: float, epochs: float | None, batch: int | None
) -> None:
    given = {"SOLVER.EPOCHS": epochs, "SOLVER.IMS_PER_BATCH": batch}
    set_ = {key: value for key, value in given.items() if value is not None}
    cfg = config.load("tiny", "sample", [part for key, value in set_.items() for part in (key, str(value))])
    for choice in small.choose(images, shorter, anchor, {**set_, "SOLVER.REFERENCE_BATCH": 16}):
        if not choice.given:
            config.merge_overrides(cfg, [choice.key, str(choice.value)])
    config.check(cfg)
    schedule = solver.schedule_of(cfg, images)
    row = small.row_of(images)
    if epochs is None:
        # To the tenth of an epoch in which the run is given.
        assert abs(schedule.last * schedule.batch - row.shown) <= 0.05 * images + schedule.batch
    if schedule.last > 100:
        assert schedule.warmup < schedule.steps[0] < schedule.steps[1] < schedule.last
    assert schedule.learning_rate == pytest.approx(small.rate_of(schedule.batch), rel=1e-4)
    assert 1 <= len(schedule.epoch_ends()) <= 45


def test_the_plan_gives_reasons_and_what_was_given() -> None:
    lines = small.describe(small.choose(1_230, 480, 8, {"SOLVER.REFERENCE_BATCH": 16, "SOLVER.EPOCHS": 20.0}))
    assert "  SOLVER.EPOCHS: as given, not 39.0" in lines
    assert "  SOLVER.STEP_EPOCHS [15.0, 18.0]: after 75 and 90 % of the run" in lines
    assert "  SOLVER.BASE_LR 0.24: 0.03 for a step of 2" in lines
    assert "  INPUT.MIN_SIZE_TRAIN [144, 176]: around 160 px: 20 of the model's smallest anchors, 8 px" in lines


def test_keys_of_a_file_of_ones_own_are_given(drawn_data: TrainingData, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    base = config.SCHEDULES / "small.yaml"
    path.write_text(f"_BASE_: {base}\nSOLVER: {{EPOCHS: 3.0, BASE_LR: 0.01}}\nINPUT: {{MIN_SIZE_TEST: 100}}\n")
    cfg = config.load("tiny", str(path))
    lines = small.apply(cfg, drawn_data.records, [])
    assert (cfg.SOLVER.EPOCHS, cfg.SOLVER.BASE_LR, cfg.INPUT.MIN_SIZE_TEST) == (3.0, 0.01, 100)
    assert (list(cfg.SOLVER.STEP_EPOCHS), list(cfg.INPUT.MIN_SIZE_TRAIN)) == ([2.25, 2.7], [90, 110])
    assert "  SOLVER.BASE_LR: as given, not 0.24" in lines


def test_a_run_takes_what_is_chosen_and_the_command_line_first(
    drawn: Input, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = overrides(SOLVER__MAX_ITER="1")
    free = ("INPUT.MIN_SIZE_TRAIN", "INPUT.MIN_SIZE_TEST", "INPUT.MAX_SIZE_TRAIN", "SOLVER.EPOCHS")
    kept = [at for at in range(0, len(given), 2) if given[at] not in free]
    request = Request(
        "tiny", drawn, tmp_path / "run", "small", tuple(part for at in kept for part in given[at : at + 2])
    )
    fit.fit(request)
    said = capsys.readouterr().out
    cfg = config.from_text(checkpoint.read(tmp_path / "run" / checkpoint.LAST).content["config"], "run")
    # Seven images with objects, of which the median shorter side is 71 px; 6,000 / 7.
    assert cfg.INPUT.MIN_SIZE_TEST == 71
    assert cfg.SOLVER.EPOCHS == 857.1
    assert list(cfg.INPUT.MIN_SIZE_TRAIN) == [64, 78]
    assert cfg.INPUT.MAX_SIZE_TEST == 96
    assert "INPUT.MAX_SIZE_TEST: as given, not 156" in said
    assert "beyond the paper: SOLVER.SMALL True" in said
    fit.fit(request._replace(resume=True))
    assert "complete" in capsys.readouterr().out
