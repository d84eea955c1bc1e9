"""The whole recipe on a few images: the AP of every step is pycocotools', and only what may be submitted comes out."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from datasets import results
from ensemble import pipeline
from ensemble.pipeline import Fused, Images, Step
from ensemble.recipe import FuseNms, Nms, NoSuppression, Recipe, SoftNms, Wbf
from ensemble.recipe import Model as Named
from tests.ensemble.files import EMPTY, SIZES, Record, annotated, oracle, predicted, unannotated, write

PAPER = Recipe()
# Nothing is suppressed, and one model alone is not fused: only what may not be submitted goes.
AS_IT_IS = Recipe(suppress=NoSuppression())


@pytest.fixture
def val(tmp_path: Path) -> Images:
    return pipeline.read_images(write(tmp_path / "val.json", annotated()))


@pytest.fixture
def bare(tmp_path: Path) -> Images:
    return pipeline.read_images(write(tmp_path / "test.json", unannotated()))


def run(images: Images, chosen: Recipe, *models: Any) -> Fused:
    """The models' records are written as 0.json, 1.json, ... beside the annotation file."""
    paths = [write(images.path.parent / f"{at}.json", records) for at, records in enumerate(models)]
    return pipeline.run(pipeline.read_models(paths, images), images, chosen)


def records_of(fused: Fused, folder: Path) -> list[Record]:
    """What is written, read by the standard library."""
    results.write(folder / "out.json", fused.results)
    found: list[Record] = json.loads((folder / "out.json").read_bytes())
    return found


def detection(box: list[float], score: float = 0.5, image_id: int = 7, category_id: int = 1) -> Record:
    return {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}


