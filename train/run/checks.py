"""What must hold of a configuration beyond its keys: between it and the processes, the data, and the options."""

from __future__ import annotations

from typing import Any

from augment.operations.parameters import takes_from_others
from datasets.errors import DataError
from train import compat, config  # noqa: F401 - compat before detectron2
from train.data.sampler import Division
from train.run.request import Request

# isort: split
from detectron2.utils import comm


def division_of(cfg: Any) -> Division:
    """Raises DataError where the batch cannot be divided among the processes."""
    division = Division(cfg.SOLVER.IMS_PER_BATCH, comm.get_world_size(), cfg.SOLVER.ACCUMULATE)
    problem = division.problem()
    if problem is not None:
        raise DataError(problem)
    return division


def set_classes(cfg: Any, count: int) -> None:
    """Raises DataError where NUM_CLASSES was set to another number than that of the data's categories."""
    asked = cfg.MODEL.ROI_HEADS.NUM_CLASSES
    if asked not in (count, config.default().MODEL.ROI_HEADS.NUM_CLASSES):
        raise DataError(
            f"MODEL.ROI_HEADS.NUM_CLASSES: expected {count}, the number of categories of the data, from which it is "
            f"set, found {asked}"
        )
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = count


def check_frozen(cfg: Any) -> None:
    """Raises DataError for random layers that would never be trained."""
    if cfg.MODEL.BACKBONE.FREEZE_AT and not cfg.MODEL.WEIGHTS:
        raise DataError(
            "MODEL.BACKBONE.FREEZE_AT: expected 0 without --init, since layers that are frozen would stay random, "
            f"found {cfg.MODEL.BACKBONE.FREEZE_AT} (Detectron2's own default is 2; train/configs/base.yaml has 0)"
        )


def check_epochs(cfg: Any) -> None:
    """Raises DataError, naming every key, for epochs that the run does not have."""
    epochs = cfg.SOLVER.EPOCHS
    problems = [
        f"INPUT.SIZE_STEPS: expected epochs before the end of the run, {epochs:g} epochs, found {epoch}"
        for epoch, _ in cfg.INPUT.SIZE_STEPS
        if epoch >= epochs
    ]
    if epochs <= cfg.INPUT.ONLINE_OFF_EPOCHS:
        problems.append(
            f"INPUT.ONLINE_OFF_EPOCHS: expected less than the run's {epochs:g} epochs, found "
            f"{cfg.INPUT.ONLINE_OFF_EPOCHS:g}"
        )
    if problems:
        raise DataError("the configuration cannot be used", problems)


def check_online(request: Request, cfg: Any) -> None:
    """Raises DataError where INPUT.ONLINE_OFF_EPOCHS has nothing to end."""
    if cfg.INPUT.ONLINE_OFF_EPOCHS and not (request.online and takes_from_others(request.online)):
        raise DataError(
            "INPUT.ONLINE_OFF_EPOCHS: goes with --online and a recipe with paste or mosaic, which it ends; found "
            f"{cfg.INPUT.ONLINE_OFF_EPOCHS:g}"
        )
