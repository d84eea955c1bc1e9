"""The environment of a job: the machine's hardware, without its name, and the versions of the software."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from typing import NamedTuple

import msgspec

from datasets import __version__
from datasets.checkout import commit
from datasets.parallel import cores

PACKAGES = ("torch", "torchvision", "detectron2", "numpy")


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """The environment of a job: hardware, name -> version, commit ("" without a checkout), number of parallel jobs."""

    machine: str
    versions: dict[str, str]
    commit: str
    jobs: int


class Gpu(NamedTuple):
    """As `nvidia-smi` lists it."""

    number: str
    uuid: str
    name: str


def describe(found: list[str], jobs: int) -> Environment:
    """The environment of this machine, with the GPUs `found` and the current code."""
    return Environment(machine=kind(found), versions=versions(), commit=commit("scripts"), jobs=jobs)


def gpus() -> list[str]:
    """Names of the NVIDIA GPUs available here, from nvidia-smi; importing torch would take seconds."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=index,uuid,name", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = found.stdout.splitlines() if found.returncode == 0 else []
    parts = [[part.strip() for part in line.split(",", 2)] for line in lines]
    return visible([Gpu(*part) for part in parts if len(part) == 3], os.environ.get("CUDA_VISIBLE_DEVICES"))


def visible(listed: list[Gpu], wanted: str | None) -> list[str]:
    """Names of the GPUs that CUDA_VISIBLE_DEVICES makes visible: numbers, or prefixes of UUIDs.

    As in CUDA, the list ends at the first one that does not exist. A part of a GPU, which `nvidia-smi` does not list
    here, is "a MIG device".
    """
    if wanted is None:
        return [gpu.name for gpu in listed]
    names: list[str] = []
    for part in (item.strip() for item in wanted.split(",")):
        found = [gpu.name for gpu in listed if part == gpu.number or (part[:4] == "GPU-" and gpu.uuid.startswith(part))]
        if part.startswith("MIG-"):
            found = ["a MIG device"]
        if len(found) != 1:
            break
        names += found
    return names


def kind(found: list[str]) -> str:
    names = ", ".join(f"{found.count(name)} x {name}" for name in sorted(set(found)))
    return f"{cores()} CPU cores ({platform.machine()}), {names or 'no GPU'}"


def versions() -> dict[str, str]:
    """Name -> version, ours first."""
    packages = {name: _version(name) for name in PACKAGES}
    return {"scarcedet": __version__, "Python": platform.python_version(), **packages}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
