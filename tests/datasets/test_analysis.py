"""What a detector gets wrong: against pycocotools' matches, plain loops, and cases made by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from datasets import analysis
from datasets.analysis import Operating
from datasets.records import Dataset
from datasets.results import Results
from tests.datasets.test_evaluation import dataset, drawn, objects, results

HERE = (10.0, 10.0, 20.0, 20.0)
# Half of HERE lies in it and half of it in HERE: an IoU of a third.
NEAR = (10.0, 20.0, 20.0, 20.0)
AWAY = (100.0, 100.0, 20.0, 20.0)
# Without many equal scores, of which hotcoco and pycocotools may take others first.
SEEDS = range(0, 40, 2)


def entries(given: Dataset, found: Results) -> Iterator[dict[str, Any]]:
    """pycocotools' matches at IoU 0.5, with ids that are rows from 1 on."""
    truth, there = COCO(), COCO()
    images, categories = [{"id": item.id} for item in given.images], [{"id": item.id} for item in given.categories]
    shared = {"images": images, "categories": categories}
    truth.dataset = shared | {
        "annotations": [
            {
                "id": row,
                "image_id": item.image_id,
                "category_id": item.category_id,
                "bbox": list(item.bbox),
                "area": item.area,
                "iscrowd": item.iscrowd,
            }
            for row, item in enumerate(given.annotations, 1)
        ]
    }
    rows = zip(found.image_ids, found.category_ids, found.boxes_xywh, found.scores, strict=True)
    there.dataset = shared | {
        "annotations": [
            {
                "id": row,
                "image_id": int(image),
                "category_id": int(category),
                "bbox": box.tolist(),
                "area": float(box[2] * box[3]),
                "iscrowd": 0,
                "score": float(score),
            }
            for row, (image, category, box, score) in enumerate(rows, 1)
        ]
    }
    for side in (truth, there):
        side.createIndex()
    coco = COCOeval(truth, there, "bbox")
    coco.params.iouThrs = np.array([0.5])
    coco.params.areaRng, coco.params.areaRngLbl = coco.params.areaRng[:1], ["all"]
    coco.evaluate()
    return (entry for entry in coco.evalImgs if entry is not None)


@pytest.mark.parametrize("seed", SEEDS)
def test_verdicts_are_those_of_pycocotools(seed: int) -> None:
    given, found = drawn(seed)
    hits, counted = np.zeros(len(found), bool), np.zeros(len(found), bool)
    of = np.full(len(found), -1)
    have = np.array([bool(item.iscrowd) for item in given.annotations])
    for entry in entries(given, found):
        for id_, object_, ignored in zip(entry["dtIds"], entry["dtMatches"][0], entry["dtIgnore"][0], strict=True):
            counted[id_ - 1] = not ignored
            if object_ and not ignored:
                hits[id_ - 1], of[id_ - 1], have[int(object_) - 1] = True, int(object_) - 1, True
    verdicts = analysis.verdicts(given, found)
    assert verdicts.hits.tolist() == hits.tolist()
    assert verdicts.ignored.tolist() == (~counted).tolist()
    assert verdicts.object_of.tolist() == of.tolist()
    assert verdicts.found.tolist() == have.tolist()


def f1_by_loop(given: Dataset, found: Results) -> Operating:
    """The best of all thresholds that are scores, each by itself."""
    marked = [
        (score, bool(match))
        for entry in entries(given, found)
        for score, match, ignored in zip(entry["dtScores"], entry["dtMatches"][0], entry["dtIgnore"][0], strict=True)
        if not ignored
    ]
    number = sum(not item.iscrowd for item in given.annotations)
    best = Operating(1.0, 0.0, 0.0, 0.0)
    for threshold in sorted({score for score, _ in marked}, reverse=True):
        kept = [hit for score, hit in marked if score >= threshold]
        f1 = 2 * sum(kept) / (len(kept) + number)
        if f1 > best.f1:
            best = Operating(threshold, f1, sum(kept) / len(kept), sum(kept) / number)
    return best


@pytest.mark.parametrize("seed", SEEDS)
def test_the_operating_point_is_the_best_of_all_scores(seed: int) -> None:
    given, found = drawn(seed)
    assert analysis.operating_point(given, found) == pytest.approx(f1_by_loop(given, found))


def test_detections_of_one_score_are_taken_together() -> None:
    truth = dataset([1, 2], [7], [*objects(1, 7, HERE), *objects(2, 7, HERE)])
    # One right and one wrong of 0.5: with both, 2 x 2 / (3 + 2); the right one of 0.9 alone, 2 x 1 / (1 + 2).
    found = results((1, 7, HERE, 0.9), (2, 7, HERE, 0.5), (1, 7, AWAY, 0.5))
    assert analysis.operating_point(truth, found) == pytest.approx((0.5, 0.8, 2 / 3, 1))


def test_nothing_found_and_nothing_to_find() -> None:
    truth = dataset([1], [7], objects(1, 7, HERE))
    assert analysis.operating_point(truth, results()) == (1, 0, 0, 0)
    assert analysis.operating_point(dataset([1], [7], []), results((1, 7, HERE, 0.5))) == (1, 0, 0, 0)
    assert analysis.curve(dataset([1], [7], []), results((1, 7, HERE, 0.5))).tolist() == [0] * 101
    assert analysis.error_kinds(truth, results()).counts["Miss"] == 1
    assert analysis.calibration(truth, results()).bins == []


