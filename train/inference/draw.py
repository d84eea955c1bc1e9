"""Drawing detections into a picture with supervision's annotators: boxes, masks, categories and scores.

N: detections, H, W: size of the picture in pixels
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import msgspec
import numpy as np

from datasets.boxes import xywh_to_xyxy
from datasets.errors import printable
from datasets.images import Pixels, swapped
from datasets.results import Results
from train.data.records import Categories

# Okabe and Ito, "Color universal design" (2008), without black: told apart with any colour vision. One a category, in
# the order of their ids, and again from the first.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442")
# Of a mask; what lies below it stays visible.
OPACITY = 0.45
# Line width and text grow with the shorter side, text more slowly: objects in large pictures are small in proportion.
# At 480 px: 2 px and 12 px.
REFERENCE, LINE, TEXT = 480, 2, 12
TEXT_GROWTH = 0.75
SMALLEST_TEXT = 9
# Pictures with a shorter side below about two thirds of this are enlarged to about this, so that labels leave some of
# them to be seen; but not by more than this factor, nor beyond this side.
ENLARGED, MOST, LONGEST_ENLARGED = 400, 8, 4000
# supervision takes no masks of pictures with a longer side; these have boxes only.
LONGEST = 32_768


class Style(NamedTuple):
    """Sizes in px."""

    line: int
    text: int
    padding: int


def style_of(height: int, width: int) -> Style:
    """The style of an H x W picture."""
    scale = min(height, width) / REFERENCE
    text = max(SMALLEST_TEXT, round(TEXT * scale**TEXT_GROWTH))
    return Style(max(1, round(LINE * scale)), text, max(1, text // 6))


def enlargement(height: int, width: int) -> int:
    """The whole factor by which an H x W picture is enlarged; 1 for not at all."""
    wanted = round(ENLARGED / min(height, width))
    return max(1, min(wanted, MOST, LONGEST_ENLARGED // max(height, width)))


class Artist:
    """Draws detections; `categories` are the model's, in whose order colours are given.

    Names are written in DejaVu Sans, which matplotlib brings along: Latin, Greek, Cyrillic, Arabic and more. A category
    with any other character in its name is written as its id, #18, as `renamed` tells.
    """

    def __init__(self, categories: Categories) -> None:
        import matplotlib
        from matplotlib.ft2font import FT2Font

        self._categories = categories
        self._font = str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
        known = FT2Font(self._font).get_charmap()
        self._names = [
            name if name.strip() and all(ord(character) in known for character in name) else f"#{id_}"
            for id_, name in categories.pairs()
        ]
        self.renamed = {
            printable(name): written
            for name, written in zip(categories.names, self._names, strict=True)
            if written != name
        }
        """The names that cannot be written, and what stands for them."""

    def draw(self, pixels: Pixels, found: Results) -> Pixels:
        """(H, W, 3) RGB pixels with N detections -> (e H, e W, 3), with the `enlargement` e.

        Where detections overlap, the smallest mask and the best box is on top.
        """
        height, width = pixels.shape[:2]
        factor = enlargement(height, width)
        if not len(found):
            return _enlarged(pixels, factor)
        import supervision

        detections = _as_detections(found, self._categories, height, width)
        palette = supervision.ColorPalette.from_hex(list(PALETTE))
        scene = swapped(pixels)
        if detections.mask is not None:
            scene = supervision.MaskAnnotator(palette, opacity=OPACITY).annotate(scene, detections)
            detections.mask = None
        detections.xyxy *= factor
        style = style_of(height * factor, width * factor)
        scene = supervision.BoxAnnotator(palette, thickness=style.line).annotate(_enlarged(scene, factor), detections)
        return swapped(self._labelled(scene, detections, palette, style))

    def _labelled(self, scene: Pixels, detections: Any, palette: Any, style: Style) -> Pixels:
        import supervision

        annotator = supervision.RichLabelAnnotator(
            palette,
            text_color=supervision.ColorPalette.from_hex([text_color(color) for color in PALETTE]),
            font_path=self._font,
            font_size=style.text,
            text_padding=style.padding,
            smart_position=True,
        )
        room = scene.shape[1] - 2 * style.padding
        labels = [
            shortened(self._names[number], f"{score:.2f}", lambda text: annotator.font.getlength(text) <= room)
            for number, score in zip(detections.class_id.tolist(), detections.confidence.tolist(), strict=True)
        ]
        return np.asarray(annotator.annotate(scene, detections, labels), dtype=np.uint8)


def shortened(name: str, score: str, fits: Callable[[str], bool]) -> str:
    """A label of both; the name is cut where it would not fit."""
    label = f"{name} {score}"
    while name and not fits(label):
        name = name[:-1]
        label = f"{name}… {score}"
    return label


def text_color(color: str) -> str:
    """Black or white, whichever has more contrast with `color`, as #RRGGBB (WCAG 2.2, contrast ratio)."""
    channels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#FFFFFF"


def _enlarged(pixels: Pixels, factor: int) -> Pixels:
    if factor == 1:
        return pixels
    return np.asarray(cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def _as_detections(found: Results, categories: Categories, height: int, width: int) -> Any:
    """In ascending score, since what comes later is on top; class numbers are positions in `categories`."""
    import supervision
    from supervision.detection.compact_mask import CompactMask

    order = np.argsort(found.scores, kind="stable")
    # The right and bottom edges belong to the last pixel inside.
    boxes = np.clip(xywh_to_xyxy(found.boxes_xywh[order]), 0, np.array([width - 1, height - 1] * 2))
    masks = None
    if found.segmentations is not None and all(found.segmentations) and max(height, width) <= LONGEST:
        runs = [msgspec.json.decode(found.segmentations[at]) for at in order]
        masks = CompactMask.from_coco_rle(runs, boxes, (height, width))
    return supervision.Detections(
        xyxy=boxes,
        mask=masks,
        confidence=found.scores[order],
        class_id=np.array([categories.class_of(id_) for id_ in found.category_ids[order].tolist()], dtype=np.int64),
    )
