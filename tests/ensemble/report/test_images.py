"""Image by image: F1 against a plain loop over the matches, and the choice of the images that are shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datasets.results import Results
from ensemble.recipe import Recipe
from ensemble.report.images import Change, judged, most_changed, objects, spread
from tests.ensemble.files import SIZES, annotated, write
from tests.ensemble.report import files


def test_f1_is_that_of_a_plain_loop(tmp_path: Path) -> None:
    images, _, done = files.fused(files.folder(tmp_path), Recipe())
    assert images.truth is not None
    found = judged(images.truth, done.results, 0.3, 100)
    assert found.results.scores.min() >= 0.3
    for place, image in enumerate(images.truth.images):
        mine = np.flatnonzero(found.results.image_ids == image.id).tolist()
        right = sum(bool(found.verdicts.hits[row]) for row in mine)
        there = sum(item.image_id == image.id for item in images.truth.annotations)
        # The last image has neither objects nor detections.
        assert found.f1[place] == (2 * right / (len(mine) + there) if mine or there else 1)


def test_crowds_are_no_objects_and_what_lies_in_them_is_not_counted(tmp_path: Path) -> None:
    content = annotated()
    crowd = {**content["annotations"][0], "iscrowd": 1}
    write(files.folder(tmp_path) / "crowd.json", {**content, "annotations": [crowd]})
    images, *_ = files.fused(tmp_path, Recipe(), truth="crowd.json")
    assert images.truth is not None
    assert objects(images.truth).tolist() == [False]
    inside = Results(
        np.array([crowd["image_id"]]),
        np.array([crowd["category_id"]]),
        np.array([crowd["bbox"]], dtype=np.float64),
        np.array([0.9]),
    )
    assert judged(images.truth, inside, 0.5, 100).f1.tolist() == [1.0] * len(SIZES)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, [Change(3, 0.25, 1.0), Change(1, 0.5, 0.25)]),
        (9, [Change(3, 0.25, 1.0), Change(0, 0.5, 0.75), Change(1, 0.5, 0.25)]),
    ],
)
def test_the_most_helped_come_first_then_the_most_hurt(count: int, expected: list[Change]) -> None:
    before, after = np.array([0.5, 0.5, 0.5, 0.25]), np.array([0.75, 0.25, 0.5, 1.0])
    changes = most_changed(before, after, count)
    assert changes == expected
    assert [change.helped for change in changes] == [change.after > change.before for change in expected]


def test_pictures_are_spread_over_all() -> None:
    assert list(spread(3, 5)) == [0, 1, 2]
    assert list(spread(10, 4)) == [0, 2, 5, 7]
    assert list(spread(0, 4)) == []
