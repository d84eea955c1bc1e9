"""The steps measured: pycocotools' AP, the best single model, and the paired difference from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets import comparison, results
from ensemble.recipe import Model, Nms, NoSuppression, Recipe
from ensemble.report import measures
from ensemble.report.measures import Measures, names
from tests.ensemble.files import annotated, oracle, write
from tests.ensemble.report import files


def measured(folder: Path, chosen: Recipe, **options: str) -> Measures:
    images, paths, done = files.fused(folder, chosen, **options)
    assert images.truth is not None
    return measures.measure(images.truth, paths, done, chosen)


def test_every_step_has_pycocotools_ap(tmp_path: Path) -> None:
    found = measured(files.folder(tmp_path), Recipe())
    assert [step.name for step in found.steps] == ["a", "a, suppressed", "b", "b, suppressed", "fusion"]
    for step in found.steps:
        results.write(tmp_path / "step.json", step.results)
        expected = oracle(tmp_path / "val.json", tmp_path / "step.json")
        assert (step.evaluation.ap, step.evaluation.ap50) == pytest.approx(expected, abs=1e-12)
        assert step.interval is not None
        assert step.interval.low <= expected[0] <= step.interval.high


def test_a_model_stands_for_its_better_step(tmp_path: Path) -> None:
    # NMS at an IoU of 0 drops whatever overlaps a better box.
    ruined = measured(files.folder(tmp_path), Recipe(suppress=Nms(iou_threshold=0)))
    assert [item.best.name for item in ruined.members] == ["a", "b"]
    aps = {step.name: step.evaluation.ap or 0 for step in ruined.steps}
    assert ruined.best.name == max("ab", key=aps.__getitem__)
    # Of equal ones the suppressed one, which is what is fused.
    same = measured(tmp_path, Recipe(suppress=NoSuppression()))
    assert [item.best.name for item in same.members] == ["a, suppressed", "b, suppressed"]


def test_the_gain_is_paired_with_the_best_single_model(tmp_path: Path) -> None:
    found = measured(files.folder(tmp_path), Recipe())
    images, *_ = files.fused(tmp_path, Recipe())
    assert images.truth is not None
    fused, best = (comparison.measured(images.truth, [item.results]) for item in (found.fused, found.best))
    gain = found.gain()
    assert gain == comparison.difference(fused, best)
    assert gain.difference == pytest.approx((found.fused.evaluation.ap or 0) - (found.best.evaluation.ap or 0))


def test_one_image_with_objects_tells_nothing_of_others(tmp_path: Path) -> None:
    content = annotated()
    alone = [item for item in content["annotations"] if item["image_id"] == 7]
    write(files.folder(tmp_path) / "one.json", {**content, "annotations": alone})
    found = measured(tmp_path, Recipe(), truth="one.json")
    assert found.gain() is None
    assert {step.interval for step in found.steps} == {None}
    assert found.fused.evaluation.ap is not None


def test_weights_are_those_of_the_recipe(tmp_path: Path) -> None:
    models = (Model(results="a_val.json", weight=0.5), Model(results="b_val.json", weight=0))
    found = measured(files.folder(tmp_path), Recipe(models=models))
    assert [(item.name, item.weight) for item in found.members] == [("a", 0.5), ("b", 0)]


def test_names_tell_files_apart() -> None:
    assert names([Path("x/r50_val.json"), Path("x/r101-val2017.json.gz")]) == ["r50", "r101"]
    assert names([Path("r50/val.json"), Path("r101/val.json")]) == ["r50/val", "r101/val"]
    assert names([Path("/a/r50_val.json"), Path("/a/r50_test.json")]) == ["/a/r50_val.json", "/a/r50_test.json"]
    assert names([Path("_val.json")]) == ["_val"]
