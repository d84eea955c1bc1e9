"""Where the objects of source images lie in a variant: the parts of pictures that it shows, and what it dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from augment.operations import turns
from augment.operations.labels import area, clip, corners
from augment.operations.parameters import Mosaic
from augment.report.finished import Key, key_of
from datasets.records import Annotation, BoxXYWH, BoxXYXY, Donor, Image, Window


class View(NamedTuple):
    """A picture in a variant: its `window`, in its own pixels, is shown in `region`, before any turn of the whole."""

    picture: Key
    window: Window
    region: Window
    flip: bool = False
    object_id: int | None = None
    """The one object that is shown; None for all of them."""


class DroppedObject(NamedTuple):
    """An object without an annotation in a variant; its box there, None where no part of it would be seen."""

    annotation: Annotation
    picture: Key
    box_xywh: BoxXYWH | None


def views(image: Image) -> list[View]:
    """The pictures of a variant: the source, the donors of pasted objects, the quarters of a mosaic."""
    if image.operation == Mosaic.name:
        return [_of_donor(donor) for donor in image.donors]
    width, height = _upright(image)
    whole = (0, 0, width, height)
    return [View(key_of(image), image.window or whole, whole), *map(_of_donor, image.donors)]


def pictures_of(image: Image) -> set[Key]:
    """The sources that a variant shows anything of."""
    return {key_of(image), *(view.picture for view in views(image))}


def picture_of(annotation: Annotation, image: Image) -> Key:
    """The source that an annotation of a variant comes from."""
    if annotation.source_image_id is None:
        return key_of(image)
    return annotation.source_input or 0, annotation.source_image_id


def dropped(
    image: Image, shown: Sequence[Annotation], originals: Mapping[Key, Sequence[Annotation]]
) -> Iterator[DroppedObject]:
    """The objects of a variant's pictures that have no annotation in it.

    `shown` are its annotations, `originals` those of each source's original, with `source_annotation_id`.
    """
    parts = views(image)
    for view in parts:
        # A mosaic may show one picture twice.
        region = view.region if len(parts) > 1 else None
        there = {item.source_annotation_id for item in shown if _shows(view, region, item, image)}
        for item in originals.get(view.picture, ()):
            if view.object_id in (None, item.source_annotation_id) and item.source_annotation_id not in there:
                yield DroppedObject(item, view.picture, moved(item.bbox, view, image))


def moved(box_xywh: BoxXYWH, view: View, image: Image) -> BoxXYWH | None:
    """The visible part of a box of a view's picture, in the pixels of the variant; None where there is none."""
    x0, y0, x1, y1 = _as_floats(view.window)
    visible = clip(corners(box_xywh), (x0, y0, x1, y1))
    if not area(visible):
        return None
    left, top, right, bottom = view.region
    across, down = (right - left) / max(1.0, x1 - x0), (bottom - top) / max(1.0, y1 - y0)
    start, end = (x1 - visible[2], x1 - visible[0]) if view.flip else (visible[0] - x0, visible[2] - x0)
    box = (
        left + start * across,
        top + (visible[1] - y0) * down,
        (end - start) * across,
        (visible[3] - visible[1]) * down,
    )
    return box if image.turn is None else _turned(box, image)


def _of_donor(donor: Donor) -> View:
    key = donor.source_input, donor.source_id
    return View(key, donor.window, donor.region, donor.flip, donor.source_annotation_id)


def _shows(view: View, region: Window | None, item: Annotation, image: Image) -> bool:
    """Whether an annotation of a variant is of a view's picture, with its centre in `region`, if there is one."""
    if picture_of(item, image) != view.picture:
        return False
    x, y, width, height = item.bbox
    return region is None or (region[0] <= x + width / 2 <= region[2] and region[1] <= y + height / 2 <= region[3])


def _upright(image: Image) -> tuple[int, int]:
    """(width, height) of a variant before it was turned."""
    return (image.width, image.height) if image.turn is None else turns.size(image.width, image.height, image.turn)


def _turned(box_xywh: BoxXYWH, image: Image) -> BoxXYWH:
    assert image.turn is not None, "asked for turned images alone"
    item = Annotation(id=0, image_id=0, category_id=0, bbox=box_xywh, area=0, iscrowd=0)
    return turns.turned(item, *_upright(image), image.turn).bbox


def _as_floats(window: Window) -> BoxXYXY:
    x0, y0, x1, y1 = map(float, window)
    return x0, y0, x1, y1
