"""Checkpoints: everything that a run needs to go on, in a file that is whole or not there.

Plain tensors, numbers and texts only: `torch.load(weights_only=True)` reads them, which runs no code of the file's.
Under "model" stand the weights, as Detectron2 has them, so that its own checkpointer loads them too.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from datasets.errors import DataError

FORMAT = 1
MARK = "scarcedet"

LAST = "model_last.pth"
BEST = "model_best.pth"
_EPOCH = re.compile(r"model_epoch_(\d+)\.pth")

FROM_SCRATCH_RULE = (
    "models start from scratch, with no pre-trained weights of any kind: MODEL.WEIGHTS takes only checkpoints that "
    "this project made, from scratch themselves; --allow-pretrained lifts the rule and is written into every checkpoint"
)


class Loaded(NamedTuple):
    """What a checkpoint file holds; `sha256` is that of its bytes."""

    path: Path
    content: dict[str, Any]
    sha256: str

    @property
    def lineage(self) -> dict[str, Any]:
        lineage: dict[str, Any] = self.content["lineage"]
        return lineage


def epoch_name(epoch: int) -> str:
    return f"model_epoch_{epoch:04d}.pth"


def save(path: Path, content: dict[str, Any]) -> Path:
    """Write a checkpoint, replacing what stood at `path` at once or not at all; returns the path.

    Raises DataError where the disk is full or does not take it.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save({MARK: FORMAT, **content}, file)
            file.flush()
            # A name must not outlive a power cut that its bytes did not.
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        # Where the disk is full, torch speaks of positions in the file.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise DataError(f"{path}: the checkpoint cannot be written: {cause.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)
    return path


def keep(path: Path, name: str) -> Path:
    """The same checkpoint under a second name in its folder, without writing it again where the disk can link."""
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
        # Also where both names were the same file already: renaming does nothing then.
        temporary.unlink(missing_ok=True)
    return kept


def forget_old_epochs(folder: Path, max_to_keep: int) -> None:
    """Remove the checkpoints of all but the newest `max_to_keep` epochs."""
    found = sorted((int(match[1]), path) for path in folder.iterdir() if (match := _EPOCH.fullmatch(path.name)))
    for _, path in found[: max(0, len(found) - max_to_keep)]:
        path.unlink(missing_ok=True)


def read(path: Path) -> Loaded:
    """A checkpoint of this project's own making. Raises DataError for anything else."""
    content, sha256 = _read_tensors(path)
    if not isinstance(content, dict) or MARK not in content:
        raise DataError(f"{path}: expected a checkpoint that this project made, found another file")
    if content[MARK] != FORMAT:
        raise DataError(f"{path}: expected checkpoint format {FORMAT}, found {content[MARK]!r}")
    missing = sorted({"model", "config", "categories", "lineage", "iteration"} - content.keys())
    if missing:
        raise DataError(f"{path}: expected a whole checkpoint, found none of {', '.join(missing)}")
    return Loaded(path, content, sha256)


def _read_tensors(path: Path) -> tuple[Any, str]:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
            file.seek(0)
            with warnings.catch_warnings():
                # torch wonders about other people's pickles before it refuses them.
                warnings.simplefilter("ignore")
                return torch.load(file, map_location="cpu", weights_only=True), digest.hexdigest()
    except OSError as error:
        raise DataError(f"{path}: the checkpoint cannot be read: {error.strerror}") from None
    except Exception as error:  # whatever a foreign file makes torch trip over: IndexError, struct.error, ...
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{path}: expected a checkpoint, found a file that torch cannot load safely: {reason}"
        ) from None


def find_in_run(run: Path) -> Path:
    """The checkpoint of a run to predict with: the best, else the last. Raises DataError where there is neither."""
    for name in (BEST, LAST):
        if (run / name).is_file():
            return run / name
    raise DataError(f"{run}: expected the folder of a run with {BEST} or {LAST}, found neither")


class Start(NamedTuple):
    """What the first weights were taken from."""

    lineage: dict[str, Any]
    notes: list[str]


def start_weights(model: nn.Module, weights: str, *, seed: int, allow_pretrained: bool) -> Start:
    """Put the weights of the file `weights` into `model`, where names and shapes agree; "" leaves it as it is.

    Raises DataError, naming the rule, for weights that do not come from scratch, unless `allow_pretrained`.
    """
    if not weights:
        return Start({"pretrained": False, "from": "random weights", "seed": seed}, [])
    path = Path(weights)
    if not path.is_file():
        raise DataError(f"MODEL.WEIGHTS {weights}: expected a checkpoint file, found none; {FROM_SCRATCH_RULE}")
    try:
        loaded = read(path)
    except DataError as error:
        if not allow_pretrained:
            raise DataError(f"MODEL.WEIGHTS: {error}\n{FROM_SCRATCH_RULE}") from None
        return _start_foreign(model, path)
    if loaded.lineage.get("pretrained") is not False and not allow_pretrained:
        raise DataError(f"MODEL.WEIGHTS {path}: goes back to pre-trained weights\n{FROM_SCRATCH_RULE}")
    notes = load_matching(model, loaded.content["model"], path)
    lineage = {
        "pretrained": bool(loaded.lineage.get("pretrained", True)),
        "from": path.name,
        "sha256": loaded.sha256,
        "parent": loaded.lineage,
    }
    return Start(lineage, notes)


def _start_foreign(model: nn.Module, path: Path) -> Start:
    """Weights of somebody else's, read as Detectron2 reads them: its own, torchvision's, its model zoo's."""
    from train import compat  # noqa: F401 - before detectron2

    # isort: split
    from detectron2.checkpoint import DetectionCheckpointer

    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        DetectionCheckpointer(model).load(str(path))
    except Exception as error:  # whatever a foreign file makes it trip over
        raise DataError(f"MODEL.WEIGHTS {path}: Detectron2 cannot load it: {error}") from None
    taken = sum(not torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    if not taken:
        raise DataError(f"MODEL.WEIGHTS {path}: expected weights of this model, found none that fit")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    lineage = {"pretrained": True, "from": path.name, "sha256": digest, "allowed_by": "--allow-pretrained"}
    return Start(lineage, [f"{path.name}: pre-trained weights, {taken} of {len(before)} tensors taken"])


def load_matching(model: nn.Module, weights: dict[str, torch.Tensor], path: Path) -> list[str]:
    """Load what agrees in name and shape (other categories leave the predictors out); returns what did not.

    Raises DataError where nothing agrees.
    """
    own = model.state_dict()
    fits = {name: tensor for name, tensor in weights.items() if name in own and own[name].shape == tensor.shape}
    if not fits:
        raise DataError(f"{path}: expected weights of this model, found none that fit")
    model.load_state_dict(fits, strict=False)
    reshaped = [name for name in weights if name in own and name not in fits]
    absent, unused = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    notes = [f"{path.name}: {len(fits)} of {len(own)} tensors taken"]
    for what, names in (("other shape, left as drawn", reshaped), ("not in it", absent), ("not used", unused)):
        if names:
            notes.append(f"  {what}: {', '.join(names[:6])}{f' and {len(names) - 6} more' if len(names) > 6 else ''}")
    return notes


def load_exactly(model: nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Raises DataError where the weights are not those of this very model."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(f"{path}: its weights are not those of the model it names: {error}") from None
