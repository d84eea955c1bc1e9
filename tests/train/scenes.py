"""Scenes for the tests of what ignored boxes do: targets, proposals, features, and heads of ours and of Detectron2's.

Pictures are 96 px high and 128 px wide; boxes are xyxy in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import torch

from tests.train.conftest import small_config
from train import compat  # noqa: F401 - before detectron2
from train.model import heads
from train.model.ignore import IGNORED

# isort: split
from detectron2.modeling import build_proposal_generator, build_roi_heads
from detectron2.structures import Boxes, ImageList, Instances, PolygonMasks
from detectron2.utils.events import EventStorage

Box = tuple[float, float, float, float]
Losses = dict[str, torch.Tensor]

HEIGHT, WIDTH = 96, 128
EVERYWHERE = (0, 0, WIDTH, HEIGHT)
STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}
CHANNELS = 64
# More than there are candidates: all of them are sampled, and nothing is left to chance.
SAMPLE_ALL = ("MODEL.RPN.BATCH_SIZE_PER_IMAGE", "100000", "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "100000")
# Ours -> what Detectron2 has in its place.
STOCK = {
    "IgnoreAwareRPN": "RPN",
    "IgnoreAwareROIHeads": "StandardROIHeads",
    "IgnoreAwareCascadeROIHeads": "CascadeROIHeads",
}


def target(kept: Sequence[Box], ignored: Sequence[Box] = (), *, field: bool = True, masks: bool = True) -> Instances:
    """Kept objects of categories 0, 1, 2, ... and, between them, ignored ones of category 79; each mask is the box."""
    rows = [(box, index, False) for index, box in enumerate(kept)]
    rows[1:1] = [(box, 79, True) for box in ignored]
    target = Instances((HEIGHT, WIDTH))
    target.gt_boxes = boxes([box for box, _, _ in rows])
    target.gt_classes = torch.tensor([category for _, category, _ in rows], dtype=torch.int64)
    if field:
        target.set(IGNORED, torch.tensor([is_ignored for _, _, is_ignored in rows], dtype=torch.bool))
    if masks:
        target.gt_masks = PolygonMasks([[outline(box)] for box, _, _ in rows])
    return target


def outline(box: Box) -> list[float]:
    x0, y0, x1, y1 = box
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def boxes(rows: Sequence[Box]) -> Boxes:
    return Boxes(torch.tensor(rows, dtype=torch.float32).reshape(-1, 4))


def proposals(rows: Sequence[Box]) -> Instances:
    """As the RPN gives them. The logits are 0, 1, 2, ..., by which tests know a proposal again."""
    found = Instances((HEIGHT, WIDTH))
    found.proposal_boxes = boxes(rows)
    found.objectness_logits = torch.arange(len(rows), dtype=torch.float32)
    return found


def features(images: int = 1, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Noise for every level of the pyramid, to be differentiated by."""
    noise = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(
            (images, CHANNELS, -(-HEIGHT // stride), -(-WIDTH // stride)), generator=noise
        ).requires_grad_()
        for name, stride in STRIDES.items()
    }


def pictures(images: int = 1) -> ImageList:
    return ImageList(torch.zeros(images, 3, HEIGHT, WIDTH), [(HEIGHT, WIDTH)] * images)


def as_stock(cfg: Any) -> Any:
    """The same configuration with Detectron2's own classes."""
    stock = cfg.clone()
    stock.defrost()
    stock.MODEL.PROPOSAL_GENERATOR.NAME = STOCK[cfg.MODEL.PROPOSAL_GENERATOR.NAME]
    stock.MODEL.ROI_HEADS.NAME = STOCK[cfg.MODEL.ROI_HEADS.NAME]
    return stock


def pair_of_rpns(*overrides: str) -> tuple[Any, Any]:
    """Ours and Detectron2's, with the same weights."""
    return _pair(build_proposal_generator, small_config("tiny", *overrides))


def pair_of_heads(model: str, *overrides: str) -> tuple[Any, Any]:
    """The ROI heads of a model, ours and Detectron2's, with the same weights."""
    return _pair(build_roi_heads, small_config(model, *overrides))


def _pair(build: Any, cfg: Any) -> tuple[Any, Any]:
    from detectron2.layers import ShapeSpec

    heads.register()
    shapes = {name: ShapeSpec(channels=CHANNELS, stride=stride) for name, stride in STRIDES.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ours, stock = build(cfg, shapes), build(as_stock(cfg), shapes)
    assert type(stock) in type(ours).__mro__[1:]
    stock.load_state_dict(ours.state_dict())
    return ours, stock


class Outcome(NamedTuple):
    """Of a forward pass through the heads on regions."""

    losses: Losses
    gradients: list[torch.Tensor]
    """Of the sum of the losses, for the features of p2 to p5."""
    next_random: torch.Tensor


def roi_losses(
    heads: Any,
    candidates: Sequence[Sequence[Box]],
    targets: list[Instances],
    *,
    maps: dict[str, torch.Tensor] | None = None,
    seed: int = 0,
) -> Outcome:
    maps = maps or features(len(targets))
    with EventStorage(0), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _, losses = heads(pictures(len(targets)), maps, [proposals(image) for image in candidates], targets)
        after = torch.rand(1)
    gradients = torch.autograd.grad(sum(losses.values()), [maps[name] for name in ("p2", "p3", "p4", "p5")])
    return Outcome(losses, list(gradients), after)


def iou(one: Box, other: Box) -> Fraction:
    """For boxes of whole numbers, without rounding."""
    inside = intersection(one, other)
    return Fraction(inside, area(one) + area(other) - inside) if inside else Fraction(0)


def ioa(candidate: Box, region: Box) -> Fraction:
    """The share of the candidate's area that lies in the region."""
    inside = intersection(candidate, region)
    return Fraction(inside, area(candidate)) if inside else Fraction(0)


def intersection(one: Box, other: Box) -> int:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return int(width * height) if width > 0 and height > 0 else 0


def area(box: Box) -> int:
    return int((box[2] - box[0]) * (box[3] - box[1]))
