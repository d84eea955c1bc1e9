"""What a configuration must not say: everything that would fail or mislead hours later."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import DataError
from train import config


def refusal(*overrides: str, model: str = "tiny") -> str:
    """What is said of a configuration that cannot be loaded."""
    with pytest.raises(DataError) as caught:
        config.load(model, "sample", [*SIZES, *overrides])
    return str(caught.value)


def is_refused(*overrides: str) -> bool:
    try:
        config.load("tiny", "sample", [*SIZES, *overrides])
    except DataError:
        return True
    return False


BATCH = ("SOLVER.IMS_PER_BATCH", "4")
# Sizes that the cases below are next to, whatever the sample schedule has.
SIZES = ("INPUT.MIN_SIZE_TRAIN", "[144, 176]", "INPUT.MAX_SIZE_TRAIN", "320")
UNUSABLE = "the configuration cannot be used\n  "


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["MODEL.PROPOSAL_GENERATOR.NAME", "RPN"], "expected IgnoreAwareRPN, found 'RPN'"),
        (["MODEL.ROI_HEADS.NAME", "Res5ROIHeads"], "expected IgnoreAwareROIHeads or IgnoreAwareCascadeROIHeads, found"),
        (["MODEL.META_ARCHITECTURE", "RetinaNet"], "expected GeneralizedRCNN, found 'RetinaNet'"),
        (["MODEL.DEVICE", "gpu"], "expected auto, cpu or cuda, found 'gpu'"),
        (["INPUT.FORMAT", "L"], "expected BGR or RGB, found 'L'"),
        (["INPUT.RANDOM_FLIP", "vertical"], "expected horizontal or none, found 'vertical'"),
        (["INPUT.MASK_FORMAT", "bitmask"], "expected polygon, found 'bitmask'"),
        (["INPUT.MIN_SIZE_TRAIN_SAMPLING", "any"], "expected choice or range, found 'any'"),
        (["SOLVER.LR_SCHEDULE", "step"], "expected steps or cosine, found 'step'"),
        (["SOLVER.PATIENCE", "-1"], "expected a whole number of 0 or more, found -1"),
        (
            ["LOGGERS", "['tensorboard', 'comet']"],
            "expected a list of tensorboard, wandb or mlflow, each once at most, or",
        ),
        (
            ["LOGGERS", "['wandb', 'wandb']"],
            "expected a list of tensorboard, wandb or mlflow, each once at most, or []",
        ),
        (["LOGGERS", "[1]"], "expected a list of tensorboard, wandb or mlflow, each once at most, or [], found [1]"),
        (["INPUT.CROP.ENABLED", "True"], "not obeyed here, found True; "),
        (["MODEL.KEYPOINT_ON", "True"], "not obeyed here, found True; "),
        (["MODEL.LOAD_PROPOSALS", "True"], "not obeyed here, found True; "),
        (["TEST.PRECISE_BN.ENABLED", "True"], "not obeyed here, found True; "),
        (["MODEL.LOSS_WEIGHTS.loss_cls", "-0.1"], "expected a number of 0 or more, found -0.1"),
        (["MODEL.LOSS_WEIGHTS.loss_mask", "1e999"], "expected a number of 0 or more, found inf"),
        (["INPUT.MIN_SIZE_TRAIN", "[]"], "expected a rising pair of sizes, found []"),
        (["INPUT.MIN_SIZE_TRAIN", "[160]"], "expected a rising pair of sizes, found [160]"),
        (["INPUT.MIN_SIZE_TRAIN", "[144, 160, 176]"], "expected a rising pair of sizes, found [144, 160, 176]"),
        (["INPUT.MIN_SIZE_TRAIN", "[176, 144]"], "expected a rising pair of sizes, found [176, 144]"),
        (["INPUT.MIN_SIZE_TRAIN", "[0, 144]"], "expected a rising pair of sizes, found [0, 144]"),
        (["INPUT.MIN_SIZE_TRAIN", "['a', 'b']"], "expected a rising pair of sizes, found ['a', 'b']"),
        (["INPUT.MAX_SIZE_TRAIN", "175"], "expected at least the largest shorter side, 176, found 175"),
        (["INPUT.SIZE_STEPS", "[[0, [176, 144]]]"], "expected a rising pair of sizes, found [176, 144]"),
        (["INPUT.SIZE_STEPS", "[[4, [96, 128]], [4, [144, 176]]]"], "expected [[epoch, [sizes]], ...] with rising"),
        (["INPUT.SIZE_STEPS", "[[0.5, [96, 128]]]"], "expected [[epoch, [sizes]], ...] with rising whole epochs"),
        (["INPUT.SIZE_STEPS", "[[-1, [96, 128]]]"], "expected [[epoch, [sizes]], ...] with rising whole epochs"),
        (["INPUT.SIZE_STEPS", "[96, 128]"], "expected [[epoch, [sizes]], ...] with rising whole epochs from 0"),
        (["INPUT.SIZE_STEPS", "[[0, 96]]"], "expected [[epoch, [sizes]], ...] with rising whole epochs from 0"),
        (["INPUT.SCALE", "object"], "expected picture or source, found 'object'"),
        (["INPUT.CANVAS", "-1"], "expected a whole number from 0 to 16384, found -1"),
        (["INPUT.CANVAS", "20000"], "expected a whole number from 0 to 16384, found 20000"),
        (["INPUT.ONLINE_OFF_EPOCHS", "-1.0"], "expected a number of 0 or more, found -1.0"),
        (["SOLVER.EMA", "1.0"], "expected a number of 0 or more, below 1, found 1.0"),
        (["SOLVER.VALIDATE_EPOCHS", "0"], "expected a whole number of 1 or more, found 0"),
        (["INPUT.MIN_SIZE_TEST", "0"], "expected a size above 0, found 0"),
        (["INPUT.MAX_SIZE_TEST", "0"], "expected a size above 0, found 0"),
        (["TEST.AUG.MIN_SIZES", "[]"], "expected sizes above 0, found []"),
        (["TEST.AUG.MIN_SIZES", "[144, 0]"], "expected sizes above 0, found [144, 0]"),
        (["TEST.AUG.MAX_SIZE", "-1"], "expected a size above 0, found -1"),
        (["MODEL.RESNETS.NORM", "FrozenBN"], "expected GN or BN, found FrozenBN, whose statistics from scratch are wr"),
        (["SOLVER.ACCUMULATE", "0", *BATCH], "expected a divisor of SOLVER.IMS_PER_BATCH 4, found 0"),
        (["SOLVER.ACCUMULATE", "-2", *BATCH], "expected a divisor of SOLVER.IMS_PER_BATCH 4, found -2"),
        (["SOLVER.ACCUMULATE", "3", *BATCH], "expected a divisor of SOLVER.IMS_PER_BATCH 4, found 3"),
        (["SOLVER.STEP_EPOCHS", "[[4.5]]"], "expected numbers, found [[4.5]]"),
        (["MODEL.IGNORE.MIN_IOA", "0.0"], "expected more than 0, at most 1, found 0.0"),
        (["MODEL.IGNORE.MIN_IOA", "1.25"], "expected more than 0, at most 1, found 1.25"),
        # What a YAML file says by leaving a value out.
        (["SOLVER.EPOCHS", "None"], "expected a value, found none"),
        (["INPUT.MIN_SIZE_TRAIN", "None"], "expected a value, found none"),
    ],
)
def test_what_would_fail_later_is_refused(overrides: list[str], expected: str) -> None:
    text = refusal(*overrides)
    assert text.startswith(f"{UNUSABLE}{overrides[0]}: {expected}")
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    "overrides",
    [
        ["INPUT.MIN_SIZE_TRAIN", "[176, 176]"],
        ["INPUT.MIN_SIZE_TRAIN", "[1, 320]"],
        ["INPUT.MIN_SIZE_TRAIN", "[320, 144, 160]", "INPUT.MIN_SIZE_TRAIN_SAMPLING", "choice"],
        ["INPUT.MAX_SIZE_TRAIN", "176"],
        ["INPUT.MIN_SIZE_TEST", "1"],
        ["INPUT.FORMAT", "RGB"],
        ["INPUT.RANDOM_FLIP", "none"],
        ["SOLVER.LR_SCHEDULE", "cosine"],
        ["LOGGERS", "[]"],
        ["LOGGERS", "['mlflow', 'tensorboard']"],
        ["SOLVER.PATIENCE", "1"],
        ["SOLVER.STEP_EPOCHS", "[]"],
        ["SOLVER.STEP_EPOCHS", "[1, 2.5]"],
        ["MODEL.IGNORE.MIN_IOA", "1.0"],
        ["MODEL.DEVICE", "cpu"],
        ["MODEL.CHECKPOINT_ACTIVATIONS", "True"],
        # Detectron2's own default.
        ["SOLVER.WEIGHT_DECAY_BIAS", "None"],
    ],
)
def test_what_is_just_good_is_taken(overrides: list[str]) -> None:
    assert not is_refused(*overrides)


def test_activations_are_not_computed_twice_under_batch_norm() -> None:
    assert refusal("MODEL.CHECKPOINT_ACTIVATIONS", "True", model="r50-bn") == (
        f"{UNUSABLE}MODEL.CHECKPOINT_ACTIVATIONS: expected a model with group norm, found batch norm, whose running "
        "statistics would count every batch twice"
    )


def test_all_problems_are_named_at_once() -> None:
    text = refusal("MODEL.DEVICE", "gpu", "SOLVER.ACCUMULATE", "3", "INPUT.MIN_SIZE_TRAIN", "[0]", *BATCH)
    keys = [line.partition(":")[0].strip() for line in text.splitlines()[1:]]
    assert sorted(keys) == ["INPUT.MIN_SIZE_TRAIN", "MODEL.DEVICE", "SOLVER.ACCUMULATE"]


@given(st.integers(1, 40), st.integers(-2, 45))
@settings(max_examples=60, deadline=None)
def test_a_batch_is_divided_into_equal_parts(batch: int, parts: int) -> None:
    equal = any(parts * size == batch for size in range(1, batch + 1))
    assert is_refused("SOLVER.IMS_PER_BATCH", str(batch), "SOLVER.ACCUMULATE", str(parts)) is not equal


@given(st.lists(st.integers(-1, 4), max_size=3), st.integers(1, 4), st.sampled_from(["range", "choice"]))
@settings(max_examples=100, deadline=None)
def test_sizes_to_train_on(sizes: list[int], longest: int, sampling: str) -> None:
    good = sizes != [] and all(0 < size <= longest for size in sizes)
    if sampling == "range":
        good = good and len(sizes) == 2 and sizes == sorted(sizes)
    overrides = ("INPUT.MIN_SIZE_TRAIN", str(sizes), "INPUT.MAX_SIZE_TRAIN", str(longest))
    assert is_refused(*overrides, "INPUT.MIN_SIZE_TRAIN_SAMPLING", sampling) is not good
