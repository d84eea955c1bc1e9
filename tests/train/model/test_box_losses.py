"""MODEL.*.BBOX_REG_LOSS_TYPE: the IoU losses of all heads on matched boxes, beside ignored ones, and of boxes that are
hardly any.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from tests.train.conftest import small_config
from tests.train.model.test_heads_rpn import Candidates
from tests.train.scenes import SAMPLE_ALL, Box, pair_of_heads, pair_of_rpns, roi_losses, target
from train import box_losses, compat  # noqa: F401 - compat before detectron2
from train.data.mapper import TrainingMapper
from train.data.read import TrainingData
from train.data.sampler import Key
from train.model.build import build_network
from train.precision import Precision

# isort: split
from detectron2.layers import losses as detectron2_losses
from detectron2.structures import Boxes
from detectron2.utils.events import EventStorage

ORACLES: dict[str, Callable[..., torch.Tensor]] = {
    "giou": generalized_box_iou_loss,
    "diou": distance_box_iou_loss,
    "ciou": complete_box_iou_loss,
}
TYPES = list(ORACLES)
RPN, HEAD = "MODEL.RPN.BBOX_REG_LOSS_TYPE", "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE"
# Class-specific regression, class-agnostic, and a cascade, which is class-agnostic.
HEADS = {
    "specific": ("tiny",),
    "agnostic": ("tiny", "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "True"),
    "cascade": ("tiny-cascade",),
}

# Two objects on the left, with proposals that fit them; the right half is ignored, with proposals in it.
OBJECTS: list[Box] = [(8, 8, 40, 40), (12, 52, 44, 92)]
REGION: Box = (64, 0, 128, 96)
OUTSIDE: list[Box] = [(8, 8, 40, 38), (4, 4, 36, 40), (10, 50, 44, 90), (0, 50, 24, 90)]
INSIDE: list[Box] = [(70, 10, 90, 30), (80, 16, 112, 48)]


@functools.cache
def heads(kind: str, loss: str) -> Any:
    model, *overrides = HEADS[kind]
    ours, _ = pair_of_heads(model, *SAMPLE_ALL, HEAD, loss, *overrides)
    return ours


@functools.cache
def rpn(loss: str) -> Any:
    ours, _ = pair_of_rpns(*SAMPLE_ALL, RPN, loss)
    return ours


@pytest.mark.parametrize("loss", TYPES)
def test_the_rpn_s_loss_is_torchvision_s_of_the_matched_anchors(loss: str) -> None:
    candidates, scene = Candidates(rpn(loss)), [target(OBJECTS, [REGION])]
    labels, matched = rpn(loss).label_and_sample_anchors(candidates.anchors, scene)
    positive = labels[0] == 1
    anchors = Boxes.cat(candidates.anchors).tensor
    predicted = rpn(loss).box2box_transform.apply_deltas(torch.cat(candidates.deltas, dim=1)[0], anchors)
    expected = ORACLES[loss](predicted[positive], matched[0][positive], reduction="sum")

    found = candidates.losses(rpn(loss), scene)["loss_rpn_loc"]

    assert int(positive.sum()) > len(OBJECTS)
    # Divided by what might be sampled.
    assert found.item() == pytest.approx(expected.item() / 100_000, rel=1e-5)


@pytest.mark.parametrize("loss", TYPES)
@pytest.mark.parametrize("kind", HEADS)
def test_a_head_s_loss_is_torchvision_s_of_the_matched_proposals(
    kind: str, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oracle gets what each stage is given: proposals, their objects' boxes, deltas and classes."""
    expected = []

    def watched(predictor: Any, proposal_boxes: Any, gt_boxes: Any, deltas: Any, gt_classes: Any) -> Any:
        at = torch.nonzero(gt_classes < predictor.num_classes)[:, 0]
        of_class = 0 if deltas.shape[1] == 4 else gt_classes[at]
        chosen = deltas.reshape(len(deltas), -1, 4)[at, of_class]
        boxes = predictor.box2box_transform.apply_deltas(chosen, proposal_boxes[at])
        expected.append((len(at), ORACLES[loss](boxes, gt_boxes[at], reduction="sum").item() / len(gt_classes)))
        return stock(predictor, proposal_boxes, gt_boxes, deltas, gt_classes)

    from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers

    stock = FastRCNNOutputLayers.box_reg_loss
    monkeypatch.setattr(FastRCNNOutputLayers, "box_reg_loss", watched)

    losses = roi_losses(heads(kind, loss), [[*OUTSIDE, *INSIDE]], [target(OBJECTS, [REGION])]).losses

    found = [value.item() for name, value in sorted(losses.items()) if name.startswith("loss_box_reg")]
    assert found == pytest.approx([value for _, value in expected], rel=1e-5)
    assert len(found) == (3 if kind == "cascade" else 1)
    assert expected[0][0] > len(OBJECTS)


@pytest.mark.parametrize("loss", TYPES)
def test_anchors_in_an_ignored_box_cost_nothing(loss: str) -> None:
    candidates = Candidates(rpn(loss))
    labels, _ = rpn(loss).label_and_sample_anchors(candidates.anchors, [target(OBJECTS, [REGION])])
    deltas = [level.requires_grad_() for level in candidates.deltas]
    alone = candidates.losses(rpn(loss), [target(OBJECTS)])["loss_rpn_loc"]
    found = candidates.losses(rpn(loss), [target(OBJECTS, [REGION])])["loss_rpn_loc"]

    gradients = torch.cat(torch.autograd.grad(found, deltas), dim=1)[0]

    assert found.item() == alone.item()
    assert torch.equal(gradients.any(dim=1), labels[0] == 1)
    assert gradients.isfinite().all()


