"""The backward pass of RoIAlign by matrix products, against torchvision's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.model import roi_align
from train.model.roi_align import SeparableROIAlign, bin_weights

# isort: split
from detectron2.layers import ROIAlign

# From far outside the features to beyond their other end; also boxes of no area. torchvision refuses negative ones.
EDGE = st.floats(-60, 60, width=32)
LENGTH = st.floats(0, 120, width=32)


def both_ways(
    features: torch.Tensor, rois: torch.Tensor, bins: tuple[int, int], sampling: int, aligned: bool
) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    """(pooled, gradient of the features) of Detectron2's layer and of ours, for a random gradient of the pooled."""
    found = []
    for kind in (ROIAlign, SeparableROIAlign):
        given = features.clone().requires_grad_()
        pooled = kind(bins, 0.5, sampling, aligned)(given, rois)
        slope = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(1))
        (gradient,) = torch.autograd.grad(pooled, given, slope)
        found.append((pooled.detach(), gradient))
    return tuple(found)


@given(
    boxes=st.lists(st.tuples(st.integers(0, 1), EDGE, EDGE, LENGTH, LENGTH), max_size=5),
    size=st.tuples(st.integers(1, 4), st.integers(1, 24), st.integers(1, 24)),
    bins=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    sampling=st.integers(0, 3),
    aligned=st.booleans(),
)
def test_pooled_values_and_gradients_are_torchvisions(
    boxes: list[tuple[float, ...]],
    size: tuple[int, int, int],
    bins: tuple[int, int],
    sampling: int,
    aligned: bool,
) -> None:
    features = torch.randn((2, *size), generator=torch.Generator().manual_seed(0))
    rois = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 5)
    rois[:, 3:] += rois[:, 1:3]
    theirs, ours = both_ways(features, rois, bins, sampling, aligned)
    assert torch.equal(ours[0], theirs[0])
    # Sums of the same numbers in another order.
    assert torch.allclose(ours[1], theirs[1], atol=1e-4)


def test_a_box_of_two_pixels_is_two_pixels() -> None:
    """Pixels 3 and 4 of 6, one bin each, one sample a bin: their centres lie at 3.5 and 4.5, aligned at 3 and 4."""
    weights = bin_weights(torch.tensor([3.0]), torch.tensor([5.0]), 2, 6, 1.0, 0, True)
    assert weights.tolist() == [[[0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 0]]]


def test_samples_up_to_a_pixel_outside_count_as_on_the_border() -> None:
    """A bin [-4, 4) of four samples at -3, -1, 1, 3, of 3 pixels: none, the first, the second, the last."""
    weights = bin_weights(torch.tensor([-4.0]), torch.tensor([4.0]), 1, 3, 1.0, 4, False)
    assert weights.tolist() == [[[1 / 4, 1 / 4, 1 / 4]]]


def test_large_features_are_left_to_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradients are then equal to the bit."""
    monkeypatch.setattr(roi_align, "LARGEST", 24 * 24 - 1)
    features = torch.randn(2, 8, 24, 24, generator=torch.Generator().manual_seed(0))
    rois = torch.tensor([[0.0, 3.3, 2.1, 40.2, 33.3], [1.0, 5.5, 1.2, 20.1, 45.6]])
    theirs, ours = both_ways(features, rois, (7, 7), 0, True)
    assert torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_features_are_pooled_in_float32(dtype: torch.dtype) -> None:
    """bf16 numbers above 1,024 are 8 apart: rounded, this box of 4 x 4 px has no height."""
    box = torch.tensor([[0.0, 1027, 1100, 1031, 1104]])
    noise = torch.Generator().manual_seed(0)
    narrow = torch.randn(1, 8, 300, 300, generator=noise).to(dtype).requires_grad_()
    wide = narrow.detach().float().requires_grad_()
    layer = SeparableROIAlign(7, 0.25, 0, True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = layer(narrow, box)
    expected = layer(wide, box)
    assert torch.equal(pooled, expected.to(dtype))
    (found,) = torch.autograd.grad(pooled.sum(), narrow)
    (gradient,) = torch.autograd.grad(expected.sum(), wide)
    assert torch.equal(found, gradient.to(dtype))
