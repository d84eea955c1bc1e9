"""Suppression and fusion of large results against `json` + ensemble-boxes: `python benchmarks/bench_ensemble.py run`.

Synthetic results: 5 models x 5,000 images x 100 boxes, seeded. Each side runs in a process of its own, on one core:
reading, class-agnostic soft-NMS of each model, WBF of all, writing. Compare ratios within one run.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it also runs without PYTHONPATH

from benchmarks import figures
from benchmarks.figures import Figure

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT = 640, 480
CATEGORIES = 80
SIGMA, IOU_THRESHOLD, SCORE_THRESHOLD = 0.5, 0.55, 0.001
STEPS = ("read", "soft-NMS", "WBF", "write")
GOALS = {"soft-NMS": 20, "WBF": 15, "whole": 20}


@click.group()
def main() -> None:
    """Benchmarks of the ensemble stage."""


@main.command()
@click.option("--models", default=5, show_default=True)
@click.option("--images", default=5000, show_default=True)
@click.option("--boxes", default=100, show_default=True, help="Of each model in each image.")
@figures.option
def run(models: int, images: int, boxes: int, json_path: Path | None) -> None:
    """Measure both sides.

    \b
    Example:
      python benchmarks/bench_ensemble.py run
      python benchmarks/bench_ensemble.py run --images 200
    """
    with tempfile.TemporaryDirectory(prefix="bench-ensemble-") as name:
        folder = Path(name)
        draw(folder, models, images, boxes)
        print(f"{models} models x {images:,} images x {boxes} boxes, one core\n")
        found = {side: measure(side, folder, models) for side in ("ours", "theirs")}
    ours, theirs = found["ours"], found["theirs"]
    print(f"{'CPU s':<10}{'ours':>9}{'theirs':>9}{'theirs / ours':>15}")
    ratios = {step: ratio(step, theirs[step] / ours[step]) for step in (*STEPS, "whole")}
    for step, one in ratios.items():
        goal = f" (goal {one.goal})" if one.goal else ""
        print(f"{step:<10}{ours[step]:>9.2f}{theirs[step]:>9.2f}{one.value:>15.1f}{goal}")
    figures.write(json_path, list(ratios.values()))
    print(f"\npeak memory: ours {ours['memory']:.0f} MB (goal < 2,000), theirs {theirs['memory']:.0f} MB")
    print(f"detections written: ours {ours['written']:,.0f}, theirs {theirs['written']:,.0f}")


def ratio(step: str, value: float) -> Figure:
    return Figure(f"fusion, {step}: CPU, json and ensemble-boxes / ours", value, least=GOALS.get(step))


def draw(folder: Path, models: int, images: int, boxes: int) -> None:
    """Objects of 80 categories; each model detects most of them, several times, some as another category."""
    rng = np.random.default_rng(0)
    listed = [{"id": n + 1, "file_name": f"{n + 1}.jpg", "width": WIDTH, "height": HEIGHT} for n in range(images)]
    categories = [{"id": n + 1, "name": str(n + 1)} for n in range(CATEGORIES)]
    (folder / "images.json").write_text(json.dumps({"images": listed, "categories": categories}))
    objects = 12
    corner = rng.uniform((0, 0), (WIDTH - 120, HEIGHT - 120), (images, objects, 2))
    size = rng.uniform(30, 110, (images, objects, 2))
    kinds = rng.integers(1, CATEGORIES + 1, (images, objects))
    rows = np.arange(images)[:, None]
    for model in range(models):
        which = rng.integers(0, objects, (images, boxes))
        xy = corner[rows, which] + rng.normal(0, 6, (images, boxes, 2))
        wh = np.maximum(size[rows, which] + rng.normal(0, 6, (images, boxes, 2)), 5)
        found = np.concatenate([np.clip(xy, 0, None), wh], axis=2).round(2)
        category = np.where(rng.random((images, boxes)) < 0.8, kinds[rows, which], rng.integers(1, 81, (images, boxes)))
        scores = rng.beta(0.6, 3, (images, boxes)).clip(0.001, 1).round(6)
        records = [
            {"image_id": image + 1, "category_id": kind, "bbox": box, "score": score}
            for image in range(images)
            for kind, box, score in zip(
                category[image].tolist(), found[image].tolist(), scores[image].tolist(), strict=True
            )
        ]
        (folder / f"{model}.json").write_text(json.dumps(records))


def measure(side: str, folder: Path, models: int) -> dict[str, float]:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
    }
    command = [sys.executable, __file__, side, str(folder), str(models)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


class Clock:
    """CPU seconds of each step, and of the whole process, imports included."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.process_time()

    def done(self, step: str) -> None:
        now = time.process_time()
        self.seconds[step] = now - self._last
        self._last = now

    def report(self, written: int) -> None:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        print(json.dumps({**self.seconds, "whole": time.process_time(), "memory": memory, "written": written}))


