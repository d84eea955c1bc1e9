"""The training step, on Detectron2's loop and hooks: gradient accumulation, several processes, mixed precision."""

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

# A run is given up after this many halvings in a row, from a loss scale of 65,536 to 0.002.
MAX_SKIPPED = 25


class DivergedError(Exception):
    """Losses or weights became non-finite. `alone`: the other processes of the run do not know it yet."""

    def __init__(self, message: str, *, alone: bool = False) -> None:
        super().__init__(message)
        self.alone = alone


class _TimedBatches:
    """The next `count` of `batches`; `waited` is the time spent waiting for them, in seconds."""

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
        """Skip the rest."""
        for _ in self:
            pass


class Trainer(TrainerBase):  # type: ignore[misc]
    """Trains `model` on `batches`, which yields `division.accumulate` parts of this process per iteration.

    `learning_rate` maps an iteration to its rate. Random numbers of a step depend on (seed, iteration, part, rank)
    alone, so they need not be saved. Reported losses are means over the whole batch. In fp16, a step that overflows is
    skipped and the loss scale halved; `skipped` counts these in a row.
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
        """Set by a signal; `stopping` is true after a step in which it was set in any process."""
        self.stopping = False
        self._batches = batches
        self._division = division
        self._learning_rate = learning_rate
        self._seed = seed
        self._rank = rank
        self._precision = precision

    def run_step(self) -> None:
        """One optimiser step. Raises DivergedError, before weights change, for a non-finite loss (fp16: after many
        skipped steps).
        """
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
        """Forward and backward passes of a step; returns its losses. Raises DivergedError where one is not finite."""
        losses: dict[str, torch.Tensor] = {}
        for part, batch in enumerate(batches):
            for name, loss in self._backward(batch, part).items():
                losses[name] = losses[name] + loss if name in losses else loss
        names = sorted(losses)
        # All at once: each read from a GPU waits for it.
        values = self._agree(torch.stack([losses[name] for name in names]))
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
        """Update the weights, unless the scaler finds overflowed gradients."""
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.get_scale() < scale:
            self._count_skipped(f"iteration {self.iter + 1}: gradients that are not finite")
        else:
            self.skipped = 0

    def _skip(self, error: DivergedError) -> None:
        """Skip this step if it may have overflowed in fp16; otherwise raise `error`."""
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
        point = (self.iter, part, self._rank)
        torch.manual_seed(int(generator(self._seed, "step", *point).integers(2**63)))
        parts = self._division.accumulate
        # Gradients are exchanged once, with the last part.
        is_last = part == parts - 1
        waits = isinstance(self.model, DistributedDataParallel) and not is_last
        with self.model.no_sync() if waits else nullcontext():  # type: ignore[operator]
            with self._precision.autocast():
                try:
                    losses = self.model(batch)
                except FloatingPointError as error:
                    raise DivergedError(f"iteration {self.iter + 1}: {error}", alone=True) from None
                # Divided only where needed: x / 1 equals x, but remains a node in the graph.
                losses = losses if parts == 1 else {name: loss / parts for name, loss in losses.items()}
                total = sum(losses.values())
            self.scaler.scale(total).backward()
        return {name: loss.detach().float() for name, loss in losses.items()}

    def _agree(self, losses: torch.Tensor) -> list[float]:
        """Means over all processes; also tells each whether any was asked to stop."""
        if not distributed.is_initialized():
            self.stopping = self.stop_asked
            return losses.tolist()
        flag = losses.new_tensor([float(self.stop_asked)])
        message = torch.cat([losses / distributed.get_world_size(), flag])
        distributed.all_reduce(message)
        *values, asked = message.tolist()
        self.stopping = asked > 0
        return values
