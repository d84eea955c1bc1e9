"""Early stopping, SOLVER.PATIENCE: when a run is over for want of a better AP. Pure functions."""

from __future__ import annotations

from typing import Any

from datasets.errors import DataError
from datasets.records import Dataset
from train.run.schedule import Schedule

KEY = "SOLVER.PATIENCE"


def is_over(patience: int, epoch: int, best_epoch: int) -> bool:
    """Whether a run ends after `epoch`, the best of whose epochs so far is `best_epoch`; 0 before any had an AP."""
    return 0 < patience <= epoch - best_epoch


def check(patience: int, *, validated: bool) -> None:
    """Raises DataError where there is no validation data to measure AP on."""
    if patience and not validated:
        raise DataError(f"{KEY}: expected validation data (--val, or --val-annotations and --val-images), found none")


def check_truth(patience: int, truth: Dataset | None) -> None:
    """Raises DataError where the validation data has no object, and so no AP."""
    if patience and truth is not None and all(item.iscrowd for item in truth.annotations):
        raise DataError(f"{KEY}: expected validation data with objects, found none, so there is no AP")


def plan(cfg: Any, schedule: Schedule) -> list[str]:
    """Lines of the plan: what patience will do, and a warning where it ends before the rate is lowered."""
    patience = cfg.SOLVER.PATIENCE
    if not patience:
        return []
    line = f"ends earlier after {_epochs(patience)} without a better AP ({KEY})"
    lines = [line]
    every = schedule.validate_epochs
    if every > 1 and patience < 2 * every:
        lines.append(
            f"warning: {KEY} {patience} is less than two validations, one every {every} epochs "
            "(SOLVER.VALIDATE_EPOCHS): the first that is no better ends the run"
        )
    longest = _longest_wait(cfg, schedule)
    if longest <= patience:
        return lines
    return [
        *lines,
        f"warning: {KEY} {patience} is shorter than the {longest:g} epochs before a step of the learning rate "
        "(SOLVER.STEP_EPOCHS): AP often rises only after the next one",
    ]


def _longest_wait(cfg: Any, schedule: Schedule) -> float:
    """The most epochs before a step of the learning rate, from the start or from the step before."""
    if cfg.SOLVER.LR_SCHEDULE != "steps":
        return 0
    end = schedule.epoch(schedule.last)
    steps = [float(step) for step in cfg.SOLVER.STEP_EPOCHS if step < end]
    return max((step - before for before, step in zip([0.0, *steps], steps, strict=False)), default=0)


def ended(patience: int, epoch: int, best_epoch: int) -> str:
    """The line of a run that ends early."""
    return f"ended after epoch {epoch}: {_reason(patience, best_epoch)}"


def complete(patience: int, best_epoch: int) -> str:
    """Why a run that ended early has nothing left to do."""
    return f"{_reason(patience, best_epoch)}; with a larger one it goes on"


def _reason(patience: int, best_epoch: int) -> str:
    than = f" than that of epoch {best_epoch}" if best_epoch else ""
    return f"no better AP{than} for {_epochs(patience)} ({KEY})"


def _epochs(count: int) -> str:
    return f"{count} epochs" if count > 1 else "1 epoch"
