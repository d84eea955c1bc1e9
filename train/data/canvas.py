"""A fixed canvas (INPUT.CANVAS): an image that exceeds it is cropped, a smaller one padded, as for large-scale jitter.

Large-scale jitter (Ghiasi et al., 2021, section 3.1; Detectron2's `new_baselines/` configs): scales from a wide range,
and one size for all. Objects that the crop cuts are kept, ignored or dropped by the rule of `augment`, by how much of
what the image shows of them is left.

H, W: size after resizing
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from augment.operations.labels import Labeller
from augment.operations.parameters import LabelRule
from datasets.records import Annotation, Image, Window
from train.data.geometry import Geometry, Size
from train.data.records import Record, objects_of


def draw_window(size: Size, geometry: Geometry, canvas: int, rng: np.random.Generator) -> Window:
    """The part of an image of `size`, in its pixels, that fits onto the canvas after `geometry`; drawn uniformly."""
    height = _fitting(size.height, geometry.height, canvas)
    width = _fitting(size.width, geometry.width, canvas)
    left = int(rng.integers(0, size.width - width, endpoint=True))
    top = int(rng.integers(0, size.height - height, endpoint=True))
    return left, top, left + width, top + height


def _fitting(side: int, resized_side: int, canvas: int) -> int:
    """Of a side's pixels, as many as take `canvas` px after resizing."""
    return side if resized_side <= canvas else max(1, side * canvas // resized_side)


def on_window(geometry: Geometry, size: Size, window: Window, canvas: int) -> Geometry:
    """The transform of a window that resizes it as `geometry` does the whole image."""
    left, top, right, bottom = window
    height = max(1, int((bottom - top) * geometry.height / size.height + 0.5))
    width = max(1, int((right - left) * geometry.width / size.width + 0.5))
    return Geometry(min(height, canvas), min(width, canvas), geometry.mirrored)


def cropped(record: Record, window: Window, rule: LabelRule) -> Record:
    """The record of a window; its objects follow the crop rule."""
    annotations = [_annotation(record, index) for index in range(len(record.classes))]
    image = Image(id=record.image_id, file_name=record.path, width=record.width, height=record.height)
    shown = Labeller(annotations, image, rule).show(window, rasterise=False).annotations
    left, top, right, bottom = window
    return record._replace(
        width=right - left, height=bottom - top, **objects_of(shown, int, masks=any(record.polygons))
    )


def _annotation(record: Record, index: int) -> Annotation:
    """An object with its class for a category."""
    x0, y0, x1, y1 = record.boxes_xyxy[index].tolist()
    return Annotation(
        id=index,
        image_id=record.image_id,
        category_id=int(record.classes[index]),
        bbox=(x0, y0, x1 - x0, y1 - y0),
        area=(x1 - x0) * (y1 - y0),
        iscrowd=int(record.ignored[index]),
        segmentation=record.polygons[index] or None,
    )


def padded(image: torch.Tensor, canvas: int, color: list[int]) -> torch.Tensor:
    """(3, H, W) -> (3, canvas, canvas) with `color` to the right and below."""
    whole: torch.Tensor = torch.tensor(color, dtype=image.dtype)[:, None, None].repeat(1, canvas, canvas)
    whole[:, : image.shape[1], : image.shape[2]] = image
    return whole


def padding_color(cfg: Any) -> list[int]:
    """The mean color: what the network pads images with that are smaller than others of their batch."""
    return [min(max(round(mean), 0), 255) for mean in cfg.MODEL.PIXEL_MEAN]
