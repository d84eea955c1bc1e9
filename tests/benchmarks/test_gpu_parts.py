"""The parts of the GPU check on the CPU, and that each finds what it is there to find."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import nn

from benchmarks.gpu import correct, memory, runs, speed
from benchmarks.gpu.records import Row, Rows, Settings, read_rows
from train.model import heads
from train.precision import MixedGroupNorm, Precision
from train.run.trainer import Trainer

Part = Callable[[Settings, Rows], None]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """For parts that make their own scenes."""
    files: dict[str, Any] = dict.fromkeys(("annotations", "images", "val_annotations", "val_images"), "none/none/none")
    return Settings(device="cpu", output=str(tmp_path), seconds=5, ends=math.inf, **files)


def run(part: Part, settings: Settings) -> list[Row]:
    path = settings.folder / "rows.jsonl"
    part(settings, Rows(path, "part"))
    return read_rows(path)


@pytest.mark.parametrize(
    ("part", "count"),
    [
        (correct.steps, 3),
        (correct.losses, 2),
        (correct.accumulation, 1),
        (correct.checkpointing, 1),
        (memory.memory, 4),
    ],
)
def test_a_part_passes_on_the_cpu(part: Part, count: int, settings: Settings) -> None:
    rows = run(part, settings)
    assert len(rows) == count
    assert [row for row in rows if row.ok is False] == []


def test_speed_compares_with_stock(settings: Settings, few: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "WARM_UP", 1)
    monkeypatch.setattr(speed, "MEASURED", 2)
    rows = {row.check: row for row in run(speed.speed, msgspec.structs.replace(settings, **few))}
    for name in ("step alone", "loader alone", "loader and step together"):
        numbers = rows[name].numbers
        assert numbers["ours"] > 0
        assert numbers["stock"] > 0
        assert rows[name].ok is None  # no goal on a CPU
    assert 0 < rows["waiting for data"].numbers["share"] < 1
    assert "convolution" in (settings.folder / "profile.txt").read_text()


def test_weights_that_are_not_finite_fail(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Trainer.run_step

    def run_step(self: Trainer) -> None:
        step(self)
        next(self.model.parameters()).data.fill_(math.nan)

    monkeypatch.setattr(Trainer, "run_step", run_step)
    assert [row.ok for row in run(correct.steps, settings)] == [False] * 3


def test_ignored_regions_that_are_taught_on_one_side_fail(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the device's side here, as a rule that works on the CPU alone would be."""
    losses_of, sides = correct.losses_of, itertools.cycle(["reference", "device"])

    def without_the_rule(*arguments: Any) -> dict[str, float]:
        with monkeypatch.context() as once:
            if next(sides) == "device":
                once.setattr(heads, "lies_in_ignored", lambda *_: None)
            return losses_of(*arguments)

    monkeypatch.setattr(correct, "losses_of", without_the_rule)
    assert [row.ok for row in run(correct.losses, settings)] == [False, False]


def test_turns_that_are_not_divided_fail(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses that are added up instead of averaged give four times the change."""
    backward = torch.Tensor.backward
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss: backward(loss * (4 if loss.item() < 1 else 1)))  # type: ignore[no-untyped-call]
    (row,) = run(correct.accumulation, settings)
    assert row.ok is False


def test_a_norm_that_keeps_wide_activations_fails(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch's autocast on a GPU does."""
    monkeypatch.setattr(MixedGroupNorm, "forward", lambda self, given: nn.GroupNorm.forward(self, given.float()))
    rows = {row.check: row.ok for row in run(memory.memory, settings)}
    assert rows["bf16"] is False


def test_a_run_that_goes_on_otherwise_fails(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_run", lambda *_: "going on from iteration 4, epoch 0.1")
    monkeypatch.setattr(runs, "_kill", lambda *_: None)
    # At the kill the weight is 0; at the end it is what the file says.
    found = iter([torch.tensor([0.0]), torch.tensor([1.5]), torch.tensor([1.0])])
    monkeypatch.setattr(runs, "_weights", lambda _: next(found))
    _, row = run(runs.resume, settings)
    assert row.ok is False
    assert "the change since then differs by 5.0e-01 (at most 0)" in row.text


def test_what_does_not_fit_is_a_row_and_the_next_one_goes_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a card of 16 GB: a batch of 2 without activation checkpointing does not fit, nor one in fp32."""

    def peak(_: Settings, batch: list[Any], precision: Precision, *, checkpointing: bool) -> float:
        needed = 11.0 * len(batch) * (1 if precision.dtype is None else 0.6) * (0.5 if checkpointing else 1)
        if needed > 16:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nAnd more.")
        return needed

    monkeypatch.setattr(memory, "peak_gigabytes", peak)
    monkeypatch.setattr(memory, "PAPER_SIZE", (64, 96))
    rows = {row.check: row for row in run(memory.memory, msgspec.structs.replace(settings, device="cuda"))}
    # batch, precision, checkpointing: 2 x 3 x 2
    assert len(rows) == 12
    goal = rows["r101, batch 1, bf16, activation checkpointing"]
    assert (goal.ok, goal.text) == (True, f"{11 * 0.6 * 0.5:.2f} GB (goal < 12)")
    assert rows["r101, batch 1, fp32"].ok is None  # nothing is asked of it
    too_large = rows["r101, batch 2, fp32"]
    assert too_large.ok is None
    assert too_large.text == "does not fit: CUDA out of memory. Tried to allocate 2.00 GiB."
