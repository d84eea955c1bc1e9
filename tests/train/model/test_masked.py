"""Masks of some objects only: the others train their boxes, and the mask head as if they were not there."""

from __future__ import annotations

import pytest
import torch

from tests.train import scenes
from train.model.masked import MASKED, with_masks

# isort: split
from detectron2.structures import Instances

KEPT: list[scenes.Box] = [(8, 8, 40, 40), (60, 20, 110, 80)]
CANDIDATES: list[scenes.Box] = [(9, 9, 41, 41), (58, 18, 108, 78), (0, 60, 30, 90)]


def marked(flags: list[bool]) -> Instances:
    target = scenes.target(KEPT)
    target.set(MASKED, torch.tensor(flags))
    return target


@pytest.mark.parametrize("model", ["tiny", "tiny-cascade"])
def test_the_mask_loss_is_that_of_the_objects_with_masks(model: str) -> None:
    ours, _ = scenes.pair_of_heads(model, *scenes.SAMPLE_ALL)
    alone = scenes.roi_losses(ours, [CANDIDATES], [scenes.target(KEPT[:1])]).losses
    plain = scenes.roi_losses(ours, [CANDIDATES], [scenes.target(KEPT)]).losses
    some = scenes.roi_losses(ours, [CANDIDATES], [marked([True, False])]).losses

    # The candidates of the second object leave the mean over positives, and nothing else changes.
    assert torch.allclose(some["loss_mask"], alone["loss_mask"], rtol=1e-5)
    assert not torch.allclose(some["loss_mask"], plain["loss_mask"], rtol=1e-3)
    for name in plain.keys() - {"loss_mask"}:
        assert torch.equal(some[name], plain[name]), name


@pytest.mark.parametrize("model", ["tiny", "tiny-cascade"])
def test_where_all_have_masks_nothing_changes(model: str) -> None:
    ours, stock = scenes.pair_of_heads(model, *scenes.SAMPLE_ALL)
    marked_losses = scenes.roi_losses(ours, [CANDIDATES], [marked([True, True])]).losses
    theirs = scenes.roi_losses(stock, [CANDIDATES], [scenes.target(KEPT, field=False)]).losses
    assert marked_losses.keys() == theirs.keys()
    assert [name for name in theirs if not torch.equal(marked_losses[name], theirs[name])] == []


def test_without_any_mask_in_a_batch_the_mask_head_learns_nothing() -> None:
    ours, _ = scenes.pair_of_heads("tiny", *scenes.SAMPLE_ALL)
    found = scenes.roi_losses(ours, [CANDIDATES], [marked([False, False])])
    assert torch.equal(found.losses["loss_mask"], torch.tensor(0.0))
    assert all(bool(torch.isfinite(gradient).all()) for gradient in found.gradients)


def test_an_image_without_objects_among_others() -> None:
    ours, _ = scenes.pair_of_heads("tiny", *scenes.SAMPLE_ALL)
    empty = scenes.target([])
    empty.set(MASKED, torch.zeros(0, dtype=torch.bool))
    losses = scenes.roi_losses(ours, [CANDIDATES, CANDIDATES], [marked([True, False]), empty]).losses
    assert bool(torch.isfinite(losses["loss_mask"]))


def test_proposals_of_data_that_mark_nothing_stay() -> None:
    plain = scenes.proposals(CANDIDATES)
    assert with_masks([plain]) == [plain]
