"""The SOLVER section of the configuration as objects: schedule, learning rates, optimiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from datasets.errors import DataError
from train import compat, precision  # noqa: F401 - compat before detectron2
from train.run.schedule import Schedule, derive

# isort: split
from detectron2.solver import build_optimizer
from detectron2.solver.lr_scheduler import WarmupParamScheduler
from fvcore.common.param_scheduler import CosineParamScheduler, MultiStepParamScheduler


def check(cfg: Any) -> None:
    """Raises DataError for values that no run can have."""
    if cfg.SEED < 0:
        raise DataError(f"SEED: expected 0 or more, since every run can be repeated, found {cfg.SEED}")


def schedule_of(cfg: Any, images: int) -> Schedule:
    """The schedule. Raises DataError where the numbers are impossible."""
    solver = cfg.SOLVER
    try:
        return derive(
            images=images,
            batch=solver.IMS_PER_BATCH,
            epochs=float(solver.EPOCHS),
            step_epochs=[float(step) for step in solver.STEP_EPOCHS],
            warmup_epochs=float(solver.WARMUP_EPOCHS),
            base_lr=solver.BASE_LR,
            reference_batch=solver.REFERENCE_BATCH,
            max_iter=solver.MAX_ITER,
            validate_epochs=solver.VALIDATE_EPOCHS,
        )
    except ValueError as error:
        raise DataError(f"the schedule cannot be run: {error}") from None


def learning_rates(cfg: Any, schedule: Schedule) -> Callable[[int], float]:
    """Iteration (from 0) -> learning rate, by fvcore's and Detectron2's schedulers; stateless."""
    solver = cfg.SOLVER
    # A run that MAX_ITER ends early follows the curve of the whole one.
    whole = schedule._replace(last=max(1, schedule.at(schedule.epochs)))
    if solver.LR_SCHEDULE == "cosine":
        curve: Any = CosineParamScheduler(1, 0)
    else:
        # fvcore needs increasing milestones above 0; with very few images, several steps fall on one iteration.
        milestones = sorted({step for step in schedule.steps if step > 0})
        values = [solver.GAMMA ** sum(step <= at for step in schedule.steps) for at in (0, *milestones)]
        curve = MultiStepParamScheduler(values=values, milestones=milestones, num_updates=whole.last)
    warmed = WarmupParamScheduler(
        curve, solver.WARMUP_FACTOR, min(schedule.warmup / whole.last, 1.0), solver.WARMUP_METHOD
    )
    return lambda iteration: schedule.learning_rate * warmed(iteration / whole.last)


def optimizer_of(cfg: Any, network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """Detectron2's optimiser, with the learning rate scaled to the batch."""
    scaled = cfg.clone()
    scaled.SOLVER.BASE_LR = schedule.learning_rate
    optimizer: torch.optim.Optimizer = build_optimizer(scaled, network)
    for group in optimizer.param_groups:
        # Detectron2 can give biases their own rate.
        group["lr_factor"] = group["lr"] / schedule.learning_rate
    return optimizer


def fuse(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Let SGD on a CPU go once through weights, gradients and momentum instead of four times; elsewhere as torch does.

    Call it after a checkpoint was loaded, which may be from another device.
    """
    for group in optimizer.param_groups:
        group["fused"] = True if device.type == "cpu" else None
