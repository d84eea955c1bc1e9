"""The crop rule: keeps, ignores or drops each annotation of a crop, by its box and then by its mask.

Recipe, section 2 of the paper: with `v` the visible share of a truncated box and `r` the share of the output image that
its visible part covers, a box wholly inside is kept; a truncated one is kept where v >= 0.5 and r > 0.01, ignored where
v < 0.5 and r > 0.01, and dropped otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from augment.operations.parameters import LabelRule
from datasets.masks import DECIMALS, MIN_PIECE_AREA, Outlines, Piece, Spans, polygons_to_rle, rle_area
from datasets.records import Annotation, BoxXYWH, BoxXYXY, Image, Polygons, Rle, Window

KEEP, IGNORE, DROP, CROWD, PASTED = "kept", "ignored", "dropped", "crowd", "pasted"
# Pasted objects count here where they are kept, and as the others where a later one covers them.
CASES = (KEEP, IGNORE, DROP, CROWD, PASTED)

# Objects up to which a loop over all of them is quicker than an array.
FEW = 64


class Labels(NamedTuple):
    """The annotations of a variant, in its coordinates, which of CASES each is, and the number of those dropped."""

    annotations: list[Annotation]
    outcomes: list[str]
    dropped: int

    @property
    def cases(self) -> Counter[str]:
        """The number of objects under each of CASES."""
        return Counter(self.outcomes) + Counter({DROP: self.dropped})


def judge(box_xyxy: BoxXYXY, visible: BoxXYXY, window: BoxXYXY, rule: LabelRule) -> str:
    """KEEP, IGNORE or DROP for one box, in source pixels, whose part inside `window` is `visible`.

    Plain floats: an image has few boxes, for which arrays cost more than they save.
    """
    if visible == box_xyxy:
        return KEEP
    # Divisions, not products: a quotient of exact areas rounds to the same float as an equal threshold.
    visible_area = area(visible)
    if visible_area / area(window) <= rule.min_area_ratio:
        return DROP
    return KEEP if visible_area / area(box_xyxy) >= rule.min_visible else IGNORE


def area(box_xyxy: BoxXYXY) -> float:
    """Square pixels; an inverted box has area 0."""
    x0, y0, x1, y1 = box_xyxy
    return (x1 - x0) * (y1 - y0) if x1 > x0 and y1 > y0 else 0.0


def clip(box_xyxy: BoxXYXY, window: BoxXYXY) -> BoxXYXY:
    """The intersection of a box with `window`; inverted or without area where they are disjoint."""
    x0, y0, x1, y1 = box_xyxy
    left, top, right, bottom = window
    return max(x0, left), max(y0, top), min(x1, right), min(y1, bottom)


def label_variant(annotations: list[Annotation], image: Image, window: Window | None, rule: LabelRule) -> Labels:
    """The labels of one variant of `image` with these `annotations`; see `Labeller.show`."""
    return Labeller(annotations, image, rule).show(window)


class Labeller:
    """Labels variants of one image; what does not depend on the window is computed once."""

    def __init__(self, annotations: list[Annotation], image: Image, rule: LabelRule) -> None:
        self.annotations = annotations
        self.rule = rule
        self.boxes = [clipped_box(item, image.height, image.width) for item in annotations]
        polygons = [item.segmentation if isinstance(item.segmentation, tuple) else () for item in annotations]
        self.outlines = Outlines(polygons)
        self._spans: dict[int, Spans] = {}
        self._corners: npt.NDArray[np.float64] | None = None

    def show(self, window: Window | None, *, rasterise: bool = True) -> Labels:
        """The labels of a variant that shows `window`; None for the whole image.

        Every annotation names its source in `source_annotation_id`; `id` and `image_id` are 0. A kept or ignored object
        whose mask is empty in the window is dropped. An ignored object gets `iscrowd` 1 and its mask as runs, as
        readers expect of crowds; without `rasterise`, polygons stay polygons for the caller to move first. Crowds stay
        crowds while any part of them is visible.
        """
        if window is None:
            return self._all()
        outlines = self.outlines.crop(window)
        left, top, right, bottom = window
        frame = (float(left), float(top), float(right), float(bottom))
        survivors = []
        outcomes = []
        for index in self._meeting(frame):
            annotation, box = self.annotations[index], self.boxes[index]
            visible = clip(box, frame)
            if annotation.iscrowd:
                case = CROWD if area(visible) > 0 else DROP
            else:
                case = judge(box, visible, frame, self.rule)
            survivor = None
            if case != DROP:
                mask = annotation.segmentation
                cropped = self._crop_runs(index, mask, window) if isinstance(mask, Rle) else outlines(index)
                if mask is None or cropped:
                    survivor = _shown(annotation, case, visible, visible == box, cropped, window, rasterise)
            if survivor is not None:
                survivors.append(survivor)
                outcomes.append(case)
        return Labels(survivors, outcomes, len(self.annotations) - len(survivors))

    def _meeting(self, frame: BoxXYXY) -> Sequence[int]:
        """The objects whose boxes meet a window; all others are dropped. For few objects, all: that is quicker."""
        if len(self.boxes) <= FEW:
            return range(len(self.boxes))
        if self._corners is None:
            self._corners = np.array(self.boxes)
        left, top, right, bottom = frame
        x0, y0, x1, y1 = self._corners.T
        return [int(at) for at in np.flatnonzero((x0 <= right) & (x1 >= left) & (y0 <= bottom) & (y1 >= top))]

    def _crop_runs(self, index: int, rle: Rle, window: Window) -> Rle | None:
        if index not in self._spans:
            self._spans[index] = Spans(rle)
        return self._spans[index].crop(window)

    def _all(self) -> Labels:
        replace = msgspec.structs.replace
        shown = [replace(item, id=0, image_id=0, source_annotation_id=item.id) for item in self.annotations]
        return Labels(shown, [CROWD if item.iscrowd else KEEP for item in shown], 0)


def corners(box_xywh: BoxXYWH) -> BoxXYXY:
    """Corners of a box, rounded to be free of float noise (0.1 + 0.2), which would make a box count as truncated."""
    x, y, width, height = box_xywh
    return x, y, round(x + width, 6), round(y + height, 6)


def clipped_box(item: Annotation, height: int, width: int) -> BoxXYXY:
    """An object's box as far as it lies in its image."""
    return clip(corners(item.bbox), (0.0, 0.0, float(width), float(height)))


