"""Average precision and recall: pycocotools is the oracle, and a few cases are computed by hand."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from datasets import evaluation
from datasets.errors import DataError
from datasets.evaluation import METRICS, Evaluation, evaluate
from datasets.records import Annotation, Category, Dataset, Image
from datasets.results import Results

Detection = tuple[int, int, tuple[float, float, float, float], float]  # image id, category id, box, score
SIDE = 300
# pycocotools adds 2e-16 to a denominator.
ALL = pytest.approx(1)


def objects(image_id: int, category_id: int, *boxes: tuple[float, float, float, float], crowd: int = 0) -> list[Any]:
    """Annotations of boxes; the area is the box's, and they have no segmentation."""
    return [
        Annotation(id=0, image_id=image_id, category_id=category_id, bbox=box, area=box[2] * box[3], iscrowd=crowd)
        for box in boxes
    ]


def dataset(image_ids: list[int], category_ids: list[int], annotations: list[Annotation]) -> Dataset:
    # Categories of the same name: they must be told apart by their ids.
    return Dataset(
        info={},
        licenses=[],
        categories=[Category(id=id_, name="same") for id_ in category_ids],
        images=[Image(id=id_, file_name="a.jpg", width=SIDE, height=SIDE) for id_ in image_ids],
        annotations=annotations,
    )


def results(*detections: Detection) -> Results:
    image_ids, category_ids, boxes, scores = zip(*detections, strict=True) if detections else ((), (), (), ())
    return Results(
        np.array(image_ids, dtype=np.int64),
        np.array(category_ids, dtype=np.int64),
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        np.array(scores, dtype=np.float64),
    )


def mean(values: npt.NDArray[np.float64]) -> float | None:
    return float(values[values > -1].mean()) if (values > -1).any() else None


def oracle(given: Dataset, found: Results, max_dets: int = 100) -> Evaluation:
    """The same by pycocotools."""
    # Numbered from 1: pycocotools takes a match with the annotation 0 for none.
    truth = [
        {
            "id": at,
            "image_id": item.image_id,
            "category_id": item.category_id,
            "bbox": list(item.bbox),
            "area": item.area,
            "iscrowd": item.iscrowd,
        }
        for at, item in enumerate(given.annotations, 1)
    ]
    # What loadRes makes of a results file; it fails where that is empty.
    columns = [getattr(found, name).tolist() for name in ("image_ids", "category_ids", "boxes_xywh", "scores")]
    detected = [
        {
            "id": at,
            "image_id": image_id,
            "category_id": category_id,
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": 0,
            "score": score,
        }
        for at, (image_id, category_id, box, score) in enumerate(zip(*columns, strict=True), 1)
    ]
    sides = []
    with contextlib.redirect_stdout(io.StringIO()):
        for annotations in (truth, detected):
            side = COCO()
            side.dataset = {
                "images": [{"id": item.id} for item in given.images],
                "categories": [{"id": item.id, "name": item.name} for item in given.categories],
                "annotations": annotations,
            }
            side.createIndex()
            sides.append(side)
        coco = COCOeval(*sides, "bbox")
        coco.params.maxDets = [1, 10, max_dets]
        coco.evaluate()
        coco.accumulate()
        # Its summary is of 100 detections alone, and fails for another number.
        coco.params.maxDets[2] = 100
        coco.eval["params"] = coco.params
        coco.summarize()
    numbers: dict[str, Any] = {
        key: None if value == -1 else float(value) for key, value in zip(METRICS, coco.stats, strict=True)
    }
    precision = coco.eval["precision"][..., 0, 2]
    ids = sorted(item.id for item in given.categories)
    return Evaluation(
        **numbers, per_category={id_: mean(precision[:, :, at]) for at, id_ in enumerate(ids)}, max_dets=max_dets
    )


