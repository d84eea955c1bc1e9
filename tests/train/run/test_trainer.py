"""Steps in fp16 that overflow: skipped as a scaler skips them, until there are too many; with a model of two numbers.

On the CPU, where torch has a scaler too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from datasets.errors import DataError
from train.data.sampler import Division
from train.precision import FLOAT32, Precision
from train.processes.launch import World, launch
from train.run.trainer import MAX_SKIPPED, DivergedError, Trainer

# isort: split
from detectron2.utils.events import EventStorage

FP16, BF16 = Precision(torch.float16, "cpu"), Precision(torch.bfloat16, "cpu")
FIRST_SCALE = 2.0**16


class Slope(nn.Module):
    """Its loss is `weight` times the number of its batch: so that number is the gradient. It notes what it was given.

    "unlucky" stands for a batch on which Detectron2 finds boxes that are not finite.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.given: list[Any] = []

    def forward(self, batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        (item,) = batch
        self.given.append(item["slope"])
        if item["slope"] == "unlucky":
            raise FloatingPointError("Predicted boxes or scores contain Inf/NaN")
        return {"loss_cls": self.weight * item["slope"]}


def trainer_of(slopes: list[Any], precision: Precision, accumulate: int = 1) -> tuple[Trainer, Slope]:
    network = Slope()

    def batches() -> Iterator[list[dict[str, Any]]]:
        yield from ([{"slope": slope}] for slope in slopes)

    trainer = Trainer(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
        batches=batches(),
        division=Division(accumulate, 1, accumulate),
        learning_rate=lambda _: 0.125,
        seed=0,
        precision=precision,
    )
    return trainer, network


def weight_of(trainer: Trainer) -> float:
    (weight,) = trainer.model.parameters()
    return float(weight.detach())


def run(trainer: Trainer, steps: int) -> list[float]:
    """The weight after each step."""
    weights = []
    with EventStorage() as storage:
        trainer.storage = storage
        for trainer.iter in range(steps):
            trainer.run_step()
            weights.append(weight_of(trainer))
            storage.step()
    return weights


@pytest.mark.parametrize("broken", [math.nan, math.inf, "unlucky"])
def test_a_step_that_overflows_is_skipped(broken: Any) -> None:
    trainer, _ = trainer_of([1.0, broken, 1.0], FP16)
    # 1 - 0.125 x 1, and once more after the step that was skipped.
    assert run(trainer, 3) == [0.875, 0.875, 0.75]
    assert trainer.scaler.get_scale() == FIRST_SCALE / 2
    assert trainer.skipped == 0


def test_gradients_that_overflow_are_skipped_by_the_scaler() -> None:
    """A loss of 1e36 is finite; times 65,536 it is not."""
    trainer, _ = trainer_of([1e36, 1.0], FP16)
    assert run(trainer, 2) == [1.0, 0.875]
    assert trainer.scaler.get_scale() == FIRST_SCALE / 2


@pytest.mark.parametrize("broken", [math.nan, "unlucky"])
def test_the_very_first_step_may_overflow(broken: Any) -> None:
    trainer, _ = trainer_of([broken, 1.0], FP16)
    assert run(trainer, 2) == [1.0, 0.875]


def test_what_was_left_of_a_skipped_batch_is_left_out() -> None:
    """A batch in two turns: the next step gets its own two parts, and no gradient of the skipped one."""
    trainer, network = trainer_of(["unlucky", 4.0, 1.0, 2.0], FP16, accumulate=2)
    assert run(trainer, 2) == [1.0, 1 - 0.125 * (1.0 + 2.0) / 2]
    assert network.given == ["unlucky", 1.0, 2.0]


@pytest.mark.parametrize("broken", [math.nan, 1e36, "unlucky"])
def test_too_many_in_a_row_are_a_divergence(broken: Any) -> None:
    trainer, _ = trainer_of([broken] * 100, FP16)
    if broken == 1e36:
        # Its gradient is finite at a smaller scale: 65,536 / 2^8 x 1e36 is 2.6e38, just below the largest float.
        assert run(trainer, 9)[:8] == [1.0] * 8
        assert trainer.skipped == 0
        return
    with pytest.raises(DivergedError, match=f"{MAX_SKIPPED} steps in a row overflowed in fp16"):
        run(trainer, 100)
    assert trainer.iter == MAX_SKIPPED - 1
    assert weight_of(trainer) == 1.0


@pytest.mark.parametrize("precision", [FLOAT32, BF16])
@pytest.mark.parametrize("broken", [math.nan, "unlucky"])
def test_in_other_precisions_the_first_one_is_a_divergence(precision: Precision, broken: Any) -> None:
    """There is no scale that could have been too large."""
    trainer, _ = trainer_of([1.0, broken], precision)
    with pytest.raises(DivergedError, match="iteration 2: "):
        run(trainer, 2)
    assert weight_of(trainer) == 0.875


def test_a_signal_is_heeded_in_a_skipped_step_too() -> None:
    trainer, _ = trainer_of(["unlucky"], FP16)
    trainer.stop_asked = True
    run(trainer, 1)
    assert trainer.stopping


def test_a_skipped_step_has_a_rate_and_no_loss() -> None:
    trainer, _ = trainer_of([math.nan], FP16)
    run(trainer, 1)
    latest = trainer.storage.latest()
    assert latest["lr"][0] == 0.125
    assert latest["loss_scale"][0] == FIRST_SCALE / 2
    assert "total_loss" not in latest


def train_beside_another(folder: Path) -> None:
    """Step 2 overflows in the second process alone."""
    rank = distributed.get_rank()
    trainer, _ = trainer_of([1.0, math.nan if rank else 1.0, 1.0, "unlucky" if rank else 1.0], FP16)
    trainer.model = DistributedDataParallel(trainer.model)
    (folder / f"weights-{rank}").write_text(str(run(trainer, 3)))
    # The process that fails below ends the other one, which may still be writing.
    distributed.barrier()
    try:
        trainer.iter = 3
        with EventStorage() as trainer.storage:
            trainer.run_step()
    except DivergedError as error:
        # The other process waits for this one's gradients, and is not told.
        raise DataError(f"process {rank}: {error}") from None


def test_processes_skip_together_and_what_one_alone_knows_ends_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="process 1: iteration 4: Predicted boxes"):
        launch(train_beside_another, World(processes=2, device="cpu"), tmp_path)
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written == dict.fromkeys(("weights-0", "weights-1"), str([0.875, 0.875, 0.75]))
