"""Small models and data that the training tests share. One thread: small tensors gain nothing from two."""

from __future__ import annotations

import functools
import os
from typing import Any

import pytest
import torch

from datasets.sources import Input
from train import config
from train.data.read import TrainingData, read_training

torch.set_num_threads(1)
# Training would choose the free cores otherwise.
os.environ["OMP_NUM_THREADS"] = "1"

# As small as every model still runs with.
SMALL = [
    *("INPUT.MIN_SIZE_TRAIN", "[64, 80]", "INPUT.MAX_SIZE_TRAIN", "128"),
    *("INPUT.MIN_SIZE_TEST", "64", "INPUT.MAX_SIZE_TEST", "128"),
    *("SOLVER.IMS_PER_BATCH", "2", "DATALOADER.NUM_WORKERS", "0"),
    # So that results do not depend on whether this CPU has bf16.
    *("SOLVER.AMP.ENABLED", "False"),
]


def small_config(model: str = "tiny", *overrides: str) -> Any:
    """A model of `train/configs/` under the sample schedule, with pictures of 64 to 80 px."""
    return _loaded(model, overrides).clone()


@functools.cache
def _loaded(model: str, overrides: tuple[str, ...]) -> Any:
    return config.load(model, "sample", [*SMALL, *overrides])


@pytest.fixture(scope="session")
def drawn_data(drawn: Input) -> TrainingData:
    """The drawn dataset of tests/conftest.py, read for training: all eight images, one of them without objects."""
    return read_training(drawn, keep_empty=True, masks=None, progress=None)
