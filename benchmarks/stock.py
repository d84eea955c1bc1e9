"""Stock Detectron2 for comparison: its heads, its mapper and its loader, on the same configuration and data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from train import compat  # noqa: F401 - before detectron2

# isort: split
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper, build_detection_train_loader
from detectron2.data.datasets.coco import load_coco_json
from detectron2.data.samplers import TrainingSampler

STOCK = {
    "MODEL.PROPOSAL_GENERATOR.NAME": "RPN",
    "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
}


def plain(cfg: Any) -> CfgNode:
    """The same configuration with Detectron2's own heads."""
    stock = cfg.clone()
    stock.merge_from_list([part for pair in STOCK.items() for part in pair])
    return stock


def stock_batches(
    cfg: Any, annotations: Path, images: Path, *, batch: int = 1, workers: int = 0, by_orientation: bool = False
) -> Iterator[list[dict[str, Any]]]:
    """What `DefaultTrainer.build_train_loader` gives, for the same images: those with an object that is no crowd."""
    dicts = [
        item
        for item in load_coco_json(str(annotations), str(images), "bench")
        if any(not entry.get("iscrowd", 0) for entry in item["annotations"])
    ]
    return iter(
        build_detection_train_loader(
            dicts,
            mapper=DatasetMapper(plain(cfg), is_train=True),
            sampler=TrainingSampler(len(dicts), seed=0),
            total_batch_size=batch,
            aspect_ratio_grouping=by_orientation,
            num_workers=workers,
        )
    )
