"""Test-time augmentation by Detectron2, on variants that the project resizes: several sizes, and mirrored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from datasets.images import Pixels
from train import compat  # noqa: F401 - before detectron2
from train.data.geometry import Geometry, resized
from train.data.mapper import apply_to_pixels, read_pixels
from train.data.records import Record
from train.inference.masks import SOFT_MASKS
from train.inference.tiled_model import Model

# isort: split
from detectron2.data.transforms import HFlipTransform, NoOpTransform, ResizeTransform, TransformList
from detectron2.modeling import GeneralizedRCNNWithTTA


class WholeImages:
    """record -> (height, width, 3) "image" in the original size; `Variants` resizes it, `TiledModel` cuts it."""

    def __init__(self, cfg: Any) -> None:
        self._order = cfg.INPUT.FORMAT

    def __call__(self, record: Record) -> dict[str, Any]:
        return whole(read_pixels(record, self._order), record.image_id)


def whole(pixels: Pixels, image_id: int) -> dict[str, Any]:
    height, width = pixels.shape[:2]
    return {"image": torch.from_numpy(pixels), "height": height, "width": width, "image_id": image_id}


class Variants:
    """The input of Detectron2's TTA: an image in every size of the configuration, and mirrored, resized by the
    project.
    """

    def __init__(self, cfg: Any) -> None:
        self._sizes = list(cfg.TEST.AUG.MIN_SIZES)
        self._longest = cfg.TEST.AUG.MAX_SIZE
        self._flips = (False, True) if cfg.TEST.AUG.FLIP else (False,)

    def __call__(self, item: dict[str, Any]) -> list[dict[str, Any]]:
        return list(self._variants(item))

    def _variants(self, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
        pixels = item["image"].numpy()
        height, width = pixels.shape[:2]
        for shorter in self._sizes:
            new = resized(height, width, shorter, self._longest)
            for mirrored in self._flips:
                # The inverse transform of boxes: mirrored back, then resized back.
                flip = HFlipTransform(new[1]) if mirrored else NoOpTransform()
                yield {
                    **item,
                    "image": apply_to_pixels(pixels, Geometry(*new, mirrored)),
                    "transforms": TransformList([ResizeTransform(height, width, *new), flip]),
                }


class _WithMasks(GeneralizedRCNNWithTTA):  # type: ignore[misc]
    """The same boxes, whose masks are averaged over the variants: the backbone runs a second time on each.

    Detectron2's own way would paste all masks of an image as bitmaps, and drop boxes without a size.
    """

    def _inference_one_image(self, given: dict[str, Any]) -> dict[str, Any]:
        found = super()._inference_one_image(given)["instances"]
        inputs, transforms = self._get_augmented_inputs(given)
        seen = self._batch_inference(inputs, self._rescale_detected_boxes(inputs, found, transforms))
        found.set(SOFT_MASKS, self._reduce_pred_masks(seen, transforms)[:, 0])
        return {"instances": found}


def augmented(network: nn.Module, cfg: Any, *, masks: bool = False) -> Model:
    """The network with Detectron2's test-time augmentation; `masks` as in `masks.SoftMasks`."""
    boxes_only = cfg.clone()
    boxes_only.MODEL.MASK_ON = False
    kind = _WithMasks if masks else GeneralizedRCNNWithTTA
    model: Model = kind(boxes_only, network, tta_mapper=Variants(cfg), batch_size=1)
    return model
