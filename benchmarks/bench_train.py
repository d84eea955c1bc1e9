"""Training against stock Detectron2: the data loader and a step. `gpu_check` measures the same on a GPU.

Both sides use the same images, sizes and weights in the same run, alternating. Compare ratios; seconds depend on the
machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import click
import msgspec
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it also runs without PYTHONPATH

from benchmarks import figures
from benchmarks.figures import Figure
from benchmarks.stock import plain, stock_batches
from datasets import allocator
from datasets.parallel import cores
from datasets.sources import Input
from train import compat, config, devices  # noqa: F401 - compat before detectron2
from train import cpu as processor
from train.data.loader import training_batches
from train.data.online import load_recipe
from train.data.online_mapper import mapper_of
from train.data.read import TrainingData, read_training
from train.data.sampler import BatchSampler, Division
from train.data.shared_memory import AHEAD
from train.model.build import build_network
from train.model.ignore import split_ignored

# isort: split
from detectron2.utils.events import EventStorage

ROOT = Path(__file__).resolve().parents[1]
PATH = click.Path(path_type=Path)


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
@figures.option
def loader(annotations: Path, images: Path, count: int, rounds: int, schedule: str, json_path: Path | None) -> None:
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
        print(f"{name:<6} {median(values):7.1f} images/s  ({min(values):.1f} - {max(values):.1f})")
    ratio = Figure("loader: images/s, ours / stock", median(rates["ours"]) / median(rates["stock"]), least=2)
    print(f"ours / stock: {ratio.value:.2f} (goal {ratio.goal})")
    figures.write(json_path, [ratio])


def our_batches(cfg: Any, data: TrainingData, last: int, batch: int = 1) -> Iterator[list[dict[str, Any]]]:
    sampler = BatchSampler(images=len(data.records), division=Division(batch), seed=0, last=last, tall=data.tall)
    return training_batches(mapper_of(cfg, data), sampler, workers=0)


@main.command()
@click.option("--annotations", type=PATH, default=ROOT / "datasets/sample/annotations/instances_train.json")
@click.option("--images", type=PATH, default=ROOT / "datasets/sample/train", help="Default: the sample.")
@click.option("--recipe", default="scarce", show_default=True, help="What is drawn.")
@click.option("--count", default=100, show_default=True, help="Images a side in each round.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--schedule", default="paper", show_default=True, help="Whose sizes to use.")
@figures.option
def online(
    annotations: Path,
    images: Path,
    recipe: str,
    count: int,
    rounds: int,
    workers: int,
    schedule: str,
    json_path: Path | None,
) -> None:
    """Images a second of the loader with variants drawn online, against the same images as they are (goal: 0.7 x)."""
    cfg = config.load("r50", schedule, ["DATALOADER.NUM_WORKERS", str(workers)])
    source = Input(annotations, images)
    seconds: dict[str, list[float]] = {"plain": [], "online": []}
    sides = {}
    for name, drawn in (("plain", None), ("online", load_recipe(recipe))):
        data = read_training(source, keep_empty=False, masks=None, progress=None, online=drawn)
        # What the workers prepared before a round is taken first, so that none has it ready.
        last = rounds * (count + ahead(workers))
        sampler = BatchSampler(images=len(data.records), division=Division(1), seed=0, last=last, tall=data.tall)
        sides[name] = training_batches(mapper_of(cfg, data), sampler, workers)
    for _ in range(rounds):
        for name, batches in sides.items():
            for _ in range(ahead(workers)):
                next(batches)
            start = time.perf_counter()
            for _ in range(count):
                next(batches)
            seconds[name].append(time.perf_counter() - start)
    print(f"{annotations}, shorter side {list(cfg.INPUT.MIN_SIZE_TRAIN)}, recipe {recipe}, {workers} workers")
    for name, values in seconds.items():
        rates = [count / value for value in values]
        print(f"{name:<6} {median(rates):7.1f} images/s  ({min(rates):.1f} - {max(rates):.1f})")
    ratio = median(plain_ / drawn_ for plain_, drawn_ in zip(seconds["plain"], seconds["online"], strict=True))
    figure = Figure(f"loader: images/s, {recipe} drawn online / plain", ratio, least=0.7)
    print(f"online / plain: {figure.value:.2f} (goal {figure.goal})")
    figures.write(json_path, [figure])


def ahead(workers: int) -> int:
    """Batches that the workers of a loader prepare while nobody asks."""
    return AHEAD * workers


@main.command()
@data_options
@click.option("--name", "model_name", default="r18", show_default=True, help="The model.")
@click.option("--schedule", default="sample", show_default=True, help="Whose sizes and batch to use.")
@click.option("--count", default=30, show_default=True, help="Steps a side.")
@figures.option
def step(annotations: Path, images: Path, model_name: str, schedule: str, count: int, json_path: Path | None) -> None:
    """A step forward and backward: stock heads, ours on the same targets, ours with the ignored regions.

    Goal: at most 2% slower than stock.
    """
    cfg = config.load(model_name, schedule)
    data = read_training(Input(annotations, images), keep_empty=False, masks=None, progress=None)
    cfg.MODEL.MASK_ON = data.masks
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(data.categories)
    device = devices.device_of(cfg)
    ours, stock = build_network(cfg, device, seed=0), build_network(plain(cfg), device, seed=0)
    sides: dict[str, tuple[torch.nn.Module, bool]] = {
        "stock": (stock, False),
        "ours, nothing ignored": (ours, False),
        "ours": (ours, True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    batches = our_batches(cfg, data, count + 2, cfg.SOLVER.IMS_PER_BATCH)
    with EventStorage():
        for index, batch in enumerate(batches):
            # The sides alternate in who goes first; the first two rounds warm up.
            order = list(sides)[index % len(sides) :] + list(sides)[: index % len(sides)]
            for name in order:
                network, with_ignored = sides[name]
                taken = step_seconds(network, batch if with_ignored else without_ignored(batch), index)
                if index >= 2:
                    seconds[name].append(taken)
    print(f"{model_name} on {device}, batch {cfg.SOLVER.IMS_PER_BATCH}, shorter side {list(cfg.INPUT.MIN_SIZE_TRAIN)}")
    base, ratios = seconds["stock"], {}
    for name, values in seconds.items():
        # Step by step, since batches differ in cost.
        ratios[name] = median(value / other for value, other in zip(values, base, strict=True))
        print(f"{name:<22} {1000 * median(values):8.1f} ms  {ratios[name]:.3f} x stock")
    figures.write(json_path, [Figure(f"step of {model_name}: ours / stock heads", ratios["ours"], most=1.02)])


@main.command()
@data_options
@click.option("--name", "model_name", default="tiny", show_default=True, help="The model.")
@click.option("--count", default=20, show_default=True, help="Steps a round.")
@click.option("--rounds", default=3, show_default=True, help="Rounds of each side, alternating; the median counts.")
@click.option("--threads", default=1, show_default=True)
@figures.option
def cpu(
    annotations: Path,
    images: Path,
    model_name: str,
    count: int,
    rounds: int,
    threads: int,
    json_path: Path | None,
) -> None:
    """A step of `fit` on the CPU, loader to optimiser: as stock Detectron2 takes it, and as the sample is trained.

    Each round is a process of its own, since one side changes how its process allocates memory. Goal: 1.5 x the
    images a second.
    """
    seconds: dict[str, list[float]] = {"stock": [], "ours": []}
    for _ in range(rounds):
        for side, values in seconds.items():
            command = [__file__, "cpu-side", side, model_name, str(count), str(annotations), str(images)]
            values.append(float(in_process(command, {"OMP_NUM_THREADS": str(threads)})))
    ratio = Figure(f"step of {model_name} on a CPU, {threads} thread(s): stock / ours", 0, least=1.5)
    ratio = msgspec.structs.replace(ratio, value=median(seconds["stock"]) / median(seconds["ours"]))
    for side, values in seconds.items():
        shown = ", ".join(f"{1000 * value:.0f}" for value in values)
        print(f"{side:<6} {1000 * median(values):8.1f} ms  ({shown})")
    print(f"stock / ours: {ratio.value:.2f} (goal {ratio.goal})")
    figures.write(json_path, [ratio])


@main.command()
@data_options
@click.option("--count", default=20, show_default=True, help="Steps a round.")
@click.option("--rounds", default=3, show_default=True, help="Rounds, alternating; the median counts.")
@figures.option
def beside(annotations: Path, images: Path, count: int, rounds: int, json_path: Path | None) -> None:
    """A step of `tiny` on the CPU beside a process that computes on every core, against the same alone.

    Its fair share is half of the machine, so that a step takes twice as long. For comparison: torch's own way, a thread
    a core, spinning.
    """
    ours, spinning = {"OMP_WAIT_POLICY": "passive"}, {"OMP_NUM_THREADS": str(cores()), "OMP_WAIT_POLICY": "active"}
    ways: dict[str, tuple[dict[str, str], int]] = {
        "alone": (ours, 0),
        "beside": (ours, cores()),
        "beside, spinning": (spinning, cores()),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (settings, others) in ways.items():
            with busy(others):
                command = [__file__, "cpu-side", "ours", "tiny", str(count), str(annotations), str(images)]
                seconds[name].append(float(in_process(command, settings)))
    for name, values in seconds.items():
        print(f"{name:<17} {1000 * median(values):8.1f} ms  {median(values) / median(seconds['alone']):.2f} x alone")
    found = median(seconds["beside"]) / median(seconds["alone"])
    figures.write(json_path, [Figure("step of tiny: beside a busy process a core / alone", found, most=2.5)])


@contextmanager
def busy(count: int) -> Iterator[None]:
    """`count` processes that compute without end."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in others:
            process.kill()
            process.wait()


