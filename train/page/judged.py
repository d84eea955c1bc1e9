"""Each image's mistakes at the chosen score: false alarms with their kind, and missed objects."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from datasets import analysis
from datasets.analysis import Kind, Suspect, Verdicts
from datasets.boxes import xywh_to_xyxy
from datasets.records import Annotation, Image
from datasets.results import Results
from train.page.kinds import kinds_of
from train.page.measured import Measured

# Below, a detection is too unsure to doubt a label.
CONFIDENT = 0.5


class Detection(NamedTuple):
    """A detection; `kind` is that of its error, None for a hit, and for one that counts neither way."""

    row: int
    category_id: int
    box_xywh: tuple[float, float, float, float]
    score: float
    kind: Kind | None
    counts: bool = True


class JudgedImage(NamedTuple):
    """An image with what was found in it, and what was to be found."""

    image: Image
    detections: list[Detection]
    annotations: list[tuple[Annotation, bool]]
    """With whether it was found."""

    @property
    def wrong(self) -> list[Detection]:
        """The highest score first."""
        return sorted((item for item in self.detections if item.kind is not None), key=lambda item: -item.score)

    @property
    def missed(self) -> list[Annotation]:
        """The largest first."""
        return sorted(
            (item for item, found in self.annotations if not found), key=lambda item: -_side(item, self.image)
        )

    @property
    def badness(self) -> float:
        """False alarms by their scores, and missed objects by the part of the image's side that they are long."""
        return sum(item.score for item in self.wrong) + sum(_side(item, self.image) for item in self.missed)


def _side(annotation: Annotation, image: Image) -> float:
    _, _, width, height = annotation.bbox
    return float(np.sqrt(width * height / max(1, image.width * image.height)))


class Judged(NamedTuple):
    """All images, the worst first; `kept` are the detections from the chosen score on."""

    kept: Results
    verdicts: Verdicts
    images: list[JudgedImage]
    suspects: list[Suspect]
    """Labels that confident detections contradict."""

    @property
    def with_mistakes(self) -> list[JudgedImage]:
        return [item for item in self.images if item.wrong or item.missed]


def judge(measured: Measured) -> Judged:
    """Every detection from the chosen score on."""
    score = measured.at.score
    kept = analysis.at_least(measured.found, score)
    verdicts = analysis.verdicts(measured.truth, kept)
    rows: dict[int, list[int]] = defaultdict(list)
    for row, image_id in enumerate(kept.image_ids.tolist()):
        rows[image_id].append(row)
    annotations: dict[int, list[tuple[Annotation, bool]]] = defaultdict(list)
    for item, found in zip(measured.truth.annotations, verdicts.found.tolist(), strict=True):
        annotations[item.image_id].append((item, found))
    images = [
        JudgedImage(image, _detections(kept, verdicts, rows[image.id], annotations[image.id]), annotations[image.id])
        for image in measured.truth.images
    ]
    images.sort(key=lambda item: (-item.badness, item.image.id))
    return Judged(kept, verdicts, images, analysis.suspects(measured.truth, kept, score=max(score, CONFIDENT)))


def _detections(
    kept: Results, verdicts: Verdicts, rows: list[int], annotations: list[tuple[Annotation, bool]]
) -> list[Detection]:
    objects = [item for item, _ in annotations if not item.iscrowd]
    wrong = [row for row in rows if not verdicts.hits[row] and not verdicts.ignored[row]]
    kinds = kinds_of(
        xywh_to_xyxy(kept.boxes_xywh[wrong]),
        kept.category_ids[wrong],
        xywh_to_xyxy([item.bbox for item in objects]),
        np.array([item.category_id for item in objects], dtype=np.int64),
    )
    kind_of = dict(zip(wrong, kinds, strict=True))
    return [
        Detection(
            row=row,
            category_id=int(kept.category_ids[row]),
            box_xywh=tuple(kept.boxes_xywh[row].tolist()),
            score=float(kept.scores[row]),
            kind=kind_of.get(row),
            counts=not verdicts.ignored[row],
        )
        for row in rows
    ]
