"""Checkpoint files: everything needed to resume a run, written atomically.

Plain tensors, numbers and strings only: `torch.load(weights_only=True)` reads them, which executes no code from the
file. "model" has the weights under Detectron2's names, so that its own checkpointer loads them too.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch

from datasets.errors import DataError

FORMAT = 1
MARK = "scarcedet"

# The key of the moving average of the weights, beside "model", the weights themselves.
EMA = "ema"

LAST = "model_last.pth"
BEST = "model_best.pth"
_EPOCH = re.compile(r"model_epoch_(\d+)\.pth")


_Pairs = list[tuple[int, str]]
# The keys of a checkpoint besides tensors; a lineage is validated where it is read.
_KINDS: dict[str, Any] = {
    "config": str,
    "categories": _Pairs,
    "iteration": int,
    "epoch": float,
    "name": str,
    "best": list[float],
    "data": dict[str, Any],
    "processes": int,
    "code": list[str],
}


class Loaded(NamedTuple):
    """The content of a checkpoint file; `sha256` is that of its bytes."""

    path: Path
    content: dict[str, Any]
    sha256: str

    @property
    def lineage(self) -> dict[str, Any]:
        lineage: dict[str, Any] = self.content["lineage"]
        return lineage

    @property
    def weights_to_use(self) -> dict[str, torch.Tensor]:
        """The weights to predict with and to start from: their moving average, where the run kept one."""
        weights: dict[str, torch.Tensor] = self.content.get(EMA, self.content["model"])
        return weights


def epoch_name(epoch: int) -> str:
    return f"model_epoch_{epoch:04d}.pth"


def is_of_a_run(name: str) -> bool:
    """Whether a run gives its own checkpoints this name."""
    return name in (LAST, BEST) or _EPOCH.fullmatch(name) is not None


def save(path: Path, content: dict[str, Any]) -> Path:
    """Write a checkpoint atomically; returns the path. Raises DataError where the disk is full or fails."""
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save({MARK: FORMAT, **content}, file)
            file.flush()
            # A name must not survive a power cut that its content did not.
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        # On a full disk, or on Ctrl-C, torch's message is about positions in the file.
        cause = error if isinstance(error, OSError) else error.__context__
        if isinstance(cause, KeyboardInterrupt):
            raise cause from None
        if not isinstance(cause, OSError):
            raise
        raise DataError(f"{path}: the checkpoint cannot be written: {cause.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)
    return path


def keep(path: Path, name: str) -> Path:
    """A second name for the same checkpoint in its folder, hard-linked where possible."""
    kept = path.with_name(name)
    temporary = path.with_name(f"{name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)
        temporary.replace(kept)
    finally:
        # Also where both names were the same file already: then renaming does nothing.
        temporary.unlink(missing_ok=True)
    return kept


def forget_old_epochs(folder: Path, max_to_keep: int) -> None:
    """Remove the checkpoints of all but the newest `max_to_keep` epochs; of none for -1."""
    if max_to_keep < 0:
        return
    checkpoints = list(epochs_in(folder).values())
    for path in checkpoints[: max(0, len(checkpoints) - max_to_keep)]:
        path.unlink(missing_ok=True)


def read(path: Path) -> Loaded:
    """Read a checkpoint of this project. Raises DataError for any other file."""
    content, sha256 = _read_tensors(path)
    if not isinstance(content, dict) or MARK not in content:
        raise DataError(f"{path}: expected a checkpoint that this project made, found another file")
    if content[MARK] != FORMAT:
        raise DataError(f"{path}: expected checkpoint format {FORMAT}, found {content[MARK]!r}")
    missing = sorted({"model", "config", "categories", "lineage", "iteration"} - content.keys())
    if missing:
        raise DataError(f"{path}: expected a whole checkpoint, found none of {', '.join(missing)}")
    problems = _unlike(content)
    if problems:
        raise DataError(f"{path}: expected a checkpoint that this project made, found other content", problems)
    return Loaded(path, content, sha256)


def _unlike(content: dict[str, Any]) -> list[str]:
    """The keys whose values are not of the types that this project writes."""
    problems = [_problem(key, content[key], kind) for key, kind in _KINDS.items() if key in content]
    problems += [
        f"{key}: expected tensors by name"
        for key in ("model", EMA)
        if key in content and not _are_tensors_by_name(content[key])
    ]
    return [problem for problem in problems if problem]


def _are_tensors_by_name(weights: Any) -> bool:
    return isinstance(weights, dict) and all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in weights.items()
    )


def _problem(key: str, value: Any, kind: Any) -> str:
    try:
        msgspec.convert(value, kind, strict=True)
    except (msgspec.ValidationError, RecursionError) as error:
        return f"{key}: {error}"
    return ""


def _read_tensors(path: Path) -> tuple[Any, str]:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
            file.seek(0)
            with warnings.catch_warnings():
                # torch warns about other pickles before it refuses them.
                warnings.simplefilter("ignore")
                return torch.load(file, map_location="cpu", weights_only=True), digest.hexdigest()
    except OSError as error:
        raise DataError(f"{path}: the checkpoint cannot be read: {error.strerror}") from None
    except Exception as error:  # whatever a foreign file makes torch raise: IndexError, struct.error, ...
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{path}: expected a checkpoint, found a file that torch cannot load safely: {reason}"
        ) from None


def find_in_run(run: Path, epoch: str | None = None) -> Path:
    """A checkpoint of a run: of an epoch by number, the `best`, the `last`; by default the best, else the last.

    Raises DataError, naming the existing ones, where it is missing.
    """
    names = {"best": [BEST], "last": [LAST], None: [BEST, LAST]}.get(epoch)
    if names is None:
        if epoch is None or not re.fullmatch("[0-9]{1,9}", epoch):
            raise DataError(f"--epoch: expected a number, best or last, found {epoch}")
        names = [epoch_name(int(epoch))]
    for name in names:
        if (run / name).is_file():
            return run / name
    kept = epochs_in(run)
    if epoch is None or not kept:
        raise DataError(f"{run}: expected the folder of a run with {' or '.join(names)}, found no such file")
    why = "a run keeps one every SOLVER.VALIDATE_EPOCHS epochs, the newest SOLVER.MAX_TO_KEEP of them"
    if epoch == "best":
        why = "a run without validation data has no best one"
    raise DataError(
        f"{run}: expected the checkpoint {names[0]}, found {', '.join(f'epoch {at}' for at in kept)}; {why}"
    )


def epochs_in(folder: Path) -> dict[int, Path]:
    """The epochs with a checkpoint of their own, sorted."""
    try:
        checkpoints = [(int(match[1]), path) for path in folder.iterdir() if (match := _EPOCH.fullmatch(path.name))]
    except OSError:
        return {}
    return dict(sorted(checkpoints))
