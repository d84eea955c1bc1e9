"""One step of training, on Detectron2's loop and hooks: parts of a batch, one or several processes, mixed precision."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from train import compat  # noqa: F401 - before detectron2
from train.data.sampler import Division, generator
from train.precision import FLOAT32, Precision

# isort: split
from detectron2.engine.train_loop import TrainerBase

# From its first 65,536 the loss scale is halved so often in a row before a run is given up: to 0.002.
MAX_SKIPPED = 25


class DivergedError(Exception):
    """Losses or weights are no numbers any more. `alone`: the other processes of the run do not know it."""

    def __init__(self, message: str, *, alone: bool = False) -> None:
        super().__init__(message)
        self.alone = alone


class _TimedBatches:
    """The next `count` of `batches`; `waited` is how many seconds they were waited for."""

    def __init__(self, batches: Iterator[list[dict[str, Any]]], count: int) -> None:
        self._batches = itertools.islice(batches, count)
        self.waited = 0.0

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        return self

    def __next__(self) -> list[dict[str, Any]]:
        asked = time.perf_counter()
        batch = next(self._batches)
        self.waited += time.perf_counter() - asked
        return batch

    def skip(self) -> None:
        """Leave the rest out."""
        for _ in self:
            pass


class Trainer(TrainerBase):  # type: ignore[misc]
    """Runs `model` over `batches`, which yields `division.accumulate` parts of this process an iteration.

    `learning_rate` gives that of an iteration. Random numbers of a step depend on (seed, iteration, part, rank) alone,
    so nothing of them need be saved. The losses that it reports are means over the whole batch.

    In fp16 a step that overflows is skipped and the loss scale halved, as a scaler does; `skipped` counts them in a
    row.
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
        precision: Precision = FLOAT32,
    ) -> None:
        super().__init__()
        model.train()
        self.model = model
        self.optimizer = optimizer
        precision.prepare(model)
        self.scaler = precision.scaler()
        self.skipped = 0
        self.stop_asked = False
        """Set by a signal; `stopping` is true after a step in which any process had it set."""
        self.stopping = False
        self._batches = batches
        self._division = division
        self._learning_rate = learning_rate
        self._seed = seed
        self._rank = rank
        self._precision = precision

    def run_step(self) -> None:
        """One step of the optimiser. Raises DivergedError, before the weights change, where a loss is not finite (in
        fp16: where so many steps in a row were skipped)."""
        start = time.perf_counter()
        lr = self._learning_rate(self.iter)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group.get("lr_factor", 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        batches = _TimedBatches(self._batches, self._division.accumulate)
        try:
            losses = self._losses(batches)
        except DivergedError as error:
            self._skip(error)
            # The next step must get the next batch.
            batches.skip()
        else:
            self._update()
            self.storage.put_scalars(total_loss=sum(losses.values()), **losses)
        self._report(lr=lr, data_time=batches.waited, time=time.perf_counter() - start)

    def _losses(self, batches: _TimedBatches) -> dict[str, float]:
        """The losses of a step, whose gradients are there by then. Raises DivergedError where one is not finite."""
        found: dict[str, torch.Tensor] = {}
        for part, batch in enumerate(batches):
            for name, loss in self._backward(batch, part).items():
                found[name] = found[name] + loss if name in found else loss
        names = sorted(found)
        # In one go: reading a number off a GPU makes it wait.
        values = self._agree(torch.stack([found[name] for name in names]))
        if not all(math.isfinite(value) for value in values):
            broken = ", ".join(f"{name} {value:g}" for name, value in zip(names, values, strict=True))
            raise DivergedError(f"iteration {self.iter + 1}: {broken}")
        return dict(zip(names, values, strict=True))

    def _report(self, *, lr: float, data_time: float, time: float) -> None:
        storage = self.storage
        storage.put_scalar("lr", lr, smoothing_hint=False)
        storage.put_scalar("data_time", data_time)
        storage.put_scalar("time", time)
        if self._precision.scales_loss:
            storage.put_scalar("loss_scale", self.scaler.get_scale(), smoothing_hint=False)
        if torch.cuda.is_available():
            storage.put_scalar("max_mem_mb", torch.cuda.max_memory_allocated() / 2**20, smoothing_hint=False)

    def _update(self) -> None:
        """Change the weights, unless the scaler finds gradients that overflowed."""
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.get_scale() < scale:
            self._count_skipped(f"iteration {self.iter + 1}: gradients that are not finite")
        else:
            self.skipped = 0

    def _skip(self, error: DivergedError) -> None:
        """Go on without this step, if it may have overflowed in fp16; else raise `error`."""
        if not self._precision.scales_loss or (error.alone and distributed.is_initialized()):
            raise error
        # A scaler has no scale to change before it has scaled something.
        self.scaler.scale(torch.zeros((), device=next(self.model.parameters()).device))
        self.scaler.update(self.scaler.get_scale() * self.scaler.get_backoff_factor())
        self._count_skipped(str(error))
        if error.alone:
            self.stopping = self.stop_asked

    def _count_skipped(self, why: str) -> None:
        self.skipped += 1
        if self.skipped >= MAX_SKIPPED:
            raise DivergedError(f"{why}; {self.skipped} steps in a row overflowed in fp16")

    def _backward(self, batch: list[dict[str, Any]], part: int) -> dict[str, torch.Tensor]:
        """Add the gradients of one part; returns its losses, divided by the number of parts."""
        place = (self.iter, part, self._rank)
        torch.manual_seed(int(generator(self._seed, "step", *place).integers(2**63)))
        parts = self._division.accumulate
        # Gradients are exchanged once, with the last part.
        is_last = part == parts - 1
        waits = isinstance(self.model, DistributedDataParallel) and not is_last
        with self.model.no_sync() if waits else nullcontext():  # type: ignore[operator]
            with self._precision.autocast():
                try:
                    found = self.model(batch)
                except FloatingPointError as error:
                    raise DivergedError(f"iteration {self.iter + 1}: {error}", alone=True) from None
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
