"""The proposal network: with ignored boxes as the rule says, without them as Detectron2's to the bit."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
import torch
from torch.nn import functional

from tests.train.scenes import (
    EVERYWHERE,
    HEIGHT,
    SAMPLE_ALL,
    WIDTH,
    Box,
    Losses,
    features,
    pair_of_rpns,
    pictures,
    target,
)
from train import compat  # noqa: F401 - before detectron2

# isort: split
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

# An object on the left; the right half is ignored, and half of the second object lies in it.
LEFT: Box = (8, 8, 40, 40)
MIDDLE: Box = (48, 40, 80, 72)
REGION: Box = (64, 0, 128, 96)
INSIDE: Box = (80, 16, 112, 48)


@functools.cache
def rpns(*overrides: str) -> tuple[Any, Any]:
    return pair_of_rpns(*overrides)


class Outcome(NamedTuple):
    losses: Losses
    gradients: list[torch.Tensor]
    """Of the sum of the losses, for the features of each level."""
    proposals: list[torch.Tensor]
    next_random: torch.Tensor


def forward(rpn: Any, targets: list[Instances], *, seed: int = 0) -> Outcome:
    maps = features(len(targets))
    with EventStorage(0), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        proposals, losses = rpn(pictures(len(targets)), maps, targets)
        after = torch.rand(1)
    gradients = torch.autograd.grad(sum(losses.values()), list(maps.values()))
    return Outcome(losses, list(gradients), [image.proposal_boxes.tensor for image in proposals], after)


class Candidates:
    """All anchors of a batch, and outputs of the network for each."""

    def __init__(self, rpn: Any, images: int = 1) -> None:
        self.anchors: list[Boxes] = rpn.anchor_generator(list(features().values()))
        noise = torch.Generator().manual_seed(1)
        self.logits = [torch.randn(images, len(level), generator=noise) for level in self.anchors]
        self.deltas = [torch.randn(images, len(level), 4, generator=noise) / 4 for level in self.anchors]

    def boxes(self) -> list[list[float]]:
        found: list[list[float]] = Boxes.cat(self.anchors).tensor.tolist()
        return found

    def losses(self, rpn: Any, targets: list[Instances], changed: torch.Tensor | None = None) -> Losses:
        """The losses; with other outputs for the anchors that are `changed`, (number of anchors,) bool."""
        logits, deltas = self.logits, self.deltas
        if changed is not None:
            levels = torch.split(changed, [len(level) for level in self.anchors])
            logits = [level + 3.0 * which for level, which in zip(logits, levels, strict=True)]
            deltas = [level - 0.5 * which[:, None] for level, which in zip(deltas, levels, strict=True)]
        with EventStorage(0):
            labels, matched = rpn.label_and_sample_anchors(self.anchors, targets)
            found: Losses = rpn.losses(self.anchors, logits, labels, deltas, matched)
        return found


def labels(rpn: Any, *targets: Instances) -> torch.Tensor:
    """(images, anchors) 1, 0, and -1 for what is left out."""
    found, _ = rpn.label_and_sample_anchors(Candidates(rpn).anchors, list(targets))
    return torch.stack(found)


def lies_in(box: Sequence[float], region: Box, *, min_ioa: float = 0.5) -> bool:
    """The rule, written down a second time: a share of its visible area, or the RPN's background threshold."""
    box = [min(max(side, 0.0), limit) for side, limit in zip(box, (WIDTH, HEIGHT) * 2, strict=True)]
    width = max(0.0, min(box[2], region[2]) - max(box[0], region[0]))
    height = max(0.0, min(box[3], region[3]) - max(box[1], region[1]))
    inside, own = width * height, (box[2] - box[0]) * (box[3] - box[1])
    other = (region[2] - region[0]) * (region[3] - region[1])
    return own > 0 and (inside / own >= min_ioa or inside / (own + other - inside) >= 0.3)


