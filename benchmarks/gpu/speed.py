"""Images a second against a plain stock Detectron2 loop, on the same pictures: loader, step, and both together."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.gpu.correct import configured
from benchmarks.gpu.records import Rows, Settings
from benchmarks.gpu.scenes import Batch, scenes
from benchmarks.stock import plain, stock_batches
from datasets.parallel import cores
from train import compat, config, devices  # noqa: F401 - compat before detectron2
from train.data.loader import training_batches
from train.data.online_mapper import mapper_of
from train.data.read import TrainingData, read_training
from train.data.sampler import BatchSampler, Division
from train.model.build import build_network
from train.model.ignore import split_ignored
from train.precision import Precision
from train.run.trainer import Trainer

# isort: split
from detectron2.utils.events import EventStorage

STEP_GOAL, TOGETHER_GOAL = 1.0, 1.3
# Batches that are tried, the largest first; more than so many workers a training seldom gets.
BATCHES = (16, 8, 4, 2, 1)
MOST_WORKERS = 12
WARM_UP = 3
# Steps whose wait for data is measured, and that are profiled: each has some 100,000 events to record.
MEASURED, PROFILED = 10, 3
# Share of the memory that the largest picture may take, since two models and their momentum stay in it.
MOST_USED = 0.85

Step = Callable[[Batch], None]
Loader = Callable[[], Iterator[Batch]]


def speed(settings: Settings, rows: Rows) -> None:
    """r50 at a shorter side of [1400, 1800], batch as large as fits, mixed precision, all workers."""
    cfg = _configuration(settings)
    data = read_training(settings.training, keep_empty=False, masks=None, progress=None)
    cfg.MODEL.MASK_ON = data.masks
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(data.categories)
    precision = _precision(settings)
    workers = min(cores(), MOST_WORKERS) if settings.on_gpu else 1
    batch, sides = _sides(settings, cfg, precision)
    rows.add("set-up", None, _describe(cfg, data, batch, workers, precision), batch=batch, workers=workers)
    loaders: dict[str, Loader] = {
        "stock": _Stock(settings, cfg, batch, workers),
        "ours": _Ours(cfg, data, batch, workers),
    }
    with rows.attempt("step alone"):
        _step_alone(settings, _Ours(cfg, data, batch, 0), batch, sides, rows)
    with rows.attempt("loader alone"):
        # Until prefetched batches are used up.
        ahead = WARM_UP + 2 * workers
        rates = {
            name: _rate(loader, _nothing, batch, 0.05 * settings.seconds, ahead) for name, loader in loaders.items()
        }
        _compare(rows, "loader alone", rates, None)
    with rows.attempt("loader and step together"):
        rates = {
            name: _rate(loader, sides[name], batch, 0.1 * settings.seconds, WARM_UP) for name, loader in loaders.items()
        }
        _compare(rows, "loader and step together", rates, TOGETHER_GOAL if settings.on_gpu else None)
    sides.clear()
    _clear_memory(settings)
    with rows.attempt("waiting for data"):
        _waiting(cfg, loaders["ours"], batch, settings, precision, rows)


def _nothing(_batch: Batch) -> None:
    pass


def _configuration(settings: Settings) -> Any:
    if settings.on_gpu:
        return config.load("r50", "paper", ["MODEL.DEVICE", "cuda"])
    return configured(settings, "tiny", "INPUT.MIN_SIZE_TRAIN", "[64, 80]")


def _precision(settings: Settings) -> Precision:
    if not settings.on_gpu:
        return Precision()
    return Precision(torch.bfloat16 if torch.cuda.get_device_capability()[0] >= 8 else torch.float16, "cuda")


def _sides(settings: Settings, cfg: Any, precision: Precision) -> tuple[int, dict[str, Step]]:
    """The largest batch that both have memory for, at the largest size of the schedule; stock's step, and ours."""
    size = (max(cfg.INPUT.MIN_SIZE_TRAIN), cfg.INPUT.MAX_SIZE_TRAIN) if settings.on_gpu else (64, 96)
    for batch in BATCHES if settings.on_gpu else BATCHES[-2:]:
        sides = {
            "stock": _stock_step(build_network(plain(cfg), settings.device, seed=0), precision),
            "ours": _our_step(build_network(cfg, settings.device, seed=0), precision),
        }
        if _have_room(sides, batch, size, settings):
            return batch, sides
        sides.clear()
    raise RuntimeError("not even a batch of 1 fits")


