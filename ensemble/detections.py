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
        return Detections(*(getattr(self, name)[chosen] for name in self.__struct_fields__))

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
    order = np.lexsort((-detections.scores, detections.image_ids))
    ids, scores = detections.image_ids[order], detections.scores[order]
    tied = (ids[1:] == ids[:-1]) & (scores[1:] == scores[:-1])
    if tied.any():
        # Only ties need the other keys; sorting everything by all of them takes several times as long.
        run = np.cumsum(np.append(True, ~tied))
        places = np.flatnonzero(np.append(tied, False) | np.append(False, tied))
        chosen = order[places]
        x0, y0, x1, y1 = detections.boxes_xyxy[chosen].T
        last_keys = (detections.rows[chosen], detections.models[chosen])
        order[places] = chosen[np.lexsort((*last_keys, y1, x1, y0, x0, detections.category_ids[chosen], run[places]))]
    return detections.take(order)


def best_of_each_image(detections: Detections, count: int) -> Detections:
    """The `count` highest-scoring detections of each image."""
    ids = detections.image_ids
    starts = np.flatnonzero(np.append(True, ids[1:] != ids[:-1])) if len(ids) else np.empty(0, dtype=np.int64)
    rank = np.arange(len(ids)) - np.repeat(starts, np.diff(np.append(starts, len(ids))))
    return detections.take(rank < count)
