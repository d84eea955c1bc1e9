"""What the ladder runs on: its kind, never its name."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata

from datasets import __version__


def gpus() -> list[str]:
    """Names of the NVIDIA GPUs that may be used here; torch, which would know too, takes seconds to ask."""
    if shutil.which("nvidia-smi") is None or os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return []
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in found.stdout.splitlines() if line.strip()] if found.returncode == 0 else []


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


def kind(found: list[str]) -> str:
    names = ", ".join(f"{found.count(name)} x {name}" for name in sorted(set(found)))
    return f"{cores()} CPU cores ({platform.machine()}), {names or 'no GPU'}"


def versions() -> str:
    packages = [f"{name} {_version(name)}" for name in ("torch", "torchvision", "detectron2", "numpy")]
    return ", ".join([f"scarcedet {__version__}", f"Python {platform.python_version()}", *packages])


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
