"""The device of a process: its choice and its availability."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import torch

from datasets.errors import DataError

# Exists where a machine has NVIDIA's driver, whether torch can use it or not.
DRIVER = Path("/proc/driver/nvidia/version")


class Gpus(NamedTuple):
    """The GPUs that torch can use on this machine; `reason` is torch's explanation where there are none."""

    found: int
    reason: str = ""


def find_gpus() -> Gpus:
    try:
        # Counting GPUs alone does not detect a failing driver or card.
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except Exception as error:  # RuntimeError, AssertionError, DeferredCudaCallError, depending on what is missing
        # Its first sentence; the others refer users without an NVIDIA GPU to the vendor.
        sentence = re.split(r"\.(?:\s+(?=[A-Z])|\s*$)|\n", str(error).strip(), maxsplit=1)[0]
        return Gpus(0, sentence or type(error).__name__)
    return Gpus(torch.cuda.device_count())


def problem(wanted: str, gpus: Gpus, processes: int = 1, size: int = 1) -> str | None:
    """Why MODEL.DEVICE `wanted` (auto, cuda or cpu) is not available here; None where it is.

    `processes` on this machine, `size` on all machines, need a GPU each. A single process may fall back to the CPU
    (auto); several must not become as many CPU processes because a driver failed.
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
    """The device of this process; `auto` is the GPU, if there is one. Raises DataError for a missing GPU."""
    if cfg.MODEL.DEVICE == "cpu":
        return torch.device("cpu")
    gpus = find_gpus()
    trouble = problem(cfg.MODEL.DEVICE, gpus)
    if trouble is not None:
        raise DataError(f"MODEL.DEVICE {cfg.MODEL.DEVICE}: {trouble}")
    # `launch` assigned a GPU to this process, which "cuda" refers to.
    return torch.device("cuda" if gpus.found else "cpu")


def is_full(error: BaseException) -> bool:
    """Whether an error means that GPU memory ran out; CUDA's libraries word it differently."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and ("CUDA error: out of memory" in said or "ALLOC_FAILED" in said)


def first_line(error: Exception) -> str:
    """The first line of torch's out-of-memory error, without its statistics."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def unused_gpu(device: torch.device, wanted: str) -> str | None:
    """A note where the machine has an NVIDIA driver but the CPU is used, although not requested."""
    if device.type == "cuda" or wanted == "cpu" or not DRIVER.exists():
        return None
    return f"this machine has an NVIDIA driver, but torch finds no GPU ({find_gpus().reason}); on the CPU"
