"""The device of a process: which one it is, and whether it is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import torch

from datasets.errors import DataError

# Stands where a machine has NVIDIA's driver, whatever torch makes of it.
DRIVER = Path("/proc/driver/nvidia/version")


class Gpus(NamedTuple):
    """The GPUs that torch can use on this machine; `reason` is torch's own word on why there is none."""

    found: int
    reason: str = ""


def find_gpus() -> Gpus:
    try:
        # Asking for the number alone does not find a driver or a card that fails.
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except Exception as error:  # RuntimeError, AssertionError, DeferredCudaCallError, by what is missing
        # Its first sentence; the others send people without an NVIDIA GPU to its maker's pages.
        sentence = re.split(r"\.(?:\s+(?=[A-Z])|\s*$)|\n", str(error).strip(), maxsplit=1)[0]
        return Gpus(0, sentence or type(error).__name__)
    return Gpus(torch.cuda.device_count())


def problem(wanted: str, gpus: Gpus, processes: int = 1, size: int = 1) -> str | None:
    """Why MODEL.DEVICE `wanted` (auto, cuda or cpu) cannot be had here; None where it can.

    `processes` on this machine, `size` on all of them, have a GPU each. One process alone may do without (auto);
    several must not become as many processes on the CPU because a driver failed.
    """
    if wanted == "cpu" or (wanted == "auto" and size == 1):
        return None
    if gpus.found == 0:
        asked = f"{processes} GPU(s) here" if size > 1 else "a GPU"
        return f"expected {asked}, found none: {gpus.reason}; for the CPU, say MODEL.DEVICE cpu"
    if processes > gpus.found:
        return f"--gpus: expected at most {gpus.found} on this machine, found {processes}"
    return None


def device_of(cfg: Any) -> torch.device:
    """The device of this process; `auto` is the GPU, where there is one. Raises DataError for a missing GPU."""
    if cfg.MODEL.DEVICE == "cpu":
        return torch.device("cpu")
    gpus = find_gpus()
    trouble = problem(cfg.MODEL.DEVICE, gpus)
    if trouble is not None:
        raise DataError(f"MODEL.DEVICE {cfg.MODEL.DEVICE}: {trouble}")
    # `launch` made one of them this process's own, which is the one that "cuda" means.
    return torch.device("cuda" if gpus.found else "cpu")


def is_full(error: BaseException) -> bool:
    """Does an error say that the GPU's memory was too small? CUDA's libraries say so in their own words."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and ("CUDA error: out of memory" in said or "ALLOC_FAILED" in said)


def first_line(error: Exception) -> str:
    """What torch says of a full device, without its pages of statistics."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def unused_gpu(device: torch.device, wanted: str) -> str | None:
    """A sentence where the machine has an NVIDIA driver and the CPU is used all the same, unasked."""
    if device.type == "cuda" or wanted == "cpu" or not DRIVER.exists():
        return None
    return f"this machine has an NVIDIA driver, but torch finds no GPU ({find_gpus().reason}); on the CPU"
