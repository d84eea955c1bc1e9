"""Models as they are built: how large, how normalised, how they start, and that each can be trained."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from timm.models.resnest import ResNestBottleneck
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from tests.train.conftest import small_config
from train import config, devices
from train.data.mapper import TrainingMapper
from train.data.read import TrainingData
from train.data.sampler import Key
from train.devices import Gpus
from train.model.build import build_network, parameter_count

# isort: split
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling.backbone.resnet import BasicBlock, BottleneckBlock
from detectron2.utils.events import EventStorage

# Millions of parameters with COCO's 80 categories; those of the paper's models were counted before this code was there.
MILLIONS = {
    "r18": 32.64,
    "r50-bn": 44.40,
    "r50-gn": 44.40,
    "r50": 45.71,
    "r101": 64.70,
    "r18-cascade": 62.91,
    "r50-cascade": 75.98,
    "r101-cascade": 94.97,
    "resnest50": 47.64,
    "resnest50-cascade": 77.90,
    "tiny": 12.500080,
    "tiny-cascade": 14.216670,
}
# Convolutions of a ResNet: of the stem, of all blocks, and of the shortcuts of the first block of stages that change
# their number of channels.
RESNET_NORMS = {18: 1 + 2 * 8 + 3, 50: 1 + 3 * 16 + 4, 101: 1 + 3 * 33 + 4}
# Its stem has three convolutions, each block one more, in the attention.
RESNEST_50_NORMS = 3 + 4 * 16 + 4
# One that goes sideways and one that goes out, for each of four levels.
PYRAMID_NORMS = 2 * 4
# Small enough to be built in a moment, with bottleneck blocks, of which `tiny` has none.
SMALL_BOTTLENECKS = [
    *("MODEL.RESNETS.WIDTH_PER_GROUP", "32", "MODEL.RESNETS.RES2_OUT_CHANNELS", "64", "MODEL.FPN.OUT_CHANNELS", "64"),
    *("MODEL.ROI_BOX_HEAD.CONV_DIM", "64", "MODEL.ROI_BOX_HEAD.FC_DIM", "64", "MODEL.ROI_MASK_HEAD.CONV_DIM", "64"),
]
# The heads take most of the time of a step, with 512 regions; 8 are enough here.
FEW_REGIONS = ["MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "8"]
PARTS = ["backbone.bottom_up.stem", "backbone.fpn_", "proposal_generator", "roi_heads.box_head", "roi_heads.mask_head"]


@pytest.fixture(scope="module", params=config.MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def built(name: str) -> Any:
    """Built once for all tests of a model; the last of them trains it."""
    return build_network(small_config(name, *FEW_REGIONS), seed=0)


def batch_of(data: TrainingData, cfg: Any, *images: int) -> list[dict[str, Any]]:
    mapper = TrainingMapper(cfg, masks=True, seed=0)
    return [mapper(data.records[image], Key(0, image)) for image in images]


def losses_of(net: nn.Module, batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    with EventStorage(0), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        losses: dict[str, torch.Tensor] = net(batch)
    return losses


def norms(module: nn.Module) -> Counter[str]:
    kinds = (nn.GroupNorm, nn.modules.batchnorm._BatchNorm, FrozenBatchNorm2d)
    return Counter(type(item).__name__ for item in module.modules() if isinstance(item, kinds))


def last_norms(net: nn.Module) -> list[torch.Tensor]:
    """The weights of the last norm of each residual branch."""
    found: list[Any] = []
    for block in net.modules():
        if isinstance(block, BottleneckBlock):
            found.append(block.conv3.norm.weight)
        elif isinstance(block, BasicBlock):
            found.append(block.conv2.norm.weight)
        elif isinstance(block, ResNestBottleneck):
            found.append(block.bn3.weight)
    return found


def test_models_have_as_many_parameters_as_they_should(name: str, built: Any) -> None:
    decimals = 6 if name.startswith("tiny") else 2

    assert round(parameter_count(built) / 1e6, decimals) == MILLIONS[name]


def test_norms_are_where_the_paper_has_them(name: str, built: Any) -> None:
    cfg = small_config(name)
    stages = 3 if "cascade" in name else 1
    kind = "BatchNorm2d" if name == "r50-bn" else "GroupNorm"
    resnet = RESNEST_50_NORMS if name.startswith("resnest50") else RESNET_NORMS[cfg.MODEL.RESNETS.DEPTH]
    pyramid, mask = (0, 0) if name == "r50-bn" else (PYRAMID_NORMS, cfg.MODEL.ROI_MASK_HEAD.NUM_CONV)
    box = {"r50-bn": 0, "r50-gn": 0, "tiny": 2, "tiny-cascade": 2}.get(name, 4) * stages

    assert norms(built.backbone.bottom_up) == {kind: resnet}
    assert norms(built.backbone)["GroupNorm"] == pyramid + (0 if name == "r50-bn" else resnet)
    assert norms(built.roi_heads.box_head)["GroupNorm"] == box
    assert norms(built.roi_heads.mask_head)["GroupNorm"] == mask
    # And nowhere else, and none of another kind, least of all frozen ones.
    assert norms(built) == Counter({kind: resnet}) + Counter({"GroupNorm": pyramid + box + mask})


def test_nothing_is_frozen(built: Any) -> None:
    assert [name for name, parameter in built.named_parameters() if not parameter.requires_grad] == []
    assert built.training


def test_residual_branches_start_at_zero_in_the_baselines_only(name: str, built: Any) -> None:
    weights = last_norms(built)

    assert len(weights) == {18: 8, 50: 16, 101: 33}[small_config(name).MODEL.RESNETS.DEPTH]
    assert {value for weight in weights for value in weight.tolist()} == (
        {0.0} if name in ("r50-bn", "r50-gn") else {1.0}
    )


def test_every_model_takes_a_step(name: str, built: Any, drawn_data: TrainingData) -> None:
    batch = batch_of(drawn_data, small_config(name), 1)
    assert len(batch[0]["instances"]) == 3  # one of them ignored
    before = {key: value.clone() for key, value in built.state_dict().items()}
    optimizer = torch.optim.SGD(built.parameters(), lr=0.01)

    losses = losses_of(built, batch)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()

    assert {key.partition("_stage")[0] for key in losses} == {
        *("loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask")
    }
    assert len(losses) == 5 + (4 if "cascade" in name else 0)
    assert all(value.isfinite() and value >= 0 for value in losses.values())
    for key, parameter in built.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    changed = [key for key, value in built.state_dict().items() if not torch.equal(value, before[key])]
    assert all(any(key.startswith(part) for key in changed) for part in PARTS)
    assert all(value.isfinite().all() for value in built.state_dict().values())


@pytest.mark.parametrize("wanted", [True, False])
def test_zero_init_is_an_option_of_basic_blocks_too(wanted: bool) -> None:
    net = build_network(small_config("tiny", "MODEL.RESNETS.ZERO_INIT_LAST_NORM", str(wanted)), seed=0)

    blocks = [module for module in net.modules() if isinstance(module, BasicBlock)]
    assert len(blocks) == 8
    assert all(block.conv2.norm.weight.any() != wanted for block in blocks)
    assert all(block.conv1.norm.weight.all() for block in blocks)


def test_zero_init_changes_the_last_norms_and_nothing_else() -> None:
    plain = build_network(small_config("r50", *SMALL_BOTTLENECKS), seed=0).state_dict()

    zeroed = build_network(
        small_config("r50", *SMALL_BOTTLENECKS, "MODEL.RESNETS.ZERO_INIT_LAST_NORM", "True"), seed=0
    ).state_dict()

    changed = [key for key in plain if not torch.equal(plain[key], zeroed[key])]
    assert len(changed) == 16
    assert all(key.endswith(".conv3.norm.weight") for key in changed)


@pytest.mark.parametrize(
    "which",
    [
        ["tiny"],
        ["tiny-cascade"],
        ["r50", *SMALL_BOTTLENECKS],
        ["resnest50", *SMALL_BOTTLENECKS[4:], "MODEL.RESNEST.NAME", "resnest14d"],
    ],
    ids=lambda which: which[0],
)
def test_checkpointed_activations_change_no_loss_no_gradient_and_no_name(
    which: list[str], drawn_data: TrainingData
) -> None:
    batch = batch_of(drawn_data, small_config(*which), 1, 6)
    found, kept = [], []

    for checkpointed in ("False", "True"):
        net: Any = build_network(
            small_config(*which, *FEW_REGIONS, "MODEL.CHECKPOINT_ACTIVATIONS", checkpointed), seed=0
        )
        size = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal size
            size += tensor.nbytes
            return tensor

        images = net.preprocess_image(batch).tensor
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            net.backbone(images)
        kept.append(size)
        losses = losses_of(net, batch)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        found.append((losses, {key: parameter.grad for key, parameter in net.named_parameters()}, net.state_dict()))

    (losses, gradients, state), (again, gradients_again, state_again) = found
    assert losses.keys() == again.keys()
    assert all(torch.equal(losses[key], again[key]) for key in losses)
    assert list(gradients) == list(gradients_again)
    for key, gradient in gradients.items():
        other = gradients_again[key]
        assert gradient is not None
        assert other is not None
        assert torch.equal(gradient, other), key
    assert list(state) == list(state_again)
    assert all(torch.equal(state[key], state_again[key]) for key in state)
    # And something is forgotten.
    assert kept[1] < kept[0] / 2


def test_checkpointed_models_detect_the_same() -> None:
    picture = torch.randint(256, (3, 64, 80), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    found = []
    for checkpointed in ("False", "True"):
        overrides = ["MODEL.CHECKPOINT_ACTIVATIONS", checkpointed, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"]
        net = build_network(small_config("tiny", *overrides), seed=0).eval()
        with torch.no_grad():
            found.append(net([{"image": picture, "height": 64, "width": 80}])[0]["instances"])

    assert len(found[0]) > 0
    assert torch.equal(found[0].pred_boxes.tensor, found[1].pred_boxes.tensor)
    assert torch.equal(found[0].scores, found[1].scores)


WEIGHTS = {"loss_cls": 1.2, "loss_mask": 0.25, "loss_rpn_loc": 0.0}


@pytest.mark.parametrize("which", ["tiny", "tiny-cascade"])
def test_losses_count_what_the_configuration_says(which: str, drawn_data: TrainingData) -> None:
    """Each as Detectron2 computes it, times the weight of its name, in the sum of which the gradient is taken."""
    chosen = [part for key, value in WEIGHTS.items() for part in (f"MODEL.LOSS_WEIGHTS.{key}", str(value))]
    batch = batch_of(drawn_data, small_config(which), 1)
    plain, weighted = (build_network(small_config(which, *FEW_REGIONS, *more), seed=0) for more in ([], chosen))

    before, after = losses_of(plain, batch), losses_of(weighted, batch)

    assert before.keys() == after.keys()
    for key, loss in before.items():
        weight = WEIGHTS.get(key.partition("_stage")[0])
        assert torch.equal(after[key], loss if weight is None else weight * loss), key
    assert any(key.endswith("_stage2") for key in before) == (which == "tiny-cascade")
    # What only one loss reaches: its gradient is the weight's share.
    layer = "roi_heads.mask_head.predictor.weight"
    gradients = [
        torch.autograd.grad(torch.stack(list(losses.values())).sum(), net.get_parameter(layer))[0]
        for net, losses in ((plain, before), (weighted, after))
    ]
    assert torch.equal(gradients[1], 0.25 * gradients[0])


def test_weights_of_one_are_detectron2_s_own_model() -> None:
    assert not build_network(small_config("tiny", *FEW_REGIONS))._forward_hooks


def test_loss_weights_change_no_detection() -> None:
    picture = torch.randint(256, (3, 64, 80), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    found = []
    for weight in ("1.0", "0.5"):
        overrides = ["MODEL.LOSS_WEIGHTS.loss_cls", weight, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"]
        net = build_network(small_config("tiny", *overrides), seed=0).eval()
        with torch.no_grad():
            found.append(net([{"image": picture, "height": 64, "width": 80}])[0]["instances"])
    assert len(found[0]) > 0
    assert torch.equal(found[0].scores, found[1].scores)


def test_weights_depend_on_the_seed_alone() -> None:
    cfg = small_config("tiny")
    weights = []
    for state in (1, 2):
        torch.manual_seed(state)
        expected_next = torch.rand(1)
        torch.manual_seed(state)
        weights.append(build_network(cfg, seed=7).state_dict())
        # torch's own state is left alone.
        assert torch.equal(torch.rand(1), expected_next)

    one, two = weights
    assert all(torch.equal(one[key], two[key]) for key in one)
    other = build_network(cfg, seed=8).state_dict()
    drawn = [key for key in one if key.endswith(".weight") and ".norm." not in key]
    assert all(not torch.equal(one[key], other[key]) for key in drawn)


def test_without_a_seed_weights_come_from_torchs_own_state() -> None:
    cfg = small_config("tiny")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        first, second = build_network(cfg).state_dict(), build_network(cfg).state_dict()

    seeded = build_network(cfg, seed=7).state_dict()
    assert all(torch.equal(first[key], seeded[key]) for key in seeded)
    assert not torch.equal(
        first["backbone.bottom_up.stem.conv1.weight"], second["backbone.bottom_up.stem.conv1.weight"]
    )


def test_building_leaves_the_configuration_as_it_was() -> None:
    cfg = small_config("tiny")
    cfg.freeze()
    before = cfg.dump()

    build_network(cfg, "cpu", seed=0)

    assert cfg.dump() == before
    assert cfg.MODEL.DEVICE == "auto"
    assert cfg.is_frozen()


def test_a_model_can_be_built_on_any_device() -> None:
    """Its weights, and where it puts pictures."""
    net = build_network(small_config("tiny"), "meta", seed=0)

    assert {parameter.device.type for parameter in net.parameters()} == {"meta"}
    assert net.device == torch.device("meta")


@pytest.mark.parametrize(
    ("wanted", "has_gpu", "expected"), [("auto", True, "cuda"), ("auto", False, "cpu"), ("cpu", True, "cpu")]
)
def test_auto_is_the_gpu_where_there_is_one(
    wanted: str, has_gpu: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "find_gpus", lambda: Gpus(1) if has_gpu else Gpus(0, "no driver"))

    assert devices.device_of(small_config("tiny", "MODEL.DEVICE", wanted)) == torch.device(expected)
