"""Training records: images and objects in arrays, classes counted from 0.

The network knows classes 0 to K - 1, files the dataset's own category ids; only this module converts between them.

K: categories, n: annotations of an image
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from datasets.boxes import xywh_to_xyxy
from datasets.masks import rle_to_mask
from datasets.records import Annotation, Category, Polygons, Rle
from datasets.sources import Source
from train.data.geometry import Size
from train.data.packed import Packed


class Categories:
    """Category ids <-> classes, in the order of the ids."""

    def __init__(self, categories: Iterable[Category]) -> None:
        known = sorted(categories, key=lambda category: category.id)
        self.ids = np.array([category.id for category in known], dtype=np.int64)
        self.names = [category.name for category in known]
        self._class_of = {id_: at for at, id_ in enumerate(self.ids.tolist())}

    def __len__(self) -> int:
        return len(self.names)

    def class_of(self, category_id: int) -> int:
        """Raises KeyError for an id that the dataset lacks."""
        return self._class_of[category_id]

    def ids_of(self, classes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(n,) classes -> (n,) category ids."""
        return np.asarray(self.ids[classes])

    def pairs(self) -> list[tuple[int, str]]:
        """(id, name) pairs, as stored in checkpoints."""
        return list(zip(self.ids.tolist(), self.names, strict=True))

    def categories(self) -> list[Category]:
        return [Category(id=id_, name=name) for id_, name in self.pairs()]

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[int, str]]) -> Categories:
        return cls(Category(id=id_, name=name) for id_, name in pairs)


class Record(NamedTuple):
    """An image and its objects. `ignored` objects are regions excluded from the loss (see `train.model.ignore`)."""

    path: str
    image_id: int
    width: int
    height: int
    boxes_xyxy: npt.NDArray[np.float32]
    """(n, 4) absolute pixels"""
    classes: npt.NDArray[np.int64]
    """(n,)"""
    ignored: npt.NDArray[np.bool_]
    """(n,)"""
    polygons: list[Polygons]
    """n lists of polygons; () for ignored objects, and without masks"""
    on_stored_pixels: bool = False
    """The EXIF convention for a file whose size does not tell it."""
    source_size: Size | None = None
    """Of the picture that the image is a part of, where INPUT.SCALE resizes by that one."""

    @property
    def size(self) -> Size:
        return Size(self.height, self.width)


Records = Packed[Record]


def to_record(
    source: Source,
    categories: Categories,
    *,
    masks: bool,
    on_stored_pixels: bool = False,
    source_size: Size | None = None,
) -> Record:
    """A source image as a record; crowds become ignored objects. Without `masks`, polygons are left out."""
    return Record(
        path=str(source.path),
        image_id=source.image.id,
        width=source.image.width,
        height=source.image.height,
        on_stored_pixels=on_stored_pixels,
        source_size=source_size,
        **objects_of(source.annotations, categories.class_of, masks=masks),
    )


def objects_of(items: Sequence[Annotation], class_of: Callable[[int], int], *, masks: bool) -> dict[str, Any]:
    """The fields of a record that hold its objects."""
    return {
        "boxes_xyxy": xywh_to_xyxy([item.bbox for item in items]).astype(np.float32),
        "classes": np.array([class_of(item.category_id) for item in items], dtype=np.int64),
        "ignored": np.array([item.iscrowd == 1 for item in items], dtype=np.bool_),
        "polygons": [_outline(item) if masks and not item.iscrowd else () for item in items],
    }


def without_outline(sources: Iterable[Source]) -> tuple[int, int]:
    """The number of objects without crowds, and of those without a segmentation."""
    objects = [item for source in sources for item in source.annotations if not item.iscrowd]
    return len(objects), sum(item.segmentation is None for item in objects)


def _outline(item: Annotation) -> Polygons:
    if isinstance(item.segmentation, Rle):
        return mask_to_polygons(rle_to_mask(item.segmentation))
    return item.segmentation or ()


# Masks are traced at this scale: contours run through the centres of border pixels, which then lie an eighth of a pixel
# inside the true border.
_ZOOM = 4


def mask_to_polygons(mask: npt.NDArray[np.uint8]) -> Polygons:
    """(height, width) of 0 and 1 -> polygons within 1/8 px of the mask's border; holes are filled.

    Detectron2 trains on polygons or on full bitmaps; a bitmap per object at 1800 x 2400 px takes too much memory.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return ()
    top, left = int(rows[0]), int(columns[0])
    cut = np.ascontiguousarray(mask[top : rows[-1] + 1, left : columns[-1] + 1])
    zoomed = cv2.resize(cut, None, fx=_ZOOM, fy=_ZOOM, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(zoomed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    corner = np.array((left, top), dtype=np.float64)
    return tuple(((contour[:, 0] + 0.5) / _ZOOM + corner).reshape(-1) for contour in contours if len(contour) > 2)


def is_trainable(source: Source) -> bool:
    """Whether an image has an object that is neither a crowd nor ignored."""
    return any(not item.iscrowd for item in source.annotations)


# Categories listed one by one; of more, only the most and the least frequent ones.
_SHOWN = 12


def histogram_notes(categories: Categories, counts: npt.NDArray[np.int64]) -> list[str]:
    """A line with the number of objects per category."""
    order = np.argsort(-counts, kind="stable").tolist()
    named = [f"{categories.names[at]} {counts[at]:,}" for at in order]
    if len(named) <= _SHOWN:
        return [f"  of each category: {', '.join(named)}"]
    half = _SHOWN // 2
    return [f"  of the categories, most: {', '.join(named[:half])}; fewest: {', '.join(named[-half:])}"]


def histogram(sources: Iterable[Source], categories: Categories) -> npt.NDArray[np.int64]:
    """(K,) objects per class, without crowds."""
    classes = [categories.class_of(item.category_id) for s in sources for item in s.annotations if not item.iscrowd]
    return np.bincount(np.array(classes, dtype=np.int64), minlength=len(categories))
