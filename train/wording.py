"""What a run says of itself: what it is going to do, how it ended, and what to try where it did not end well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from train import checkpoint
from train.hooks import Best
from train.sampler import Division
from train.trainer import DivergedError


def place(device: torch.device, division: Division) -> str:
    """Where a run computes: `8 x NVIDIA A100, batches in 2 turns`."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    turns = f", batches in {division.accumulate} turns" if division.accumulate > 1 else ""
    return (f"{division.processes} x {name}" if division.processes > 1 else name) + turns


def weighted(cfg: Any) -> list[str]:
    """A line on the losses that do not count 1, if there are any."""
    changed = [f"{name} x {weight:g}" for name, weight in sorted(cfg.MODEL.LOSS_WEIGHTS.items()) if weight != 1]
    return [f"losses: {', '.join(changed)}"] if changed else []


def diverged(error: DivergedError, output: Path, cfg: Any) -> str:
    """The error of a run whose losses or weights are no numbers any more."""
    kept = output / checkpoint.LAST
    last = f"the last good checkpoint, {kept}, is kept" if kept.is_file() else "no checkpoint had been saved yet"
    return (
        f"the training has diverged: {error}; {last}.\n"
        f"Try a lower SOLVER.BASE_LR (was {cfg.SOLVER.BASE_LR:g}), a longer SOLVER.WARMUP_EPOCHS (was "
        f"{cfg.SOLVER.WARMUP_EPOCHS:g}), or SOLVER.CLIP_GRADIENTS.ENABLED True, with another --output"
    )


def summary(output: Path, best: Best) -> str:
    """The last line."""
    if best.epoch:
        said = f", {best.remark}" if best.remark else ""
        return f"{output}: done; best AP {100 * best.ap:.1f}{said} in epoch {best.epoch}, {output / checkpoint.BEST}"
    return f"{output}: done; {output / checkpoint.LAST}"
