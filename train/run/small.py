"""`--schedule small`: size, batch, length and learning rate of a run, chosen by what the training data are.

Keys that the user set, on the command line or in files of their own, come first, and what depends on them follows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from train import config
from train.data.records import Record

# What a run is to have of validations, each with a checkpoint.
VALIDATIONS = 20
# Of the smallest anchor: 160 px for `tiny`, whose anchors begin at 8, and 640 px for the others.
SIDE_IN_ANCHORS = 20
# Sizes are drawn from this part less to this part more than the size at test: trained and tested on one scale.
SPREAD = 0.1
# Of all epochs; as in the schedule of the sample.
WARMUP, STEPS = 0.08, (0.75, 0.9)
# docs/evidence.md: the moving average of weights gained up to 1 AP with few images and a larger model, made no
# difference after 2,400 steps otherwise, and cost 1 to 2 AP after 600.
AVERAGE, AVERAGED_FROM = 0.998, 2_000
CHOSEN = (
    "INPUT.MIN_SIZE_TRAIN",
    "INPUT.MIN_SIZE_TRAIN_SAMPLING",
    "INPUT.MIN_SIZE_TEST",
    "INPUT.MAX_SIZE_TRAIN",
    "INPUT.MAX_SIZE_TEST",
    "TEST.AUG.MIN_SIZES",
    "TEST.AUG.MAX_SIZE",
    "SOLVER.IMS_PER_BATCH",
    "SOLVER.BASE_LR",
    "SOLVER.EPOCHS",
    "SOLVER.STEP_EPOCHS",
    "SOLVER.WARMUP_EPOCHS",
    "SOLVER.VALIDATE_EPOCHS",
    "SOLVER.EMA",
)


class Row(NamedTuple):
    """For up to `most` training images: how many are shown in a run, `batch` at a time."""

    most: int
    shown: int
    batch: int


# From BCCD: 205 images taught little more after 12,800 had been shown, made into 1,230 they still did. A batch of 2
# makes the most of each image, which group norm does not mind; larger ones keep a GPU busy where there are many images.
TABLE = (
    Row(50, 6_000, 2),
    Row(250, 14_000, 2),
    Row(700, 24_000, 2),
    Row(1_500, 48_000, 2),
    Row(3_000, 80_000, 4),
    Row(6_000, 140_000, 8),
    Row(12_000, 270_000, 16),
)
# The learning rate of a step, by its images: that of 2 is the sample's, twelve times what the linear rule gives, that
# of 8 was measured with `r18`, that of 4 lies between them, and nothing is known of more.
RATES = {1: 0.015, 2: 0.03, 4: 0.035, 8: 0.04}


class Choice(NamedTuple):
    """A value that was chosen, and why; `given` where the user set another one."""

    key: str
    value: Any
    reason: str
    given: bool = False


def choose(images: int, shorter_side: int, smallest_anchor: float, given: Mapping[str, Any]) -> list[Choice]:
    """The values of a run on some `images`, whose shorter side is `shorter_side` px as a median.

    `given` has the keys that the user set, SOLVER.REFERENCE_BATCH, and SOLVER.MAX_ITER, 0 for none.
    """
    chosen = [*_sizes(shorter_side, smallest_anchor, given), *_steps(images, given)]
    return [choice._replace(given=choice.key in given) for choice in chosen]


def _sizes(shorter_side: int, smallest_anchor: float, given: Mapping[str, Any]) -> list[Choice]:
    """At test the middle of the training sizes; of both, what was not given follows the other."""
    steps = given.get("INPUT.SIZE_STEPS") or []
    trained = list(steps[-1][1]) if steps else given.get("INPUT.MIN_SIZE_TRAIN")
    if "INPUT.MIN_SIZE_TEST" in given:
        side, why = given["INPUT.MIN_SIZE_TEST"], "the size at test, which was given"
    elif trained:
        side, why = round((min(trained) + max(trained)) / 2), "the middle of the training sizes, which were given"
    else:
        side, why = side_of(shorter_side, smallest_anchor)
    low, high = round(side * (1 - SPREAD)), round(side * (1 + SPREAD))
    largest = max([side, high, *(trained or []), *(size for _, sizes in steps for size in sizes)])
    return [
        Choice("INPUT.MIN_SIZE_TRAIN", [low, high], f"around {side} px: {why}"),
        Choice("INPUT.MIN_SIZE_TRAIN_SAMPLING", "range", ""),
        Choice("INPUT.MIN_SIZE_TEST", side, why if trained else "the middle of the training sizes"),
        Choice("INPUT.MAX_SIZE_TRAIN", 2 * largest, ""),
        Choice("INPUT.MAX_SIZE_TEST", 2 * largest, ""),
        Choice("TEST.AUG.MIN_SIZES", sorted({low, side, high}), ""),
        Choice("TEST.AUG.MAX_SIZE", 2 * largest, ""),
    ]


def _steps(images: int, given: Mapping[str, Any]) -> list[Choice]:
    row = row_of(images)
    batch = given.get("SOLVER.IMS_PER_BATCH", row.batch)
    rate = rate_of(batch)
    epochs = given.get("SOLVER.EPOCHS", round(row.shown / images, 1))
    iterations = epochs * images / batch
    is_averaged = min(iterations, given.get("SOLVER.MAX_ITER") or iterations) >= AVERAGED_FROM
    up_to = f"up to {row.most:,}" if images <= row.most else f"more than {row.most:,}"
    return [
        Choice("SOLVER.IMS_PER_BATCH", row.batch, "many small steps" if row.batch == 2 else "keeps a GPU busy"),
        Choice(
            "SOLVER.BASE_LR",
            round(rate * given["SOLVER.REFERENCE_BATCH"] / batch, 6),
            f"{rate:.3g} for a step of {batch}",
        ),
        Choice("SOLVER.EPOCHS", round(row.shown / images, 1), f"{row.shown:,} images shown, for {up_to} to train on"),
        Choice("SOLVER.STEP_EPOCHS", [round(epochs * share, 2) for share in STEPS], "after 75 and 90 % of the run"),
        Choice("SOLVER.WARMUP_EPOCHS", round(epochs * WARMUP, 2), "8 % of the run"),
        Choice("SOLVER.VALIDATE_EPOCHS", max(1, round(epochs / VALIDATIONS)), f"about {VALIDATIONS} validations"),
        Choice(
            "SOLVER.EMA",
            AVERAGE if is_averaged else 0.0,
            f"the average of weights, which {'few images gain from' if is_averaged else 'costs AP in short runs'}",
        ),
    ]


def row_of(images: int) -> Row:
    """The row for some images; the last for more than it is for."""
    return next((row for row in TABLE if images <= row.most), TABLE[-1])


def rate_of(batch: int) -> float:
    """The learning rate of a step of `batch` images: that of the next smaller batch which has one."""
    return RATES[max(known for known in RATES if known <= batch)]


def side_of(shorter_side: int, smallest_anchor: float) -> tuple[int, str]:
    """The shorter side at test, and why."""
    fitting = round(SIDE_IN_ANCHORS * smallest_anchor)
    if shorter_side < fitting:
        return shorter_side, "the images' own; larger ones would show no more"
    return fitting, f"{SIDE_IN_ANCHORS} of the model's smallest anchors, {smallest_anchor:g} px"


def apply(cfg: Any, records: Sequence[Record], named: Sequence[str]) -> list[str]:
    """Sets what is chosen for these training images; returns lines for the plan.

    Of the chosen keys, those that have another value than the default are the user's, by a file, and those `named` on
    the command line.
    """
    values, defaults = config.flat(cfg), config.flat(config.default())
    keys = [key for key in (*CHOSEN, "INPUT.SIZE_STEPS") if key in named or values[key] != defaults[key]]
    given = {key: values[key] for key in (*keys, "SOLVER.REFERENCE_BATCH", "SOLVER.MAX_ITER")}
    shorter = int(np.median([min(record.size) for record in records]))
    smallest = min(min(sizes) for sizes in cfg.MODEL.ANCHOR_GENERATOR.SIZES)
    choices = choose(len(records), shorter, smallest, given)
    for choice in choices:
        if not choice.given:
            config.merge_overrides(cfg, [choice.key, str(choice.value)])
    config.check(cfg)
    return describe(choices)


def describe(choices: Sequence[Choice]) -> list[str]:
    """Lines for the plan."""
    lines = ["schedule small, chosen by the data:"]
    for choice in choices:
        if choice.given:
            lines.append(f"  {choice.key}: as given, not {choice.value}")
        elif choice.reason:
            lines.append(f"  {choice.key} {choice.value}: {choice.reason}")
    return lines
