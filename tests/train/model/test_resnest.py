"""ResNeSt: that its attention lives under group norm, that it is shaped as Detectron2 expects, and what it needs."""

from __future__ import annotations

import socket
import sys
from typing import Any

import pytest
import torch
from timm.layers.split_attn import SplitAttn
from timm.models.resnest import ResNestBottleneck
from torch import nn

from datasets.errors import DataError
from tests.train.conftest import small_config
from tests.train.model.test_build import FEW_REGIONS, batch_of, losses_of
from train import config_checks
from train.data.read import TrainingData
from train.model.build import build_network, parameter_count
from train.model.resnest import STAGES, ResNeSt, register

# The smallest: one block a stage.
SMALL = ["MODEL.RESNEST.NAME", "resnest14d", "MODEL.FPN.OUT_CHANNELS", "64"]
# Heads that take no time beside it.
HEADS = [
    *("MODEL.ROI_BOX_HEAD.CONV_DIM", "64", "MODEL.ROI_BOX_HEAD.FC_DIM", "64", "MODEL.ROI_MASK_HEAD.CONV_DIM", "64"),
    *FEW_REGIONS,
]


def small(*overrides: str) -> Any:
    return small_config("resnest50", *SMALL, *HEADS, *overrides)


def resnest(name: str = "resnest14d", **kwargs: Any) -> ResNeSt:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ResNeSt(name, **kwargs)


def pictures(count: int = 1, size: int = 64) -> torch.Tensor:
    """About as bright as after Detectron2's normalisation, which takes away the mean and no more."""
    return 60 * torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def attentions(net: nn.Module) -> list[SplitAttn]:
    return [module for module in net.modules() if isinstance(module, SplitAttn)]


def weights_given(net: ResNeSt, images: torch.Tensor) -> list[torch.Tensor]:
    """What each attention weighs its channels by: (n, radix * channels), in the order of the blocks."""
    found: list[torch.Tensor] = []
    hooks = [
        attention.rsoftmax.register_forward_hook(lambda _module, _inputs, output: found.append(output))
        for attention in attentions(net)
    ]
    with torch.no_grad():
        net(images)
    for hook in hooks:
        hook.remove()
    return found