@pytest.mark.parametrize("loss", TYPES)
@pytest.mark.parametrize("kind", HEADS)
def test_proposals_in_an_ignored_box_cost_nothing(kind: str, loss: str) -> None:
    found = roi_losses(heads(kind, loss), [[*OUTSIDE, *INSIDE]], [target(OBJECTS, [REGION])])
    without = roi_losses(heads(kind, loss), [OUTSIDE], [target(OBJECTS)])

    assert all(torch.equal(found.losses[name], value) for name, value in without.losses.items())
    assert all(map(torch.equal, found.gradients, without.gradients))


@pytest.mark.parametrize("loss", TYPES)
@pytest.mark.parametrize("kind", HEADS)
def test_without_objects_boxes_cost_nothing(kind: str, loss: str) -> None:
    found = roi_losses(heads(kind, loss), [[*OUTSIDE, *INSIDE]], [target([], [REGION])])
    assert all(value == 0 for name, value in found.losses.items() if name.startswith("loss_box_reg"))
    assert all(gradient.isfinite().all() for gradient in found.gradients)


DEGENERATE = [
    [5.0, 5, 5, 5],
    [5.0, 5, 5, 9],
    [5.0, 5, 9, 5],
    [5.0, 5, 5 + 5e-7, 9],
    [500.0, 500, 500, 500],
    [0.0, 0, 1e-30, 1e-30],
    [0.0, 0, 10, 10],
    [0.0, 0, 10, 1e-4],
]


@pytest.mark.parametrize("box", DEGENERATE)
@pytest.mark.parametrize("goal", [[0.0, 0, 10, 10], [5.0, 5, 5, 5]])
@pytest.mark.parametrize("loss", TYPES)
def test_gradients_of_boxes_that_are_hardly_any_are_finite(loss: str, box: list[float], goal: list[float]) -> None:
    boxes = torch.tensor([box, [1.0, 1, 8, 6]], requires_grad=True)
    found = box_losses.LOSSES[f"{loss}_loss"](boxes, torch.tensor([goal, [0.0, 0, 9, 7]]), reduction="sum")
    found.backward()
    assert found.isfinite()
    assert boxes.grad is not None
    assert boxes.grad.isfinite().all()
    assert boxes.grad[1].any()


def test_what_is_mended_is_broken() -> None:
    flat = torch.tensor([[5.0, 5, 9, 5]], requires_grad=True)
    goal = torch.tensor([[0.0, 0, 10, 10]])
    detectron2_losses.ciou_loss(flat, goal, reduction="sum").backward()
    assert flat.grad is not None
    assert flat.grad.isnan().any()
    with pytest.raises(AssertionError, match="bad box"):
        detectron2_losses.diou_loss(torch.full((1, 4), torch.nan), goal)


@pytest.mark.parametrize("loss", TYPES)
def test_well_formed_boxes_cost_what_they_do_in_detectron2(loss: str) -> None:
    noise = torch.Generator().manual_seed(0)
    corners = torch.rand(2, 500, 2, generator=noise) * 100
    boxes, goals = torch.cat([corners, corners + 0.1 + 50 * torch.rand(2, 500, 2, generator=noise)], dim=2)
    from fvcore.nn import giou_loss

    stock = giou_loss if loss == "giou" else getattr(detectron2_losses, f"{loss}_loss")
    assert torch.equal(box_losses.LOSSES[f"{loss}_loss"](boxes, goals, "sum"), stock(boxes, goals, "sum"))


@pytest.mark.parametrize("loss", TYPES)
def test_a_network_that_diverges_has_a_loss_that_is_not_finite(loss: str) -> None:
    """Not an assertion: the training says that it has diverged."""
    candidates = Candidates(rpn(loss))
    candidates.deltas = [torch.full_like(level, torch.nan) for level in candidates.deltas]
    assert candidates.losses(rpn(loss), [target(OBJECTS)])["loss_rpn_loc"].isnan()


@pytest.mark.parametrize("precision", [Precision(), Precision(torch.bfloat16, "cpu")], ids=lambda item: item.name)
@pytest.mark.parametrize("model", ["tiny", "tiny-cascade"])
@pytest.mark.parametrize("loss", TYPES)
def test_a_step_with_boxes_in_float32_whatever_the_precision(
    loss: str, model: str, precision: Precision, drawn_data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    from detectron2.modeling import box_regression
    from detectron2.modeling.roi_heads import fast_rcnn

    dtypes = set()

    def watched(boxes: torch.Tensor, goals: torch.Tensor, reduction: str) -> torch.Tensor:
        value: torch.Tensor = box_losses.LOSSES[f"{loss}_loss"](boxes, goals, reduction=reduction)
        dtypes.update({boxes.dtype, goals.dtype, value.dtype})
        return value

    for module in (box_regression, fast_rcnn):
        assert getattr(module, f"{loss}_loss") is box_losses.LOSSES[f"{loss}_loss"]
        monkeypatch.setattr(module, f"{loss}_loss", watched)
    cfg = small_config(model, RPN, loss, HEAD, loss, "MODEL.ROI_HEADS.NUM_CLASSES", str(len(drawn_data.categories)))
    mapper = TrainingMapper(cfg, masks=True, seed=0)
    network = build_network(cfg, seed=0)
    precision.prepare(network)
    torch.manual_seed(0)
    with EventStorage(), precision.autocast():
        losses = network([mapper(drawn_data.records[index], Key(0, index)) for index in (0, 1)])
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert losses["loss_rpn_loc"] > 0
    assert dtypes == {torch.float32}
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
