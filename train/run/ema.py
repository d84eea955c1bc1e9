"""The moving average of the weights (SOLVER.EMA), by timm; validated and predicted with, beside the raw weights.

Its decay grows to SOLVER.EMA as 1 - (1 + iteration) ** -3/4 (0.99 after 460 iterations, 0.999 after 10,000), so that
the random weights of the beginning are soon forgotten. It follows from the iteration, so nothing else need be saved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from datasets.errors import DataError
from train import compat  # noqa: F401 - before detectron2
from train.checkpoints import weights
from train.checkpoints.checkpoint import EMA, Loaded

# isort: split
from detectron2.engine.train_loop import HookBase

if TYPE_CHECKING:
    from timm.utils.model_ema import ModelEmaV3

WARMUP_POWER = 3 / 4


def average_of(network: nn.Module, decay: float, before: Loaded | None) -> ModelEmaV3 | None:
    """The moving average, `.module`, as a resumed run had it or beginning with the weights of `network`.

    None without decay.
    """
    if not decay:
        return None
    # Half a second, which runs without it are spared.
    from timm.utils.model_ema import ModelEmaV3

    average = ModelEmaV3(network, decay=decay, use_warmup=True, warmup_power=WARMUP_POWER)
    if before is not None and EMA not in before.content:
        raise DataError(f"{before.path}: expected the moving average of the weights too (SOLVER.EMA), found none")
    if before is not None:
        weights.load_exactly(average.module, before.content[EMA], before.path)
    return average


def content(average: ModelEmaV3 | None) -> dict[str, Any]:
    """What it adds to a checkpoint."""
    return {} if average is None else {EMA: average.module.state_dict()}


class EmaHook(HookBase):  # type: ignore[misc]
    """Moves the average after each step; comes before the hooks that validate and save."""

    def __init__(self, average: ModelEmaV3, network: nn.Module) -> None:
        self._average, self._network = average, network

    def after_step(self) -> None:
        # timm counts from 1.
        self._average.update(self._network, step=self.trainer.iter + 1)
