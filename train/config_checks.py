"""Checks of a whole configuration: everything that would fail or mislead hours later."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from train import config_rules

# timm's ResNeSts all of whose norms can have 32 groups: radix 2, cardinality 1, width 64, as in their paper.
RESNESTS = ("resnest14d", "resnest26d", "resnest50d", "resnest101e", "resnest200e", "resnest269e")


def missing_values(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """Keys without a value where one is required; both are dotted key -> value.

    Detectron2 lets every key be None, which YAML expresses by an empty value.
    """
    return [
        f"{key}: expected a value, found none"
        for key, value in values.items()
        if value is None and defaults.get(key) is not None
    ]


def problems_of(cfg: Any, values: Mapping[str, Any]) -> list[str]:
    """The problems of a configuration, by key; `values` are its dotted key -> value."""
    problems = config_rules.broken(values)
    if not problems:
        # Combinations are only checked for values that are valid by themselves.
        problems += config_rules.disagreeing(values)
    problems += _size_problems(cfg)
    if not all(type(epoch) in (int, float) for epoch in cfg.SOLVER.STEP_EPOCHS):
        problems.append(f"SOLVER.STEP_EPOCHS: expected numbers, found {list(cfg.SOLVER.STEP_EPOCHS)}")
    if cfg.MODEL.RESNETS.NORM == "FrozenBN":
        problems.append(
            "MODEL.RESNETS.NORM: expected GN or BN, found FrozenBN, whose statistics from scratch are wrong"
        )
    problems += _resnest_problems(cfg)
    if cfg.MODEL.CHECKPOINT_ACTIVATIONS and "BN" in cfg.MODEL.RESNETS.NORM:
        problems.append(
            "MODEL.CHECKPOINT_ACTIVATIONS: expected a model with group norm, found batch norm, whose running "
            "statistics would count every batch twice"
        )
    if cfg.SOLVER.ACCUMULATE < 1 or cfg.SOLVER.IMS_PER_BATCH % max(cfg.SOLVER.ACCUMULATE, 1):
        problems.append(
            f"SOLVER.ACCUMULATE: expected a divisor of SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH}, found "
            f"{cfg.SOLVER.ACCUMULATE}"
        )
    problems += [
        f"MODEL.LOSS_WEIGHTS.{name}: expected a number of 0 or more, found {weight}"
        for name, weight in cfg.MODEL.LOSS_WEIGHTS.items()
        if not 0 <= weight < math.inf
    ]
    if not 0 < cfg.MODEL.IGNORE.MIN_IOA <= 1:
        problems.append(f"MODEL.IGNORE.MIN_IOA: expected more than 0, at most 1, found {cfg.MODEL.IGNORE.MIN_IOA}")
    return problems


def norms_without_gpu(values: Mapping[str, Any]) -> list[str]:
    """Norms that torch has on GPUs only."""
    return [
        f"{key}: expected a norm that a CPU has, such as GN or naiveSyncBN, found {value}"
        for key, value in values.items()
        if key.endswith(".NORM") and value in ("SyncBN", "nnSyncBN") and key in config_rules.RULES
    ]


def _resnest_problems(cfg: Any) -> list[str]:
    """The problems of a model on ResNeSt; none for other models."""
    if cfg.MODEL.BACKBONE.NAME != "build_resnest_fpn_backbone":
        return []
    problems = []
    if cfg.MODEL.RESNEST.NAME not in RESNESTS:
        problems.append(f"MODEL.RESNEST.NAME: expected {' or '.join(RESNESTS)}, found {cfg.MODEL.RESNEST.NAME!r}")
    if cfg.MODEL.RESNETS.NORM not in ("GN", "FrozenBN"):  # FrozenBN is refused for all models
        problems.append(f"MODEL.RESNETS.NORM: expected GN, which ResNeSt has here, found {cfg.MODEL.RESNETS.NORM!r}")
    return problems


def _size_problems(cfg: Any) -> list[str]:
    """The problems of the sizes that images are resized to."""
    problems = []
    steps = cfg.INPUT.SIZE_STEPS
    if not _are_steps(steps):
        problems.append(
            "INPUT.SIZE_STEPS: expected [[epoch, [sizes]], ...] with rising whole epochs from 0 on, as in "
            f"[[0, [96, 128]], [8, [144, 176]]], found {_plain(steps)}"
        )
        steps = []
    problems += _drawn_size_problems(cfg, "INPUT.MIN_SIZE_TRAIN", cfg.INPUT.MIN_SIZE_TRAIN)
    for _, sizes in steps:
        problems += _drawn_size_problems(cfg, "INPUT.SIZE_STEPS", sizes)
    # Unlike in Detectron2, 0 does not mean the original size.
    for key, size in (
        ("INPUT.MIN_SIZE_TEST", cfg.INPUT.MIN_SIZE_TEST),
        ("INPUT.MAX_SIZE_TEST", cfg.INPUT.MAX_SIZE_TEST),
        ("TEST.AUG.MAX_SIZE", cfg.TEST.AUG.MAX_SIZE),
    ):
        if size < 1:
            problems.append(f"{key}: expected a size above 0, found {size}")
    if not _are_sizes(cfg.TEST.AUG.MIN_SIZES):
        problems.append(f"TEST.AUG.MIN_SIZES: expected sizes above 0, found {list(cfg.TEST.AUG.MIN_SIZES)}")
    return problems


def _drawn_size_problems(cfg: Any, key: str, sizes: Sequence[Any]) -> list[str]:
    """The problems of shorter sides to draw from."""
    is_range = cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING == "range"
    if not _are_sizes(sizes) or (is_range and (len(sizes) != 2 or sizes[0] > sizes[1])):
        expected = "a rising pair of sizes" if is_range else "sizes above 0"
        return [f"{key}: expected {expected}, found {list(sizes)}"]
    if max(sizes) > cfg.INPUT.MAX_SIZE_TRAIN:
        return [
            f"INPUT.MAX_SIZE_TRAIN: expected at least the largest shorter side, {max(sizes)}, found "
            f"{cfg.INPUT.MAX_SIZE_TRAIN}"
        ]
    return []


def _are_steps(steps: Any) -> bool:
    """Whether a value is [[epoch, [size, ...]], ...] with rising whole epochs; the sizes are checked by themselves."""
    if not isinstance(steps, (list, tuple)) or not all(
        isinstance(step, (list, tuple)) and len(step) == 2 and isinstance(step[1], (list, tuple)) for step in steps
    ):
        return False
    epochs = [epoch for epoch, _ in steps]
    if not all(type(epoch) is int and epoch >= 0 for epoch in epochs):
        return False
    return all(one < other for one, other in itertools.pairwise(epochs))


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _are_sizes(sizes: Sequence[Any]) -> bool:
    return len(sizes) > 0 and all(type(size) is int and size > 0 for size in sizes)