def _have_room(sides: dict[str, Step], batch: int, size: tuple[int, int], settings: Settings) -> bool:
    """Can each take a step, with some memory to spare?"""
    # A small one first, so that CUDA's libraries have theirs.
    _clear_memory(settings)
    steps = [scenes(1, 64, 96), scenes(batch, *size, objects=15, ignored=0)]
    try:
        for step in sides.values():
            for item in steps:
                step(_without_ignored(item))
    except RuntimeError as error:
        if not devices.is_full(error):
            raise
        return False
    if not settings.on_gpu:
        return True
    return torch.cuda.max_memory_reserved() / torch.cuda.get_device_properties(0).total_memory < MOST_USED


def _clear_memory(settings: Settings) -> None:
    """Free the memory of deleted models."""
    gc.collect()
    if settings.on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _describe(cfg: Any, data: TrainingData, batch: int, workers: int, precision: Precision) -> str:
    sizes = [(record.width, record.height) for record in data.records]
    width, height = np.median(np.array(sizes), axis=0)
    return (
        f"shorter side {list(cfg.INPUT.MIN_SIZE_TRAIN)}, batch {batch}, {workers} workers, {precision.name}, "
        f"{len(data.records):,} pictures, median {width:.0f} x {height:.0f} px"
    )


def _our_step(network: nn.Module, precision: Precision) -> Step:
    """A step of this project's trainer, on batches from outside."""
    pending: list[Batch] = []
    trainer = Trainer(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9),
        batches=iter(pending.pop, None),
        division=Division(1),
        learning_rate=lambda _: 1e-4,
        seed=0,
        precision=precision,
    )
    storage = EventStorage()
    trainer.iter, trainer.storage = 0, storage

    def step(batch: Batch) -> None:
        pending.append(batch)
        with storage:
            trainer.run_step()
        trainer.iter += 1

    return step


def _stock_step(network: nn.Module, precision: Precision) -> Step:
    """What Detectron2's SimpleTrainer and AMPTrainer do in a step, without their metrics."""
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)
    scaler = precision.scaler()
    storage = EventStorage()

    def step(batch: Batch) -> None:
        with storage, precision.autocast():
            loss = sum(network(batch).values())
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return step


class _Ours:
    def __init__(self, cfg: Any, data: TrainingData, batch: int, workers: int) -> None:
        self._cfg, self._data, self._batch, self._workers = cfg, data, batch, workers

    def __call__(self) -> Iterator[Batch]:
        sampler = BatchSampler(
            images=len(self._data.records), division=Division(self._batch), seed=0, last=10**6, tall=self._data.tall
        )
        return training_batches(mapper_of(self._cfg, self._data), sampler, self._workers)


class _Stock:
    def __init__(self, settings: Settings, cfg: Any, batch: int, workers: int) -> None:
        self._settings, self._cfg, self._batch, self._workers = settings, cfg, batch, workers

    def __call__(self) -> Iterator[Batch]:
        return stock_batches(
            self._cfg, *self._settings.training, batch=self._batch, workers=self._workers, by_orientation=True
        )


def _rate(loader: Loader, step: Step, batch: int, seconds: float, warm_up: int) -> float:
    """Images a second, once the workers are under way, for about so many `seconds`."""
    batches = loader()
    for _ in range(warm_up):
        step(next(batches))
    _synchronize()
    began = time.perf_counter()
    count = 0
    while time.perf_counter() - began < seconds:
        step(next(batches))
        count += 1
    _synchronize()
    rate = count * batch / (time.perf_counter() - began)
    del batches  # and with it the workers
    return rate