def test_attention_differs_from_image_to_image() -> None:
    given = weights_given(resnest(), pictures(2))

    # Of each pair of halves: 2 x the channels of the 3 x 3 convolution, 64 in the first stage.
    assert [tuple(weights.shape) for weights in given] == [(2, 2 * 64 * 2**stage) for stage in range(4)]
    for weights in given:
        one, two = weights
        assert (one - two).abs().max() > 0.01
        # The halves of a channel add up to 1.
        torch.testing.assert_close(weights.view(2, 2, -1).sum(1), torch.ones(2, weights.shape[1] // 2))


def test_with_32_groups_the_attention_would_be_dead() -> None:
    """What the single group is there for; whoever takes it away, or finds a way without it, sees here what it did."""
    net = resnest()
    for attention in attentions(net):
        attention.bn1 = nn.GroupNorm(32, attention.fc1.out_channels)

    first, *_ = weights_given(net, pictures(2))

    # max(32, 64 channels x radix 2 / 4) = 32 channels, so each group has one value, which is its own mean.
    assert attentions(net)[0].fc1.out_channels == 32
    torch.testing.assert_close(first[0], first[1], rtol=0, atol=1e-5)


def test_no_norm_sees_a_group_of_one_value() -> None:
    net = resnest("resnest50d")
    sizes: dict[str, int] = {}

    def record(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
            assert isinstance(module, nn.GroupNorm)
            sizes[name] = inputs[0][0].numel() // module.num_groups

        return hook

    for name, module in net.named_modules():
        if isinstance(module, nn.GroupNorm):
            module.register_forward_pre_hook(record(name))

    with torch.no_grad():
        # The smallest that the pyramid lets through, of which the last stage makes 1 x 1.
        outputs = net(pictures(size=32))

    assert tuple(outputs["res5"].shape) == (1, 2048, 1, 1)
    # Those of the stem, of the blocks (two of the four are in the attention), and of the shortcuts.
    assert len(sizes) == 3 + 4 * 16 + 4
    # The fewest values: 512 channels of 1 x 1 in 32 groups. An attention has 32 channels or more in one.
    assert min(sizes.values()) == 512 * 1 * 1 // 32


@pytest.mark.parametrize("name", ["resnest14d", "resnest50d"])
def test_norms_are_group_norms(name: str) -> None:
    net = resnest(name)
    norms = [module for module in net.modules() if "Norm" in type(module).__name__]
    alone = {id(attention.bn1) for attention in attentions(net)}

    assert {type(module) for module in norms} == {nn.GroupNorm}
    assert len(alone) == {"resnest14d": 4, "resnest50d": 16}[name]
    assert all(module.num_groups == (1 if id(module) in alone else 32) for module in norms)
    # As Detectron2's, and they learn.
    assert {(module.eps, module.affine) for module in norms} == {(1e-5, True)}


def test_features_are_shaped_as_those_of_a_resnet() -> None:
    net = resnest()

    outputs = net(torch.zeros(2, 3, 64, 96))

    assert {name: (shape.channels, shape.stride) for name, shape in net.output_shape().items()} == {
        "res2": (256, 4),
        "res3": (512, 8),
        "res4": (1024, 16),
        "res5": (2048, 32),
    }
    for name, shape in net.output_shape().items():
        assert tuple(outputs[name].shape) == (2, shape.channels, 64 // shape.stride, 96 // shape.stride)
    assert list(outputs) == list(STAGES)
    # Any size will do, as for a ResNet; the pyramid on top needs multiples of its coarsest stride.
    assert net.size_divisibility == 0
    assert tuple(net(torch.zeros(1, 3, 33, 50))["res5"].shape[2:]) == (2, 2)


def test_the_pyramid_is_detectron2s() -> None:
    ours: Any = build_network(small_config("resnest50", *SMALL), seed=0).backbone
    theirs: Any = build_network(small_config("r50", "MODEL.FPN.OUT_CHANNELS", "64"), seed=0).backbone

    assert ours.size_divisibility == theirs.size_divisibility == 32
    assert ours.output_shape() == theirs.output_shape()
    assert list(ours.output_shape()) == ["p2", "p3", "p4", "p5", "p6"]
    shapes = [
        {key: value.shape for key, value in net.state_dict().items() if not key.startswith("bottom_up.")}
        for net in (ours, theirs)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(("key", "value"), [("NORM", "''"), ("FUSE_TYPE", "avg"), ("OUT_CHANNELS", "32")])
def test_the_pyramid_follows_its_keys(key: str, value: str) -> None:
    fpn: Any = build_network(small(f"MODEL.FPN.{key}", value), seed=0).backbone

    found = {
        "NORM": repr(fpn.fpn_output2.norm or ""),
        "FUSE_TYPE": fpn._fuse_type,
        "OUT_CHANNELS": str(fpn.output_shape()["p2"].channels),
    }
    assert found[key] == value


def test_stages_that_are_not_asked_for_are_not_there() -> None:
    net = resnest(out_features=["res2", "res3"])

    assert [name for name, _ in net.named_children()] == ["stem", "res2", "res3"]
    assert list(net(pictures())) == list(net.output_shape()) == ["res2", "res3"]


@pytest.mark.parametrize("freeze_at", range(6))
def test_stages_are_frozen_as_detectron2_counts_them(freeze_at: int) -> None:
    ours: Any = build_network(small("MODEL.BACKBONE.FREEZE_AT", str(freeze_at)), seed=0)
    theirs: Any = build_network(small_config("tiny", "MODEL.BACKBONE.FREEZE_AT", str(freeze_at)), seed=0)

    learning = [
        {name.partition(".")[0] for name, item in net.backbone.bottom_up.named_parameters() if item.requires_grad}
        for net in (ours, theirs)
    ]
    assert learning[0] == learning[1] == {"stem", *STAGES} - set(["stem", *STAGES][:freeze_at])


@pytest.mark.parametrize("wanted", [True, False])
def test_zero_init_is_an_option(wanted: bool) -> None:
    net = build_network(small("MODEL.RESNETS.ZERO_INIT_LAST_NORM", str(wanted)), seed=0)

    blocks: list[Any] = [module for module in net.modules() if isinstance(module, ResNestBottleneck)]
    assert len(blocks) == 4
    assert all(block.bn3.weight.any() != wanted for block in blocks)
    assert all(block.bn1.weight.all() and block.conv2.bn1.weight.all() for block in blocks)


def test_as_many_parameters_as_the_paper_s_without_its_classifier() -> None:
    """27.5 M, says the paper of ResNeSt; the classifier has 2048 x 1000 + 1000 of them."""
    count = parameter_count(resnest("resnest50d"))

    assert count == 25_434_240
    assert round((count + 2048 * 1000 + 1000) / 1e6, 1) == 27.5


def test_every_name_that_is_taken_can_be_built() -> None:
    counts = {}
    for name in config_checks.RESNESTS:
        cfg = small_config("resnest50", "MODEL.RESNEST.NAME", name)
        with torch.device("meta"):
            counts[name] = parameter_count(ResNeSt(cfg.MODEL.RESNEST.NAME))

    # Larger from name to name.
    assert sorted(counts, key=lambda name: counts[name]) == list(config_checks.RESNESTS)


def test_one_image_trains_all_of_it(drawn_data: TrainingData) -> None:
    cfg = small()
    net = build_network(cfg, seed=0)

    losses = losses_of(net, batch_of(drawn_data, cfg, 1))
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]

    assert all(value.isfinite() and value >= 0 for value in losses.values())
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    for attention in attentions(net):
        for part in (attention.conv, attention.fc1, attention.fc2, attention.bn1):
            assert isinstance(part.weight, nn.Parameter)
            assert part.weight.grad is not None
            assert part.weight.grad.any()


def test_weights_depend_on_the_seed_alone() -> None:
    states = []
    for seed in (7, 7, 8):
        torch.rand(1)
        states.append(build_network(small(), seed=seed).state_dict())

    one, again, other = states
    assert all(torch.equal(one[key], again[key]) for key in one)
    drawn = [key for key, value in one.items() if value.dim() == 4]
    assert len(drawn) > 30
    assert all(not torch.equal(one[key], other[key]) for key in drawn)


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_args: object) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)

    build_network(small(), seed=0)


def test_registering_again_does_no_harm() -> None:
    register()
    register()


def test_without_timm_resnest_is_refused_and_other_models_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)

    with pytest.raises(DataError) as caught:
        build_network(small(), seed=0)

    text = str(caught.value)
    assert text.startswith("ResNeSt: expected timm to be installed, found: ")
    assert text.endswith("; pip install -c constraints.txt '.[train]'")
    build_network(small_config("tiny"), seed=0)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["MODEL.RESNEST.NAME", "resnest51d"],
            "expected resnest14d or resnest26d or resnest50d or resnest101e or resnest200e or resnest269e, found "
            "'resnest51d'",
        ),
        # Names that timm would take: another network, a variant with norms of 80 channels, and an address.
        (["MODEL.RESNEST.NAME", "resnet50"], "expected resnest14d or "),
        (["MODEL.RESNEST.NAME", "resnest50d_4s2x40d"], "expected resnest14d or "),
        (["MODEL.RESNEST.NAME", "hf-hub:timm/resnest50d.in1k"], "expected resnest14d or "),
        (["MODEL.RESNETS.NORM", "BN"], "expected GN, which ResNeSt has here, found 'BN'"),
        (["MODEL.RESNETS.NORM", "''"], "expected GN, which ResNeSt has here, found ''"),
        (["MODEL.RESNETS.NORM", "FrozenBN"], "expected GN or BN, found FrozenBN, whose statistics from scratch are"),
    ],
)
def test_what_a_resnest_cannot_be_is_refused(overrides: list[str], expected: str) -> None:
    with pytest.raises(DataError) as caught:
        small_config("resnest50", *overrides)

    text = str(caught.value)
    assert text.startswith(f"the configuration cannot be used\n  {overrides[0]}: {expected}")
    assert text.count("\n") == 1


def test_a_resnet_does_not_heed_resnest() -> None:
    assert small_config("r50-bn").MODEL.RESNETS.NORM == "BN"
    with pytest.raises(
        DataError, match=r"MODEL\.RESNEST\.NAME: for models with MODEL\.BACKBONE\.NAME build_resnest_fpn"
    ):
        small_config("r50-bn", "MODEL.RESNEST.NAME", "resnest14d")
