"""Texts about a run: its device, divergence, memory, and the closing line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from train import config, devices
from train.checkpoints import checkpoint
from train.data import geometry
from train.data.sampler import Division
from train.model.build import parameter_count
from train.precision import Precision
from train.run import patience
from train.run.best import Best
from train.run.schedule import Schedule, describe, short
from train.run.trainer import DivergedError

SMALLEST = "tiny"


def plan(
    cfg: Any,
    schedule: Schedule,
    model: str,
    network: nn.Module,
    device: torch.device,
    division: Division,
    precision: Precision,
) -> list[str]:
    """The plan of a run, which is printed before its first step."""
    size = f"{parameter_count(network) / 1e6:.2f} M parameters"
    return [
        f"{model}: {size}, on {device_line(device, division)}"
        + (f", mixed precision ({precision.name})" if precision.dtype else ""),
        *([unused] if (unused := devices.unused_gpu(device, cfg.MODEL.DEVICE)) else []),
        *describe(schedule, cosine=cfg.SOLVER.LR_SCHEDULE == "cosine"),
        *short(schedule),
        *patience.plan(cfg, schedule),
        *weighted(cfg),
        *beyond_paper(cfg),
    ]


def device_line(device: torch.device, division: Division) -> str:
    """The device of a run: `8 x NVIDIA A100, batches in 2 turns`."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({_threads()})"
    turns = f", batches in {division.accumulate} turns" if division.accumulate > 1 else ""
    return (f"{division.processes} x {name}" if division.processes > 1 else name) + turns


def _threads() -> str:
    count = torch.get_num_threads()
    return f"{count} threads" if count > 1 else "1 thread"


def quicker(cfg: Any, device: torch.device, model: str) -> list[str]:
    """What would make a run shorter, the best first."""
    on_cpu = device.type == "cpu"
    remedies = ["a GPU" if on_cpu else "more GPUs (--gpus)"]
    if not cfg.SOLVER.AMP.ENABLED:
        remedies.append("mixed precision (SOLVER.AMP.ENABLED True SOLVER.AMP.DTYPE auto)")
    if on_cpu and not model.startswith(SMALLEST):
        remedies.append(f"a smaller model (--model {SMALLEST}, was {model})")
    return [
        *remedies,
        f"smaller images ({_size(cfg)})",
        f"fewer epochs (SOLVER.EPOCHS, was {cfg.SOLVER.EPOCHS:g}, with SOLVER.STEP_EPOCHS)",
    ]


def _size(cfg: Any) -> str:
    """The key that decides how large images are, and its value."""
    key = "CANVAS" if cfg.INPUT.CANVAS else "SIZE_STEPS" if cfg.INPUT.SIZE_STEPS else "MIN_SIZE_TRAIN"
    return f"INPUT.{key}, was {config.flat(cfg.INPUT)[key]}"


def besides(cfg: Any, *, validated: bool) -> str:
    """What the pace of the first steps leaves out."""
    left_out = ["validations not counted"] if validated else []
    if cfg.INPUT.SIZE_STEPS:
        left_out.append("at the sizes of the first epoch (INPUT.SIZE_STEPS)")
    return "".join(f", {text}" for text in left_out)


def weighted(cfg: Any) -> list[str]:
    """A line on loss weights other than 1, if there are any."""
    changed = [f"{name} x {weight:g}" for name, weight in sorted(cfg.MODEL.LOSS_WEIGHTS.items()) if weight != 1]
    return [f"losses: {', '.join(changed)}"] if changed else []


def beyond_paper(cfg: Any) -> list[str]:
    """A line on settings that the paper did not have, if there are any, and what they mean for the run."""
    settings = config.beyond_paper(cfg)
    lines = [f"beyond the paper: {', '.join(settings)}"] if settings else []
    if cfg.SOLVER.EMA:
        lines.append("  validated and predicted with the moving average of the weights")
    if cfg.INPUT.SIZE_STEPS:
        lines.append(f"  shorter side {geometry.describe_steps(cfg.INPUT.SIZE_STEPS)}")
    return lines


def diverged(error: DivergedError, output: Path, cfg: Any) -> str:
    """The error of a diverged run."""
    kept = output / checkpoint.LAST
    last = f"the last good checkpoint, {kept}, is kept" if kept.is_file() else "no checkpoint had been saved yet"
    amp = ""
    if cfg.SOLVER.AMP.ENABLED and cfg.SOLVER.AMP.DTYPE == "fp16":
        amp = "SOLVER.AMP.DTYPE bf16, or where the GPU has none SOLVER.AMP.ENABLED False (fp16 ends at 65,504), "
    return (
        f"the training has diverged: {error}; {last}.\n"
        f"Try {amp}a lower SOLVER.BASE_LR (was {cfg.SOLVER.BASE_LR:g}), a longer SOLVER.WARMUP_EPOCHS (was "
        f"{cfg.SOLVER.WARMUP_EPOCHS:g}), or SOLVER.CLIP_GRADIENTS.ENABLED True, with another --output"
    )


def out_of_memory(error: Exception, output: Path, cfg: Any, division: Division) -> str:
    """The error of a run that exceeds GPU memory, with what makes a step smaller, cheapest first."""
    remedies = []
    if not cfg.MODEL.CHECKPOINT_ACTIVATIONS:
        resumes = " (continues with --resume)" if (output / checkpoint.LAST).is_file() else ""
        remedies.append(f"MODEL.CHECKPOINT_ACTIVATIONS True{resumes}")
    if division.part > 1:
        turns = cfg.SOLVER.IMS_PER_BATCH // division.processes
        remedies.append(f"SOLVER.ACCUMULATE {turns}, one image a turn (was {division.part})")
    if not cfg.SOLVER.AMP.ENABLED:
        remedies.append("SOLVER.AMP.ENABLED True")
    remedies.append(f"smaller images ({_size(cfg)})")
    return (
        f"{devices.first_line(error)}\n"
        f"The GPU's memory is too small for a step of this run. Try, one after the other: {'; '.join(remedies)}. Where "
        "no --resume is named, start over with another --output"
    )


def summary(output: Path, best: Best) -> str:
    """The closing line."""
    if best.epoch:
        said = f", {best.note}" if best.note else ""
        return f"{output}: done; best AP {best.text}{said} in epoch {best.epoch}, {output / checkpoint.BEST}"
    return f"{output}: done; {output / checkpoint.LAST}"
