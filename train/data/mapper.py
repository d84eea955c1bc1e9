"""From a record to the input of a Detectron2 model: the project's decoder, OpenCV's resizing, no pixel copied twice.

Everything random about an image comes from a generator keyed by (seed, epoch, image), so that it is the same for any
number of workers, and in a resumed run.

C: 3 channels, H, W: size after resizing, n: objects
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from augment.operations.parameters import LabelRule
from datasets import images
from datasets.errors import DataError
from datasets.images import Order, Pixels
from train import compat  # noqa: F401 - before detectron2
from train.data import canvas
from train.data.geometry import Geometry, SizesByEpoch, draw_geometry, resized
from train.data.records import Record
from train.data.sampler import Key, generator
from train.model.ignore import IGNORED
from train.model.masked import MASKED

# isort: split
from detectron2.structures import Boxes, Instances, PolygonMasks

PAPER_RULE = LabelRule()
# Boxes with a side below this many pixels after resizing are not trained on, as in Detectron2.
MIN_SIDE = 1e-5


def read_pixels(record: Record, order: Order) -> Pixels:
    """(height, width, 3) upright pixels. Raises DataError naming the file where they differ from the dataset's size."""
    return read_picture(Path(record.path), record.width, record.height, order, on_stored_pixels=record.on_stored_pixels)


def read_picture(path: Path, width: int, height: int, order: Order, *, on_stored_pixels: bool) -> Pixels:
    """(height, width, 3) upright pixels of a file. Raises DataError naming it."""
    try:
        data = images.read_file(path)
        reading = images.examine(data, width, height, on_stored_pixels=on_stored_pixels)
        return images.decode(data, reading, order)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None


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


def to_instances(
    record: Record, geometry: Geometry, *, masks: bool, unmasked: bool = False, padded_to: int = 0
) -> Instances:
    """The targets: `gt_boxes`, `gt_classes`, `ignored`, and with `masks` `gt_masks`.

    An ignored object has its box for a mask, which no loss uses. So has an object without one where the dataset has
    such (`unmasked`); `gt_masked` then tells which have theirs. Above 0, `padded_to` is the side of the padded image.
    """
    boxes = apply_to_boxes(record.boxes_xyxy, record, geometry)
    good = (boxes[:, 2:] - boxes[:, :2] > MIN_SIDE).all(axis=1)
    if masks:
        outlined = np.array([bool(outline) for outline in record.polygons], dtype=np.bool_)
        if not unmasked:
            good &= outlined | record.ignored
    instances = Instances((padded_to, padded_to) if padded_to else (geometry.height, geometry.width))
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
        if unmasked:
            instances.set(MASKED, torch.from_numpy(outlined[good]))
    return instances


def _box_outline(box_xyxy: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    x0, y0, x1, y1 = box_xyxy.tolist()
    return np.array([x0, y0, x1, y0, x1, y1, x0, y1])


class TrainingMapper:
    """(record, key) -> {"image", "instances", "height", "width", "image_id"}, Detectron2's model input.

    `masks`, `unmasked`: see `to_instances`. `rule` is for objects that a canvas cuts.
    """

    def __init__(
        self, cfg: Any, *, masks: bool, seed: int, unmasked: bool = False, rule: LabelRule = PAPER_RULE
    ) -> None:
        self.masks = masks
        self._sizes = SizesByEpoch(cfg)
        self._longest = cfg.INPUT.MAX_SIZE_TRAIN
        self._flip = cfg.INPUT.RANDOM_FLIP == "horizontal"
        self._as_source = cfg.INPUT.SCALE == "source"
        self._canvas = cfg.INPUT.CANVAS
        self._padding = canvas.padding_color(cfg)
        self._order: Order = cfg.INPUT.FORMAT
        self._unmasked = unmasked
        self._rule = rule
        self._seed = seed

    def __call__(self, record: Record, key: Key, read: Callable[[Order], Pixels] | None = None) -> dict[str, Any]:
        """`read` gives the (height, width, 3) pixels of the record, by default those of its file."""
        rng = generator(self._seed, "augment", key.epoch, key.image)
        geometry = draw_geometry(
            record.size,
            rng,
            sizes=self._sizes.at(key.epoch),
            longest=self._longest,
            flip=self._flip,
            scaled_as=record.source_size if self._as_source else None,
        )
        pixels = read_pixels(record, self._order) if read is None else read(self._order)
        if self._canvas:
            return self._on_canvas(record, pixels, geometry, rng)
        return self._input(record, apply_to_pixels(pixels, geometry), geometry)

    def _on_canvas(
        self, record: Record, pixels: Pixels, geometry: Geometry, rng: np.random.Generator
    ) -> dict[str, Any]:
        window = canvas.draw_window(record.size, geometry, self._canvas, rng)
        geometry = canvas.on_window(geometry, record.size, window, self._canvas)
        if window != (0, 0, record.width, record.height):
            record = canvas.cropped(record, window, self._rule)
            left, top, right, bottom = window
            pixels = pixels[top:bottom, left:right]
        image = canvas.padded(apply_to_pixels(pixels, geometry), self._canvas, self._padding)
        return self._input(record, image, geometry)

    def _input(self, record: Record, image: torch.Tensor, geometry: Geometry) -> dict[str, Any]:
        return {
            "image": image,
            "instances": to_instances(
                record, geometry, masks=self.masks, unmasked=self._unmasked, padded_to=self._canvas
            ),
            "height": record.height,
            "width": record.width,
            "image_id": record.image_id,
        }


class RecordMapper:
    """Key -> the model's input of the record that it names."""

    def __init__(self, records: Sequence[Record], mapper: TrainingMapper) -> None:
        self._records, self._mapper = records, mapper

    def __call__(self, key: Key) -> dict[str, Any]:
        return self._mapper(self._records[key.image], key)


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
