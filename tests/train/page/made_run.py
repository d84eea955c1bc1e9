"""The folder of a run that nobody trained: metrics, a checkpoint without weights, and detections of its best epoch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datasets.digests import sha256_file
from datasets.results import Results
from datasets.sources import Input
from tests.train.made import LINEAGE
from train import config
from train.checkpoints import checkpoint
from train.run import best_results
from train.run.best_results import MeasuredOn

HOSTILE = "<script>alert(1)</script>"
# Iterations of an epoch.
EPOCH = 10


def write_metrics(run: Path, aps: Sequence[float], losses: Sequence[float] = ()) -> None:
    """A line at the end of each epoch; AP in percent."""
    run.mkdir(parents=True, exist_ok=True)
    lines = []
    best = 0.0
    for epoch, ap in enumerate(aps, 1):
        best = max(best, ap)
        lines.append(
            {
                "iteration": epoch * EPOCH - 1,
                "total_loss": losses[epoch - 1] if losses else 3 / epoch,
                "loss_cls_stage0": 1.0,
                "loss_cls_stage1": 0.5,
                "lr": 0.02,
                "time": 0.5,
                "bbox/ap": ap,
                "bbox/images_seen_in_training": 0.0,
                "best/ap_low": best - 1,
                "best/ap_high": best + 1,
            }
        )
    (run / "metrics.json").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def write_run(run: Path, aps: Sequence[float] = (10, 20, 15), *overrides: str, **changed: Any) -> Path:
    """`overrides` are KEY VALUE of its configuration, `changed` keys of its checkpoint."""
    write_metrics(run, aps)
    content = {
        "model": {"weight": torch.zeros(1)},
        "iteration": EPOCH * len(aps),
        "epoch": float(len(aps)),
        "best": (1, 0.25),
        "config": config.load("tiny", "sample", overrides).dump(),
        "name": "tiny",
        "categories": [[1, HOSTILE], [3, "car"]],
        "data": {"annotations": "instances.json", "images": 7, "manifest_sha256": None, "categories": []},
        "lineage": LINEAGE,
    }
    checkpoint.save(run / checkpoint.BEST, content | changed)
    return run


def results(rows: Sequence[tuple[int, int, float, Sequence[float]]]) -> Results:
    """Detections as (image, category, score, box)."""
    return Results(
        image_ids=np.array([row[0] for row in rows], dtype=np.int64),
        category_ids=np.array([row[1] for row in rows], dtype=np.int64),
        scores=np.array([row[2] for row in rows], dtype=np.float64),
        boxes_xywh=np.array([row[3] for row in rows], dtype=np.float64).reshape(-1, 4),
    )


def keep(run: Path, data: Input, found: Results, **changed: Any) -> None:
    """Keep detections as a training does."""
    of: dict[str, Any] = {
        "annotations": str(data.annotations),
        "annotations_sha256": sha256_file(data.annotations),
        "images": str(data.images),
        "trained_objects": {1: 9, 3: 4},
    }
    best_results.write(run, MeasuredOn(**of | changed), found, 2)


# In the images of `write_data`: one that is badly placed (IoU 0.4), one where nothing is annotated, one of the wrong
# category, and below them the only one that is right, so that all four are judged; two objects are missed.
DETECTIONS = [
    (5, 1, 0.8, (60, 40, 16, 40)),
    (5, 3, 0.7, (0, 80, 15, 15)),
    (8, 3, 0.6, (20, 20, 30, 30)),
    (5, 1, 0.5, (10, 10, 40, 40)),
]


def write_data(folder: Path) -> Input:
    """Two images of 100 x 100 px: two objects of category 1 and one of 3 in the first, one of 1 in the second."""
    import cv2

    images = folder / "images"
    images.mkdir(parents=True)
    listed = []
    for id_, name in ((5, "one.png"), (8, f"{HOSTILE[:8]}.png")):
        cv2.imwrite(str(images / name), np.full((100, 100, 3), 40 * id_ % 256, np.uint8))
        listed.append({"id": id_, "file_name": name, "width": 100, "height": 100})
    boxes = [(5, 1, (10, 10, 40, 40)), (5, 1, (60, 40, 40, 40)), (5, 3, (70, 0, 20, 20)), (8, 1, (20, 20, 30, 30))]
    annotations = [
        {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for number, (image, category, box) in enumerate(boxes, 1)
    ]
    path = folder / "val.json"
    categories = [{"id": 1, "name": HOSTILE}, {"id": 3, "name": "car"}]
    path.write_text(json.dumps({"images": listed, "annotations": annotations, "categories": categories}))
    return Input(path, images)