def _shown(
    annotation: Annotation,
    case: str,
    visible: BoxXYXY,
    inside: bool,
    cropped: list[Piece] | Rle | None,
    window: Window,
    rasterise: bool,
) -> Annotation | None:
    """The annotation in the window's coordinates; `cropped` is the visible part of its mask, [] or None without one.

    None where rounding leaves no area, or where an ignored object's mask has no pixel.
    """
    left, top, right, bottom = window
    x, y = round(visible[0] - left, DECIMALS), round(visible[1] - top, DECIMALS)
    if inside:
        # The object is whole, so its size is unchanged; only rounding `x` up may move it over the border.
        width, height = min(annotation.bbox[2], right - left - x), min(annotation.bbox[3], bottom - top - y)
        size = annotation.area
    else:
        width = round(visible[2] - left - x, DECIMALS)
        height = round(visible[3] - top - y, DECIMALS)
        if width * height < MIN_PIECE_AREA:
            return None
        size = round((_area(cropped) if cropped else 0.0) or width * height, DECIMALS)
    segmentation: Polygons | Rle | None = cropped if isinstance(cropped, Rle) else None
    if isinstance(cropped, list) and cropped:
        segmentation = tuple([piece.points.reshape(-1) for piece in cropped])
        if case == IGNORE and rasterise:
            segmentation = polygons_to_rle(segmentation, bottom - top, right - left)
            if segmentation is None:
                return None
    return Annotation(
        id=0,
        image_id=0,
        category_id=annotation.category_id,
        bbox=(x, y, width, height),
        area=size,
        iscrowd=0 if case == KEEP else 1,
        segmentation=segmentation,
        source_annotation_id=annotation.id,
    )


def _area(cropped: list[Piece] | Rle) -> float:
    return rle_area(cropped) if isinstance(cropped, Rle) else sum(piece.area for piece in cropped)
