"""Averaging the weights of several epochs of a run into one checkpoint.

Late checkpoints scatter around a better point than any of them (Izmailov et al., 2018, "Averaging Weights Leads to
Wider Optima and Better Generalization").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from datasets import outputs
from datasets.errors import DataError
from datasets.seen import SeenImages
from train import config
from train.checkpoints import checkpoint, lineage
from train.checkpoints.checkpoint import EMA, Loaded

_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)


def epochs_of(text: str) -> list[int]:
    """Parses `50-56`, `41,54` or a mix into sorted, distinct epochs. Raises DataError for anything else."""
    epochs: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        first = int(match[1]) if match else 0
        last = int(match[2] or first) if match else 0
        # No run of more epochs keeps the checkpoints of all of them.
        if not 1 <= first <= last <= first + 10_000:
            raise DataError(f"--epochs {text}: expected epochs as in 50-56 or 41,54, found {part!r}")
        epochs.update(range(first, last + 1))
    return sorted(epochs)


def average(
    run: Path, epochs: Sequence[int], output: Path, progress: Callable[[str, int, int], None] = lambda *_: None
) -> Path:
    """Average the weights of these epochs of `run`; saves a checkpoint to predict with and to start from.

    Where a run kept a moving average too (SOLVER.EMA), the weights themselves are averaged: moving averages hold
    weights of epochs that were not named.

    Each number is the mean in float64, so that the order does not matter; integers (counters) are the last epoch's.
    Raises DataError where epochs are missing or of different configurations, or there are fewer than two.
    """
    if len(epochs) < 2:
        raise DataError(f"--epochs: expected two or more to average, found {len(epochs)}")
    if checkpoint.is_of_a_run(output.name):
        raise DataError(f"{output}: expected another name for the average, found one that a run's own checkpoints have")
    kept = checkpoint.epochs_in(run)
    missing = [epoch for epoch in epochs if epoch not in kept]
    if missing:
        raise DataError(
            f"{run}: expected the checkpoints of {len(epochs)} epochs, found {_listed(sorted(kept))}; missing are "
            f"{_listed(missing)}. A run keeps one every SOLVER.VALIDATE_EPOCHS epochs, the newest "
            "SOLVER.MAX_TO_KEEP of them"
        )
    target = outputs.file_to_write(output, [kept[epoch] for epoch in epochs])
    parents: list[Loaded] = []
    sums: dict[str, torch.Tensor] = {}
    for done, epoch in enumerate(epochs):
        progress("averaging", done, len(epochs))
        loaded = checkpoint.read(kept[epoch])
        _check_alike(parents[0] if parents else loaded, loaded)
        _add(sums, loaded.content["model"])
        # Without their weights, since all at once would be many gigabytes.
        parents.append(loaded._replace(content={**loaded.content, "model": None, "optimizer": None, EMA: None}))
    last = loaded.content["model"]
    content = parents[-1].content | {
        "model": {name: _mean(sums, name, tensor, len(epochs)) for name, tensor in last.items()},
        "lineage": lineage.average(parents),
        "code": [lineage.code_version()],
        "seen": _seen(parents),
    }
    for key in ("optimizer", "scaler", "best", EMA):
        content.pop(key, None)
    checkpoint.save(target, content)
    progress("averaging", len(epochs), len(epochs))
    return output


def _check_alike(first: Loaded, other: Loaded) -> None:
    """Raises DataError, with every difference, where epochs are of different runs."""
    then, now = (config.from_text(loaded.content["config"], str(loaded.path)) for loaded in (first, other))
    problems = [str(item) for item in config.differences(then, now)]
    problems += [
        f"other {key}" for key in ("categories", "data", "lineage") if first.content[key] != other.content[key]
    ]
    if problems:
        raise DataError(f"{other.path}: expected an epoch of the same run as {first.path}, found another run", problems)


def _add(sums: dict[str, torch.Tensor], weights: dict[str, torch.Tensor]) -> None:
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            sums[name] = sums[name] + tensor.double() if name in sums else tensor.double()


def _mean(sums: dict[str, torch.Tensor], name: str, like: torch.Tensor, count: int) -> torch.Tensor:
    return (sums[name] / count).to(like.dtype) if name in sums else like


def _seen(parents: list[Loaded]) -> dict[str, Any]:
    joined = SeenImages()
    for parent in parents:
        joined = joined.joined(SeenImages.from_plain(parent.content.get("seen"), str(parent.path)))
    return joined.plain()


def name_of(epochs: Sequence[int]) -> str:
    """The default file name of an average, in the run's folder."""
    return f"model_average_{_listed(epochs).replace(', ', '_')}.pth"


def has_batch_norm(weights: dict[str, torch.Tensor]) -> bool:
    """Whether there are batch norms, whose averaged statistics are not those of the averaged weights."""
    return any(name.endswith("running_var") for name in weights)


def _listed(epochs: Sequence[int]) -> str:
    """1, 2, 3, 5 -> `1-3, 5`"""
    runs: list[list[int]] = []
    for epoch in epochs:
        if runs and epoch == runs[-1][-1] + 1:
            runs[-1].append(epoch)
        else:
            runs.append([epoch])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs) or "none"