def kinds(*detections: tuple[int, int, tuple[float, float, float, float], float]) -> dict[str, int]:
    """What there is besides a cell found in image 1, an undetected dog in image 2."""
    truth = dataset([1, 2], [7, 9], [*objects(1, 7, HERE), *objects(2, 9, HERE)])
    found = analysis.error_kinds(truth, results((1, 7, HERE, 0.9), *detections))
    return {kind: count for kind, count in found.counts.items() if count}


def test_each_kind_of_error() -> None:
    assert kinds() == {"Miss": 1}
    assert kinds((2, 7, HERE, 0.8)) == {"Cls": 1}
    assert kinds((2, 9, NEAR, 0.8)) == {"Loc": 1}
    assert kinds((2, 7, NEAR, 0.8)) == {"Both": 1, "Miss": 1}
    assert kinds((1, 7, HERE, 0.8)) == {"Dupe": 1, "Miss": 1}
    assert kinds((1, 7, AWAY, 0.8)) == {"Bkg": 1, "Miss": 1}


def test_what_mending_a_kind_would_gain() -> None:
    truth = dataset([1], [7, 9], [*objects(1, 7, HERE), *objects(1, 9, AWAY)])
    # The cell is found, the dog is taken for one: AP50 is the mean of 100 and 0 %, and would be 100 %.
    found = analysis.error_kinds(truth, results((1, 7, HERE, 0.9), (1, 7, AWAY, 0.8)))
    assert found.ap50 == pytest.approx(0.5)
    assert found.gains["Cls"] == pytest.approx(0.5)
    assert found.gains["Bkg"] == found.gains["Loc"] == 0


def confusion_by_loop(truth: Dataset, found: Results, score: float) -> npt.NDArray[np.int64]:
    """Of boxes that coincide or do not touch: each detection, the best first, takes a free object."""
    ids = sorted(item.id for item in truth.categories)
    counts = np.zeros((len(ids) + 1, len(ids) + 1), np.int64)
    free = list(truth.annotations)
    for row in np.argsort(-found.scores):
        if found.scores[row] < score:
            continue
        column = ids.index(int(found.category_ids[row]))
        there = [
            item
            for item in free
            if item.image_id == found.image_ids[row] and list(item.bbox) == found.boxes_xywh[row].tolist()
        ]
        counts[ids.index(there[0].category_id) if there else -1, column] += 1
        free = [item for item in free if not there or item is not there[0]]
    for item in free:
        counts[ids.index(item.category_id), -1] += 1
    return counts


def test_confusion_is_that_of_a_plain_loop() -> None:
    truth = dataset([1, 2], [9, -3], [*objects(1, 9, HERE, AWAY), *objects(2, -3, HERE)])
    found = results((1, 9, HERE, 0.9), (1, -3, AWAY, 0.8), (2, 9, AWAY, 0.7), (2, -3, HERE, 0.2))
    for score in (0.1, 0.5, 0.85):
        confusion = analysis.confusion(truth, found, score=score)
        assert confusion.category_ids == [-3, 9]
        assert confusion.counts.tolist() == confusion_by_loop(truth, found, score).tolist()


def test_calibration_is_the_mean_gap() -> None:
    ids = list(range(1, 11))
    truth = dataset(ids, [7], [item for id_ in ids for item in objects(id_, 7, HERE)])
    # Ten of score 0.95, eight of them right; ten of 0.15, two of them right.
    sure = [(id_, 7, HERE if id_ <= 8 else AWAY, 0.95) for id_ in ids]
    unsure = [(id_, 7, HERE if id_ >= 9 else AWAY, 0.15) for id_ in ids]
    found = analysis.calibration(truth, results(*sure, *unsure))
    assert found.bins == [pytest.approx((10, 0.15, 0.2)), pytest.approx((10, 0.95, 0.8))]
    assert found.error == pytest.approx((0.05 + 0.15) / 2)


def test_suspect_labels() -> None:
    truth = dataset([1, 2], [7, 9], [*objects(1, 7, AWAY), *objects(1, 7, HERE), *objects(2, 9, HERE)])
    found = results((1, 9, HERE, 0.9), (2, 9, HERE, 0.8), (2, 7, AWAY, 0.7), (1, 7, AWAY, 0.95), (2, 7, AWAY, 0.3))
    # Annotated as another category, and not annotated; what is right or unsure is no suspect.
    suspects = analysis.suspects(truth, found, score=0.5)
    assert [item[:3] for item in suspects] == [(1, 0, 1), (2, 2, None)]
    assert [item.score for item in suspects] == pytest.approx([0.9, 0.7])


def test_detections_by_score() -> None:
    found = results((1, 7, HERE, 0.9), (1, 7, AWAY, 0.5), (2, 7, HERE, 0.4))
    assert analysis.at_least(found, 0.5).scores.tolist() == [0.9, 0.5]
    assert len(analysis.at_least(found, 1)) == 0