@pytest.mark.parametrize("field", [True, False])
@pytest.mark.parametrize("kept", [[[LEFT, INSIDE], [MIDDLE]], [[]], [[], [LEFT]]], ids=["objects", "empty", "mixed"])
def test_without_ignored_boxes_everything_is_as_in_detectron2_to_the_bit(kept: list[list[Box]], field: bool) -> None:
    ours, stock = rpns()
    plain = [target(image, field=False) for image in kept]

    found = forward(ours, [target(image, field=field) for image in kept])
    expected = forward(stock, plain)

    assert found.losses.keys() == expected.losses.keys() == {"loss_rpn_cls", "loss_rpn_loc"}
    assert all(torch.equal(found.losses[name], expected.losses[name]) for name in expected.losses)
    assert all(map(torch.equal, found.gradients, expected.gradients))
    assert all(map(torch.equal, found.proposals, expected.proposals))
    assert torch.equal(found.next_random, expected.next_random)
    # Chance has a part in it: the test would see it if other anchors were drawn.
    other = forward(ours, plain, seed=1)
    assert not torch.equal(other.losses["loss_rpn_cls"], found.losses["loss_rpn_cls"])


@pytest.mark.parametrize(
    ("kept", "ignored"),
    [
        ([LEFT], [REGION]),
        ([LEFT, MIDDLE, INSIDE], [REGION, (0, 60, 30, 90)]),
        ([INSIDE], [INSIDE]),
        ([], [REGION, INSIDE]),
        ([], [EVERYWHERE]),
        # Smaller than many an anchor that lies in it all the same.
        ([LEFT], [(80, 16, 92, 30)]),
    ],
)
def test_only_negatives_in_an_ignored_box_lose_their_label(kept: list[Box], ignored: list[Box]) -> None:
    ours, stock = rpns(*SAMPLE_ALL)
    expected = labels(stock, target(kept, field=False))[0].tolist()
    ignore_mask = [
        label == 0 and any(lies_in(anchor, region) for region in ignored)
        for anchor, label in zip(Candidates(ours).boxes(), expected, strict=True)
    ]

    found = labels(ours, target(kept, ignored))[0].tolist()

    assert found == [-1 if out else label for out, label in zip(ignore_mask, expected, strict=True)]
    assert sum(ignore_mask) > 0
    # Anchors hang over the edge of a picture; what they see of one that is all ignored is ignored.
    assert (sum(ignore_mask) == len(ignore_mask)) == (EVERYWHERE in ignored)
    assert expected.count(1) >= len(kept)


def test_outputs_for_anchors_in_an_ignored_box_change_no_loss() -> None:
    ours, stock = rpns(*SAMPLE_ALL)
    candidates, scene = Candidates(ours), target([LEFT, MIDDLE], [REGION])
    negative = labels(stock, target([LEFT, MIDDLE]))[0] == 0
    inside = torch.tensor([lies_in(anchor, REGION) for anchor in candidates.boxes()])
    before = candidates.losses(ours, [scene])

    after = candidates.losses(ours, [scene], negative & inside)

    assert all(torch.equal(after[name], before[name]) for name in before)
    # The same change elsewhere is seen, and Detectron2's own network sees it there too.
    elsewhere = candidates.losses(ours, [scene], negative & ~inside)
    assert elsewhere["loss_rpn_cls"] > before["loss_rpn_cls"]
    stock_before = candidates.losses(stock, [target([LEFT, MIDDLE])])
    stock_after = candidates.losses(stock, [target([LEFT, MIDDLE])], negative & inside)
    assert stock_after["loss_rpn_cls"] > stock_before["loss_rpn_cls"]


