"""Detections as parallel arrays, in an order that does not depend on that of the results file.

N: detections
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from datasets.boxes import xywh_to_xyxy, xyxy_to_xywh
from datasets.results import Results
from ensemble.groups import Floats, Indices

# Bits of a float64 below 1 that tell it from others.
MANTISSA = 52


class Detections(msgspec.Struct, frozen=True, eq=False):
    """N detections of one or more models, sorted by image and descending score; ties by category, then coordinates.

    `image_ids`, `category_ids`, `models` (index of the model) and `rows` (index in the model's results, -1 for a fused
    one) are (N,) int64, `boxes_xyxy` is (N, 4) float64 in pixels, `scores` is (N,) float64 from 0 to 1.
    """

    image_ids: Indices
    category_ids: Indices
    boxes_xyxy: Floats
    scores: Floats
    models: Indices
    rows: Indices

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, chosen: npt.NDArray[np.bool_] | Indices) -> Detections:
        """The detections selected by `chosen`, indices or a boolean mask."""
        if chosen.dtype == np.bool_:
            if chosen.all():
                return self
            chosen = np.flatnonzero(chosen)
        # numpy's `take`: indexing rows of four takes four times as long.
        return Detections(*(getattr(self, name).take(chosen, axis=0) for name in self.__struct_fields__))

    def with_scores(self, scores: Floats) -> Detections:
        """A copy with other scores, sorted again."""
        return sort(msgspec.structs.replace(self, scores=scores))


def from_results(results: Results, model: int = 0) -> Detections:
    """The detections of one results file; `model` is its index."""
    return sort(
        Detections(
            image_ids=results.image_ids,
            category_ids=results.category_ids,
            boxes_xyxy=xywh_to_xyxy(results.boxes_xywh),
            scores=results.scores,
            models=np.full(len(results), model, dtype=np.int64),
            rows=np.arange(len(results), dtype=np.int64),
        )
    )


def to_results(detections: Detections) -> Results:
    """As results, `xywh`, in the same order."""
    return Results(
        image_ids=detections.image_ids,
        category_ids=detections.category_ids,
        boxes_xywh=xyxy_to_xywh(detections.boxes_xyxy),
        scores=detections.scores,
    )


def join(parts: Sequence[Detections]) -> Detections:
    """Concatenates detections of several models, sorted."""
    names = Detections.__struct_fields__
    return sort(Detections(*(np.concatenate([getattr(part, name) for part in parts]) for name in names)))


def sort(detections: Detections) -> Detections:
    """Sorts by image, descending score, category, box, model; detections that agree in all of these are equal."""
    keys = _keys(detections)
    # Not a stable sort, which takes twice as long: the order of ties is settled below.
    order = np.argsort(keys)
    keys = keys[order]
    tied = keys[1:] == keys[:-1]
    if tied.any():
        # Only ties need the other columns; sorting everything by all of them takes many times as long.
        run = np.cumsum(np.append(True, ~tied))
        places = np.flatnonzero(np.append(tied, False) | np.append(False, tied))
        chosen = order[places]
        x0, y0, x1, y1 = detections.boxes_xyxy[chosen].T
        last_keys = (detections.rows[chosen], detections.models[chosen])
        first_keys = (detections.category_ids[chosen], -detections.scores[chosen], run[places])
        order[places] = chosen[np.lexsort((*last_keys, y1, x1, y0, x0, *first_keys))]
    return detections.take(order)


def _keys(detections: Detections) -> npt.NDArray[np.uint64]:
    """(N,) words that sort by image and descending score, as far as the bits beside the image id tell scores apart."""
    if not len(detections):
        return np.empty(0, dtype=np.uint64)
    lowest = int(detections.image_ids.min())
    bits = min(64 - (int(detections.image_ids.max()) - lowest).bit_length(), MANTISSA)
    images = (detections.image_ids - lowest).astype(np.uint64)
    below_one = (1.0 - detections.scores) * float(2**bits - 1)
    return (images << np.uint64(bits)) | below_one.astype(np.uint64)


def best_of_each_image(detections: Detections, count: int) -> Detections:
    """The `count` highest-scoring detections of each image."""
    ids = detections.image_ids
    starts = np.flatnonzero(np.append(True, ids[1:] != ids[:-1])) if len(ids) else np.empty(0, dtype=np.int64)
    rank = np.arange(len(ids)) - np.repeat(starts, np.diff(np.append(starts, len(ids))))
    return detections.take(rank < count)
