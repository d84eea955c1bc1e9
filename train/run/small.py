"""`--schedule small`: size, batch, length and learning rate of a run, chosen by what the training data are.

Keys on the command line come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from train import config
from train.data.records import Record

# What a run is to have of validations, each with a checkpoint.
VALIDATIONS = 20
# Of the smallest anchor: 160 px for `tiny`, whose anchors begin at 8, and 640 px for the others.
SIDE_IN_ANCHORS = 20
# Drawn from this part more or less than the size at test: trained and tested on one scale.
SPREAD = 0.1
# Of all iterations; as in the schedule of the sample.
WARMUP, STEPS = 0.08, (0.75, 0.9)


class Row(NamedTuple):
    """For up to `most` training images: how many are shown in a run, `batch` at a time, and BASE_LR for 16."""

    most: int
    shown: int
    batch: int
    base_lr: float


# From BCCD: 205 images taught little more after 12,800 had been shown, made into 1,230 they still did. A batch of 2
# makes the most of each image, which group norm does not mind; larger ones keep a GPU busy where there are many images.
# The rate of batch 2 is that of the sample, twelve times what the linear rule gives; of larger ones it is a guess.
TABLE = (
    Row(50, 6_000, 2, 0.24),
    Row(250, 14_000, 2, 0.24),
    Row(700, 24_000, 2, 0.24),
    Row(1_500, 48_000, 2, 0.24),
    Row(3_000, 80_000, 4, 0.14),
    Row(6_000, 140_000, 8, 0.08),
    Row(12_000, 270_000, 16, 0.04),
)


class Choice(NamedTuple):
    """A value that was chosen, and why."""

    key: str
    value: object
    reason: str


def choose(images: int, shorter_side: int, smallest_anchor: float) -> list[Choice]:
    """The values of a run on some `images`, whose shorter side is `shorter_side` px as a median."""
    row = row_of(images)
    epochs = round(row.shown / images, 1)
    side, why = side_of(shorter_side, smallest_anchor)
    low, high = round(side * (1 - SPREAD)), round(side * (1 + SPREAD))
    longest = 2 * high
    up_to = f"up to {row.most:,}" if images <= row.most else f"more than {row.most:,}"
    return [
        Choice("INPUT.MIN_SIZE_TRAIN", [low, high], f"around {side} px: {why}"),
        Choice("INPUT.MIN_SIZE_TRAIN_SAMPLING", "range", ""),
        Choice("INPUT.MIN_SIZE_TEST", side, "the middle of the training sizes"),
        Choice("INPUT.MAX_SIZE_TRAIN", longest, ""),
        Choice("INPUT.MAX_SIZE_TEST", longest, ""),
        Choice("SOLVER.IMS_PER_BATCH", row.batch, "many small steps" if row.batch == 2 else "keeps a GPU busy"),
        Choice("SOLVER.BASE_LR", row.base_lr, f"{row.base_lr * row.batch / 16:.3g} a step of {row.batch}"),
        Choice("SOLVER.EPOCHS", epochs, f"{row.shown:,} images shown, for {up_to} to train on"),
        Choice("SOLVER.STEP_EPOCHS", [round(epochs * share, 2) for share in STEPS], "after 75 and 90 % of the run"),
        Choice("SOLVER.WARMUP_EPOCHS", round(epochs * WARMUP, 2), "8 % of the run"),
        Choice("SOLVER.VALIDATE_EPOCHS", max(1, round(epochs / VALIDATIONS)), f"about {VALIDATIONS} validations"),
    ]


def row_of(images: int) -> Row:
    """The row for some images; the last for more than it is for."""
    return next((row for row in TABLE if images <= row.most), TABLE[-1])


def side_of(shorter_side: int, smallest_anchor: float) -> tuple[int, str]:
    """The shorter side at test, and why."""
    fitting = round(SIDE_IN_ANCHORS * smallest_anchor)
    if shorter_side < fitting:
        return shorter_side, "the images' own; larger ones would show no more"
    return fitting, f"{SIDE_IN_ANCHORS} of the model's smallest anchors, {smallest_anchor:g} px"


def apply(cfg: Any, records: Sequence[Record], given: list[str]) -> list[str]:
    """Sets what is chosen for these training images, but for the keys that are `given`; returns lines for the plan."""
    shorter = int(np.median([min(record.size) for record in records]))
    smallest = min(min(sizes) for sizes in cfg.MODEL.ANCHOR_GENERATOR.SIZES)
    choices = choose(len(records), shorter, smallest)
    for choice in choices:
        if choice.key not in given:
            config.merge_overrides(cfg, [choice.key, str(choice.value)])
    config.check(cfg)
    return describe(choices, given)


def describe(choices: list[Choice], given: list[str]) -> list[str]:
    """Lines for the plan; `given` are the keys that the command line has."""
    lines = ["schedule small, chosen by the data:"]
    for choice in choices:
        if choice.key in given:
            lines.append(f"  {choice.key}: as given, not {choice.value}")
        elif choice.reason:
            lines.append(f"  {choice.key} {choice.value}: {choice.reason}")
    return lines
