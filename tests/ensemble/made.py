"""Made-up detections, and views of them that can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from hypothesis import strategies as st

from ensemble.detections import Detections, join, sort
from ensemble.groups import Floats, Indices

# Every made-up scene lies inside this many pixels: x0, y0, x1, y1.
CANVAS = np.array([1280.0, 720.0, 1280.0, 720.0])

BoxXYXY = tuple[float, float, float, float]
Row = tuple[int, int, BoxXYXY, float]
"""image, category, box, score"""


class Fuse(Protocol):
    """WBF or NMW."""

    def __call__(
        self,
        parts: list[Detections],
        weights: list[float],
        *,
        iou_threshold: float = ...,
        skip_threshold: float = ...,
    ) -> Detections: ...


# What the output promises, whatever the order of the input; `rows` is the place in the input.
KEPT = ("image_ids", "category_ids", "boxes_xyxy", "scores", "models")


def made(rows: Iterable[Row], model: int = 0) -> Detections:
    """One model's detections, in the order that `ensemble` gives them; `rows` are the places among `rows`."""
    found = list(rows)
    return sort(
        Detections(
            image_ids=np.array([row[0] for row in found], dtype=np.int64),
            category_ids=np.array([row[1] for row in found], dtype=np.int64),
            boxes_xyxy=np.array([row[2] for row in found], dtype=np.float64).reshape(-1, 4),
            scores=np.array([row[3] for row in found], dtype=np.float64),
            models=np.full(len(found), model, dtype=np.int64),
            rows=np.arange(len(found), dtype=np.int64),
        )
    )


def rows_of(detections: Detections) -> list[Row]:
    """The way back."""
    columns = (detections.image_ids, detections.category_ids, detections.boxes_xyxy, detections.scores)
    image_ids, category_ids, boxes, scores = (column.tolist() for column in columns)
    return [(*ids, tuple(box), score) for *ids, box, score in zip(image_ids, category_ids, boxes, scores, strict=True)]


def content(detections: Detections) -> list[bytes]:
    """To the last bit, all that must not depend on the order of the input."""
    return [getattr(detections, name).tobytes() for name in KEPT]


def frozen(detections: Detections) -> Detections:
    """The same, in arrays that raise ValueError when something writes into them."""
    copies = [getattr(detections, name).copy() for name in detections.__struct_fields__]
    for copy in copies:
        copy.flags.writeable = False
    return Detections(*copies)


def image_of(detections: Detections, image_id: int) -> Detections:
    return detections.take(detections.image_ids == image_id)


def images_of(parts: Sequence[Detections]) -> list[int]:
    return sorted({id_ for part in parts for id_ in part.image_ids.tolist()})


def scenes(rng: np.random.Generator, objects: Sequence[int], models: int = 1, categories: int = 3) -> list[Detections]:
    """What each of `models` models finds in images of so many `objects`; image n has the id 10 n - 50.

    Each object is found 0 to 3 times by each model, a little elsewhere every time and now and then as something else;
    some models find nothing in some images. No two scores and no two boxes are the same.
    """
    images = np.repeat(np.arange(len(objects)), objects)
    sizes = rng.uniform(20, 200, (len(images), 2))
    corners = rng.uniform(0.15, 0.65, (len(images), 2)) * CANVAS[:2]
    boxes = np.hstack([corners, corners + sizes])
    names = rng.integers(1, categories + 1, len(images))
    blind = rng.random((models, len(objects))) < 0.1
    return [_seen(rng, images, names, boxes, categories, model, blind[model]) for model in range(models)]


def _seen(
    rng: np.random.Generator,
    images: Indices,
    names: Indices,
    boxes: Floats,
    categories: int,
    model: int,
    blind: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
) -> Detections:
    seen = rng.permutation(np.repeat(np.arange(len(images)), rng.integers(0, 4, len(images))))
    seen = seen[~blind[images[seen]]]
    count = len(seen)
    sizes = np.tile(boxes[seen, 2:] - boxes[seen, :2], 2)
    wrong = rng.random(count) < 0.1
    return sort(
        Detections(
            image_ids=images[seen] * 10 - 50,
            category_ids=np.where(wrong, rng.integers(1, categories + 1, count), names[seen]),
            boxes_xyxy=boxes[seen] + rng.uniform(-0.12, 0.12, (count, 4)) * sizes,
            scores=rng.uniform(0.001, 1, count),
            models=np.full(count, model, dtype=np.int64),
            rows=np.arange(count, dtype=np.int64),
        )
    )


def joined_scene(rng: np.random.Generator, objects: Sequence[int]) -> Detections:
    """One model's scenes, more crowded: what three models find as if one had."""
    found = join(scenes(rng, objects, models=3))
    count = len(found)
    return Detections(
        found.image_ids,
        found.category_ids,
        found.boxes_xyxy,
        found.scores,
        np.zeros(count, dtype=np.int64),
        np.arange(count, dtype=np.int64),
    )


def coarse_scene(rng: np.random.Generator, count: int) -> list[Row]:
    """So many boxes of one image, all with an area; few places, sizes and scores, so that there are many ties."""
    places, sizes = rng.integers(0, 12, (count, 2)), rng.integers(1, 8, (count, 2))
    boxes = np.hstack([places, places + sizes]) / 4
    return made_rows(boxes, rng.integers(0, 5, count) / 4)


def made_rows(boxes: Floats, scores: Floats) -> list[Row]:
    """Rows of one image and one category."""
    return [(1, 1, tuple(box), score) for box, score in zip(boxes.tolist(), scores.tolist(), strict=True)]


def _box(x: int, y: int, width: int, height: int) -> BoxXYXY:
    return (x / 4, y / 4, (x + width) / 4, (y + height) / 4)


# Quarters of a pixel, few of them: many boxes are the same, touch, lie in each other, or have no area; many scores are
# the same. All that is computed with them is exact, so that ties are ties.
coarse_boxes = st.builds(_box, st.integers(0, 8), st.integers(-4, 4), st.integers(0, 8), st.integers(0, 8))
coarse_scores = st.integers(0, 8).map(lambda eighths: eighths / 8)
coarse_rows = st.tuples(st.integers(-1, 1), st.integers(1, 2), coarse_boxes, coarse_scores)
row_lists = st.lists(coarse_rows, max_size=12)