def drawn(seed: int) -> tuple[Dataset, Results]:
    """Objects and detections near and far from them, with everything that may make a difference.

    Ids of any sign and in any order, crowds, areas that are not the box's, a category and maybe images without objects,
    boxes of no size, images without detections and with hundreds, and for odd seeds many equal scores and corners.
    """
    rng = np.random.default_rng(seed)
    digits = 1 if seed % 2 else 9
    image_ids = rng.choice(np.arange(-20, 20), rng.integers(2, 8), replace=False).tolist()
    category_ids = rng.choice(np.arange(-20, 20), rng.integers(2, 5), replace=False).tolist()
    annotations = []
    for at in range(int(rng.integers(1, 40))):
        width, height = np.round(rng.choice([10, 50, 200]) * rng.random(2), digits) + 0.5
        x, y = np.round(rng.random(2) * 80, digits)
        annotations.append(
            Annotation(
                id=at,
                image_id=int(rng.choice(image_ids)),
                category_id=int(rng.choice(category_ids[1:])),
                bbox=(x, y, width, height),
                area=float(width * height * rng.choice([0.5, 1])),
                iscrowd=int(rng.random() < 0.2),
            )
        )
    detections = []
    for _ in range(int(rng.choice([5, 100, 1500]))):
        near = annotations[rng.integers(len(annotations))]
        category = near.category_id if rng.random() < 0.8 else int(rng.choice(category_ids))
        box = np.array(near.bbox) + np.round(rng.normal(0, rng.choice([0, 2, 20]), 4), digits)
        x, y, width, height = np.maximum(box, [-5, -5, 0, 0]).tolist()
        detections.append((near.image_id, category, (x, y, width, height), float(np.round(rng.random(), digits))))
    return dataset(image_ids, category_ids, annotations), results(*detections)


def assert_equal(found: Evaluation, expected: Evaluation) -> None:
    assert found.numbers() == pytest.approx(expected.numbers(), abs=1e-12)
    assert found.per_category == pytest.approx(expected.per_category, abs=1e-12)


@pytest.mark.parametrize("seed", range(40))
def test_all_numbers_are_those_of_pycocotools(seed: int) -> None:
    given, found = drawn(seed)

    assert_equal(evaluate(given, found), oracle(given, found))


@pytest.mark.parametrize("max_dets", [10, 20, 300])
def test_more_or_fewer_detections_count_where_they_are_asked_for(max_dets: int) -> None:
    given, found = drawn(4)
    expected = oracle(given, found, max_dets)
    assert_equal(evaluate(given, found, max_dets=max_dets), expected)
    assert f"ar{max_dets}" in expected.numbers()


def test_detections_beyond_a_hundred_count_where_they_are_asked_for() -> None:
    """A picture of 150 objects, all found."""
    boxes = [(float(at), 0.0, 1.0, 1.0) for at in range(150)]
    given = dataset([1], [7], objects(1, 7, *boxes))
    found = results(*((1, 7, box, 1 - at / 1000) for at, box in enumerate(boxes)))
    assert evaluate(given, found).ar100 == pytest.approx(100 / 150)
    assert evaluate(given, found, max_dets=150).ar100 == pytest.approx(1)
    assert evaluate(given, found, max_dets=1).ar10 == pytest.approx(1 / 150)


@pytest.mark.parametrize("seed", [1, 7, 9])
def test_equal_scores_in_any_order_count_as_they_do_for_pycocotools(seed: int) -> None:
    given, found = drawn(seed)
    assert len(np.unique(found.scores)) < len(found)
    order = np.random.default_rng(seed).permutation(len(found))
    other = Results(found.image_ids[order], found.category_ids[order], found.boxes_xywh[order], found.scores[order])

    assert_equal(evaluate(given, other), oracle(given, other))


def test_two_objects_and_three_detections_by_hand() -> None:
    given = dataset([1, 2], [7], objects(1, 7, (0, 0, 10, 10), (50, 50, 10, 10)))
    right = (1, 7, (0, 0, 10, 10), 0.9)
    wrong = (1, 7, (100, 100, 10, 10), 0.8)
    # 10 * 6.2 of 10 * 10 px: right at the thresholds 0.50, 0.55 and 0.60, three of ten.
    short = (1, 7, (50, 50, 10, 6.2), 0.7)

    found = evaluate(given, results(short, right, wrong))

    # Of the recalls 0.00, 0.01, ..., 1.00, those up to 1/2 have precision 1, the others 2/3 or, without `short`, 0.
    with_short, without = (51 + 50 * 2 / 3) / 101, 51 / 101
    ap, ar = 0.3 * with_short + 0.7 * without, 0.3 * 1 + 0.7 * 1 / 2
    assert found.numbers() == pytest.approx(
        {"ap": ap, "ap50": with_short, "ap75": without, "ap_small": ap, "ap_medium": None, "ap_large": None}
        | {"ar1": 1 / 2, "ar10": ar, "ar100": ar, "ar_small": ar, "ar_medium": None, "ar_large": None}
    )
    assert found.per_category == {7: pytest.approx(ap)}


@pytest.mark.parametrize(("rank", "ap"), [(100, 1 / 100), (101, 0)])
def test_only_the_hundred_best_of_a_category_in_an_image_count(rank: int, ap: float) -> None:
    given = dataset([1], [7], objects(1, 7, (0, 0, 10, 10)))
    detections = [(1, 7, (100.0, 100.0, 10.0, 10.0), 1 - at / 1000) for at in range(150)]
    detections[rank - 1] = (1, 7, (0, 0, 10, 10), detections[rank - 1][3])

    assert evaluate(given, results(*detections)).ap == pytest.approx(ap)


