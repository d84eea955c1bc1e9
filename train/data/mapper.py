"""From a record to the input of a Detectron2 model: the project's decoder, OpenCV's resizing, no pixel copied twice.

Everything random about an image comes from a generator keyed by (seed, epoch, image), so that it is the same for any
number of workers, and in a resumed run.

C: 3 channels, H, W: size after resizing, n: objects
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch

from datasets import images
from datasets.errors import DataError
from datasets.images import Order, Pixels
from train import compat  # noqa: F401 - before detectron2
from train.data.records import Record
from train.data.sampler import generator
from train.model.ignore import IGNORED

# isort: split
from detectron2.structures import Boxes, Instances, PolygonMasks

# Boxes with a side below this many pixels after resizing are not trained on, as in Detectron2.
MIN_SIDE = 1e-5


class Geometry(NamedTuple):
    """The geometric transform of an image: mirrored (if `flip`), then resized to (height, width)."""

    height: int
    width: int
    mirrored: bool


def resized(height: int, width: int, shorter: int, longest: int) -> tuple[int, int]:
    """(height, width) with the shorter side `shorter`, unless the other would exceed `longest`; rounded as in
    Detectron2.
    """
    scale = shorter / min(height, width)
    scale = min(scale, longest / max(height, width))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def draw_geometry(
    record: Record,
    rng: np.random.Generator,
    *,
    sizes: Sequence[int],
    is_range: bool,
    longest: int,
    flip: bool,
) -> Geometry:
    """Draws the shorter side uniformly from `sizes`, or from the integers of that range; mirrors half the time."""
    shorter = int(rng.integers(sizes[0], sizes[1] + 1)) if is_range else int(rng.choice(np.array(sizes)))
    mirrored = flip and bool(rng.integers(2))
    return Geometry(*resized(record.height, record.width, shorter, longest), mirrored)


def read_pixels(record: Record, order: Order) -> Pixels:
    """(height, width, 3) upright pixels. Raises DataError naming the file where they differ from the dataset's size."""
    try:
        data = images.read_file(Path(record.path))
        reading = images.examine(data, record.width, record.height, on_stored_pixels=record.on_stored_pixels)
        return images.decode(data, reading, order)
    except ValueError as error:
        raise DataError(f"{record.path}: {error}") from None


def apply_to_pixels(pixels: Pixels, geometry: Geometry) -> torch.Tensor:
    """(height, width, 3) -> (3, H, W) uint8.

    Mirrored before it is enlarged, and resized channel by channel straight into place: transposing a large (H, W, 3)
    image takes longer than resizing it.
    """
    if geometry.mirrored:
        pixels = np.asarray(cv2.flip(pixels, 1), dtype=np.uint8)
    size = (geometry.width, geometry.height)
    # Shrinking by interpolation would skip pixels.
    shrinks = geometry.height < pixels.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized_channels = np.empty((3, geometry.height, geometry.width), dtype=np.uint8)
    for channel, target in zip(cv2.split(pixels), resized_channels, strict=True):
        cv2.resize(channel, size, dst=target, interpolation=method)
    return torch.from_numpy(resized_channels)


def apply_to_points(points_xy: npt.NDArray[Any], record: Record, geometry: Geometry) -> npt.NDArray[np.float64]:
    """(n, 2) pixels of the image -> pixels of the resized one."""
    moved = points_xy.astype(np.float64)
    if geometry.mirrored:
        moved[:, 0] = record.width - moved[:, 0]
    scaled: npt.NDArray[np.float64] = moved * (geometry.width / record.width, geometry.height / record.height)
    return scaled


def apply_to_boxes(boxes_xyxy: npt.NDArray[Any], record: Record, geometry: Geometry) -> npt.NDArray[np.float64]:
    """(n, 4) boxes, transformed and clipped to the resized image."""
    corners = apply_to_points(boxes_xyxy.reshape(-1, 2), record, geometry).reshape(-1, 2, 2)
    # Mirroring swaps left and right.
    ordered = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    return np.asarray(np.clip(ordered, 0, (geometry.width, geometry.height) * 2), dtype=np.float64)


def to_instances(record: Record, geometry: Geometry, *, masks: bool) -> Instances:
    """The targets: `gt_boxes`, `gt_classes`, `ignored`, and with `masks` `gt_masks`.

    An ignored object has its box for a mask, which no loss uses.
    """
    boxes = apply_to_boxes(record.boxes_xyxy, record, geometry)
    good = (boxes[:, 2:] - boxes[:, :2] > MIN_SIDE).all(axis=1)
    if masks:
        outlined = np.array([bool(outline) for outline in record.polygons], dtype=np.bool_)
        good &= outlined | record.ignored
    instances = Instances((geometry.height, geometry.width))
    instances.gt_boxes = Boxes(torch.from_numpy(boxes[good].astype(np.float32)))
    instances.gt_classes = torch.from_numpy(record.classes[good])
    instances.set(IGNORED, torch.from_numpy(record.ignored[good]))
    if masks:
        instances.gt_masks = PolygonMasks(
            [
                [
                    apply_to_points(polygon.reshape(-1, 2), record, geometry).reshape(-1)
                    for polygon in record.polygons[at] or (_box_outline(record.boxes_xyxy[at]),)
                ]
                for at in np.flatnonzero(good)
            ]
        )
    return instances


def _box_outline(box_xyxy: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    x0, y0, x1, y1 = box_xyxy.tolist()
    return np.array([x0, y0, x1, y0, x1, y1, x0, y1])


class TrainingMapper:
    """(record, epoch, image) -> {"image", "instances", "height", "width", "image_id"}, Detectron2's model input."""

    def __init__(self, cfg: Any, *, masks: bool, seed: int) -> None:
        self._sizes = list(cfg.INPUT.MIN_SIZE_TRAIN)
        self._is_range = cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING == "range"
        self._longest = cfg.INPUT.MAX_SIZE_TRAIN
        self._flip = cfg.INPUT.RANDOM_FLIP == "horizontal"
        self._order: Order = cfg.INPUT.FORMAT
        self._masks = masks
        self._seed = seed

    def __call__(self, record: Record, epoch: int, image: int) -> dict[str, Any]:
        geometry = draw_geometry(
            record,
            generator(self._seed, "augment", epoch, image),
            sizes=self._sizes,
            is_range=self._is_range,
            longest=self._longest,
            flip=self._flip,
        )
        return {
            "image": apply_to_pixels(read_pixels(record, self._order), geometry),
            "instances": to_instances(record, geometry, masks=self._masks),
            "height": record.height,
            "width": record.width,
            "image_id": record.image_id,
        }


class InferenceMapper:
    """record -> {"image", "height", "width", "image_id"}: one size, no randomness, no targets."""

    def __init__(self, cfg: Any) -> None:
        self._shorter = cfg.INPUT.MIN_SIZE_TEST
        self._longest = cfg.INPUT.MAX_SIZE_TEST
        self._order: Order = cfg.INPUT.FORMAT

    def __call__(self, record: Record) -> dict[str, Any]:
        return self.of_pixels(read_pixels(record, self._order), record.image_id)

    def of_pixels(self, pixels: Pixels, image_id: int) -> dict[str, Any]:
        """(height, width, 3) upright pixels, of an image or of a tile of it, as the model's input."""
        height, width = pixels.shape[:2]
        geometry = Geometry(*resized(height, width, self._shorter, self._longest), mirrored=False)
        return {
            "image": apply_to_pixels(pixels, geometry),
            "height": height,
            "width": width,
            "image_id": image_id,
        }
