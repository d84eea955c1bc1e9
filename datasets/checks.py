"""Validation of single records: each function checks one, repairs what is safe to repair and reports the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from datasets.errors import SHOWN, Problems
from datasets.images import path_inside
from datasets.masks import mask_bounds, polygons_area, rle_area, rle_runs
from datasets.records import Annotation, BoxXYWH, CocoImage, Id, Index, Polygons, Rle

# Boxes may exceed their image by this many pixels, since annotation tools round.
BOX_TOLERANCE = 1.0
# Floating-point tolerance: sums like 500.01 + 139.99 exceed the image's border by less than this.
FLOAT_NOISE = 1e-6
# Minimum IoU of a box and the bounding box of its mask; tools that draw boxes loosely reach more.
MEETS = 0.5
# A box in centre format, read as corner format, starts at the middle of its mask, so that the IoU is at most a quarter;
# a clipped box may have less than half.
MEETS_CLIPPED = 0.3
# Polygons may leave their image, but not further than any image could reach.
MAX_COORDINATE = 1e9


class RleJson(msgspec.Struct):
    size: tuple[int, int]
    counts: list[int] | str


class Leniency(NamedTuple):
    """Repairs that a command's options allow beyond those that are always made."""

    clip_boxes: bool = False
    """Boxes are clipped however far they lie outside their image."""
    skip_bad: bool = False
    """Images and annotations that cannot be used are left out and counted."""
    follow_links: bool = False
    """Symbolic links may lead to image files outside the image folder."""

    def decided(self) -> dict[str, bool]:
        """The options in effect that determine which boxes and images a build has, by name; for its manifest."""
        asked = {"clip_boxes": self.clip_boxes, "skip_bad": self.skip_bad}
        return {name: True for name, value in asked.items() if value}


STRICT = Leniency()


class AnnotationJson(msgspec.Struct, kw_only=True):
    """An annotation as parsed, before validation."""

    id: Id
    image_id: Id
    category_id: Id
    bbox: BoxXYWH | None = None
    area: float | None = None
    iscrowd: Annotated[int, msgspec.Meta(ge=0, le=1)] | None = None
    segmentation: list[list[float]] | RleJson | None = None


class TracedAnnotationJson(AnnotationJson, kw_only=True):
    """An annotation of a build, with the keys that augment adds."""

    source_annotation_id: Id | None = None
    source_image_id: Id | None = None
    source_input: Index | None = None


class Repairs:
    """Repairs made while reading, by kind: nothing is changed without being counted and listed."""

    def __init__(self) -> None:
        self.places: dict[str, list[str]] = {}

    def add(self, kind: str, json_path: str) -> None:
        self.places.setdefault(kind, []).append(json_path)

    def extend(self, other: Repairs, prefix: str) -> None:
        for kind, places in other.places.items():
            self.places.setdefault(kind, []).extend(prefix + json_path for json_path in places)

    def counts(self) -> dict[str, int]:
        return {kind: len(places) for kind, places in sorted(self.places.items())}

    def lines(self) -> list[str]:
        """Lines for the user: each kind of repair with its count and its first places."""
        lines = []
        for kind, places in sorted(self.places.items()):
            lines.append(f"repaired: {len(places):,} x {kind}")
            lines += [f"  {json_path}" for json_path in places[:SHOWN]]
            if len(places) > SHOWN:
                lines.append(f"  ... and {len(places) - SHOWN:,} more")
        return lines

    def brief(self) -> list[str]:
        """Lines for the user: each kind of repair with its count and its first place."""
        return [
            f"repaired: {len(places):,} x {kind} (the first: {places[0]})"
            for kind, places in sorted(self.places.items())
        ]

    def as_problems(self) -> Problems:
        """The repairs as problems, for `--strict`."""
        problems = Problems()
        for kind in sorted(self.places):
            for json_path in self.places[kind]:
                problems.add(f"{json_path}: {kind}")
        return problems


BOX_CLIPPED = "box up to 1 px outside the image, clipped"
BOX_CLIPPED_FAR = "box more than 1 px outside the image, clipped (--clip-boxes)"
BOX_FROM_MASK = "box missing, taken from the mask"
MASK_LEFT_OUT = "mask that is no outline, left out; the box stays"
SIZE_FROM_FILE = "image size missing, read from the file"
CATEGORY_REPEATED = "category that stands twice, read once"
ID_TAKEN = "repeated annotation id, renumbered"
UNUSABLE = "annotation that cannot be used, left out (--skip-bad)"
ZERO_AREA = "annotation of zero area, left out"
SHORT_POLYGON = "polygon of fewer than three points beside others, left out"
AREA_MISSING = "area missing or 0, computed"
CROWD_MISSING = "iscrowd missing, set to 0"
BACKSLASHES = "backslashes in a file name, taken for folders"
ORIENTATION_IGNORED = "EXIF orientation that the annotations do not follow, taken out of the copy"


