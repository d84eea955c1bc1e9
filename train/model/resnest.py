"""ResNeSt (Zhang et al., 2020, "ResNeSt: Split-Attention Networks"), timm's implementation as a Detectron2 backbone.

timm is imported only when such a network is built. Nothing is downloaded: no weights are loaded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from train import compat  # noqa: F401 - before detectron2

# isort: split
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool

from datasets.errors import DataError

# Names of the outputs, as in Detectron2's ResNet.
STAGES = ("res2", "res3", "res4", "res5")


class ResNeSt(Backbone):  # type: ignore[misc]
    """One of timm's ResNeSts with group norm, with the outputs of Detectron2's ResNet: `stem`, `res2`, ... `res5`.

    `name` is one of `config_checks.RESNESTS`. Stages after the last of `out_features` are not built. `freeze_at` counts
    as in Detectron2: 1 freezes the stem, 2 the stem and `res2`, and so on. Raises DataError if timm is missing.
    """

    def __init__(
        self,
        name: str,
        *,
        out_features: Sequence[str] = STAGES,
        in_channels: int = 3,
        zero_init_last: bool = False,
        freeze_at: int = 0,
    ) -> None:
        super().__init__()
        network = _network(name, in_channels, zero_init_last)
        self.stem = nn.Sequential(OrderedDict((part, network[part]) for part in ("conv1", "bn1", "act1", "maxpool")))
        count = 1 + max(STAGES.index(feature) for feature in out_features)
        for number, stage in enumerate(STAGES[:count], start=1):
            self.add_module(stage, network[f"layer{number}"])
        self._out_features = list(out_features)
        self._out_feature_channels = dict(zip(STAGES, network.feature_info.channels(), strict=True))
        self._out_feature_strides = dict(zip(STAGES, network.feature_info.reduction(), strict=True))
        for frozen in list(self.children())[:freeze_at]:
            frozen.requires_grad_(False)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Images of shape (n, channels, height, width) -> feature maps by name, those of `out_features`."""
        features, outputs = images, {}
        for name, stage in self.named_children():
            features = stage(features)
            if name in self._out_features:
                outputs[name] = features
        return outputs

    def blocks(self) -> list[nn.Module]:
        """The stem and each residual block, in order of execution."""
        stem, *stages = self.children()
        return [stem, *(block for stage in stages for block in stage.children())]


def _network(name: str, in_channels: int, zero_init_last: bool) -> Any:
    """timm's feature extractor with strides 4 to 32: a ModuleDict, with timm's module names."""
    try:
        import timm
        from timm.layers.split_attn import SplitAttn
    except ModuleNotFoundError as error:
        raise DataError(
            f"ResNeSt: expected timm to be installed, found: {error}; pip install -c constraints.txt '.[train]'"
        ) from None
    options: dict[str, Any] = {"in_chans": in_channels, "norm_layer": _group_norm, "zero_init_last": zero_init_last}
    network: Any = timm.create_model(name, pretrained=False, features_only=True, out_indices=(1, 2, 3, 4), **options)
    for attention in (module for module in network.modules() if isinstance(module, SplitAttn)):
        # The input of this norm is averaged over the whole map. 32 groups of 32 channels of 1 x 1 would have one value
        # each, equal to its mean: 0 for any image, and the attention would be constant.
        attention.bn1 = nn.GroupNorm(1, attention.fc1.out_channels)
    return network


def _group_norm(channels: int, **kwargs: Any) -> nn.GroupNorm:
    """Detectron2's GN. A function, since timm drops positional arguments of a functools.partial."""
    return nn.GroupNorm(32, channels, **kwargs)


def build_resnest_fpn_backbone(cfg: Any, input_shape: ShapeSpec) -> FPN:
    """As Detectron2's build_resnet_fpn_backbone, for MODEL.RESNEST.NAME."""
    bottom_up = ResNeSt(
        cfg.MODEL.RESNEST.NAME,
        out_features=cfg.MODEL.RESNETS.OUT_FEATURES,
        in_channels=input_shape.channels,
        zero_init_last=cfg.MODEL.RESNETS.ZERO_INIT_LAST_NORM,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


def register() -> None:
    """Register the builder with Detectron2 under the name in train/configs/; may be called repeatedly."""
    if build_resnest_fpn_backbone.__name__ not in BACKBONE_REGISTRY:
        BACKBONE_REGISTRY.register(build_resnest_fpn_backbone)
