"""Models that were built and never trained, and what `train.run.fit` writes of one into a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.train.conftest import small_config

LINEAGE = {"pretrained": False, "from": "random weights", "seed": 0}


def tiny_config(categories: int, *overrides: str) -> Any:
    return small_config("tiny", "MODEL.ROI_HEADS.NUM_CLASSES", str(categories), *overrides)


def weights_config(categories: int, *overrides: str) -> Any:
    """A model to save and to load, not to run: `tiny` without its last stage, which is most of its weights."""
    stages, levels = "['res2', 'res3', 'res4']", "['p2', 'p3', 'p4']"
    return tiny_config(
        categories,
        *("MODEL.RESNETS.OUT_FEATURES", stages, "MODEL.FPN.IN_FEATURES", stages, "MODEL.ROI_BOX_HEAD.FC_DIM", "32"),
        *("MODEL.ROI_HEADS.IN_FEATURES", levels, "MODEL.RPN.IN_FEATURES", levels),
        *("MODEL.ANCHOR_GENERATOR.SIZES", "[[8], [16], [32]]"),
        *overrides,
    )


def content(
    network: nn.Module, cfg: Any, categories: Iterable[tuple[int, str]] = ((1, "disc"),), **changed: Any
) -> dict[str, Any]:
    """What `train.run.fit` puts into a checkpoint, before the first step of the optimiser."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    return {
        "model": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scaler": torch.amp.GradScaler("cuda", enabled=False).state_dict(),
        "iteration": 3,
        "best": (1, 0.25),
        "config": cfg.dump(),
        "name": "tiny",
        "categories": [list(pair) for pair in categories],
        "data": {"annotations": "instances.json", "manifest_sha256": None},
        "lineage": LINEAGE,
        "processes": 1,
        "version": "0",
        **changed,
    }


def write_list(path: Path, sizes: dict[int, tuple[int, int]], **more: Any) -> Path:
    """An annotation file that lists ID.png of (height, width) for each id, and says `more`; nothing else."""
    listed = [
        {"id": id_, "file_name": f"{id_}.png", "height": height, "width": width}
        for id_, (height, width) in sizes.items()
    ]
    path.write_text(json.dumps({"images": listed, **more}), encoding="utf-8")
    return path


def quiet(what: str, done: int, of: int) -> None:
    """Progress that nobody sees."""
