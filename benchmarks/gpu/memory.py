"""What a step needs of the GPU's memory, at the largest pictures of the paper's schedule."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from benchmarks.gpu.correct import configured
from benchmarks.gpu.records import Rows, Settings
from benchmarks.gpu.scenes import Batch, scenes
from train import compat, devices  # noqa: F401 - compat before detectron2
from train.data.sampler import Division
from train.model.build import build_network
from train.precision import DTYPES, Precision
from train.run.trainer import Trainer

# isort: split
from detectron2.utils.events import EventStorage

# Shorter and longer side; as many objects as a crowded picture of COCO has, and ignored regions, which cost memory too.
PAPER_SIZE = (1800, 2400)
OBJECTS, IGNORED = 15, 10
GOAL_GB = 12.0
STEPS = 3


def memory(settings: Settings, rows: Rows) -> None:
    """Peak memory of r101 by batch, precision and activation checkpointing; 12 GB must do for a batch of 1."""
    if not settings.on_gpu:
        _kept_on_cpu(settings, rows)
        return
    for batch_size, dtype, checkpointing in _settings():
        name = f"r101, batch {batch_size}, {Precision(dtype).name}" + ", activation checkpointing" * checkpointing
        batch = scenes(batch_size, *PAPER_SIZE, objects=OBJECTS, ignored=IGNORED)
        in_goal = batch_size == 1 and checkpointing
        with rows.attempt(name):
            peak, why = _peak(settings, batch, Precision(dtype, "cuda"), checkpointing)
            if peak is None:
                rows.add(name, False if in_goal else None, f"does not fit: {why}")
            else:
                asked = f" (goal < {GOAL_GB:g})" if in_goal else ""
                rows.add(name, peak < GOAL_GB if in_goal else None, f"{peak:.2f} GB{asked}", gigabytes=peak)
        # A block that computes its activations again refers to itself, and would count in the next row.
        gc.collect()
        torch.cuda.empty_cache()


def _settings() -> Iterator[tuple[int, torch.dtype | None, bool]]:
    """Batch, precision and checkpointing; the combination that the goal is about comes first."""
    for batch_size in (1, 2):
        for checkpointing in (True, False):
            for dtype in (None, *DTYPES.values()):
                yield batch_size, dtype, checkpointing


def _peak(settings: Settings, batch: Batch, precision: Precision, checkpointing: bool) -> tuple[float | None, str]:
    """None, and why, where the memory is too small."""
    try:
        return peak_gigabytes(settings, batch, precision, checkpointing=checkpointing), ""
    except RuntimeError as error:
        if not devices.is_full(error):
            raise
        return None, str(error).partition("\n")[0]


def peak_gigabytes(settings: Settings, batch: Batch, precision: Precision, *, checkpointing: bool) -> float:
    """Allocated by torch at the peak of three steps, weights, momentum and gradients included."""
    network = build_network(_r101(settings, checkpointing), "cuda", seed=0)
    trainer = Trainer(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9),
        batches=iter([batch] * STEPS),
        division=Division(len(batch)),
        learning_rate=lambda _: 1e-4,
        seed=0,
        precision=precision,
    )
    torch.cuda.reset_peak_memory_stats()
    with EventStorage() as trainer.storage:
        for trainer.iter in range(STEPS):
            trainer.run_step()
            trainer.storage.step()
    return torch.cuda.max_memory_allocated() / 1e9


def _r101(settings: Settings, checkpointing: bool) -> object:
    cfg = configured(settings, "r101", "MODEL.CHECKPOINT_ACTIVATIONS", checkpointing)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 80
    return cfg


def _kept_on_cpu(settings: Settings, rows: Rows) -> None:
    """The CPU has no such figure; what the backward pass keeps can be counted, and must shrink alike."""
    batch = scenes(1, 96, 128, objects=4, ignored=4)
    plain = kept_megabytes(settings, batch, Precision(), checkpointing=False)
    rows.add("tiny, kept for the backward pass, fp32", None, f"{plain:.1f} MB", megabytes=plain)
    for precision, checkpointing, most in (
        (Precision(torch.bfloat16, "cpu"), False, 0.8),
        (Precision(), True, 0.8),
        (Precision(torch.bfloat16, "cpu"), True, 0.6),
    ):
        kept = kept_megabytes(settings, batch, precision, checkpointing=checkpointing)
        name = f"{precision.name}" + ", activation checkpointing" * checkpointing
        share = kept / plain
        rows.add(name, share <= most, f"{kept:.1f} MB, {share:.2f} x fp32 (goal <= {most:g})", megabytes=kept)


def kept_megabytes(settings: Settings, batch: Batch, precision: Precision, *, checkpointing: bool) -> float:
    """Distinct tensors kept for the backward pass; without weights and their 16-bit copies, which do not grow with the
    image and would hide what does.
    """
    network: nn.Module = build_network(
        configured(settings, "tiny", "MODEL.CHECKPOINT_ACTIVATIONS", checkpointing), settings.device, seed=0
    )
    precision.prepare(network)
    shapes = {shape for parameter in network.parameters() for shape in (parameter.shape, parameter.shape[::-1])}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if tensor.shape not in shapes:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    torch.manual_seed(0)
    with EventStorage(), precision.autocast(), saved_tensors_hooks(note, lambda tensor: tensor):
        found = network(batch)
    total = sum(kept.values())
    # The graph holds all counted tensors until here, so that no storage is reused.
    del found
    return total / 1e6


PARTS = {"memory": memory}
