"""Initial weights: random, or from another checkpoint; and the rule against pretrained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from datasets.digests import sha256_file
from datasets.errors import DataError
from datasets.seen import NOTHING, UNKNOWN, SeenImages
from train.checkpoints import checkpoint, lineage
from train.checkpoints.checkpoint import EMA, Loaded

FROM_SCRATCH_RULE = (
    "models start from scratch, with no pre-trained weights of any kind: --init and MODEL.WEIGHTS take only "
    "checkpoints of this project's own, made from scratch; --allow-pretrained lifts the rule and is written into every "
    "checkpoint"
)
# Name suffixes of layers with an output per category. A class-agnostic box regression has 4 outputs and is not one of
# them.
_CLASS_SPECIFIC = ("cls_score.weight", "cls_score.bias", "mask_head.predictor.weight", "mask_head.predictor.bias")
_BOX_REGRESSION = ("bbox_pred.weight", "bbox_pred.bias")


class Parent(NamedTuple):
    """A checkpoint to start from. `loaded` is None for third-party weights, which Detectron2 reads."""

    path: Path
    loaded: Loaded | None

    @property
    def seen(self) -> SeenImages:
        if self.loaded is None:
            return UNKNOWN
        return SeenImages.from_plain(self.loaded.content.get("seen"), str(self.path))


class Start(NamedTuple):
    """What the initial weights were taken from: `notes` for the screen, `log` with a line per tensor."""

    lineage: dict[str, Any]
    notes: list[str]
    log: list[str]


def find_parent(weights: str, *, allow_pretrained: bool) -> Parent | None:
    """The checkpoint that MODEL.WEIGHTS names; None for "".

    Raises DataError, naming the rule, for one that is not from scratch, unless `allow_pretrained`.
    """
    if not weights:
        return None
    path = Path(weights)
    if not path.is_file():
        raise DataError(f"MODEL.WEIGHTS {weights}: expected a checkpoint file, found none; {FROM_SCRATCH_RULE}")
    try:
        loaded = checkpoint.read(path)
    except DataError as error:
        if not allow_pretrained:
            raise DataError(f"MODEL.WEIGHTS: {error}\n{FROM_SCRATCH_RULE}") from None
        return Parent(path, None)
    doubts = lineage.doubts(path.name, loaded.lineage)
    if doubts and not allow_pretrained:
        raise DataError(
            f"MODEL.WEIGHTS {path}: goes back to pre-trained weights\n{FROM_SCRATCH_RULE}",
            [str(doubt) for doubt in doubts],
        )
    # Momentum is not needed, and as large as the weights.
    loaded.content.pop("optimizer", None)
    return Parent(path, loaded)


def seen_by(parent: Parent | None) -> SeenImages:
    """The images that the initial weights were trained on."""
    return NOTHING if parent is None else parent.seen


def start(model: nn.Module, parent: Parent | None, *, seed: int, categories: list[tuple[int, str]]) -> Start:
    """Load the parent's weights into `model` where names and shapes agree; without a parent, `model` stays as drawn.

    Where the parent was trained on other `categories` (ids and names, in the order of the classes), tensors of single
    categories stay as drawn, whatever their shape. Raises DataError where nothing matches.
    """
    if parent is None:
        return Start(lineage.root(seed), [], [])
    if parent.loaded is None:
        return _start_third_party(model, parent.path)
    content = parent.loaded.content
    theirs = [(int(id_), str(name)) for id_, name in content["categories"]]
    notes, log = load_matching(model, parent.loaded.weights_to_use, parent.path, same_categories=theirs == categories)
    if theirs != categories:
        notes.insert(1, f"  {len(theirs)} categories there, {len(categories)} here: predictors start fresh")
    if EMA in content:
        notes.append("  of the moving average of its weights (SOLVER.EMA)")
    start = Start(lineage.descent(parent.loaded), notes, log)
    # Not kept in memory for the whole run.
    content.pop("model")
    content.pop(EMA, None)
    return start


def _start_third_party(model: nn.Module, path: Path) -> Start:
    """Third-party weights, read by Detectron2's checkpointer: its own, torchvision's, its model zoo's."""
    from train import compat  # noqa: F401 - before detectron2

    # isort: split
    from detectron2.checkpoint import DetectionCheckpointer

    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        DetectionCheckpointer(model).load(str(path))
    except Exception as error:  # whatever a foreign file makes it raise
        raise DataError(f"MODEL.WEIGHTS {path}: Detectron2 cannot load it: {error}") from None
    taken = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    if not taken:
        raise DataError(f"MODEL.WEIGHTS {path}: expected weights of this model, found none that fit")
    digest = sha256_file(path)
    return Start(
        lineage.third_party(path, digest),
        [f"{path.name}: pre-trained weights, {len(taken)} of {len(before)} tensors taken"],
        [f"{'taken over' if name in taken else 'as drawn'}: {name}" for name in before],
    )


def is_class_specific(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor has an output per category."""
    return name.endswith(_CLASS_SPECIFIC) or (name.endswith(_BOX_REGRESSION) and shape[0] != 4)


def load_matching(
    model: nn.Module, weights: dict[str, torch.Tensor], path: Path, *, same_categories: bool
) -> tuple[list[str], list[str]]:
    """Load tensors that agree in name and shape, except class-specific ones of other categories.

    Returns notes, with the names of what was not loaded, and a log with a line per tensor. Raises DataError where
    nothing matches.
    """
    own = model.state_dict()
    kept: dict[str, list[str]] = {"of other categories": [], "of another shape": [], f"not in {path.name}": []}
    fits = {}
    log = []
    for name, tensor in own.items():
        if name not in weights:
            why = f"not in {path.name}"
        elif not same_categories and is_class_specific(name, tuple(tensor.shape)):
            why = "of other categories"
        elif tensor.shape != weights[name].shape:
            why = "of another shape"
        else:
            fits[name] = weights[name]
            log.append(f"taken over: {name} {list(tensor.shape)}")
            continue
        kept[why].append(name)
        log.append(f"as drawn, {why}: {name} {list(tensor.shape)}")
    if not fits:
        raise DataError(f"{path}: expected weights of this model, found none that fit")
    model.load_state_dict(fits, strict=False)
    unused = sorted(weights.keys() - own.keys())
    log += [f"not used: {name} {list(weights[name].shape)}" for name in unused]
    notes = [f"{path.name}: {len(fits)} of {len(own)} tensors taken over"]
    for what, names in (*((f"as drawn, {why}", names) for why, names in kept.items()), ("not used", unused)):
        notes += _listed(what, names)
    return notes, log


def _listed(what: str, names: list[str]) -> list[str]:
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return [f"  {what}: {shown}"] if names else []


def load_exactly(model: nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Load the weights of this very model. Raises DataError for any other."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(f"{path}: its weights are not those of the model it names: {error}") from None
