"""Small pictures with objects of every kind, for properties that hold of all: masks, runs, boxes only, crowds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from datasets import coco_runs
from datasets.masks import mask_to_rle, rle_area, rle_bounds
from datasets.records import Annotation, Image, Polygons, Rle

Bitmap = npt.NDArray[np.uint8]
Pictures = list[tuple[int, Image, list[Annotation]]]
KINDS = ("polygons", "runs", "string", "box")


def bitmap_of(item: Annotation, height: int, width: int) -> Bitmap:
    """(height, width) The pixels of an object's mask; of its box where it has none."""
    if item.segmentation is not None:
        return coco_runs.to_bitmap(coco_runs.from_segmentation(item.segmentation, height, width))
    x, y, w, h = item.bbox
    canvas = np.zeros((height, width), dtype=np.uint8)
    canvas[round(y) : round(y + h), round(x) : round(x + w)] = 1
    return canvas


@st.composite
def objects(draw: st.DrawFn, id_: int, width: int, height: int, kinds: tuple[str, ...] = KINDS) -> Annotation:
    """One object of a picture, with whole coordinates."""
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    x1, y1 = draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))
    kind = draw(st.sampled_from(kinds))
    segmentation: Polygons | Rle | None = None
    box = (float(x0), float(y0), float(x1 - x0), float(y1 - y0))
    area = box[2] * box[3]
    if kind == "polygons":
        # A rectangle, or a triangle in it.
        corners = [x0, y0, x1, y0, x1, y1, x0, y1]
        segmentation = (np.array(corners if draw(st.booleans()) else corners[:6], dtype=np.float64),)
    elif kind != "box":
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        canvas = np.zeros((height, width), dtype=np.uint8)
        canvas[y0:y1, x0:x1] = rng.random((y1 - y0, x1 - x0)) < 0.7
        canvas[y0, x0] = 1
        runs = mask_to_rle(canvas)
        segmentation = coco_runs.to_rle(coco_runs.from_bitmap(canvas)) if kind == "string" else runs
        left, top, right, bottom = rle_bounds(runs)
        box, area = (left, top, right - left, bottom - top), rle_area(runs)
    return Annotation(
        id=id_,
        image_id=0,
        category_id=draw(st.integers(1, 3)),
        bbox=box,
        area=area,
        iscrowd=int(draw(st.integers(0, 4)) == 0),
        segmentation=segmentation,
    )


@st.composite
def pictures(
    draw: st.DrawFn, fewest: int = 1, most: int = 4, side: int = 40, kinds: tuple[str, ...] = KINDS
) -> Pictures:
    """(input, image, annotations) of some pictures of up to `side` px, with up to five objects each."""
    listed: Pictures = []
    for number in range(draw(st.integers(fewest, most))):
        width, height = draw(st.integers(1, side)), draw(st.integers(1, side))
        shown = [draw(objects(10 * number + at, width, height, kinds)) for at in range(draw(st.integers(0, 5)))]
        image = Image(id=number, file_name=f"{number}.jpg", width=width, height=height)
        listed.append((0, image, shown))
    return listed


generators = st.integers(0, 2**32).map(np.random.default_rng)
