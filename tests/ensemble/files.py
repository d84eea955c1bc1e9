"""Annotation and results files to fuse, pycocotools' AP of them, and the command line as a shell sees it."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ensemble.__main__ import main
from tests.command_line import Ended, in_shell

Record = dict[str, Any]

# Width and height by id; the ids have gaps and no order, and nothing is ever found in the last image.
SIZES = {7: (60, 80), 3: (160, 120), 12: (90, 71), 20: (64, 100), 31: (97, 83)}
EMPTY = 31
CATEGORIES = (1, 3, 18)


def cli(*arguments: object) -> Ended:
    """What a shell would see of `python -m ensemble ARGUMENTS`."""
    return in_shell(main, "python -m ensemble", *arguments)


def below_inputs(out: str) -> list[str]:
    """The lines below the table of the inputs, which an empty line ends."""
    head, empty, below = out.partition("\n\n")
    assert head.startswith("images: ")
    assert empty
    return below.splitlines()


def write(path: Path, content: Any) -> Path:
    """As JSON, unless it is text or bytes already."""
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def listing(**more: Any) -> dict[str, Any]:
    """An annotation file that lists the images, and has `more`."""
    images = [{"id": id_, "file_name": f"{id_}.jpg", "width": w, "height": h} for id_, (w, h) in SIZES.items()]
    return {"images": images, **more}


def categories() -> list[Record]:
    return [{"id": id_, "name": f"kind {id_}"} for id_ in CATEGORIES]


def unannotated() -> dict[str, Any]:
    """Images and categories, as of a challenge's test file: no objects."""
    return listing(categories=categories())


def annotated() -> dict[str, Any]:
    """Four objects in each image but the last; coordinates are eighths of a pixel, so that all sums are exact."""
    rng = np.random.default_rng(0)
    annotations: list[Record] = []
    for image_id, (width, height) in SIZES.items():
        for _ in range(0 if image_id == EMPTY else 4):
            box = _box(rng.uniform((0, 0, 16, 16), (width - 40, height - 40, 40, 40)), width, height)
            annotations.append(
                {
                    # pycocotools takes a match with the annotation 0 for none.
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(rng.choice(CATEGORIES)),
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    return {**unannotated(), "annotations": annotations}


def predicted(seed: int, per_image: int = 12, noise: float = 3.0) -> list[Record]:
    """A model's results: boxes near the objects of `annotated`, some of another category, and no two equal scores."""
    rng = np.random.default_rng(seed)
    truth = annotated()["annotations"]
    detections: list[Record] = []
    for image_id, (width, height) in SIZES.items():
        objects = [item for item in truth if item["image_id"] == image_id]
        for _ in range(per_image if objects else 0):
            near = objects[int(rng.integers(len(objects)))]
            category = near["category_id"] if rng.random() < 0.8 else int(rng.choice(CATEGORIES))
            box = _box(np.array(near["bbox"]) + rng.normal(0, noise, 4), width, height)
            detections.append({"image_id": image_id, "category_id": category, "bbox": box})
    scores = rng.choice(np.arange(10_000, 1_000_000), len(detections), replace=False) / 1e6
    return [{**item, "score": score} for item, score in zip(detections, scores.tolist(), strict=True)]


def _box(xywh: Any, width: int, height: int) -> list[float]:
    """Inside the image, in eighths of a pixel."""
    x, y, w, h = xywh
    x, y = min(max(x, 0), width - 8), min(max(y, 0), height - 8)
    return [round(8 * value) / 8 for value in (x, y, min(max(w, 4), width - x), min(max(h, 4), height - y))]


def masked(detections: list[Record], masks: list[str]) -> str:
    """A results file in which each detection has a mask, written as it is given; none where that is empty."""
    lines = [
        json.dumps(item)[:-1] + (f', "segmentation": {mask}' if mask else "") + "}"
        for item, mask in zip(detections, masks, strict=True)
    ]
    return "[" + ",\n".join(lines) + "]"


def oracle(annotations: Path, results: Path) -> tuple[float, float]:
    """AP and AP50 by pycocotools."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(str(results)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])
