"""What survives a crop: each annotation is kept, ignored or dropped, by its box and then by its mask.

Recipe, section 2 of the paper: with `v` the visible share of a cut box and `r` the share of the output image that its
visible part covers, a box wholly inside is kept; a cut one is kept where v >= 0.5 and r > 0.01, ignored where v < 0.5
and r > 0.01, and dropped otherwise.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import msgspec
import numpy as np

from augment.recipe import LabelRule
from datasets.boxes import Boxes, area_xyxy, clip_xyxy, inside_xyxy, xywh_to_xyxy
from datasets.checks import segmentation_area
from datasets.masks import Outlines, crop_rle, polygons_to_rle
from datasets.records import Annotation, BoxXYWH, Image, Polygons, Rle, Window

KEEP, IGNORE, DROP, CROWD = "kept", "ignored", "dropped", "crowd"
CASES = (KEEP, IGNORE, DROP, CROWD)
_CASE_OF = (KEEP, IGNORE, DROP)

# Sums of decimals (33.3 + 66.7) are off by float noise; a box must not count as cut because of it.
DECIMALS = 6


class Labels(NamedTuple):
    """The annotations that a variant shows, in its coordinates, with how many fell under each of CASES."""

    annotations: list[Annotation]
    cases: Counter[str]


class Decision(NamedTuple):
    """Per box: its case, its visible part `xyxy` in source coordinates, and whether it lies wholly inside."""

    cases: list[str]
    visible: Boxes
    inside: list[bool]


def decide(boxes_xyxy: Boxes, window: Window, rule: LabelRule) -> Decision:
    """Judge (N, 4) boxes of source pixels by a crop's window; the cases are KEEP, IGNORE and DROP."""
    visible = clip_xyxy(boxes_xyxy, window)
    visible_area = area_xyxy(visible)
    area = area_xyxy(boxes_xyxy)
    # Divisions, not products: a quotient of exact areas rounds to the same float as the threshold it equals.
    share = np.divide(visible_area, area, out=np.zeros_like(area), where=area > 0)
    ratio = visible_area / ((window[2] - window[0]) * (window[3] - window[1]))
    inside = inside_xyxy(boxes_xyxy, window)
    large = ratio > rule.min_area_ratio
    keep = inside | (large & (share >= rule.min_visible))
    cases = [_CASE_OF[index] for index in np.where(keep, 0, np.where(large, 1, 2)).tolist()]
    return Decision(cases, visible, inside.tolist())


def label_variant(annotations: list[Annotation], image: Image, window: Window | None, rule: LabelRule) -> Labels:
    """The labels of one variant of `image`, whose `annotations` these are; see `Labeller.show`."""
    return Labeller(annotations, image, rule).show(window)


class Labeller:
    """Labels of many variants of one image: what does not depend on the window is computed once."""

    def __init__(self, annotations: list[Annotation], image: Image, rule: LabelRule) -> None:
        self.annotations = annotations
        self.rule = rule
        boxes = np.round(xywh_to_xyxy([item.bbox for item in annotations]), DECIMALS)
        self.boxes = clip_xyxy(boxes, (0, 0, image.width, image.height))
        polygons = [item.segmentation if isinstance(item.segmentation, tuple) else () for item in annotations]
        self.outlines = Outlines(polygons)

    def show(self, window: Window | None) -> Labels:
        """The labels of a variant that shows `window`, None for one that cuts nothing.

        Every annotation that comes back names its source in `source_annotation_id`; `id` and `image_id` are 0. A kept
        or ignored object whose mask has nothing left in the window is dropped. An ignored one has `iscrowd` 1 and its
        mask as runs, which is what readers expect of a crowd. Crowds stay crowds while anything of them is left.
        """
        if window is None:
            return self._all()
        decision = decide(self.boxes, window, self.rule)
        outlines = self.outlines.crop(window)
        boxes = _relative_xywh(decision.visible, window)
        rows = zip(self.annotations, decision.cases, boxes, decision.inside, strict=True)
        survivors = []
        counts: Counter[str] = Counter()
        for index, (annotation, case, box, inside) in enumerate(rows):
            if annotation.iscrowd:
                case = CROWD if box[2] * box[3] > 0 else DROP
            if inside:
                box = (*box[:2], *annotation.bbox[2:])
            survivor = None
            if case != DROP:
                mask = annotation.segmentation
                cropped = crop_rle(mask, window) if isinstance(mask, Rle) else outlines(index)
                if mask is None or cropped:
                    survivor = _shown(annotation, case, box, inside, cropped or None, window)
                    survivors.append(survivor)
            counts[DROP if survivor is None else case] += 1
        return Labels(survivors, counts)

    def _all(self) -> Labels:
        replace = msgspec.structs.replace
        shown = [replace(item, id=0, image_id=0, source_annotation_id=item.id) for item in self.annotations]
        return Labels(shown, Counter(CROWD if item.iscrowd else KEEP for item in shown))


def _relative_xywh(boxes_xyxy: Boxes, window: Window) -> list[BoxXYWH]:
    """Boxes in the window's own coordinates, to the 1e-4 px that masks are rounded to."""
    relative = np.round(boxes_xyxy - (window[:2] * 2), 4)
    relative[:, 2:] = np.round(relative[:, 2:] - relative[:, :2], 4)
    return [(x, y, width, height) for x, y, width, height in relative.tolist()]


def _shown(
    annotation: Annotation, case: str, box: BoxXYWH, inside: bool, cropped: Polygons | Rle | None, window: Window
) -> Annotation:
    """The annotation as the window shows it; `cropped` is what it shows of the mask, if there is one."""
    area = annotation.area if inside else round(segmentation_area(cropped) or box[2] * box[3], 4)
    if case == IGNORE and isinstance(cropped, tuple):
        cropped = polygons_to_rle(cropped, window[3] - window[1], window[2] - window[0])
    return Annotation(
        id=0,
        image_id=0,
        category_id=annotation.category_id,
        bbox=box,
        area=area,
        iscrowd=0 if case == KEEP else 1,
        segmentation=cropped,
        source_annotation_id=annotation.id,
    )
