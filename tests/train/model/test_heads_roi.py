"""The heads on regions: with ignored boxes as the rule says, without them as Detectron2's to the bit.

Both heads, standard and cascade; what only the later stages of a cascade do is in test_heads_cascade.py.
"""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.train.scenes import (
    EVERYWHERE,
    SAMPLE_ALL,
    Box,
    features,
    ioa,
    iou,
    pair_of_heads,
    proposals,
    roi_losses,
    target,
)
from train import compat  # noqa: F401 - before detectron2

# isort: split
from detectron2.structures import Instances
from detectron2.utils.events import EventStorage

MODELS = ["tiny", "tiny-cascade"]
NAMES = {
    "tiny": ["loss_cls", "loss_box_reg", "loss_mask"],
    "tiny-cascade": [
        *(f"{name}_stage{stage}" for stage in range(3) for name in ("loss_cls", "loss_box_reg")),
        "loss_mask",
    ],
}
BACKGROUND = 80

# An object on the left, with proposals that fit it and some that do not; the right half is ignored, proposals in it.
LEFT: Box = (8, 8, 40, 40)
REGION: Box = (64, 0, 128, 96)
OUTSIDE: list[Box] = [(8, 8, 40, 38), (4, 4, 36, 40), (0, 50, 24, 90), (20, 30, 50, 80), (2, 2, 12, 12)]
INSIDE: list[Box] = [(70, 10, 90, 30), (80, 16, 112, 48), (72, 4, 124, 90), (100, 60, 120, 90)]

# Whole numbers on a coarse grid, so that edges coincide and thresholds are hit.
corners = st.tuples(*[st.integers(0, 8)] * 4).filter(lambda c: c[0] != c[2] and c[1] != c[3])
box_rows = corners.map(
    lambda c: (12 * min(c[0], c[2]), 12 * min(c[1], c[3]), 12 * max(c[0], c[2]), 12 * max(c[1], c[3]))
)


@functools.cache
def pair(model: str, *overrides: str) -> tuple[Any, Any]:
    return pair_of_heads(model, *overrides)


def sample(heads: Any, candidates: list[Instances], targets: list[Instances]) -> list[Instances]:
    with EventStorage(0):
        sampled: list[Instances] = heads.label_and_sample_proposals(candidates, targets)
    return sampled


def rows(sampled: Instances) -> list[tuple[Box, int]]:
    """(box, category) of each sample, in order."""
    found = zip(sampled.proposal_boxes.tensor.tolist(), sampled.gt_classes.tolist(), strict=True)
    return sorted((tuple(box), category) for box, category in found)


@pytest.mark.parametrize("field", [True, False])
@pytest.mark.parametrize("kept", [[[LEFT, INSIDE[1]], [REGION]], [[]], [[], [LEFT]]], ids=["objects", "empty", "mixed"])
@pytest.mark.parametrize("model", MODELS)
def test_without_ignored_boxes_everything_is_as_in_detectron2_to_the_bit(
    model: str, kept: list[list[Box]], field: bool
) -> None:
    # Half of the proposals are left out by chance.
    ours, stock = pair(model, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "6")
    candidates = [[*OUTSIDE, *INSIDE]] * len(kept)

    found = roi_losses(ours, candidates, [target(image, field=field) for image in kept])
    expected = roi_losses(stock, candidates, [target(image, field=False) for image in kept])

    assert sorted(found.losses) == sorted(expected.losses) == sorted(NAMES[model])
    assert all(torch.equal(found.losses[name], expected.losses[name]) for name in expected.losses)
    assert all(map(torch.equal, found.gradients, expected.gradients))
    assert torch.equal(found.next_random, expected.next_random)
    others = roi_losses(ours, candidates, [target(image, field=field) for image in kept], seed=1)
    assert not any(map(torch.equal, others.gradients[:1], found.gradients[:1]))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kept", [[LEFT], [LEFT, INSIDE[1]], []], ids=["outside", "inside too", "none"])
