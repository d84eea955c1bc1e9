"""Correctness of a step on this device: every model and precision, and everything that must not change a step."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.gpu.records import Rows, Settings
from benchmarks.gpu.scenes import Batch, scenes
from train import compat, config  # noqa: F401 - compat before detectron2
from train.data.sampler import Division
from train.model.build import build_network
from train.precision import DTYPES, FLOAT32, Precision
from train.processes import launch
from train.processes.launch import World
from train.run.trainer import Trainer

# isort: split
from detectron2.utils.events import EventStorage

CATEGORIES = 3
# More than a scene has candidates, so that all are sampled, and no draw of random numbers decides a loss.
SAMPLE_ALL = 50_000
# Without a cascade and with one.
FEW_MODELS = ("tiny", "tiny-cascade")
# Steps in fp16 may be skipped until the loss scale is small enough.
TRIES = 6


def configured(settings: Settings, name: str, *overrides: Any) -> Any:
    """A model's configuration for scenes, on this device."""
    keys = ["MODEL.ROI_HEADS.NUM_CLASSES", CATEGORIES, "MODEL.DEVICE", settings.device, *overrides]
    return config.load(name, "sample", [str(part) for part in keys])


def size_of(settings: Settings) -> tuple[int, int]:
    """Height and width of scenes: multiples of 32, so that nothing is padded."""
    return (320, 448) if settings.on_gpu else (64, 96)


class Stepped(NamedTuple):
    losses: list[dict[str, float]]
    change: torch.Tensor
    """Of all weights, in one row, on the CPU."""
    skipped: int


def take_steps(
    network: nn.Module,
    batches: list[Batch],
    division: Division,
    precision: Precision = FLOAT32,
    rate: float = 0.01,
) -> Stepped:
    """Steps of this project's own trainer, plain SGD; `batches` has `division.accumulate` a step.

    In fp16 it ends with the first step that is not skipped.
    """
    before = flat_weights(network)
    trainer = Trainer(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=rate),
        batches=iter(batches),
        division=division,
        learning_rate=lambda _: rate,
        seed=0,
        precision=precision,
    )
    losses = []
    with EventStorage() as trainer.storage:
        for trainer.iter in range(len(batches) // division.accumulate):
            trainer.run_step()
            losses.append({name: value for name, (value, _) in trainer.storage.latest().items() if "loss" in name})
            trainer.storage.step()
            if trainer.scaler.is_enabled() and trainer.skipped == 0:
                break
    return Stepped(losses, flat_weights(network) - before, trainer.skipped)


def flat_weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()]).cpu()


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Length of the difference, as a share of the expected's."""
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def compute_exactly() -> None:
    """Products in convolutions in float32, for comparing numbers: torch rounds them to 10 bits on a GPU by default, and
    which kernel, and so which rounding, depends on the batch."""
    torch.backends.cudnn.allow_tf32 = False


def steps(settings: Settings, rows: Rows) -> None:
    """Every model takes a step in fp32, fp16 and bf16; losses and weights stay finite."""
    batch = scenes(2, *size_of(settings))
    for name in config.models() if settings.on_gpu else ["tiny"]:
        with rows.attempt(name):
            network = build_network(configured(settings, name), settings.device, seed=0)
            for dtype in (None, *DTYPES.values()):
                precision = Precision(dtype, settings.device)
                with rows.attempt(f"{name} {precision.name}"):
                    _take_a_step(network, batch, precision, f"{name} {precision.name}", rows)


def _take_a_step(network: nn.Module, batch: Batch, precision: Precision, name: str, rows: Rows) -> None:
    began = time.perf_counter()
    stepped = take_steps(network, [batch] * (TRIES if precision.scales_loss else 1), Division(2), precision)
    total = stepped.losses[-1].get("total_loss", math.nan)
    moved = float(stepped.change.norm())
    rows.add(
        name,
        math.isfinite(total) and math.isfinite(moved) and moved > 0 and stepped.skipped == 0,
        f"loss {total:.3f}" + (f", {stepped.skipped} steps skipped" if stepped.skipped else ""),
        total_loss=total,
        seconds=round(time.perf_counter() - began, 2),
    )


def losses(settings: Settings, rows: Rows) -> None:
    """Losses with ignored regions equal those of the CPU, in float64, to 1e-4."""
    compute_exactly()
    height, width = size_of(settings)
    batch = scenes(2, height, width, objects=4, ignored=4)
    for name in FEW_MODELS:
        with rows.attempt(name):
            _compare_losses(settings, name, batch, rows)


