"""From a configuration to a network: Detectron2 builds it, we add what the configuration says of our own."""

from __future__ import annotations

import functools
from collections.abc import Mapping
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

# As its assertions, look-ups and torch itself refuse what does not go together.
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

    The first weights depend on `seed` alone, if it is given: they are drawn on the CPU whatever the device, and torch's
    own random state is left as it was.
    """
    heads.register()
    resnest.register()
    plain = cfg.clone()
    plain.defrost()
    plain.MODEL.DEVICE = "cpu"
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
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
    """Raises DataError where Detectron2 cannot make a model of it, which no rule foresaw."""
    try:
        model: nn.Module = build_model(cfg)
    except _UNBUILDABLE as error:
        said = str(error) or type(error).__name__
        raise DataError(f"no model can be built of this configuration: {said}; see the keys under MODEL") from error
    return model


def zero_init_last_norms(model: nn.Module) -> None:
    """Start every residual branch at 0 (Goyal et al., 2017, section 5.1); those of a ResNeSt are built so."""
    for block in model.modules():
        if isinstance(block, BottleneckBlock):
            nn.init.zeros_(block.conv3.norm.weight)
        elif isinstance(block, BasicBlock):
            nn.init.zeros_(block.conv2.norm.weight)


def weigh_losses(model: nn.Module, weights: Mapping[str, float]) -> None:
    """Multiply the losses that the model returns by the weight of their name; `loss_cls` is also `loss_cls_stage2`.

    Where a weight is 1 nothing is computed, so a model of weights of 1 is Detectron2's own to the bit.
    """
    changed = {name: weight for name, weight in weights.items() if weight != 1}

    def weighted(module: nn.Module, _inputs: Any, output: Any) -> Any:
        if not module.training:
            return output
        found = {name: (loss, changed.get(name.partition("_stage")[0])) for name, loss in output.items()}
        return {name: loss if weight is None else weight * loss for name, (loss, weight) in found.items()}

    if changed:
        model.register_forward_hook(weighted)


def checkpoint_activations(model: nn.Module) -> None:
    """Forget what happens inside the stem and each residual block, and compute it again in the backward pass.

    The losses and gradients are the same to the bit. Names of parameters do not change.
    """
    blocks = [module for module in model.modules() if isinstance(module, (BasicStem, BasicBlock, BottleneckBlock))]
    for module in model.modules():
        if isinstance(module, resnest.ResNeSt):
            blocks += module.blocks()
    for block in blocks:
        # There is no random number in a block to be kept.
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)


def parameter_count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
