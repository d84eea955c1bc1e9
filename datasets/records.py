"""The records of COCO datasets, as on disk: pixels, `xywh` boxes, the dataset's own ids.

Coordinates are numpy arrays, not Python lists: a polygon point takes 8 to 16 bytes instead of 64.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

# Tools that read JSON numbers as floats would confuse ids beyond 2 ** 53.
MAX_ID = 2**53
Id = Annotated[int, msgspec.Meta(ge=-MAX_ID, le=MAX_ID)]
# Of an input, among those of a build.
Index = Annotated[int, msgspec.Meta(ge=0, le=2**31)]
# x, y of the top left corner, width, height; pixels, continuous.
BoxXYWH = tuple[float, float, float, float]
# x0, y0, x1, y1; pixels, continuous.
BoxXYXY = tuple[float, float, float, float]
# x0, y0, x1, y1 of a half-open pixel range: x0 <= x < x1.
Window = tuple[int, int, int, int]
# Each (2 n,) float32 or float64: x0, y0, x1, y1, ... as in the JSON; float32 only where that loses nothing.
Polygons = tuple[npt.NDArray[Any], ...]


class Rle(msgspec.Struct, frozen=True):
    """A run-length encoded mask, column by column, starting with a run of zeros.

    `size` is (height, width). `counts` is an int64 array of runs, or COCO's compressed string.
    """

    size: tuple[int, int]
    counts: npt.NDArray[np.int64] | str

    def __reduce__(self) -> tuple[type[Rle], tuple[tuple[int, int], npt.NDArray[np.int64] | str]]:
        return Rle, (self.size, self.counts)


class Category(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: Id
    name: str
    # Not interpreted, so any JSON value is allowed.
    supercategory: Any = None


class CocoImage(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An image record with the keys that COCO itself has."""

    id: Id
    file_name: str
    # 0 where the file lacks it; a dataset that was read has the size of the image file.
    width: int = 0
    height: int = 0
    # Not interpreted, so any JSON value is allowed.
    license: Any = None
    coco_url: Any = None
    flickr_url: Any = None
    date_captured: Any = None


class Donor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a part of an image comes from: the pixels of another picture's `window`, resized to `region`.

    A pasted object names its annotation and shows the pixels of its mask; a quarter of a mosaic shows the whole window.
    """

    source_input: Index
    source_id: Id
    source_annotation_id: Id | None = None
    window: Window
    """In the donor's pixels."""
    region: Window
    """In this image's pixels."""
    scale: float
    """Drawn; the sides of `region` are those of `window` times this, rounded to pixels."""
    flip: bool = False
    """Mirrored left to right."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """Mirrored left to right or not, then turned clockwise by 0, 90, 180 or 270 degrees."""

    mirrored: bool
    degrees: int


class Grid(msgspec.Struct, frozen=True, kw_only=True):
    """Squares that are erased: `square` px wide, one every `unit` px across and down, the first at (left, top)."""

    unit: int
    square: int
    left: int
    top: int


class Image(CocoImage, kw_only=True, omit_defaults=True):
    """An image record, with its provenance where augment made the image.

    `source_input` is the index of the source's dataset among the inputs, `window` is in source pixels, `seed` is that
    of the pixel transform.
    """

    source_input: Index | None = None
    source_id: Id | None = None
    source_file_name: str | None = None
    operation: str | None = None
    window: Window | None = None
    transform: str | None = None
    seed: int | None = None
    donors: tuple[Donor, ...] = ()
    """The pasted objects, the last on top; or the quarters of a mosaic, its own one included, row by row."""
    turn: Turn | None = None
    erased: Grid | None = None


class Annotation(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One object; with `iscrowd` 1 an ignored region, in which detections are neither right nor wrong."""

    id: Id
    image_id: Id
    category_id: Id
    bbox: BoxXYWH
    area: float
    iscrowd: int
    segmentation: Polygons | Rle | None = None
    source_annotation_id: Id | None = None
    source_image_id: Id | None = None
    """Where the object comes from another picture than its image; with `source_input`."""
    source_input: Index | None = None


class Dataset(msgspec.Struct, kw_only=True):
    """A whole annotation file, checked: ids are unique and all references resolve."""

    info: dict[str, Any]
    licenses: list[dict[str, Any]]
    categories: list[Category]
    images: list[Image]
    annotations: list[Annotation]

    def annotations_by_image(self) -> dict[int, list[Annotation]]:
        """Annotations by image id, in file order; images without any have an empty list."""
        grouped: dict[int, list[Annotation]] = {image.id: [] for image in self.images}
        for annotation in self.annotations:
            grouped[annotation.image_id].append(annotation)
        return grouped
