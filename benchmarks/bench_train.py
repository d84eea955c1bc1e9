"""The training stage against stock Detectron2: the data loader, a step, and on a GPU throughput and memory.

Both sides work on the same images, sizes and weights in the same run, turn by turn. Ratios are what counts; seconds
depend on the machine.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it also runs without PYTHONPATH

from datasets.sources import Input
from train import compat, config, devices, model  # noqa: F401 - compat before detectron2
from train.data import TrainingData, read_training
from train.ignore import split_ignored
from train.loader import training_batches
from train.mapper import TrainingMapper
from train.sampler import BatchSampler, Division

# isort: split
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper, build_detection_train_loader
from detectron2.data.datasets.coco import load_coco_json
from detectron2.data.samplers import TrainingSampler
from detectron2.utils.events import EventStorage

ROOT = Path(__file__).resolve().parents[1]
PATH = click.Path(path_type=Path)
STOCK = {
    "MODEL.PROPOSAL_GENERATOR.NAME": "RPN",
    "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Benchmarks of the train stage.

    \b
    Example:
      python benchmarks/bench_train.py loader --annotations instances_train.json --images train2017
      python benchmarks/bench_train.py step
    """


def data_options(command: Callable[..., None]) -> Callable[..., None]:
    sample = ROOT / "datasets/sample-expanded"
    command = click.option("--images", type=PATH, default=sample / "images")(command)
    return click.option(
        "--annotations", type=PATH, default=sample / "annotations/instances.json", help="Default: the compiled sample."
    )(command)


@main.command()
@data_options
@click.option("--count", default=200, show_default=True, help="Images a side in each round.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--schedule", default="paper", show_default=True, help="Whose sizes to use.")
def loader(annotations: Path, images: Path, count: int, rounds: int, schedule: str) -> None:
    """Images a second of the two training loaders, each in this one process, one thread (goal: ours >= 2 x)."""
    import cv2

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    cfg = config.load("r50", schedule)
    data = read_training(Input(annotations, images), keep_empty=False, masks=None, progress=None)
    cfg.MODEL.MASK_ON = data.masks
    ours, theirs = our_batches(cfg, data, count * rounds), stock_batches(cfg, annotations, images)
    seconds: dict[str, list[float]] = {"ours": [], "stock": []}
    for _ in range(rounds):
        for name, batches in (("stock", theirs), ("ours", ours)):
            start = time.perf_counter()
            for _ in range(count):
                next(batches)
            seconds[name].append(time.perf_counter() - start)
    rates = {name: [count / value for value in values] for name, values in seconds.items()}
    print(f"{len(data.records):,} images of {annotations}, shorter side {list(cfg.INPUT.MIN_SIZE_TRAIN)}, 1 process")
    for name, values in rates.items():
        print(f"{name:<6} {statistics.median(values):7.1f} images/s  ({min(values):.1f} - {max(values):.1f})")
    print(f"ours / stock: {statistics.median(rates['ours']) / statistics.median(rates['stock']):.2f} (goal >= 2)")


def our_batches(cfg: Any, data: TrainingData, last: int, batch: int = 1) -> Iterator[list[dict[str, Any]]]:
    sampler = BatchSampler(images=len(data.records), division=Division(batch), seed=0, last=last, tall=data.tall)
    return training_batches(data.records, TrainingMapper(cfg, masks=data.masks, seed=0), sampler, workers=0)


def stock_batches(cfg: Any, annotations: Path, images: Path, batch: int = 1) -> Iterator[list[dict[str, Any]]]:
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
            aspect_ratio_grouping=False,
            num_workers=0,
        )
    )


def plain(cfg: Any) -> CfgNode:
    """The same configuration with Detectron2's own heads."""
    stock = cfg.clone()
    stock.merge_from_list([part for pair in STOCK.items() for part in pair])
    return stock


