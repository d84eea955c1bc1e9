"""Made pictures with objects, as a Detectron2 model takes them: noise, so that nothing depends on files."""

from __future__ import annotations

from typing import Any

import torch

from train import compat  # noqa: F401 - before detectron2
from train.model.ignore import IGNORED

# isort: split
from detectron2.structures import Boxes, Instances, PolygonMasks

Batch = list[dict[str, Any]]


def scene(height: int, width: int, *, objects: int = 3, ignored: int = 2, categories: int = 3, seed: int = 0) -> Batch:
    """One picture of (3, height, width), `objects` of categories 0, 1, ... with masks, and `ignored` boxes among them.

    The same for the same arguments. Boxes are a tenth to a half as long as the picture's sides.
    """
    noise = torch.Generator().manual_seed(seed)
    count = objects + ignored
    size = torch.tensor([width, height], dtype=torch.float32)
    sides = size * (0.1 + 0.4 * torch.rand(count, 2, generator=noise))
    corners = (size - sides) * torch.rand(count, 2, generator=noise)
    boxes = torch.cat([corners, corners + sides], dim=1)
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(boxes)
    instances.gt_classes = torch.arange(count) % categories
    instances.gt_masks = PolygonMasks([[[x0, y0, x1, y0, x1, y1, x0, y1]] for x0, y0, x1, y1 in boxes.tolist()])
    instances.set(IGNORED, torch.arange(count) >= objects)
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=noise)
    return [{"image": image, "instances": instances, "height": height, "width": width, "image_id": seed}]


def scenes(count: int, height: int, width: int, **more: Any) -> Batch:
    """A batch of different ones."""
    return [item for seed in range(count) for item in scene(height, width, seed=seed, **more)]
