"""Masks of detections: from the small grids of the mask head to COCO's runs, one at a time.

N: detections of an image, M: side of a grid (28), H, W: size of the image in pixels
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from datasets import coco_runs
from train import compat  # noqa: F401 - before detectron2

# isort: split
from detectron2.layers.mask_ops import _do_paste_mask
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Instances

# The field of Instances with (N, M, M) probabilities, each spread over its box.
SOFT_MASKS = "soft_masks"
# From this probability on, a pixel belongs to the object, as in Detectron2.
THRESHOLD = 0.5


class SoftMasks:
    """A Detectron2 model whose detections have grids (`SOFT_MASKS`) instead of bitmaps.

    Detectron2 pastes all masks of an image at once: 3.6 GB for 300 detections at 4000 x 3000 px.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network: Any = network

    def __call__(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found = self._network.inference(batch, do_postprocess=False)
        return [{"instances": _resized(item, given)} for item, given in zip(found, batch, strict=True)]


def _resized(found: Instances, given: dict[str, Any]) -> Instances:
    """Detections in the image's own pixels."""
    found.set(SOFT_MASKS, found.pred_masks[:, 0])
    found.remove("pred_masks")
    return detector_postprocess(found, given["height"], given["width"])


def segmentations(found: Instances, wanted: npt.NDArray[np.bool_]) -> list[bytes]:
    """The masks of N detections as JSON, as in `datasets.results.Results`; empty where (N,) `wanted` says no."""
    boxes, grids = found.pred_boxes.tensor.cpu(), found.get(SOFT_MASKS).float().cpu()
    return [
        _encoded(pasted(grid, box, *found.image_size)) if needed else b""
        for grid, box, needed in zip(grids, boxes, wanted.tolist(), strict=True)
    ]


def pasted(grid: torch.Tensor, box_xyxy: torch.Tensor, height: int, width: int) -> coco_runs.CocoRle:
    """The mask of a detection, of its (M, M) grid and (4,) box, in an H x W image; as Detectron2 pastes it.

    Memory is that of the box's pixels.
    """
    x0, y0, x1, y1 = box_xyxy.tolist()
    if not (x0 < x1 and y0 < y1):
        return coco_runs.from_windows([], height, width)
    soft, (rows, columns) = _do_paste_mask(grid[None, None], box_xyxy[None], height, width)
    window = (int(columns.start), int(rows.start), int(columns.stop), int(rows.stop))
    return coco_runs.at((soft[0] >= THRESHOLD).numpy().astype(np.uint8), window, height, width)


def _encoded(mask: coco_runs.CocoRle) -> bytes:
    rle = coco_runs.to_rle(mask)
    return msgspec.json.encode({"size": rle.size, "counts": rle.counts})
