"""Plausibility of results: where their boxes lie, and how they agree with other boxes of the same images.

Pure functions on arrays. Valid results lie inside their images, since every tool clips them; two working models overlap
each other's boxes and agree on categories. The few causes that break this (box format, category numbering) are tested
one by one.

N: boxes, P: pairs of overlapping boxes
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datasets import percent
from datasets.boxes import iou_xyxy, xywh_to_xyxy
from datasets.records import Dataset
from datasets.results import Results

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

# Pixels by which tools round.
TOLERANCE = 1.0
# A file whose coordinates are all below this many pixels is taken to have fractions of the image.
NORMALISED = 1.5
# In a wrong format, at least this share of boxes lies outside; read in the right one, at most that share.
MANY_OUTSIDE, NONE_OUTSIDE = 0.2, 0.01
# Boxes compared: the best of each image, of a sample of images.
BEST, PICTURES = 10, 300
# IoU from which boxes match. Valid pairs of models: 64 % of boxes; a wrong format: at most 7 %; wrong images: 2 %.
MEETS = 0.5
HARDLY_MEETS, MEETS_WELL = 0.15, 0.3
# The right format matches at least this many times as many boxes as a wrong one.
MEETS_BETTER = 3
# Of matching boxes, 99 % have the same category in valid pairs, 0 % where ids are shifted by one. Another numbering
# must explain this many more, in more than one category.
SAME_WELL, EXPLAINS_MORE, DISTINCT = 0.6, 0.3, 2
# Fewer boxes are no evidence.
ENOUGH = 20

FRACTIONS = (
    f"expected boxes in pixels, found coordinates of at most {NORMALISED}, as fractions of the image have; multiply x "
    "and width by the image's width, y and height by its height"
)
OTHER_FORMATS: Mapping[str, Callable[[Floats], Floats]] = {
    "x, y, x, y": lambda boxes: boxes,
    "centre x, centre y, width, height": lambda boxes: np.hstack(
        [boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2]
    ),
    "y, x, y, x": lambda boxes: boxes[:, [1, 0, 3, 2]],
    "y, x, height, width": lambda boxes: xywh_to_xyxy(boxes[:, [1, 0, 3, 2]]),
}


class Sizes:
    """Widths and heights of images by id; infinite for unknown images."""

    def __init__(self, sizes: Mapping[int, tuple[int, int]]) -> None:
        ids = sorted(sizes)
        self._ids: Ids = np.array(ids, dtype=np.int64)
        self._sizes: Floats = np.array([sizes[id_] for id_ in ids], dtype=np.float64).reshape(-1, 2)
        self._sizes[self._sizes < 1] = np.inf

    def of(self, image_ids: Ids) -> Floats:
        """(N, 2) widths and heights"""
        if not len(self._ids):
            return np.full((len(image_ids), 2), np.inf)
        places = np.minimum(np.searchsorted(self._ids, image_ids), len(self._ids) - 1)
        return np.where((self._ids[places] == image_ids)[:, None], self._sizes[places], np.inf)


def pixels_outside(boxes_xyxy: Floats, sizes: Floats) -> Floats:
    """(N,) how many pixels each box exceeds its image by; 0 inside, infinite where corners are swapped."""
    out = np.maximum(-boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - sizes).max(axis=1, initial=0.0)
    return np.where((boxes_xyxy[:, 2:] < boxes_xyxy[:, :2]).any(axis=1), np.inf, out)


def share_outside(boxes_xyxy: Floats, sizes: Floats) -> float:
    """The share of boxes that exceed their image by more than a pixel."""
    return float(np.mean(pixels_outside(boxes_xyxy, sizes) > TOLERANCE)) if len(boxes_xyxy) else 0.0


def are_fractions(results: Results) -> bool:
    boxes = results.boxes_xywh
    return len(boxes) > 0 and float(np.max(boxes[:, :2] + boxes[:, 2:])) <= NORMALISED


def format_by_place(results: Results, sizes: Sizes) -> str:
    """The box format in which the boxes lie inside their images, where as written many do not; empty for none."""
    limits = sizes.of(results.image_ids)
    if len(results) < ENOUGH or share_outside(xywh_to_xyxy(results.boxes_xywh), limits) < MANY_OUTSIDE:
        return ""
    shares = {name: share_outside(read(results.boxes_xywh), limits) for name, read in OTHER_FORMATS.items()}
    best = min(shares, key=shares.__getitem__)
    return best if shares[best] <= NONE_OUTSIDE else ""


def duplicates(results: Results) -> int:
    """The number of detections that equal another in image, category, box and score."""
    hashes: npt.NDArray[np.uint64] = np.zeros(len(results), dtype=np.uint64)
    columns = (results.image_ids, results.category_ids, *results.boxes_xywh.T, results.scores)
    # Sorting one number each is many times faster than sorting rows of seven.
    for column in columns:
        hashes *= np.uint64(0x9E3779B97F4A7C15)
        hashes += np.ascontiguousarray(column).view(np.uint64)
        hashes ^= hashes >> np.uint64(29)
    return len(hashes) - len(np.unique(hashes))


class Boxes(NamedTuple):
    """N boxes grouped by image, by descending score; `boxes` (N, 4) as written."""

    image_ids: Ids
    category_ids: Ids
    boxes: Floats
    scores: Floats


def best_boxes(results: Results, image_ids: Ids, count: int) -> Boxes:
    """The `count` highest-scoring boxes of each of these images."""
    places = np.flatnonzero(np.isin(results.image_ids, image_ids))
    places = places[np.lexsort((-results.scores[places], results.image_ids[places]))]
    ids = results.image_ids[places]
    starts = np.flatnonzero(np.append(True, ids[1:] != ids[:-1])) if len(ids) else np.empty(0, dtype=np.int64)
    rank = np.arange(len(ids)) - np.repeat(starts, np.diff(np.append(starts, len(ids))))
    places = places[rank < count]
    columns = (results.image_ids, results.category_ids, results.boxes_xywh, results.scores)
    return Boxes(*(column[places] for column in columns))


def compared_images(image_ids: Ids) -> Ids:
    """A sample of the images, evenly spaced."""
    ids = np.unique(image_ids)
    return ids if len(ids) <= PICTURES else ids[np.linspace(0, len(ids) - 1, PICTURES).astype(np.int64)]


class Agreement(NamedTuple):
    """How boxes agree with others: the number compared, and the categories of the P that overlap another box, with that
    of the best box they overlap.
    """

    compared: int
    own: Ids
    others: Ids

    @property
    def met(self) -> float:
        """The share of the boxes that overlap another."""
        return len(self.own) / self.compared if self.compared else 0.0

    @property
    def same(self) -> float:
        """The share of overlapping boxes that have the same category."""
        return float(np.mean(self.own == self.others)) if len(self.own) else 0.0


def agreement(boxes: Boxes, others: Boxes, read: Callable[[Floats], Floats] = xywh_to_xyxy) -> Agreement:
    """The agreement on common images; `read` converts `boxes` to corners, `others` are xywh."""
    corners, other_corners = read(boxes.boxes), xywh_to_xyxy(others.boxes)
    own: list[Ids] = []
    met: list[Ids] = []
    compared = 0
    for id_ in np.intersect1d(boxes.image_ids, others.image_ids):
        here, there = (slice(*np.searchsorted(ids, [id_, id_ + 1])) for ids in (boxes.image_ids, others.image_ids))
        meet = iou_xyxy(corners[here], other_corners[there]) >= MEETS
        (matched,) = np.nonzero(meet.any(axis=1))
        compared += len(meet)
        own.append(boxes.category_ids[here][matched])
        # The others are sorted by score.
        met.append(others.category_ids[there][meet[matched].argmax(axis=1)])
    empty = np.empty(0, dtype=np.int64)
    return Agreement(compared, np.concatenate([empty, *own]), np.concatenate([empty, *met]))


def format_by_agreement(boxes: Boxes, others: Boxes) -> str:
    """The box format in which the boxes overlap the others well, where as written they hardly do; empty for none."""
    plain = agreement(boxes, others)
    if plain.compared < ENOUGH or MEETS_BETTER * plain.met > 1:
        return ""
    shares = {name: agreement(boxes, others, read).met for name, read in OTHER_FORMATS.items()}
    best = max(shares, key=shares.__getitem__)
    return best if shares[best] >= max(MEETS_WELL, MEETS_BETTER * plain.met) else ""


def numbering_by_agreement(matched: Agreement, category_ids: Sequence[int]) -> str:
    """The numbering of categories that explains the overlaps far better than the ids as written; empty for none.

    `category_ids` are the dataset's.
    """
    if len(matched.own) < ENOUGH or matched.same > SAME_WELL:
        return ""
    ids = np.array(sorted(category_ids), dtype=np.int64)
    meanings = {name: meant for name, meant in _numberings(matched.own, ids).items() if _explains(meant, matched)}
    if meanings:
        # Ties keep the first: for consecutive ids, positions are a shift too.
        return max(meanings, key=lambda name: float(np.mean(meanings[name] == matched.others)))
    pairs, counts = np.unique(np.stack([matched.own, matched.others], axis=1), axis=0, return_counts=True)
    most = {int(own): pairs[at, 1] for at in np.argsort(counts, kind="stable") for own in pairs[at, :1]}
    meant = np.array([most[own] for own in matched.own.tolist()], dtype=np.int64)
    # A model that always predicts one category is bad, not numbered differently.
    is_numbering = len(set(most.values())) == len(most) >= DISTINCT
    return "those of another list of categories" if is_numbering and _explains(meant, matched) else ""


def _numberings(own: Ids, ids: Ids) -> dict[str, Ids]:
    """The meaning of category ids under each other numbering."""
    numberings = {"shifted by one (too low)": own + 1, "shifted by one (too high)": own - 1}
    for base in (0, 1):
        places = own - base
        inside = (places >= 0) & (places < len(ids))
        if inside.all():
            numberings[f"positions from {base} in the list of categories (--category-ids contiguous{base})"] = ids[
                places
            ]
    return numberings


def _explains(meant: Ids, matched: Agreement) -> bool:
    hits = meant == matched.others
    share = float(np.mean(hits))
    return share >= max(SAME_WELL, matched.same + EXPLAINS_MORE) and len(np.unique(matched.own[hits])) >= DISTINCT


def look(numbering: str) -> str:
    """The words after "the ids look"."""
    return numbering if numbering.startswith("shifted") else f"like {numbering}"


def against_objects(dataset: Dataset, results: Results) -> list[str]:
    """Notes on results compared with the ground truth; none where they look right."""
    sizes = Sizes({image.id: (image.width, image.height) for image in dataset.images})
    other = format_by_place(results, sizes)
    if other:
        return [f"many boxes lie outside their images; they look like {other}"]
    objects = [item for item in dataset.annotations if not item.iscrowd]
    truth = Results(
        np.array([item.image_id for item in objects], dtype=np.int64),
        np.array([item.category_id for item in objects], dtype=np.int64),
        np.array([item.bbox for item in objects], dtype=np.float64).reshape(-1, 4),
        np.ones(len(objects)),
    )
    image_ids_compared = compared_images(truth.image_ids)
    best = best_boxes(results, image_ids_compared, BEST)
    there = best_boxes(truth, image_ids_compared, len(objects))
    matched = agreement(best, there)
    share = f"{percent.share(matched.met)} of the best boxes meet an object"
    other = format_by_agreement(best, there)
    if other:
        return [f"only {share}; they look like {other}"]
    numbering = numbering_by_agreement(matched, [item.id for item in dataset.categories])
    if numbering:
        same = percent.share(matched.same)
        return [f"{share}, {same} of these of its category; category ids look {look(numbering)}"]
    return []