class Asked(NamedTuple):
    """Which fields of image records a caller needs: names to open files, sizes to clip boxes."""

    names: bool = True
    sizes: bool = True


EVERYTHING = Asked()


def check_image(
    image: CocoImage, json_path: str, problems: Problems, asked: Asked = EVERYTHING, size_unknown: str = ""
) -> bool:
    """Whether an image record is valid; otherwise `problems` gets the reasons.

    `size_unknown` is the reason why a missing size could not be read from the file.
    """
    before = problems.count
    if asked.sizes and (image.width < 1 or image.height < 1):
        found = f"{image.width} x {image.height}" if image.width or image.height else "none"
        why = f"; {image.file_name}: {size_unknown}" if size_unknown else ""
        problems.add(
            f"{json_path}: expected a width and height of at least 1 px, or a file that tells them, found {found}{why}"
        )
    if not asked.names:
        return problems.count == before
    try:
        path_inside(Path(), image.file_name)
    except ValueError as error:
        problems.add(
            f"{json_path}.file_name: expected a path inside the image folder, found {image.file_name!r}, which {error}"
        )
    return problems.count == before


def check_annotation(
    annotation: AnnotationJson,
    json_path: str,
    image: CocoImage,
    repairs: Repairs,
    problems: Problems,
    clip_boxes: bool = False,
) -> Annotation | None:
    """The annotation, repaired; None where it is left out or invalid (then `problems` has the reason)."""
    before = problems.count
    segmentation = _checked_segmentation(annotation.segmentation, f"{json_path}.segmentation", image, repairs, problems)
    given = box_of(annotation, segmentation, json_path, repairs, problems)
    if given is None:
        return None
    box = _checked_box(given, f"{json_path}.bbox", image, repairs, problems, clip_boxes)
    if box is not None and _overhang(given, image) > BOX_TOLERANCE + FLOAT_NOISE:
        _check_meets(box, segmentation, f"{json_path}.bbox", problems)
    if problems.count > before or box is None:
        return None
    area = annotation.area if annotation.area is not None and annotation.area > 0 else None
    return completed(annotation, box, area, segmentation, json_path, repairs, segmentation)


def box_of(
    annotation: AnnotationJson, mask: Polygons | Rle | None, json_path: str, repairs: Repairs, problems: Problems
) -> BoxXYWH | None:
    """The box as written, or the bounding box of its mask; None without either, which goes to `problems`."""
    if annotation.bbox is not None:
        return annotation.bbox
    box = mask_box(mask)
    if box is None:
        problems.add(f"{json_path}.bbox: expected [x, y, width, height] or a mask to take it from, found neither")
        return None
    repairs.add(BOX_FROM_MASK, json_path)
    return box


def completed(
    annotation: AnnotationJson,
    box: BoxXYWH,
    area: float | None,
    mask: Polygons | Rle | None,
    json_path: str,
    repairs: Repairs,
    kept: Polygons | Rle | None,
) -> Annotation:
    """The annotation with this box and the area of its mask, or of the box without one; `kept` is its segmentation."""
    if area is None:
        repairs.add(AREA_MISSING, json_path)
        area = segmentation_area(mask) or box[2] * box[3]
    if annotation.iscrowd is None:
        repairs.add(CROWD_MISSING, json_path)
    traced = annotation if isinstance(annotation, TracedAnnotationJson) else None
    return Annotation(
        id=annotation.id,
        image_id=annotation.image_id,
        category_id=annotation.category_id,
        bbox=box,
        area=area,
        iscrowd=annotation.iscrowd or 0,
        segmentation=kept,
        source_annotation_id=None if traced is None else traced.source_annotation_id,
        source_image_id=None if traced is None else traced.source_image_id,
        source_input=None if traced is None else traced.source_input,
    )


def as_rle(found: RleJson) -> Rle:
    """Runs as parsed -> Rle. Raises ValueError or OverflowError where they are not a mask of their size."""
    height, width = found.size
    if height < 1 or width < 1:
        raise ValueError(f"expected a size of at least 1 x 1 px, found {height} x {width}")
    rle = Rle(found.size, found.counts if isinstance(found.counts, str) else np.array(found.counts, dtype=np.int64))
    rle_runs(rle)
    return rle


def segmentation_area(segmentation: Polygons | Rle | None) -> float:
    """Square pixels; 0 without segmentation."""
    if segmentation is None:
        return 0.0
    return rle_area(segmentation) if isinstance(segmentation, Rle) else polygons_area(segmentation)


