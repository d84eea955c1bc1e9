"""Drawing detections into a picture with supervision's annotators: boxes, masks, categories and scores.

N: detections, H, W: size of the picture in pixels
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

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


class Artist:
    """Draws detections; `categories` are the model's, in whose order colours are given.

    Names are written in DejaVu Sans, which matplotlib brings along: Latin, Greek, Cyrillic, Arabic, Hebrew and more. A
    category with any other letter in its name is written as its id, #18, as `renamed` says.
    """

    def __init__(self, categories: Categories) -> None:
        import matplotlib
        from matplotlib.ft2font import FT2Font

        self._font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
        letters = FT2Font(str(self._font)).get_charmap()
        self._categories = categories
        self.renamed: dict[str, str] = {}
        """The names that cannot be written, and what stands for them."""
        self._names = []
        for id_, name in categories.pairs():
            writable = bool(name.strip()) and all(ord(letter) in letters for letter in name)
            self._names.append(name if writable else f"#{id_}")
            if not writable:
                self.renamed[printable(name)] = f"#{id_}"

    def draw(self, pixels: Pixels, found: Results) -> Pixels:
        """(H, W, 3) RGB pixels with N detections; where they overlap, the best box and the smallest mask is on top."""
        if not len(found):
            return pixels
        import supervision

        height, width = pixels.shape[:2]
        style = style_of(height, width)
        palette = supervision.ColorPalette.from_hex(list(PALETTE))
        contrasts = supervision.ColorPalette([_contrast(color) for color in palette.colors])
        label = supervision.RichLabelAnnotator(
            palette,
            text_color=contrasts,
            font_path=str(self._font),
            font_size=style.text,
            text_padding=style.padding,
            smart_position=True,
        )
        detections = _as_detections(found, self._categories, height, width)
        scene = swapped(pixels)
        if detections.mask is not None:
            scene = supervision.MaskAnnotator(palette, opacity=OPACITY).annotate(scene, detections)
        scene = supervision.BoxAnnotator(palette, thickness=style.line).annotate(scene, detections)
        texts = [
            self._label(label, number, score, width)
            for number, score in zip(detections.class_id.tolist(), detections.confidence.tolist(), strict=True)
        ]
        return swapped(np.asarray(label.annotate(scene, detections, texts), dtype=np.uint8))

    def _label(self, label: Any, number: int, score: float, width: int) -> str:
        """Name and score, the name cut short where the label would be wider than the picture."""
        name, shown = self._names[number], f"{score:.2f}"
        text = f"{name} {shown}"
        while name and label.font.getlength(text) + 2 * label.text_padding > width:
            name = name[:-1]
            text = f"{name}… {shown}"
        return text


def _contrast(color: Any) -> Any:
    """Black or white, whichever is easier to read on `color`: by relative luminance (WCAG 2.2), at equal contrast."""
    import supervision

    linear = [
        channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
        for channel in (color.r / 255, color.g / 255, color.b / 255)
    ]
    luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return supervision.Color.BLACK if luminance > 0.179 else supervision.Color.WHITE


def _as_detections(found: Results, categories: Categories, height: int, width: int) -> Any:
    """In ascending score, since what comes later is on top; class numbers are positions in `categories`."""
    import supervision
    from supervision.detection.compact_mask import CompactMask

    order = np.argsort(found.scores, kind="stable")
    corners = xywh_to_xyxy(found.boxes_xywh[order])
    # The right and bottom edges belong to the last pixel inside.
    boxes = np.clip(corners, 0, np.array([width - 1, height - 1] * 2))
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