def in_process(command: list[str], settings: dict[str, str]) -> str:
    """The last line that `python COMMAND` prints, with these settings of OpenMP."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    environment = {**known, "PYTHONPATH": str(ROOT), **settings}
    done = subprocess.run([sys.executable, *command], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()[-1]


@main.command(hidden=True)
@click.argument("side", type=click.Choice(["stock", "ours"]))
@click.argument("model_name")
@click.argument("count", type=int)
@click.argument("annotations", type=PATH)
@click.argument("images", type=PATH)
def cpu_side(side: str, model_name: str, count: int, annotations: Path, images: Path) -> None:
    """Prints the median seconds of a step, after three that warm up."""
    from train.model.cpu_layers import use_faster_layers
    from train.precision import FLOAT32, precision_of
    from train.run import solver
    from train.run.trainer import Trainer

    cfg = config.load(model_name, "sample")
    data = read_training(Input(annotations, images), keep_empty=False, masks=None, progress=None)
    cfg.MODEL.MASK_ON = data.masks
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(data.categories)
    device, precision = torch.device("cpu"), FLOAT32
    network = build_network(cfg if side == "ours" else plain(cfg), device, seed=0)
    if side == "ours":
        processor.set_threads()
        allocator.keep_freed_memory()
        use_faster_layers(network)
        precision = precision_of(cfg, device, print)
    schedule = solver.schedule_of(cfg, len(data.records))
    optimizer = solver.optimizer_of(cfg, network, schedule)
    if side == "ours":
        solver.fuse(optimizer, device)
    division = Division(cfg.SOLVER.IMS_PER_BATCH)
    batches = our_batches(cfg, data, count + 3, division.batch)
    if side == "stock":
        batches = ([plain_targets(item) for item in batch] for batch in batches)
    trainer = Trainer(
        model=network,
        optimizer=optimizer,
        batches=batches,
        division=division,
        learning_rate=lambda _: schedule.learning_rate / 10,
        seed=0,
        precision=precision,
    )
    seconds = []
    with EventStorage() as trainer.storage:
        for trainer.iter in range(count + 3):
            start = time.perf_counter()
            trainer.run_step()
            seconds.append(time.perf_counter() - start)
    print(median(seconds[3:]))


def plain_targets(item: dict[str, Any]) -> dict[str, Any]:
    return without_ignored([item])[0]


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


if __name__ == "__main__":
    main()
