"""One step of training, on Detectron2's loop and hooks: parts of a batch, one or several processes, mixed precision."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from train import compat  # noqa: F401 - before detectron2
from train.sampler import Division, generator

# isort: split
from detectron2.engine.train_loop import TrainerBase


class DivergedError(Exception):
    """Losses or weights are no numbers any more."""


class Trainer(TrainerBase):  # type: ignore[misc]
    """Runs `model` over `batches`, which yields `division.accumulate` parts of this process an iteration.

    `learning_rate` gives that of an iteration. Random numbers of a step depend on (seed, iteration, part, rank) alone,
    so nothing of them need be saved. The losses that it reports are means over the whole batch.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        batches: Iterator[list[dict[str, Any]]],
        division: Division,
        learning_rate: Callable[[int], float],
        seed: int,
        rank: int = 0,
        amp: bool = False,
    ) -> None:
        super().__init__()
        model.train()
        self.model = model
        self.optimizer = optimizer
        self.scaler = torch.amp.GradScaler("cuda", enabled=amp)
        self.stop_asked = False
        """Set by a signal; `stopping` is true after a step in which any process had it set."""
        self.stopping = False
        self._batches = batches
        self._division = division
        self._learning_rate = learning_rate
        self._seed = seed
        self._rank = rank
        self._amp = amp

    def run_step(self) -> None:
        """One step of the optimiser. Raises DivergedError, before the weights change, where a loss is not finite."""
        start = time.perf_counter()
        waited = 0.0
        lr = self._learning_rate(self.iter)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group.get("lr_factor", 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        losses: dict[str, torch.Tensor] = {}
        parts = self._division.accumulate
        for part in range(parts):
            asked = time.perf_counter()
            batch = next(self._batches)
            waited += time.perf_counter() - asked
            for name, loss in self._backward(batch, part).items():
                losses[name] = losses[name] + loss if name in losses else loss
        names = sorted(losses)
        # In one go: reading a number off a GPU makes it wait.
        values = self._agree(torch.stack([losses[name] for name in names]))
        storage = self.storage
        if not all(torch.isfinite(torch.tensor(values)).tolist()):
            broken = ", ".join(f"{name} {value:g}" for name, value in zip(names, values, strict=True))
            raise DivergedError(f"iteration {self.iter + 1}: {broken}")
        self.scaler.step(self.optimizer)
        self.scaler.update()
        storage.put_scalar("total_loss", sum(values))
        storage.put_scalars(**dict(zip(names, values, strict=True)))
        storage.put_scalar("lr", lr, smoothing_hint=False)
        storage.put_scalar("data_time", waited)
        storage.put_scalar("time", time.perf_counter() - start)
        if torch.cuda.is_available():
            storage.put_scalar("max_mem_mb", torch.cuda.max_memory_allocated() / 2**20, smoothing_hint=False)

    def _backward(self, batch: list[dict[str, Any]], part: int) -> dict[str, torch.Tensor]:
        """Add the gradients of one part; returns its losses, divided by the number of parts."""
        place = (self.iter, part, self._rank)
        torch.manual_seed(int(generator(self._seed, "step", *place).integers(2**63)))
        parts = self._division.accumulate
        # Gradients are exchanged once, with the last part.
        is_last = part == parts - 1
        waits = isinstance(self.model, DistributedDataParallel) and not is_last
        with self.model.no_sync() if waits else nullcontext():  # type: ignore[operator]
            with torch.autocast("cuda") if self._amp else nullcontext():
                try:
                    found = self.model(batch)
                except FloatingPointError as error:
                    raise DivergedError(f"iteration {self.iter + 1}: {error}") from None
                # Divided only where there is something to divide: x / 1 is x, but stays a node in the graph.
                found = found if parts == 1 else {name: loss / parts for name, loss in found.items()}
                total = sum(found.values())
            self.scaler.scale(total).backward()
        return {name: loss.detach().float() for name, loss in found.items()}

    def _agree(self, losses: torch.Tensor) -> list[float]:
        """The means over all processes, which also learn whether one of them was asked to stop."""
        if not distributed.is_initialized():
            self.stopping = self.stop_asked
            return losses.tolist()
        flag = losses.new_tensor([float(self.stop_asked)])
        message = torch.cat([losses / distributed.get_world_size(), flag])
        distributed.all_reduce(message)
        *values, asked = message.tolist()
        self.stopping = asked > 0
        return values