def test_objects_in_an_ignored_box_are_learnt() -> None:
    ours, stock = rpns(*SAMPLE_ALL)
    candidates, scene = Candidates(ours), target([INSIDE], [REGION])
    positive = labels(stock, target([INSIDE]))[0] == 1
    before = candidates.losses(ours, [scene])

    after = candidates.losses(ours, [scene], positive)

    assert after["loss_rpn_cls"] < before["loss_rpn_cls"]
    # It is about positives alone, so the ignored box changes nothing in it.
    assert torch.equal(before["loss_rpn_loc"], candidates.losses(stock, [target([INSIDE])])["loss_rpn_loc"])
    assert not torch.equal(after["loss_rpn_loc"], before["loss_rpn_loc"])


def test_the_loss_is_that_of_the_anchors_that_count() -> None:
    """Binary cross-entropy summed over them, divided by what might be sampled."""
    ours, stock = rpns(*SAMPLE_ALL)
    candidates = Candidates(ours)
    with_labels = labels(stock, target([LEFT]))[0].tolist()
    total = 0.0
    for anchor, label, logit in zip(
        candidates.boxes(), with_labels, torch.cat(candidates.logits, dim=1)[0].tolist(), strict=True
    ):
        if label == 1 or (label == 0 and not lies_in(anchor, REGION)):
            total += math.log1p(math.exp(-logit if label == 1 else logit))

    found = candidates.losses(ours, [target([LEFT], [REGION])])

    assert found["loss_rpn_cls"].item() == pytest.approx(total / 100_000, rel=1e-5)


def test_features_get_no_gradient_where_only_ignored_anchors_see_them() -> None:
    ours, stock = rpns(*SAMPLE_ALL)
    scene = [target([LEFT], [REGION])]
    counted = (labels(ours, *scene)[0] >= 0).float()
    blind = 0
    gradients = forward(ours, scene).gradients
    stock_gradients = forward(stock, [target([LEFT])]).gradients

    for level, gradient, stock_gradient in zip(
        torch.split(counted, [len(anchors) for anchors in Candidates(ours).anchors]),
        gradients,
        stock_gradients,
        strict=True,
    ):
        height, width = gradient.shape[-2:]
        # A 3x3 convolution feeds the anchors of a place.
        cells = level.reshape(1, height, width, 3).amax(dim=3)
        seen = functional.max_pool2d(cells, kernel_size=3, stride=1, padding=1)[0].bool()
        assert torch.equal((gradient[0] != 0).any(dim=0), seen)
        assert (stock_gradient[0] != 0).any(dim=0).all()
        blind += int((~seen).sum())

    assert blind > 100


def test_images_of_a_batch_do_not_share_ignored_boxes() -> None:
    ours, _ = rpns(*SAMPLE_ALL)
    scenes = [target([LEFT], [REGION]), target([LEFT]), target([], [LEFT]), target([LEFT], field=False), target([])]

    together = labels(ours, *scenes)

    assert torch.equal(together, torch.cat([labels(ours, scene) for scene in scenes]))
    assert len({tuple(row) for row in together.tolist()}) == len(scenes) - 1  # two of them are the same


def test_what_is_not_sampled_makes_room_for_others() -> None:
    """The sample is as large as before: it is filled with negatives from outside."""
    ours, _ = rpns()

    found = labels(ours, target([LEFT], [REGION]))[0]

    assert int((found >= 0).sum()) == ours.batch_size_per_image == 64
    inside = torch.tensor([lies_in(anchor, REGION) for anchor in Candidates(ours).boxes()])
    assert not ((found == 0) & inside).any()


@pytest.mark.parametrize("share", ["0.2", "1.0"])
def test_the_share_that_must_lie_inside_is_an_option(share: str) -> None:
    ours, _ = rpns(*SAMPLE_ALL, "MODEL.IGNORE.MIN_IOA", share)

    found = labels(ours, target([], [REGION]))[0] == -1

    anchors = Candidates(ours).boxes()
    assert found.tolist() == [lies_in(anchor, REGION, min_ioa=float(share)) for anchor in anchors]
    assert found.tolist() != [lies_in(anchor, REGION) for anchor in anchors]