def test_losses_are_those_of_detectron2_without_the_proposals_in_ignored_boxes(model: str, kept: list[Box]) -> None:
    ours, stock = pair(model, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "6")
    # What fits the kept object inside is not left out.
    fits = [box for box in INSIDE if any(iou(box, item) >= Fraction(1, 2) for item in kept)]

    found = roi_losses(ours, [[*OUTSIDE, *INSIDE]], [target(kept, [REGION])])
    expected = roi_losses(stock, [[*OUTSIDE, *fits]], [target(kept)])
    unaware = roi_losses(stock, [[*OUTSIDE, *INSIDE]], [target(kept)])

    assert all(torch.equal(found.losses[name], expected.losses[name]) for name in NAMES[model])
    assert all(map(torch.equal, found.gradients, expected.gradients))
    assert not torch.equal(unaware.losses[NAMES[model][0]], expected.losses[NAMES[model][0]])


@given(
    candidates=st.lists(box_rows, max_size=8),
    kept=st.lists(box_rows, max_size=3),
    ignored=st.lists(box_rows, max_size=3),
    model=st.sampled_from(MODELS),
)
def test_samples_are_those_that_a_plain_loop_finds(
    candidates: list[Box], kept: list[Box], ignored: list[Box], model: str
) -> None:
    ours, _ = pair(model, *SAMPLE_ALL)
    expected = []
    # The kept objects are proposals too, the ignored ones are not.
    for box in [*candidates, *kept]:
        fits = [iou(box, item) for item in kept]
        if fits and max(fits) >= Fraction(1, 2):
            expected.append((box, fits.index(max(fits))))
        elif not any(ioa(box, region) >= Fraction(1, 2) or iou(box, region) >= Fraction(1, 2) for region in ignored):
            expected.append((box, BACKGROUND))

    (found,) = sample(ours, [proposals(candidates)], [target(kept, ignored)])

    assert rows(found) == sorted(expected)