@main.command(hidden=True)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("models", type=int)
def ours(folder: Path, models: int) -> None:
    from datasets.allocator import keep_freed_memory
    from datasets.results import write
    from ensemble import pipeline
    from ensemble.detections import to_results
    from ensemble.recipe import SoftNms, Wbf

    clock = Clock()
    keep_freed_memory()
    images = pipeline.read_images(folder / "images.json")
    read = pipeline.read_models([folder / f"{model}.json" for model in range(models)], images)
    clock.done("read")
    how = SoftNms(sigma=SIGMA, score_threshold=SCORE_THRESHOLD)
    parts = [pipeline.suppressed(model.detections, how) for model in read]
    clock.done("soft-NMS")
    fused = pipeline.fused(parts, [1.0] * models, Wbf(iou_threshold=IOU_THRESHOLD))
    clock.done("WBF")
    final = pipeline.submittable(fused, images, 100)
    write(folder / "ours.json", to_results(final))
    clock.done("write")
    clock.report(len(final))


@main.command(hidden=True)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("models", type=int)
def theirs(folder: Path, models: int) -> None:
    """What users write: `json`, boxes as fractions by hand, ensemble-boxes image by image."""
    import warnings

    from ensemble_boxes import soft_nms, weighted_boxes_fusion

    warnings.simplefilter("ignore")
    scale = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT], dtype=np.float64)
    clock = Clock()
    images = [image["id"] for image in json.loads((folder / "images.json").read_text())["images"]]
    grouped: list[dict[int, list[Any]]] = []
    for model in range(models):
        by_image: dict[int, list[Any]] = {}
        for item in json.loads((folder / f"{model}.json").read_text()):
            x, y, width, height = item["bbox"]
            by_image.setdefault(item["image_id"], []).append(
                ([x, y, x + width, y + height], item["score"], item["category_id"])
            )
        grouped.append(by_image)
    clock.done("read")
    suppressed: list[dict[int, tuple[Any, Any, Any]]] = []
    for by_image in grouped:
        found = {}
        for image, items in by_image.items():
            boxes = np.clip(np.array([item[0] for item in items]) / scale, 0, 1)
            scores = np.array([item[1] for item in items])
            # A single label makes it class-agnostic; categories are recovered from the boxes.
            category = {tuple(box): item[2] for box, item in zip(boxes.tolist(), items, strict=True)}
            kept, decayed, _ = soft_nms(
                [boxes], [scores], [np.zeros(len(items))], sigma=SIGMA, thresh=SCORE_THRESHOLD, method=2
            )
            found[image] = kept, decayed, [category[tuple(box)] for box in kept.tolist()]
        suppressed.append(found)
    clock.done("soft-NMS")
    fused = {}
    for image in images:
        parts = [model[image] for model in suppressed if image in model]
        fused[image] = weighted_boxes_fusion(
            [part[0] for part in parts],
            [part[1] for part in parts],
            [part[2] for part in parts],
            iou_thr=IOU_THRESHOLD,
        )
    clock.done("WBF")
    records = []
    for image, (boxes, scores, labels) in fused.items():
        for box, score, label in zip((boxes * scale).tolist()[:100], scores.tolist(), labels.tolist(), strict=False):
            x0, y0, x1, y1 = box
            records.append(
                {"image_id": image, "category_id": int(label), "bbox": [x0, y0, x1 - x0, y1 - y0], "score": score}
            )
    (folder / "theirs.json").write_text(json.dumps(records))
    clock.done("write")
    clock.report(len(records))


if __name__ == "__main__":
    main()