def _step_alone(settings: Settings, loader: Loader, batch: int, sides: dict[str, Step], rows: Rows) -> None:
    """The same batches for both, without ignored regions for stock, which would fail on them. Each takes a batch once
    untimed, since kernels and memory are chosen again for every image size; then ours, stock, stock, ours, so that
    neither gains by its turn.
    """
    batches = loader()
    taken: list[tuple[float, float]] = []
    ends = time.perf_counter() + 0.15 * settings.seconds
    while len(taken) < 3 or time.perf_counter() < ends:
        item = next(batches)
        bare = _without_ignored(item)
        sides["ours"](item)
        sides["stock"](bare)
        first, second, third, fourth = (
            _seconds(sides[name], bare if name == "stock" else item) for name in ("ours", "stock", "stock", "ours")
        )
        taken.append(((first + fourth) / 2, (second + third) / 2))
    rates = {name: batch / statistics.median(pair[at] for pair in taken) for at, name in enumerate(("ours", "stock"))}
    ratio = statistics.median(theirs / own for own, theirs in taken)
    _compare(rows, "step alone", rates, STEP_GOAL if settings.on_gpu else None, ratio)


def _seconds(step: Step, batch: Batch) -> float:
    _synchronize()
    began = time.perf_counter()
    step(batch)
    _synchronize()
    return time.perf_counter() - began


def _without_ignored(batch: Batch) -> Batch:
    return [{**item, "instances": split_ignored([item["instances"]])[0][0]} for item in batch]


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _compare(rows: Rows, name: str, rates: dict[str, float], goal: float | None, ratio: float | None = None) -> None:
    ratio = rates["ours"] / rates["stock"] if ratio is None else ratio
    text = f"ours {rates['ours']:.2f} images/s, stock {rates['stock']:.2f}: {ratio:.2f} x"
    if goal is not None:
        # Slower than hoped for is not wrong: it does not fail the check.
        text += f" (goal >= {goal:g}{'' if ratio >= goal else ', missed'})"
    rows.add(name, True if goal is not None and ratio >= goal else None, text, ratio=ratio, **rates)


def _waiting(cfg: Any, loader: Loader, batch: int, settings: Settings, precision: Precision, rows: Rows) -> None:
    """What share of a step waits for data, and a profile of a few more, in `profile.txt`."""
    network = build_network(cfg, settings.device, seed=0)
    trainer = Trainer(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9),
        batches=loader(),
        division=Division(batch),
        learning_rate=lambda _: 1e-4,
        seed=0,
        precision=precision,
    )
    waited, taken = [], []
    with EventStorage() as trainer.storage:
        for trainer.iter in range(WARM_UP + MEASURED):
            trainer.run_step()
            trainer.storage.step()
            waited.append(trainer.storage.history("data_time").latest())
            taken.append(trainer.storage.history("time").latest())
        share = sum(waited[WARM_UP:]) / sum(taken[WARM_UP:])
        rows.add("waiting for data", None, f"{100 * share:.1f} % of a step", share=share)
        activities = [torch.profiler.ProfilerActivity.CPU]
        if settings.on_gpu:
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        with torch.profiler.profile(activities=activities) as profile:
            for _ in range(PROFILED):
                trainer.iter += 1
                trainer.run_step()
            _synchronize()
    key = "self_device_time_total" if settings.on_gpu else "self_cpu_time_total"
    # A kernel's time appears twice: under its own name, and under the operator that started it.
    operators = [item for item in profile.key_averages() if item.device_type.name == "CPU"]
    (settings.folder / "profile.txt").write_text(
        profile.key_averages().table(sort_by=key, row_limit=40), encoding="utf-8"
    )
    total = sum(getattr(item, key) for item in operators) or 1
    largest = sorted(operators, key=lambda item: -getattr(item, key))[:6]
    shares = ", ".join(f"{item.key[:40]} {100 * getattr(item, key) / total:.0f} %" for item in largest)
    rows.add(f"profile of {PROFILED} steps", None, f"{shares}; more in profile.txt")


PARTS = {"speed": speed}