@pytest.mark.parametrize("model", MODELS)
def test_features_in_an_ignored_box_change_no_loss_and_get_no_gradient(model: str) -> None:
    ours, stock = pair(model, *SAMPLE_ALL)
    scene, candidates = target([LEFT], [REGION]), [[*OUTSIDE, *INSIDE]]
    # The object's proposals reach to x = 50, the ignored ones from x = 70; features of p2 are 4 px apart.
    noisy = features()
    with torch.no_grad():
        noisy["p2"][..., 64 // 4 :] += 1
    before, unaware = roi_losses(ours, candidates, [scene]), roi_losses(stock, candidates, [target([LEFT])])

    after = roi_losses(ours, candidates, [scene], maps=noisy)
    unaware_after = roi_losses(stock, candidates, [target([LEFT])], maps=noisy)

    assert all(torch.equal(after.losses[name], before.losses[name]) for name in NAMES[model])
    assert not torch.equal(unaware_after.losses[NAMES[model][0]], unaware.losses[NAMES[model][0]])
    gradient, unaware_gradient = before.gradients[0][0], unaware.gradients[0][0]
    assert not gradient[..., 64 // 4 :].any()
    assert gradient[..., : 64 // 4].any()
    assert unaware_gradient[..., 64 // 4 :].any()
    # Elsewhere the same change is seen.
    with torch.no_grad():
        noisy["p2"][..., : 64 // 4] += 1
    elsewhere = roi_losses(ours, candidates, [scene], maps=noisy)
    assert not any(torch.equal(elsewhere.losses[name], before.losses[name]) for name in NAMES[model])


@pytest.mark.parametrize("model", MODELS)
def test_objects_in_an_ignored_box_are_learnt(model: str) -> None:
    ours, _ = pair(model, *SAMPLE_ALL)
    item = INSIDE[1]
    close: Box = (80, 16, 112, 44)

    (found,) = sample(ours, [proposals([close, *INSIDE])], [target([item], [REGION])])

    # As a proposal of the RPN, as the object itself, and one close to it: 28 of 32 rows. No others.
    assert rows(found) == [(close, 0), (item, 0), (item, 0)]
    assert found.gt_boxes.tensor.tolist() == [list(item)] * 3
    losses = roi_losses(ours, [[close, *INSIDE]], [target([item], [REGION])]).losses
    assert all(losses[name] > 0 for name in NAMES[model])


@pytest.mark.parametrize("model", MODELS)
def test_without_a_kept_object_only_what_lies_in_ignored_boxes_is_left_out(model: str) -> None:
    ours, _ = pair(model, *SAMPLE_ALL)

    found, nothing, empty = sample(
        ours,
        [proposals([*OUTSIDE, *INSIDE]) for _ in range(3)],
        [target([], [REGION]), target([], [EVERYWHERE]), target([])],
    )

    assert rows(found) == sorted((box, BACKGROUND) for box in OUTSIDE)
    assert rows(nothing) == []
    assert rows(empty) == sorted((box, BACKGROUND) for box in [*OUTSIDE, *INSIDE])
    assert not found.has("gt_boxes")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kept", [[LEFT], []])
def test_ignored_boxes_are_no_proposals(model: str, kept: list[Box]) -> None:
    ours, stock = pair(model, *SAMPLE_ALL)

    (found,) = sample(ours, [proposals(OUTSIDE)], [target(kept, [REGION, INSIDE[1]])])
    (unaware,) = sample(stock, [proposals(OUTSIDE)], [target(kept, [REGION, INSIDE[1]])])

    seen = [box for box, _ in rows(found)]
    assert seen == sorted([*OUTSIDE, *kept])
    assert sorted({box for box, _ in rows(unaware)} - set(seen)) == sorted([REGION, INSIDE[1]])


@pytest.mark.parametrize("model", MODELS)
def test_images_of_a_batch_do_not_share_ignored_boxes(model: str) -> None:
    ours, _ = pair(model, *SAMPLE_ALL)
    scenes = [target([LEFT], [REGION]), target([LEFT]), target([], [LEFT]), target([LEFT], field=False), target([])]

    together = sample(ours, [proposals([*OUTSIDE, *INSIDE]) for _ in scenes], scenes)

    alone = [sample(ours, [proposals([*OUTSIDE, *INSIDE])], [scene])[0] for scene in scenes]
    assert [rows(image) for image in together] == [rows(image) for image in alone]
    assert [len(image) for image in together] == [
        len(OUTSIDE) + 1,
        len(OUTSIDE) + len(INSIDE) + 1,
        # The first two fit the box of the object on the left.
        len(OUTSIDE) + len(INSIDE) - 2,
        len(OUTSIDE) + len(INSIDE) + 1,
        len(OUTSIDE) + len(INSIDE),
    ]


@pytest.mark.parametrize("model", MODELS)
def test_the_mask_loss_takes_objects_only(model: str) -> None:
    """So ignored boxes change nothing in it, wherever they are."""
    ours, stock = pair(model, *SAMPLE_ALL)
    candidates = [[*OUTSIDE, *INSIDE]]
    plain = roi_losses(stock, candidates, [target([LEFT, INSIDE[1]])]).losses["loss_mask"]

    for ignored in ([REGION], [EVERYWHERE], [LEFT], [(0, 50, 24, 90)]):
        found = roi_losses(ours, candidates, [target([LEFT, INSIDE[1]], ignored)]).losses["loss_mask"]
        # The order of the samples, and so that of the sum, is another.
        assert found.item() == pytest.approx(plain.item(), rel=1e-6)
    assert plain > 0
    assert roi_losses(ours, candidates, [target([], [LEFT])]).losses["loss_mask"] == 0


def test_the_share_that_must_lie_inside_is_an_option() -> None:
    region: Box = (0, 0, 128, 60)
    candidate: Box = (10, 52, 30, 72)  # 8 of 20 rows inside

    for share, expected in (("0.4", []), ("0.41", [(candidate, BACKGROUND)])):
        ours, _ = pair("tiny", *SAMPLE_ALL, "MODEL.IGNORE.MIN_IOA", share)
        (found,) = sample(ours, [proposals([candidate])], [target([], [region])])
        assert rows(found) == expected


@pytest.mark.parametrize("model", MODELS)
def test_a_proposal_larger_than_an_ignored_box_lies_in_it_by_its_fit(model: str) -> None:
    """From the IoU that would fit an object. Half of it lies inside then, so only a larger share shows it."""
    ours, _ = pair(model, *SAMPLE_ALL, "MODEL.IGNORE.MIN_IOA", "0.9")
    candidate: Box = (0, 0, 100, 10)

    for columns, expected in ((50, []), (49, [(candidate, BACKGROUND)])):
        (found,) = sample(ours, [proposals([candidate])], [target([], [(0, 0, columns, 10)])])
        assert rows(found) == expected