@main.command()
@data_options
@click.option("--name", "model_name", default="r18", show_default=True, help="The model.")
@click.option("--schedule", default="sample", show_default=True, help="Whose sizes and batch to use.")
@click.option("--count", default=30, show_default=True, help="Steps a side.")
def step(annotations: Path, images: Path, model_name: str, schedule: str, count: int) -> None:
    """A step forward and backward: stock heads, ours on the same targets, ours with the ignored regions.

    Goal: at most 2% slower than stock.
    """
    cfg = config.load(model_name, schedule)
    data = read_training(Input(annotations, images), keep_empty=False, masks=None, progress=None)
    cfg.MODEL.MASK_ON = data.masks
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(data.categories)
    device = devices.device_of(cfg)
    ours, stock = model.build(cfg, device, seed=0), model.build(plain(cfg), device, seed=0)
    sides: dict[str, tuple[torch.nn.Module, bool]] = {
        "stock": (stock, False),
        "ours, nothing ignored": (ours, False),
        "ours": (ours, True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    batches = our_batches(cfg, data, count + 2, cfg.SOLVER.IMS_PER_BATCH)
    with EventStorage():
        for index, batch in enumerate(batches):
            # Another one goes first each time; the first two rounds warm up.
            order = list(sides)[index % len(sides) :] + list(sides)[: index % len(sides)]
            for name in order:
                network, with_ignored = sides[name]
                taken = step_seconds(network, batch if with_ignored else without_ignored(batch), index)
                if index >= 2:
                    seconds[name].append(taken)
    print(f"{model_name} on {device}, batch {cfg.SOLVER.IMS_PER_BATCH}, shorter side {list(cfg.INPUT.MIN_SIZE_TRAIN)}")
    base = seconds["stock"]
    for name, values in seconds.items():
        # Step by step, since every batch costs something else.
        ratio = statistics.median(value / other for value, other in zip(values, base, strict=True))
        print(f"{name:<22} {1000 * statistics.median(values):8.1f} ms  {ratio:.3f} x stock")


def without_ignored(batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**item, "instances": split_ignored([item["instances"]])[0][0]} for item in batch]


def step_seconds(network: torch.nn.Module, batch: list[dict[str, Any]], seed: int) -> float:
    torch.manual_seed(seed)
    network.zero_grad()
    synchronize()
    start = time.perf_counter()
    sum(network(batch).values()).backward()
    synchronize()
    return time.perf_counter() - start


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@main.command()
@data_options
@click.option("--name", "model_name", default="r50", show_default=True, help="The model.")
@click.option("--schedule", default="paper", show_default=True, help="Whose sizes to use.")
@click.option("--batch", default=2, show_default=True)
@click.option("--workers", default=8, show_default=True)
@click.option("--count", default=100, show_default=True, help="Steps a side, after 10 of warm-up.")
@click.option("--amp/--no-amp", default=True, show_default=True)
def throughput(
    annotations: Path, images: Path, model_name: str, schedule: str, batch: int, workers: int, count: int, amp: bool
) -> None:
    """Images a second of whole training steps, loader included, against a plain stock loop (goal: >= 1.0 x)."""
    cfg = config.load(model_name, schedule)
    data = read_training(Input(annotations, images), keep_empty=False, masks=None, progress=None)
    cfg.MODEL.MASK_ON = data.masks
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(data.categories)
    device = devices.device_of(cfg)
    amp = amp and device.type == "cuda"
    total = count + 10
    sampler = BatchSampler(images=len(data.records), division=Division(batch), seed=0, last=total, tall=data.tall)
    mapper = TrainingMapper(cfg, masks=data.masks, seed=0)
    dicts = [
        item
        for item in load_coco_json(str(annotations), str(images), "bench")
        if any(not entry.get("iscrowd", 0) for entry in item["annotations"])
    ]
    stock_loader = build_detection_train_loader(
        dicts,
        mapper=DatasetMapper(plain(cfg), is_train=True),
        sampler=TrainingSampler(len(dicts), seed=0),
        total_batch_size=batch,
        aspect_ratio_grouping=True,
        num_workers=workers,
    )
    rates = {
        "stock": rate(model.build(plain(cfg), device, seed=0), iter(stock_loader), total, batch, amp),
        "ours": rate(
            model.build(cfg, device, seed=0),
            training_batches(data.records, mapper, sampler, workers),
            total,
            batch,
            amp,
        ),
    }
    print(f"{model_name} on {device}, batch {batch}, {workers} workers, mixed precision {amp}")
    for name, value in rates.items():
        print(f"{name:<6} {value:.2f} images/s")
    print(f"ours / stock: {rates['ours'] / rates['stock']:.2f} (goal >= 1.0)")


def rate(network: torch.nn.Module, batches: Iterator[Any], total: int, batch: int, amp: bool) -> float:
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)
    scaler = torch.amp.GradScaler("cuda", enabled=amp)
    start = 0.0
    with EventStorage():
        for index in range(total):
            if index == 10:
                synchronize()
                start = time.perf_counter()
            optimizer.zero_grad()
            with torch.autocast("cuda", enabled=amp):
                loss = sum(network(next(batches)).values())
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        synchronize()
    return (total - 10) * batch / (time.perf_counter() - start)


@main.command()
@click.option("--name", "model_name", default="r101", show_default=True, help="The model.")
@click.option("--steps", default=8, show_default=True)
@click.option("--amp/--no-amp", default=False, show_default=True)
def memory(model_name: str, steps: int, amp: bool) -> None:
    """Peak GPU memory at the largest size of the paper's schedule, batch 1 and 2 (goal: r101 under 12 GB with
    activation checkpointing)."""
    if not torch.cuda.is_available():
        raise click.ClickException("expected a GPU that torch finds, found none")
    print(f"{model_name}, 1800 x 2400 px, mixed precision {amp}")
    for checkpointing in (False, True):
        for batch in (1, 2):
            overrides = ["MODEL.CHECKPOINT_ACTIVATIONS", str(checkpointing)]
            network = model.build(config.load(model_name, "paper", overrides), "cuda", seed=0)
            peak = peak_gigabytes(network, batch, steps, amp)
            del network
            torch.cuda.empty_cache()
            print(f"batch {batch}, activation checkpointing {checkpointing!s:<5}  {peak:6.2f} GB")


def peak_gigabytes(network: torch.nn.Module, batch: int, steps: int, amp: bool) -> float:
    """Allocated by torch at the peak, optimiser included, with 15 objects an image."""
    from detectron2.structures import Boxes, Instances, PolygonMasks

    height, width, objects = 1800, 2400, 15
    generator = torch.Generator().manual_seed(0)
    items = []
    for _ in range(batch):
        corner = torch.rand(objects, 2, generator=generator) * torch.tensor([width - 500.0, height - 500.0])
        boxes = torch.cat([corner, corner + 50 + 400 * torch.rand(objects, 2, generator=generator)], dim=1)
        outlines = [[[x0, y0, x1, y0, x1, y1, x0, y1]] for x0, y0, x1, y1 in boxes.tolist()]
        instances = Instances((height, width), gt_boxes=Boxes(boxes), gt_classes=torch.arange(objects))
        instances.gt_masks = PolygonMasks(outlines)
        image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)
        items.append({"image": image, "instances": instances, "height": height, "width": width})
    torch.cuda.reset_peak_memory_stats()
    rate(network, iter([items] * (steps + 10)), steps + 10, batch, amp)
    return torch.cuda.max_memory_allocated() / 1e9


if __name__ == "__main__":
    main()