def mask_box(segmentation: Polygons | Rle | None) -> BoxXYWH | None:
    """The bounding box of a mask, xywh; None where there is no mask or it is empty."""
    if segmentation is None:
        return None
    x0, y0, x1, y1 = mask_bounds(segmentation)
    return (x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else None


def meets_mask(box: BoxXYWH, segmentation: Polygons | Rle | None, at_least: float = MEETS) -> bool:
    """Whether a box has at least this IoU with the bounding box of its mask; True without a mask."""
    around = mask_box(segmentation)
    if around is None:
        return segmentation is None
    x, y, width, height = box
    shared_width = min(x + width, around[0] + around[2]) - max(x, around[0])
    shared_height = min(y + height, around[1] + around[3]) - max(y, around[1])
    shared = max(shared_width, 0.0) * max(shared_height, 0.0)
    return shared >= at_least * (width * height + around[2] * around[3] - shared)


def _check_meets(box: BoxXYWH, segmentation: Polygons | Rle | None, json_path: str, problems: Problems) -> None:
    """A box far outside its image that does not match its mask was written in another box format: a problem."""
    if segmentation is not None and not meets_mask(box, segmentation, MEETS_CLIPPED):
        problems.add(
            f"{json_path}: expected a box that meets its mask once it is clipped, found {shown_box(box)}, which does "
            "not: it looks like another format, such as [centre x, centre y, width, height]"
        )


def _overhang(box: BoxXYWH, image: CocoImage) -> float:
    """Pixels by which a box exceeds its image; negative inside."""
    x, y, width, height = box
    return max(-x, -y, x + width - image.width, y + height - image.height)


def _checked_box(
    box: BoxXYWH, json_path: str, image: CocoImage, repairs: Repairs, problems: Problems, clip_boxes: bool
) -> BoxXYWH | None:
    x, y, width, height = box
    if width < 0 or height < 0:
        problems.add(f"{json_path}: expected a width and height of at least 0, found {shown_box(box)}")
        return None
    overhang = _overhang(box, image)
    is_far = overhang > BOX_TOLERANCE + FLOAT_NOISE
    if is_far and not clip_boxes:
        problems.add(
            f"{json_path}: expected [x, y, width, height] inside the image of {image.width} x {image.height} px "
            f"(within {BOX_TOLERANCE:g} px, or any with --clip-boxes), found {shown_box(box)}"
        )
        return None
    if overhang > FLOAT_NOISE:
        repairs.add(BOX_CLIPPED_FAR if is_far else BOX_CLIPPED, json_path)
        x1, y1 = min(x + width, image.width), min(y + height, image.height)
        x, y = max(x, 0.0), max(y, 0.0)
        width, height = max(x1 - x, 0.0), max(y1 - y, 0.0)
    if width * height <= 0:
        repairs.add(ZERO_AREA, json_path)
        return None
    return x, y, width, height


def shown_box(box: BoxXYWH) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"


def _checked_segmentation(
    segmentation: list[list[float]] | RleJson | None,
    json_path: str,
    image: CocoImage,
    repairs: Repairs,
    problems: Problems,
) -> Polygons | Rle | None:
    if segmentation is None:
        return None
    if isinstance(segmentation, RleJson):
        return _checked_rle(segmentation, json_path, image, problems)
    # Tools without masks write [] or [[]] for no segmentation.
    if not any(segmentation):
        return None
    whole = [polygon for polygon in segmentation if len(polygon) >= 6]
    if not whole or any(len(polygon) % 2 for polygon in segmentation):
        # Too few points, or half a point too many: numbers were lost.
        repairs.add(MASK_LEFT_OUT, json_path)
        return None
    if len(whole) < len(segmentation):
        repairs.add(SHORT_POLYGON, json_path)
    arrays = [np.array(polygon, dtype=np.float64) for polygon in whole]
    if any(_is_huge(array) for array in arrays):
        problems.add(f"{json_path}: expected coordinates of up to {MAX_COORDINATE:g} px, found larger ones")
        return None
    return tuple([_compact(array) for array in arrays])


def _checked_rle(rle: RleJson, json_path: str, image: CocoImage, problems: Problems) -> Rle | None:
    if rle.size != (image.height, image.width):
        problems.add(
            f"{json_path}.size: expected [height, width] of the image, [{image.height}, {image.width}], "
            f"found {list(rle.size)}"
        )
        return None
    try:
        return as_rle(rle)
    except (ValueError, OverflowError) as error:
        problems.add(f"{json_path}.counts: {error}")
        return None


def _is_huge(polygon: npt.NDArray[np.float64]) -> bool:
    # The sum of squares is one cheap call that finds all non-finite polygons.
    with np.errstate(over="ignore"):
        return bool(polygon @ polygon > MAX_COORDINATE**2 and np.abs(polygon).max() > MAX_COORDINATE)


def _compact(polygon: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """float32 where that holds every coordinate exactly (whole and half pixels), else float64."""
    short = polygon.astype(np.float32)
    return short if (short == polygon).all() else polygon