def iou(a: list[float], b: list[float]) -> float:
    """Of boxes [x, y, width, height]."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def soft_nms(records: list[Record], sigma: float, threshold: float) -> list[Record]:
    """Class-agnostic and gaussian, box by box: the formula of the paper."""
    kept = []
    for image_id in SIZES:
        left = [dict(item) for item in records if item["image_id"] == image_id]
        while left:
            best = max(left, key=lambda item: float(item["score"]))
            left.remove(best)
            for item in left:
                item["score"] *= math.exp(-(iou(item["bbox"], best["bbox"]) ** 2) / sigma)
            kept.append(best)
    return [item for item in kept if item["score"] >= threshold]


def best(records: list[Record], count: int) -> list[Record]:
    """The `count` best of each image, with six decimals of their scores."""
    falling = sorted(records, key=lambda item: -item["score"])
    of_each = [[item for item in falling if item["image_id"] == image_id][:count] for image_id in SIZES]
    return [{**item, "score": round(item["score"], 6)} for items in of_each for item in items]


@pytest.mark.parametrize("count", [100, 3])
def test_the_ap_of_every_step_is_that_of_pycocotools(count: int, val: Images, tmp_path: Path) -> None:
    models = [predicted(1), predicted(2, noise=6)]
    chosen = Recipe(suppress=SoftNms(sigma=0.3, score_threshold=0.05), detections_per_image=count)

    def expected(records: list[Record]) -> Any:
        return pytest.approx(oracle(val.path, write(tmp_path / "oracle.json", records)), abs=1e-12)

    done = run(val, chosen, *models)

    decayed = [soft_nms(records, sigma=0.3, threshold=0.05) for records in models]
    assert [(step.name, step.detections) for step in done.steps] == [
        (str(tmp_path / "0.json"), 48),
        ("  after suppression", len(decayed[0])),
        (str(tmp_path / "1.json"), 48),
        ("  after suppression", len(decayed[1])),
        ("fused", len(done.results)),
    ]
    stages = [models[0], decayed[0], models[1], decayed[1], records_of(done, tmp_path)]
    for step, records in zip(done.steps, stages, strict=True):
        assert (step.ap, step.ap50) == expected(records), step.name
    # Every step made a difference, so that none was measured in place of another.
    assert len({step.ap for step in done.steps}) == 5


def test_without_objects_every_step_has_its_number_of_detections_only(bare: Images, tmp_path: Path) -> None:
    done = run(bare, AS_IT_IS, predicted(1), [])

    assert done.steps == [
        Step(str(tmp_path / "0.json"), 48),
        Step("  after suppression", 48),
        Step(str(tmp_path / "1.json"), 0),
        Step("  after suppression", 0),
        Step("fused", len(done.results)),
    ]


def test_the_results_do_not_depend_on_whether_there_are_objects(val: Images, bare: Images, tmp_path: Path) -> None:
    models = [predicted(1), predicted(2)]

    assert records_of(run(val, PAPER, *models), tmp_path) == records_of(run(bare, PAPER, *models), tmp_path)


def test_with_crowds_only_there_is_no_ap(tmp_path: Path) -> None:
    content = annotated()
    content["annotations"] = [item | {"iscrowd": 1} for item in content["annotations"]]
    images = pipeline.read_images(write(tmp_path / "val.json", content))

    assert {(step.ap, step.ap50) for step in run(images, PAPER, predicted(1)).steps} == {(None, None)}


def test_boxes_are_clipped_to_their_image_and_rounded_to_a_thousandth(bare: Images, tmp_path: Path) -> None:
    # Image 7 is 60 x 80 px.
    boxes = {
        0.9: ([-5.5, -7.0, 20.0, 30.0], [0.0, 0.0, 14.5, 23.0]),
        0.8: ([50.0, 70.0, 100.0, 100.0], [50.0, 70.0, 10.0, 10.0]),
        0.7: ([-10.0, -10.0, 1000.0, 1000.0], [0.0, 0.0, 60.0, 80.0]),
        0.6: ([1 / 3, 2 / 3, 10.0, 10.0], [0.333, 0.667, 10.0, 10.0]),
        # From 0.1004 to 0.3008, as 0.1 and 0.301: their difference in floats is 0.20099999999999998.
        0.5: ([0.1004, 0.0, 0.2004, 10.0], [0.1, 0.0, 0.201, 10.0]),
        0.4: ([-0.0, 1.0, 10.0, 10.0], [0.0, 1.0, 10.0, 10.0]),
    }
    done = run(bare, AS_IT_IS, [detection(found, score) for score, (found, _) in boxes.items()])

    found = records_of(done, tmp_path)
    assert {item["score"]: item["bbox"] for item in found} == {score: box for score, (_, box) in boxes.items()}
    assert b"-0.0" not in (tmp_path / "out.json").read_bytes()


@pytest.mark.parametrize(
    "box",
    [
        [60.0, 10.0, 5.0, 5.0],
        [-5.0, 10.0, 5.0, 5.0],
        [10.0, 90.0, 5.0, 5.0],
        [10.0, 10.0, 0.0, 5.0],
        [10.0, 10.0, 5.0, 0.0],
        # Both sides are 10.000 then.
        [10.0001, 10.0, 0.0003, 5.0],
        [59.9996, 10.0, 5.0, 5.0],
    ],
)
def test_a_box_without_area_in_its_image_is_left_out(box: list[float], bare: Images, tmp_path: Path) -> None:
    good = detection([10.0, 10.0, 5.0, 5.0], score=0.25)

    assert records_of(run(bare, AS_IT_IS, [detection(box), good]), tmp_path) == [good]


def test_scores_have_six_decimals(bare: Images, tmp_path: Path) -> None:
    done = run(bare, AS_IT_IS, [detection([10.0, 10.0, 5.0, 5.0], score) for score in (2 / 3, 4e-7, 6e-7, -0.0)])

    assert [item["score"] for item in records_of(done, tmp_path)] == [0.666667, 1e-06, 0, 0]
    assert b"-0.0" not in (tmp_path / "out.json").read_bytes()


def test_scores_that_are_equal_as_written_stand_in_the_order_of_ties(bare: Images, tmp_path: Path) -> None:
    better, worse = detection([5.0, 5.0, 5.0, 5.0], 0.5000001, category_id=3), detection([9.0, 5.0, 5.0, 5.0], 0.5)

    found = records_of(run(bare, AS_IT_IS, [better, worse]), tmp_path)

    assert [(item["category_id"], item["score"]) for item in found] == [(1, 0.5), (3, 0.5)]


def test_the_best_of_each_image_stay_whatever_their_category(bare: Images, tmp_path: Path) -> None:
    many = [
        detection([float(at % 40), 10.0, 5.0, 5.0], (at + 1) / 1000, image_id, category_id=(1, 3, 18)[at % 3])
        for image_id in (7, 12)
        for at in range(150)
    ]

    found = records_of(run(bare, AS_IT_IS, many), tmp_path)
    assert [(item["image_id"], item["score"]) for item in found] == [
        (image_id, (150 - at) / 1000) for image_id in (7, 12) for at in range(100)
    ]
    few = records_of(run(bare, Recipe(suppress=NoSuppression(), detections_per_image=2), many), tmp_path)
    assert [(item["image_id"], item["score"]) for item in few] == [(7, 0.15), (7, 0.149), (12, 0.15), (12, 0.149)]


def test_boxes_that_go_do_not_take_a_place_of_those_that_stay(bare: Images, tmp_path: Path) -> None:
    outside = [detection([100.0, 10.0, 5.0, 5.0], 0.9)] * 100
    good = detection([10.0, 10.0, 5.0, 5.0], 0.25)

    assert records_of(run(bare, AS_IT_IS, [*outside, good]), tmp_path) == [good]


def test_a_model_with_weight_0_is_left_out_and_said_so(bare: Images, tmp_path: Path) -> None:
    entries = [Named(results=name, weight=weight) for name, weight in (("a", 1), ("b", 0), ("c", 0.5))]
    models = [predicted(1), predicted(2), predicted(3)]

    done = run(bare, Recipe(models=tuple(entries)), *models)

    assert f"{tmp_path / '1.json'}: weight 0, left out" in done.notes
    without = run(bare, Recipe(models=(entries[0], entries[2])), models[0], models[2])
    assert records_of(done, tmp_path) == records_of(without, tmp_path)
    assert not any("left out" in note for note in without.notes)


def test_one_model_alone_is_suppressed_and_not_fused(bare: Images, tmp_path: Path) -> None:
    # Fusion would take none of it.
    chosen = Recipe(suppress=Nms(iou_threshold=1), fuse=Wbf(iou_threshold=0, skip_threshold=1))

    done = run(bare, chosen, predicted(1))

    assert records_of(done, tmp_path) == sorted(predicted(1), key=lambda item: (item["image_id"], -item["score"]))
    assert "one model alone: nothing to fuse" in done.notes


def test_notes_tell_of_empty_models_and_of_images_without_detections(bare: Images, tmp_path: Path) -> None:
    done = run(bare, PAPER, predicted(1), [])

    assert done.notes == [f"{tmp_path / '1.json'}: no detection at all", "1 of 5 images without a detection"]
    assert EMPTY not in done.results.image_ids


def test_no_detection_in_any_model_makes_an_empty_list(val: Images, tmp_path: Path) -> None:
    for fuse in (Wbf(), FuseNms()):
        done = run(val, Recipe(fuse=fuse), [], [])

        assert records_of(done, tmp_path) == []
        assert {(step.detections, step.ap, step.ap50) for step in done.steps} == {(0, 0, 0)}
        assert done.notes[-1] == "5 of 5 images without a detection"


def test_progress_goes_from_none_to_all(bare: Images) -> None:
    paths = [write(bare.path.parent / f"{at}.json", predicted(at)) for at in (0, 1)]
    calls: list[tuple[str, int, int]] = []

    pipeline.run(pipeline.read_models(paths, bare), bare, PAPER, progress=lambda *call: calls.append(call))

    assert calls == [("suppressing", 0, 3), ("suppressing", 1, 3), ("fusing", 2, 3), ("fusing", 3, 3)]


def test_a_table_has_aps_in_percent_where_there_are_any() -> None:
    assert pipeline.table([Step("a.json", 1234, 0.12345, 1), Step("fused", 7, None, None)]) == [
        "        detections     AP   AP50",
        "a.json       1,234   12.3  100.0",
        "fused            7      -      -",
    ]
    assert pipeline.table([Step("a.json", 1234), Step("fused", 7)]) == [
        "        detections",
        "a.json       1,234",
        "fused            7",
    ]
