"""Small pictures of a page, with outlines of objects drawn over them as SVG."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from datasets.images import Pixels, encode_jpeg
from datasets.masks import rle_to_mask
from datasets.records import Annotation, BoxXYWH, Polygons, Rle

if TYPE_CHECKING:
    from markupsafe import Markup

# Of a thumbnail's longer side, and its JPEG quality: 12 kB each.
SIDE, QUALITY = 320, 72
# Of an outline, in px of the thumbnail: what nobody would see.
TOLERANCE = 0.6
# The height of a label's letters, in px where a picture is SIDE px wide.
LETTERS = 11
# The width of a letter by its height, on average.
LETTER_WIDTH = 0.58
# Kinds of shapes in colours that are told apart with any colour vision.
CATEGORY_KINDS = 7


class Shape(NamedTuple):
    """An object over a picture: its outlines, in pixels of the picture, or its box where it has none.

    `kind` is one of the classes that page.css has a stroke for: kept, ignored, dropped, pasted, truth, predicted,
    wrong, missed, category-1 to category-7. `about` is what the pointer shows, `label` what stands in the box if
    there is room.
    """

    kind: str
    box_xywh: BoxXYWH
    about: str
    outlines: Sequence[npt.NDArray[np.float64]] = ()
    label: str = ""


def thumbnail(pixels: Pixels, side: int = SIDE) -> bytes:
    """A JPEG of an RGB picture whose longer side is at most `side` px."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return bytes(encode_jpeg(pixels, QUALITY))


def category_kind(position: int) -> str:
    """The kind of shapes of the category at this position; after the last colour the first comes again."""
    return f"category-{position % CATEGORY_KINDS + 1}"


def letters_of(width: int) -> float:
    """The height of letters in a picture of this width, of which pages show all alike wide."""
    return LETTERS * width / SIDE


def label_width(label: str, size: float) -> float:
    """About the width of a label in letters of this height."""
    return LETTER_WIDTH * size * len(label)


def outlines_of(annotation: Annotation) -> list[npt.NDArray[np.float64]]:
    """The outlines of an object's mask, (N, 2) each, in pixels; of runs those of their regions, without holes."""
    return outlines_of_mask(annotation.segmentation)


def outlines_of_mask(mask: Polygons | Rle | None) -> list[npt.NDArray[np.float64]]:
    if mask is None:
        return []
    if not isinstance(mask, Rle):
        return [np.asarray(piece, dtype=np.float64).reshape(-1, 2) for piece in mask]
    found, _ = cv2.findContours(rle_to_mask(mask).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    # A contour runs through the middles of pixels.
    return [contour.reshape(-1, 2).astype(np.float64) + 0.5 for contour in found if len(contour) > 2]


def picture(jpeg: bytes, height: int, width: int, shapes: Sequence[Shape], about: str) -> Markup:
    """A thumbnail of an H x W picture with shapes over it; `about` is for those who cannot see it.

    Without a thumbnail, an empty `jpeg`, the shapes stand on an empty ground.
    """
    from markupsafe import Markup, escape

    pixel = max(height, width) / SIDE
    drawn = "".join(_drawn(shape, TOLERANCE * pixel) for shape in shapes)
    drawn += "".join(_labels(shapes, letters_of(width), width))
    data = base64.b64encode(jpeg).decode("ascii")
    image = (
        f'<image width="{width}" height="{height}" preserveAspectRatio="none" href="data:image/jpeg;base64,{data}"/>'
    )
    return Markup(
        f'<svg class="picture" role="img" viewBox="0 0 {width} {height}"><title>{escape(about)}</title>'
        f"{image if jpeg else ''}{drawn}</svg>"
    )


def _drawn(shape: Shape, tolerance: float) -> str:
    from markupsafe import escape

    about = f"<title>{escape(shape.about)}</title>"
    x, y, width, height = shape.box_xywh
    box = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    rectangle = f'<rect class="halo" {box}/><rect class="shape {shape.kind}" {box}>{about}</rect>'
    path = "".join(_path(outline, tolerance) for outline in shape.outlines)
    return f'<path class="shape mask {shape.kind}" d="{path}">{about}</path>{rectangle}' if path else rectangle


def _labels(shapes: Sequence[Shape], size: float, width: int) -> Iterator[str]:
    """In the upper left corners of the boxes; one that would cover an earlier one is left out."""
    from markupsafe import escape

    taken: list[tuple[float, float, float]] = []
    for shape in shapes:
        long = label_width(shape.label, size)
        # Within the picture, as far as the width of letters is known.
        x, y = max(0.0, min(shape.box_xywh[0] + 0.3 * size, width - long)), shape.box_xywh[1] + 1.1 * size
        covers = any(abs(y - other) < size and x < end and start < x + long for start, end, other in taken)
        if shape.label and not covers:
            taken.append((x, x + long, y))
            place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size:.1f}"'
            yield f'<text class="label" {place} aria-hidden="true">{escape(shape.label)}</text>'


def _path(outline: npt.NDArray[np.float64], tolerance: float) -> str:
    simple = cv2.approxPolyDP(outline.astype(np.float32), tolerance, closed=True).reshape(-1, 2)
    if len(simple) < 3:
        return ""
    return f"M{'L'.join(f'{x:.1f} {y:.1f}' for x, y in simple.tolist())}Z"
