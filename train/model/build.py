"""Building the network: Detectron2's model of a configuration, plus our own keys."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from datasets.errors import DataError
from train import compat  # noqa: F401 - before detectron2

# isort: split
from detectron2.modeling import build_model
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock

from train.model import heads, resnest

# What Detectron2's assertions and look-ups, and torch, raise for parts that do not fit together.
_UNBUILDABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    TypeError,
    ValueError,
)


def build_network(cfg: Any, device: torch.device | str = "cpu", *, seed: int | None = None) -> nn.Module:
    """The model of a configuration, on `device`, in training mode.

    The initial weights depend on `seed` alone, if it is given: they are drawn on the CPU for any device, and torch's
    global random state is not changed. On the device "meta", the model has shapes and no weights: built in a moment.
    """
    heads.register()
    resnest.register()
    plain = cfg.clone()
    plain.defrost()
    has_weights = torch.device(device).type != "meta"
    plain.MODEL.DEVICE = "cpu" if has_weights else "meta"
    with (
        torch.random.fork_rng(devices=[], enabled=seed is not None),
        nullcontext() if has_weights else torch.device("meta"),
    ):
        if seed is not None:
            torch.manual_seed(seed)
        model = _built(plain)
    if cfg.MODEL.RESNETS.ZERO_INIT_LAST_NORM:
        zero_init_last_norms(model)
    if cfg.MODEL.CHECKPOINT_ACTIVATIONS:
        checkpoint_activations(model)
    weigh_losses(model, cfg.MODEL.LOSS_WEIGHTS)
    return model.to(device)


def _built(cfg: Any) -> nn.Module:
    """Raises DataError where Detectron2 cannot build a model, for a reason that no rule foresaw."""
    try:
        model: nn.Module = build_model(cfg)
    except _UNBUILDABLE as error:
        said = str(error) or type(error).__name__
        raise DataError(f"no model can be built of this configuration: {said}; see the keys under MODEL") from error
    return model


def zero_init_last_norms(model: nn.Module) -> None:
    """Zero the last norm of every residual branch (Goyal et al., 2017, section 5.1); ResNeSts are built with it."""
    for block in model.modules():
        if isinstance(block, BottleneckBlock):
            nn.init.zeros_(block.conv3.norm.weight)
        elif isinstance(block, BasicBlock):
            nn.init.zeros_(block.conv2.norm.weight)


def weigh_losses(model: nn.Module, weights: Mapping[str, float]) -> None:
    """Multiply the losses that the model returns by the weight of their name; `loss_cls` includes `loss_cls_stage2`.

    A weight of 1 adds no operation, so a model with weights of 1 equals Detectron2's to the bit.
    """
    changed = {name: weight for name, weight in weights.items() if weight != 1}

    def weighted(module: nn.Module, _inputs: Any, output: Any) -> Any:
        if not module.training:
            return output
        losses = {name: (loss, changed.get(name.partition("_stage")[0])) for name, loss in output.items()}
        return {name: loss if weight is None else weight * loss for name, (loss, weight) in losses.items()}

    if changed:
        model.register_forward_hook(weighted)


def checkpoint_activations(model: nn.Module) -> None:
    """Recompute the activations inside the stem and each residual block in the backward pass, to save memory.

    Losses and gradients are equal to the bit. Parameter names do not change.
    """
    blocks = [module for module in model.modules() if isinstance(module, (BasicStem, BasicBlock, BottleneckBlock))]
    for module in model.modules():
        if isinstance(module, resnest.ResNeSt):
            blocks += module.blocks()
    for block in blocks:
        # Blocks draw no random numbers whose state would have to be kept.
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)


def parameter_count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
