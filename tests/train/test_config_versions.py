"""Configurations of earlier versions: translated where they are read, whatever else stands there."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from train import config
from train.config_versions import translated


@pytest.mark.parametrize(("name", "schedule"), [("WarmupMultiStepLR", "steps"), ("WarmupCosineLR", "cosine")])
def test_a_checkpoint_of_an_earlier_version_has_its_schedule_by_detectron2s_name(name: str, schedule: str) -> None:
    now = config.load("tiny", "sample", ["SOLVER.LR_SCHEDULE", schedule])
    earlier = yaml.safe_load(now.dump())
    for key in ("LR_SCHEDULE", "PATIENCE"):
        del earlier["SOLVER"][key]
    del earlier["LOGGERS"]
    earlier["SOLVER"]["LR_SCHEDULER_NAME"] = name
    assert config.flat(config.from_text(yaml.safe_dump(earlier), "a.pth")) == config.flat(now)


@pytest.mark.parametrize(
    "content",
    [
        None,
        [1],
        {},
        {"SOLVER": [1]},
        {"SOLVER": {"BASE_LR": 0.1}},
        # Of this version: Detectron2's key stands there too, with its default.
        {"SOLVER": {"LR_SCHEDULE": "cosine", "LR_SCHEDULER_NAME": "WarmupMultiStepLR"}},
        {"SOLVER": {"LR_SCHEDULER_NAME": ["WarmupCosineLR"]}},
        {"SOLVER": {"LR_SCHEDULER_NAME": "Step"}},
    ],
)
def test_anything_else_is_left_as_it_is(content: Any) -> None:
    assert translated(content) is content
