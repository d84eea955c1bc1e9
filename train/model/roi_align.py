"""RoIAlign on a CPU: torchvision's forward pass, and a backward pass of matrix products, several times as fast.

RoIAlign (He et al., 2017, "Mask R-CNN") is separable: a bin of a box is the mean of bilinear samples on a grid, so it
is a weighted sum over rows of weighted sums over columns, `bins = rows @ features @ columns.T` with one pair of small
matrices a box. The gradient of the features is the transposed product, summed over boxes. torchvision adds the four
neighbours of every sample one by one instead, in a single thread: a tenth of a training step of `tiny`.
"""

from __future__ import annotations

from typing import Any

import torch
from torchvision.ops import roi_align

from train import compat  # noqa: F401 - before detectron2

# isort: split
from detectron2.layers import ROIAlign

# The products cover whole rows of the features, so their cost grows with the features, torchvision's with the boxes.
LARGEST = 64 * 64


class SeparableROIAlign(ROIAlign):  # type: ignore[misc]
    """Detectron2's layer for features on a CPU. Boxes and sums are float32; the output has the features' dtype."""

    def forward(self, input: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the parent's name
        with torch.autocast(input.device.type, enabled=False):
            features, boxes = input.float(), rois.float()
            if not input.requires_grad or not len(boxes) or features.shape[2:].numel() > LARGEST:
                pooled: torch.Tensor = super().forward(features, boxes)
            else:
                pooled = _Pooled.apply(
                    features, boxes, self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned
                )
        return pooled.to(input.dtype)


class _Pooled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: torch.Tensor,
        rois: torch.Tensor,
        bins: tuple[int, int],
        scale: float,
        sampling: int,
        aligned: bool,
    ) -> torch.Tensor:
        ctx.save_for_backward(rois)
        ctx.shape, ctx.grid = features.shape, (bins, scale, sampling, aligned)
        pooled: torch.Tensor = roi_align(features, rois, bins, scale, sampling, aligned)
        return pooled

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (rois,) = ctx.saved_tensors
        bins, scale, sampling, aligned = ctx.grid
        return features_gradient(gradient, rois, ctx.shape, bins, scale, sampling, aligned), *[None] * 5


def features_gradient(
    gradient: torch.Tensor,
    rois: torch.Tensor,
    shape: torch.Size,
    bins: tuple[int, int],
    scale: float,
    sampling: int,
    aligned: bool,
) -> torch.Tensor:
    """The gradient of features of `shape` (N, C, H, W), from that of the pooled boxes (R, C, *bins), float32.

    `rois` (R, 5) are (index of the image, x0, y0, x1, y1); the other parameters are torchvision's `roi_align`'s.
    """
    _, channels, height, width = shape
    rows = bin_weights(rois[:, 2], rois[:, 4], bins[0], height, scale, sampling, aligned)
    columns = bin_weights(rois[:, 1], rois[:, 3], bins[1], width, scale, sampling, aligned)
    images = rois[:, 0].long()
    result = gradient.new_zeros((shape[0], height, channels, width))
    for image in torch.unique(images).tolist():
        mine = images == image
        # (boxes, bins, channels, bins) @ columns -> (boxes, bins, channels, width), then summed over (boxes, bins).
        by_row = gradient[mine].transpose(1, 2).flatten(1, 2) @ columns[mine]
        result[image] = (rows[mine].flatten(0, 1).T @ by_row.reshape(-1, channels * width)).view(
            height, channels, width
        )
    return result.transpose(1, 2).contiguous()


def bin_weights(
    start: torch.Tensor, end: torch.Tensor, bins: int, size: int, scale: float, sampling: int, aligned: bool
) -> torch.Tensor:
    """Weights (R, bins, size) of the pixels along one axis, `size` of them, in the bins of the boxes [start, end] (R).

    A sample up to one pixel outside counts as on the border, one further outside as 0, as in torchvision.
    """
    offset = 0.5 if aligned else 0.0
    # In this order, so that a box whose ends round to the same number has no length, as in torchvision.
    low = start * scale - offset
    length = (end * scale - offset) - low
    if not aligned:
        length = length.clamp(min=1.0)
    counts = torch.full_like(length, sampling) if sampling > 0 else (length / bins).ceil()
    sample = torch.arange(max(1, int(counts.max())), dtype=length.dtype)
    # In bins: (R, samples); then in pixels: (R, bins, samples).
    divisors = counts.clamp(min=1)
    inside_bin = (sample + 0.5) / divisors[:, None]
    place = low[:, None, None] + (torch.arange(bins)[:, None] + inside_bin[:, None]) * (length / bins)[:, None, None]
    counted = (sample < counts[:, None])[:, None] & (place >= -1) & (place <= size)
    share = torch.where(counted, 1 / divisors[:, None, None], 0.0)
    distance = (place.clamp(0, size - 1)[..., None] - torch.arange(size)).abs()
    return torch.einsum("rbs,rbsp->rbp", share, (1 - distance).clamp(min=0))