def test_a_crowd_makes_detections_in_it_neither_right_nor_wrong() -> None:
    crowd = objects(1, 7, (100, 0, 200, 200), crowd=1)
    given = dataset([1], [7], objects(1, 7, (0, 0, 10, 10)) + crowd)
    inside = [(1, 7, (100.0 + at, 0.0, 20.0, 20.0), 0.9) for at in range(20)]

    assert evaluate(given, results(*inside, (1, 7, (0, 0, 10, 10), 0.5))).ap == ALL
    assert evaluate(dataset([1], [7], crowd), results(*inside)).ap is None


def test_a_category_without_objects_has_no_ap_and_takes_no_part_in_the_mean() -> None:
    given = dataset([1], [-3, 7], objects(1, 7, (0, 0, 10, 10)))

    found = evaluate(given, results((1, 7, (0, 0, 10, 10), 0.5), (1, -3, (0, 0, 10, 10), 0.9)))

    assert found.ap == ALL
    assert found.per_category == {-3: None, 7: ALL}


def test_no_detection_at_all_gives_0() -> None:
    given = dataset([1, 2], [7, 8], objects(1, 7, (0, 0, 10, 10)))

    found = evaluate(given, results())

    assert (found.ap, found.ap_small, found.ap_large, found.ar100) == (0, 0, None, 0)
    assert found.per_category == {7: 0, 8: None}
    assert_equal(found, oracle(given, results()))


@pytest.mark.parametrize("detections", [[], [(1, 7, (0.0, 0.0, 10.0, 10.0), 0.5)]])
def test_a_dataset_without_objects_gives_none(detections: list[Detection]) -> None:
    found = evaluate(dataset([1], [7], []), results(*detections))

    assert set(found.numbers().values()) == {None}
    assert found.per_category == {7: None}


def test_ids_up_to_the_largest_are_told_apart() -> None:
    first, second = 2**53 - 1, 2**53
    given = dataset([second, first], [second, first], objects(second, second, (0, 0, 10, 10)))

    found = evaluate(given, results((first, first, (0, 0, 10, 10), 0.9), (second, second, (0, 0, 10, 10), 0.5)))

    assert found.per_category == {first: None, second: ALL}


def test_ids_that_the_dataset_lacks_are_listed_with_their_first_places() -> None:
    given = dataset([1], [7], objects(1, 7, (0, 0, 10, 10)))
    box = (0.0, 0.0, 1.0, 1.0)
    found = results((1, 7, box, 0.5), (9, 7, box, 0.5), (5, 8, box, 0.5), (9, 8, box, 0.5), (9, 7, box, 0.5))

    with pytest.raises(DataError) as caught:
        evaluate(given, found, name="a.json")

    assert str(caught.value) == "\n".join(
        [
            "a.json: 3 id(s) that the annotation file does not have",
            "  $[1].image_id: expected the id of an image, found 9 (3 detection(s))",
            "  $[2].image_id: expected the id of an image, found 5 (1 detection(s))",
            "  $[2].category_id: expected the id of a category, found 8 (2 detection(s))",
        ]
    )


def test_many_unknown_ids_are_twenty_and_a_count() -> None:
    given = dataset([0], [7], objects(0, 7, (0, 0, 10, 10)))

    with pytest.raises(DataError, match=re.escape("... and 30 more")):
        evaluate(given, results(*((1 + at, 7, (0.0, 0.0, 1.0, 1.0), 0.5) for at in range(50))))


def test_nothing_is_printed_or_written_or_changed(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given, found = drawn(2)
    scores = found.scores.copy()

    evaluate(given, found)

    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    assert np.array_equal(found.scores, scores)


def test_tables_are_aligned_and_in_percent() -> None:
    given = dataset([1], [7, 8], objects(1, 7, (0, 0, 10, 10), (50, 50, 10, 10)))
    found = evaluate(given, results((1, 7, (0, 0, 10, 10), 0.5)))

    # 51 of the 101 recalls are reached: 50.495 %.
    assert evaluation.summary_table(found) == [
        "     AP   AP50   AP75    APs    APm    APl",
        "   50.5   50.5   50.5   50.5      -      -",
        "    AR1   AR10  AR100    ARs    ARm    ARl",
        "   50.0   50.0   50.0   50.0      -      -",
    ]
    assert evaluation.categories_table(found, given) == [
        "category                   objects     AP",
        "same                             2   50.5",
        "same                             0      -",
    ]
