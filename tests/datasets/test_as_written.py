"""What is measured is what the files say: no box is clipped or left out, and what decides nothing is not asked."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from datasets import as_written, checks, coco
from datasets.errors import DataError
from datasets.evaluation import evaluate
from datasets.results import Results
from tests.protocols import Read

Document = dict[str, Any]


def first(document: Document, **changes: Any) -> Document:
    document["annotations"][0] |= changes
    return document


@pytest.mark.parametrize("box", [[-7.5, 5, 60, 10], [39, 29, 500, 500], [10, 5, 0, 10], [10, 5, 20, 0.0]])
def test_a_box_stays_as_it_is(box: list[float], document: Document, read: Read) -> None:
    dataset, repairs, *_ = read(first(document, bbox=box), as_written=True)
    assert list(dataset.annotations[0].bbox) == box
    assert repairs.counts() == {}


def test_the_area_stays_too_whatever_it_is(document: Document, read: Read) -> None:
    assert read(first(document, area=0), as_written=True).dataset.annotations[0].area == 0.0
    assert read(first(document, area=-5), as_written=True).dataset.annotations[0].area == -5.0


def test_what_is_missing_is_computed(document: Document, read: Read) -> None:
    """The polygon goes around 20 x 10 px."""
    dataset, repairs, *_ = read(first(document, bbox=None, area=None, iscrowd=None), as_written=True)
    assert (dataset.annotations[0].bbox, dataset.annotations[0].area) == ((10, 5, 20, 10), 200)
    assert repairs.counts() == {checks.BOX_FROM_MASK: 1, checks.AREA_MISSING: 1, checks.CROWD_MISSING: 1}


@pytest.mark.parametrize("change", [{"bbox": [10, 5, -1, 10]}, {"bbox": None, "segmentation": None}])
def test_what_is_no_box_is_refused_by_its_place(change: Document, document: Document, read: Read) -> None:
    with pytest.raises(DataError) as caught:
        read(first(document, **change), as_written=True)
    assert caught.value.problems[0].startswith("$.annotations[0].bbox: expected ")


@pytest.mark.parametrize("change", [{"file_name": ""}, {"file_name": None}, {"file_name": "../../x"}, {"width": None}])
def test_names_and_sizes_of_images_are_not_asked_for(change: Document, document: Document, read: Read) -> None:
    document["images"][0] |= change
    assert len(read(document, as_written=True).dataset.annotations) == 2
    del document["images"][0]["file_name"]
    assert len(read(document, as_written=True).dataset.annotations) == 2


def test_a_mask_of_another_size_refuses_nothing(document: Document, read: Read) -> None:
    mask = {"size": [1, 1], "counts": "a"}
    dataset, *_ = read(first(document, segmentation=mask), as_written=True)
    assert dataset.annotations[0].segmentation is None


@pytest.mark.parametrize(
    ("segmentation", "box"),
    [
        ([[10, 5, 30, 5, 30, 15]], (10, 5, 20, 10)),
        ([[0, 0, 1, 1, 2, 2], [4, 4, 9, 4, 9, 7]], (0, 0, 9, 7)),
        ({"size": [4, 5], "counts": [9, 2, 2, 2, 5]}, (2, 1, 2, 2)),
        ({"size": [4, 5], "counts": [20]}, None),
        ({"size": [4, 5], "counts": [21]}, None),
        ({"size": [0, 0], "counts": []}, None),
        ({"size": [-4, -5], "counts": [9, 2, 2, 2, 5]}, None),
        ({"size": [10**30, 1], "counts": [5]}, None),
        ({"size": [4, 5], "counts": "\x7f"}, None),
        ([[10, 5, 30, 5]], None),
        ([[10, 5, 30, 5, 30]], None),
        ([], None),
        ("mask", None),
        (None, None),
    ],
)
def test_the_box_around_a_mask(segmentation: Any, box: tuple[float, ...] | None) -> None:
    assert as_written.segmentation_box(segmentation) == box


def test_objects_out_of_their_image_count_as_they_do_for_pycocotools(document: Document, tmp_path: Path) -> None:
    """Half of the objects reach out by up to 40 px, and so do the detections."""
    rng = np.random.default_rng(0)
    boxes = np.round(np.hstack([rng.uniform(-20, 30, (40, 2)), rng.uniform(5, 40, (40, 2))]), 2)
    document["annotations"] = [
        {"id": at, "image_id": 5, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for at, box in enumerate(boxes.tolist(), start=1)
    ]
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document))
    found = boxes + rng.normal(0, 1.5, boxes.shape)
    detections = [
        {"image_id": 5, "category_id": 1, "bbox": box, "score": 0.9 - at / 100} for at, box in enumerate(found.tolist())
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        expected = COCOeval(truth, truth.loadRes(detections), "bbox")
        expected.evaluate()
        expected.accumulate()
        expected.summarize()

    results = Results(np.full(40, 5), np.ones(40, dtype=np.int64), found, 0.9 - np.arange(40) / 100)
    ours = evaluate(coco.read(path, as_written=True).dataset, results)

    assert list(ours.numbers().values()) == pytest.approx(
        [None if value == -1 else value for value in expected.stats.tolist()], abs=1e-12
    )
