"""A little data that is built once. One thread, as in tests/train: two wait for each other where others are at work."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from benchmarks import gpu_check

torch.set_num_threads(1)
# Training would choose the free cores otherwise.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> dict[str, str]:
    """Ten images of the sample, built, and four to validate on: paths by the names of `Settings`."""
    folder = tmp_path_factory.mktemp("few")
    shutil.copytree(sample, folder / gpu_check.DATA / "sample")
    return gpu_check._files(folder, None, None, None, few=True)
