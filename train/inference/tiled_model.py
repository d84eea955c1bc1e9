"""A model that detects in the tiles of large images, and merges what it finds in them.

H, W: size of an image in pixels
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from augment.operations import tiles
from datasets.images import Pixels
from datasets.records import Window
from train import compat  # noqa: F401 - before detectron2
from train.inference import tiling
from train.inference.masks import SOFT_MASKS

# isort: split
from detectron2.structures import Boxes, Instances

# Detectron2's models and its TTA: from a dict an image to a dict with its "instances".
Model = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


class TiledModel:
    """`model` on each tile of an image, as on an image of its own; boxes are in pixels of the whole image.

    Takes images in their original size, (H, W, 3). Tiles are cut and resized here, one after the other, so that an
    image is decoded once and memory does not grow with the number of its tiles.
    """

    def __init__(
        self,
        model: Model,
        to_input: Callable[[Pixels, int], dict[str, Any]],
        *,
        size: int,
        overlap: float,
        iou_threshold: float,
        limit: int,
    ) -> None:
        """`to_input` makes the model's input of a tile's pixels and the image's id.

        `size` and `overlap` are those of `tiles.grid`, `iou_threshold` and `limit` those of `tiling.merge`.
        """
        self._model, self._to_input = model, to_input
        self._size, self._overlap = size, overlap
        self._iou_threshold, self._limit = iou_threshold, limit

    def __call__(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"instances": self._detected(item)} for item in batch]

    def _detected(self, item: dict[str, Any]) -> Instances:
        pixels, height, width = item["image"].numpy(), item["height"], item["width"]
        windows = tiles.grid(width, height, self._size, self._overlap)
        parts = [self._in_tile(pixels[y0:y1, x0:x1], item["image_id"]) for x0, y0, x1, y1 in windows]
        if len(parts) == 1:
            # An image no larger than a tile: as without tiles, to the bit.
            return parts[0]
        found = _joined(parts, windows)
        kept = tiling.merge(found, windows, width, height, iou_threshold=self._iou_threshold, limit=self._limit)
        merged = _instances(found.take(kept), height, width)
        if parts[0].has(SOFT_MASKS):
            # Spread over their boxes, so they move with them.
            merged.set(SOFT_MASKS, torch.cat([part.get(SOFT_MASKS) for part in parts])[torch.from_numpy(kept)])
        return merged

    def _in_tile(self, pixels: Pixels, image_id: int) -> Instances:
        [output] = self._model([self._to_input(pixels, image_id)])
        # Boxes and scores are merged there.
        return output["instances"].to("cpu")


def _joined(parts: list[Instances], windows: list[Window]) -> tiling.Detections:
    """Detections of all tiles; boxes in pixels of the image instead of their tile's."""
    corners = np.repeat([(x0, y0, x0, y0) for x0, y0, _, _ in windows], [len(part) for part in parts], axis=0)
    return tiling.Detections(
        boxes_xyxy=np.concatenate([part.pred_boxes.tensor.numpy() for part in parts]).astype(np.float64) + corners,
        scores=np.concatenate([part.scores.numpy() for part in parts]).astype(np.float64),
        classes=np.concatenate([part.pred_classes.numpy() for part in parts]),
        tiles=np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
    )


def _instances(found: tiling.Detections, height: int, width: int) -> Instances:
    return Instances(
        (height, width),
        pred_boxes=Boxes(torch.from_numpy(found.boxes_xyxy)),
        scores=torch.from_numpy(found.scores),
        pred_classes=torch.from_numpy(found.classes),
    )
