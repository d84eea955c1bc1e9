"""Whole models with ignored boxes: finite whatever is in the pictures, and Detectron2's own to the bit without any."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from tests.train.conftest import small_config
from tests.train.scenes import EVERYWHERE, HEIGHT, WIDTH, Box, Losses, as_stock, target
from train.model import heads
from train.model.build import build_network
from train.model.ignore import IGNORED

# isort: split
from detectron2.modeling import PROPOSAL_GENERATOR_REGISTRY, ROI_HEADS_REGISTRY
from detectron2.structures import Instances
from detectron2.utils.events import EventStorage

MODELS = ["tiny", "tiny-cascade"]
LEFT: Box = (8, 8, 40, 40)
INSIDE: Box = (80, 16, 112, 48)
REGION: Box = (64, 0, 128, 96)
# name -> kept objects, ignored boxes
SCENES: dict[str, tuple[list[Box], list[Box]]] = {
    "objects": ([LEFT, INSIDE], []),
    "mixed": ([LEFT, INSIDE], [REGION]),
    "some ignored": ([], [REGION]),
    "all ignored": ([], [EVERYWHERE]),
    "object in a crowd": ([LEFT], [EVERYWHERE]),
    "empty": ([], []),
}


class Outcome(NamedTuple):
    losses: Losses
    gradients: dict[str, torch.Tensor | None]
    samples: dict[str, float]
    """What Detectron2 logs, by name."""


def step(net: nn.Module, targets: list[Instances], *, seed: int = 0) -> Outcome:
    noise = torch.Generator().manual_seed(7)
    shape = (3, HEIGHT, WIDTH)
    batch = [
        {"image": torch.randint(256, shape, generator=noise, dtype=torch.uint8), "instances": item} for item in targets
    ]
    net.zero_grad()
    with EventStorage(0) as storage, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        losses = net(batch)
        sum(losses.values()).backward()
        samples = {name: value for name, (value, _) in storage.latest().items()}
    gradients = {
        name: None if parameter.grad is None else parameter.grad.clone() for name, parameter in net.named_parameters()
    }
    return Outcome(losses, gradients, samples)


@pytest.fixture(scope="module", params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=[True, False], ids=["masks", "boxes"])
def masks(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def config(name: str, masks: bool) -> Any:
    # Without a threshold even first weights detect something.
    return small_config(name, "MODEL.MASK_ON", str(masks), "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0")


@pytest.fixture(scope="module")
def net(config: Any) -> nn.Module:
    return build_network(config, seed=0)


@pytest.fixture(scope="module")
def stock(config: Any, net: nn.Module) -> nn.Module:
    """The same model of Detectron2's own classes."""
    stock = build_network(as_stock(config), seed=1)
    assert not any(type(module).__module__.startswith("train") for module in stock.modules())
    stock.load_state_dict(net.state_dict())
    return stock


def scene(which: str, *, masks: bool) -> Instances:
    return target(*SCENES[which], masks=masks)


@pytest.mark.parametrize(
    "scenes",
    [["mixed"], ["some ignored"], ["all ignored"], ["object in a crowd"], ["empty"], ["all ignored"] * 2, list(SCENES)],
    ids=", ".join,
)
def test_losses_and_gradients_are_finite_whatever_is_in_the_pictures(
    net: nn.Module, masks: bool, scenes: list[str]
) -> None:
    found = step(net, [scene(which, masks=masks) for which in scenes])

    assert ("loss_mask" in found.losses) == masks
    assert all(value.isfinite() and value >= 0 for value in found.losses.values())
    # Every parameter has one, if of zeros: several processes wait for each other's.
    assert [
        name for name, gradient in found.gradients.items() if gradient is None or not gradient.isfinite().all()
    ] == []
    learns = any(SCENES[which][0] for which in scenes)
    for part in ("loss_rpn_loc", *(["loss_mask"] if masks else [])):
        assert (found.losses[part] > 0) == learns
    assert learns or not any(value for name, value in found.losses.items() if name.startswith("loss_box_reg"))


def test_a_picture_that_is_ignored_as_a_whole_teaches_the_heads_nothing(net: nn.Module, masks: bool) -> None:
    found = step(net, [scene("all ignored", masks=masks)])

    assert found.samples["roi_head/num_fg_samples"] == found.samples["roi_head/num_bg_samples"] == 0
    assert all(value == 0 for name, value in found.losses.items() if "rpn" not in name)
    assert all(
        not gradient.any()
        for name, gradient in found.gradients.items()
        if gradient is not None and name.startswith("roi_heads.")
    )


def test_without_ignored_boxes_a_model_is_detectron2s_to_the_bit(net: nn.Module, stock: nn.Module, masks: bool) -> None:
    plain = [target(*SCENES[which], field=False, masks=masks) for which in ("objects", "empty")]
    targets = [scene(which, masks=masks) for which in ("objects", "empty")]
    assert not any(item.has(IGNORED) for item in plain)
    assert all(item.has(IGNORED) for item in targets)

    expected = step(stock, plain)

    for found in (step(net, plain), step(net, targets)):
        assert found.samples == expected.samples
        assert found.losses.keys() == expected.losses.keys()
        assert all(torch.equal(found.losses[name], expected.losses[name]) for name in expected.losses)
        assert found.gradients.keys() == expected.gradients.keys()
        for name, gradient in expected.gradients.items():
            ours = found.gradients[name]
            assert gradient is not None
            assert ours is not None
            assert torch.equal(ours, gradient), name


def test_a_model_detects_what_detectron2s_does(net: nn.Module, stock: nn.Module) -> None:
    picture = torch.randint(256, (3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(7), dtype=torch.uint8)
    found = []
    for one in (net, stock):
        one.eval()
        with torch.no_grad():
            found.append(one([{"image": picture, "height": HEIGHT, "width": WIDTH}])[0]["instances"].get_fields())
        one.train()

    ours, expected = found
    assert len(expected["scores"]) > 0
    assert ours.keys() == expected.keys()
    assert torch.equal(ours["pred_boxes"].tensor, expected["pred_boxes"].tensor)
    assert all(torch.equal(ours[name], expected[name]) for name in expected if name != "pred_boxes")


def test_the_classes_are_known_to_detectron2_by_name_however_often_they_are_registered() -> None:
    heads.register()
    heads.register()

    assert PROPOSAL_GENERATOR_REGISTRY.get("IgnoreAwareRPN") is heads.IgnoreAwareRPN
    assert ROI_HEADS_REGISTRY.get("IgnoreAwareROIHeads") is heads.IgnoreAwareROIHeads
    assert ROI_HEADS_REGISTRY.get("IgnoreAwareCascadeROIHeads") is heads.IgnoreAwareCascadeROIHeads