def _compare_losses(settings: Settings, name: str, batch: Batch, rows: Rows) -> None:
    cfg = configured(
        settings,
        name,
        *("MODEL.RPN.BATCH_SIZE_PER_IMAGE", SAMPLE_ALL, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", SAMPLE_ALL),
    )
    reference = build_network(cfg, "cpu", seed=0)
    proposals = proposals_of(reference, batch)
    expected = losses_of(reference.double(), batch, proposals)
    found = losses_of(build_network(cfg, settings.device, seed=0), batch, proposals)
    errors = {key: abs(found[key] - value) / (abs(value) + 1e-6) for key, value in expected.items()}
    worst = max(errors, key=lambda key: errors[key])
    rows.add(
        name,
        found.keys() == expected.keys() and all(error <= 1e-4 for error in errors.values()),
        f"{len(expected)} losses, largest relative difference {errors[worst]:.1e} ({worst})",
        difference=errors[worst],
    )


def proposals_of(network: nn.Module, batch: Batch) -> list[Any]:
    """What the RPN proposes: the same for both sides, since a rounding error can decide which of two boxes stays."""
    with torch.no_grad(), EventStorage():
        images = network.preprocess_image(batch)  # type: ignore[operator]
        features = network.backbone(images.tensor)  # type: ignore[operator]
        targets = [item["instances"].to(images.tensor.device) for item in batch]
        found: list[Any] = network.proposal_generator(images, features, targets)[0]  # type: ignore[operator]
    return found


def losses_of(network: nn.Module, batch: Batch, proposals: list[Any]) -> dict[str, float]:
    device = next(network.parameters()).device
    generator: Any = network.proposal_generator
    generator.predict_proposals = lambda *_: [found.to(device) for found in proposals]
    torch.manual_seed(0)
    with EventStorage(), torch.no_grad():
        return {name: float(loss) for name, loss in network(batch).items()}


def accumulation(settings: Settings, rows: Rows) -> None:
    """A batch in four turns changes the weights as the whole batch does.

    Every scene has as many objects as the others, no masks and nothing ignored, so that means over boxes are means over
    scenes.
    """
    compute_exactly()
    height, width = size_of(settings)
    batch = scenes(4, height, width, objects=4, ignored=0)
    whole = boxes_only(settings)
    at_once = take_steps(whole, [batch], Division(4))
    in_turns = take_steps(boxes_only(settings), [[item] for item in batch], Division(4, 1, 4))
    error = difference(in_turns.change, at_once.change)
    rows.add("4 turns of 1", error <= 1e-3, f"relative difference of the weights' change {error:.1e}", difference=error)


def boxes_only(settings: Settings) -> nn.Module:
    """A model whose losses contain no random number, and no mean over a number that differs between images."""
    return build_network(
        configured(
            settings,
            "tiny",
            *("MODEL.RPN.BATCH_SIZE_PER_IMAGE", SAMPLE_ALL, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", SAMPLE_ALL),
            # NMS removes no proposal, so that every scene has 50.
            *("MODEL.RPN.POST_NMS_TOPK_TRAIN", 50, "MODEL.RPN.NMS_THRESH", 1.0, "MODEL.MASK_ON", False),
        ),
        settings.device,
        seed=0,
    )


def checkpointing(settings: Settings, rows: Rows) -> None:
    """Activations that are computed again give the same losses and weights."""
    compute_exactly()
    batch = scenes(2, *size_of(settings))
    for name in ("tiny", "resnest50") if settings.on_gpu else ("tiny",):
        with rows.attempt(name):
            kept, again = (_step_with(settings, name, batch, checkpointing=on) for on in (False, True))
            error = difference(again.change, kept.change)
            same = kept.losses == again.losses
            rows.add(
                name,
                same and error <= 1e-3,
                f"losses {'the same to the bit' if same else 'differ'}, relative difference of the change {error:.1e}",
                difference=error,
            )


def _step_with(settings: Settings, name: str, batch: Batch, *, checkpointing: bool) -> Stepped:
    cfg = configured(settings, name, "MODEL.CHECKPOINT_ACTIVATIONS", checkpointing)
    return take_steps(build_network(cfg, settings.device, seed=0), [batch], Division(2))


def processes(settings: Settings, rows: Rows) -> None:
    """One process and several (NCCL on GPUs, gloo on the CPU) change the weights as turns in one process do."""
    compute_exactly()
    batch = scenes(2, *size_of(settings), objects=4, ignored=2)
    backend = "NCCL" if settings.on_gpu else "gloo"
    if not settings.on_gpu or torch.cuda.device_count() >= 2:
        with rows.attempt(f"2 by {backend}"):
            path = settings.folder / "processes-2.pt"
            launch.launch(step_in_world, World(2, device=settings.device), settings, batch, path)
            _compare_change(settings, batch, path, f"2 by {backend}", rows)
    else:
        rows.add("2 by NCCL", None, "not run: there is one GPU")
    with rows.attempt(f"1 by {backend}"):
        path = settings.folder / "processes-1.pt"
        # In this process, since `launch` needs no world for one.
        launch.join(0, World(device=settings.device), f"tcp://127.0.0.1:{launch.free_port()}")
        step_in_world(settings, batch[:1], path)
        distributed.destroy_process_group()
        _compare_change(settings, batch[:1], path, f"1 by {backend}", rows)


def _compare_change(settings: Settings, batch: Batch, path: Path, name: str, rows: Rows) -> None:
    """Compare with the same number of turns in one process."""
    count = len(batch)
    expected = take_steps(boxes_only(settings), [[item] for item in batch], Division(count, 1, count)).change
    error = difference(torch.load(path), expected)
    path.unlink()
    rows.add(name, error <= 1e-3, f"relative difference of the change {error:.1e}", difference=error)


def step_in_world(settings: Settings, batch: Batch, path: Path) -> None:
    """In every process: a step on its own part of `batch`; the first one saves the change of the weights."""
    compute_exactly()
    rank, size = distributed.get_rank(), distributed.get_world_size()
    network = boxes_only(settings)
    ids = [torch.cuda.current_device()] if settings.on_gpu else None
    wrapped = DistributedDataParallel(network, device_ids=ids, broadcast_buffers=False)
    change = take_steps(wrapped, [[batch[rank]]], Division(size, size)).change
    if rank == 0:
        torch.save(change, path)


PARTS = {
    "steps": steps,
    "losses": losses,
    "accumulation": accumulation,
    "checkpointing": checkpointing,
    "processes": processes,
}
