"""The kind of each error, against TIDE's own counts by hotcoco."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from datasets import analysis
from datasets.analysis import Kind
from datasets.boxes import xywh_to_xyxy
from datasets.records import Annotation, Category, Dataset, Image
from tests.train.page.made_run import results
from train.page.kinds import kind_of, kinds_of


@pytest.mark.parametrize(
    ("same", "other", "kind"),
    [
        (0.3, 0.0, "Loc"),
        # What is near one of its own category is badly placed first.
        (0.3, 0.9, "Loc"),
        (0.1, 0.0, "Loc"),
        (0.0, 0.5, "Cls"),
        (0.6, 0.9, "Cls"),
        (0.5, 0.0, "Dupe"),
        (0.09, 0.1, "Bkg"),
        (0.0, 0.3, "Both"),
    ],
)
def test_by_the_overlaps(same: float, other: float, kind: Kind) -> None:
    assert kind_of(same, other) == kind


def test_an_image_without_objects_is_background() -> None:
    none = np.zeros((0, 4)), np.zeros(0, dtype=np.int64)
    assert kinds_of(np.ones((2, 4)), np.ones(2, dtype=np.int64), *none) == ["Bkg", "Bkg"]


def test_as_many_of_each_kind_as_tide_counts() -> None:
    generator = np.random.default_rng(7)
    boxes = generator.uniform((0, 0, 10, 10), (60, 60, 50, 50), size=(12, 4)).round(2)
    truth = Dataset(
        info={},
        licenses=[],
        categories=[Category(id=id_, name=str(id_)) for id_ in (1, 2)],
        images=[Image(id=1, file_name="a", width=100, height=100)],
        annotations=[
            Annotation(id=at, image_id=1, category_id=1 + at % 2, bbox=tuple(box), area=box[2] * box[3], iscrowd=0)
            for at, box in enumerate(boxes.tolist())
        ],
    )
    found = results(
        [
            (1, int(generator.integers(1, 3)), float(score), (box + generator.normal(0, 6, 4)).clip(0).tolist())
            for box, score in zip(np.tile(boxes, (5, 1)), generator.uniform(0.1, 1, 60), strict=True)
        ]
    )
    verdicts = analysis.verdicts(truth, found)
    wrong = ~verdicts.hits
    ours = kinds_of(
        xywh_to_xyxy(found.boxes_xywh[wrong]),
        found.category_ids[wrong],
        xywh_to_xyxy([item.bbox for item in truth.annotations]),
        np.array([item.category_id for item in truth.annotations]),
    )
    counts = analysis.error_kinds(truth, found).counts
    assert len(ours) > 20
    assert Counter(ours) == {kind: count for kind, count in counts.items() if count and kind != "Miss"}
