"""Which detections are measured, on what; and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets import results as results_files
from datasets.errors import DataError
from tests.train.page.made_run import DETECTIONS, keep, results, write_data
from train.page import measured
from train.page.measured import Files
from train.run import best_results


def test_kept_detections_are_measured(tmp_path: Path) -> None:
    data, run = write_data(tmp_path / "data"), tmp_path / "run"
    run.mkdir()
    keep(run, data, results(DETECTIONS))
    files = measured.kept_by(run)
    assert files is not None
    assert (files.epoch, files.images, files.trained_objects) == (2, data.images, {1: 9, 3: 4})
    found = measured.measure(files, [1, 3])
    # Of four objects one is found, by the last of four detections: F1 is 2 x 1 / (4 + 4).
    assert (found.at.score, found.at.f1) == (0.5, 0.25)
    # Category 1 has three objects; its second detection finds one exactly, so that precision is 1/2 up to a recall of
    # 1/3, at 34 of 101 points. Category 3 has nothing right.
    assert found.evaluation.ap == pytest.approx((34 / 101 / 2 + 0) / 2)
    assert found.interval is not None


def test_categories_that_were_not_trained_are_left_out(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    path = tmp_path / "found.json"
    results_files.write(path, results(DETECTIONS[:1]))
    found = measured.measure(Files(path, data.annotations, None), [1])
    assert (list(found.names), len(found.truth.annotations)) == ([1], 3)
    with pytest.raises(DataError, match="expected categories that the run was trained on, found none of them"):
        measured.measure(Files(path, data.annotations, None), [77])


def test_images_that_were_left_out_stay_out(tmp_path: Path) -> None:
    data, run = write_data(tmp_path / "data"), tmp_path / "run"
    run.mkdir()
    keep(run, data, results(DETECTIONS[:2]), skip_bad=True, skipped=(8,))
    files = measured.kept_by(run)
    assert files is not None
    assert [image.id for image in measured.measure(files, [1, 3]).truth.images] == [5]


def test_data_that_are_no_longer_there(tmp_path: Path) -> None:
    data, run = write_data(tmp_path / "data"), tmp_path / "run"
    run.mkdir()
    assert measured.kept_by(run) is None
    keep(run, data, results(DETECTIONS))
    text = data.annotations.read_text()
    data.annotations.write_text(f"{text} ")
    with pytest.raises(DataError, match=r"val\.json: expected the annotation file that .* found another$"):
        measured.kept_by(run)
    data.annotations.unlink()
    with pytest.raises(DataError, match=r"val\.json: expected the annotation file that .* found none$"):
        measured.kept_by(run)
    # Elsewhere they are as good.
    moved = tmp_path / "moved.json"
    moved.write_text(text)
    files = measured.named(run, None, moved, None)
    assert (files.results, files.annotations, files.images) == (run / best_results.RESULTS, moved, None)
    moved.write_text("{}")
    with pytest.raises(DataError, match="was validated on, found another; --results names predictions"):
        measured.named(run, None, moved, None)


def test_a_run_that_kept_none_needs_results(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    with pytest.raises(DataError, match=r"expected val_results\.json, .* found none; --results names predictions"):
        measured.named(tmp_path, None, data.annotations, None)
    assert measured.named(tmp_path, tmp_path / "r.json", data.annotations, None).trained_objects is None


def test_results_of_other_images_are_refused(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    path = tmp_path / "found.json"
    results_files.write(path, results([(99, 1, 0.5, (0, 0, 1, 1))]))
    with pytest.raises(DataError, match=r"found\.json: 1 id\(s\) that .*val\.json does not have"):
        measured.measure(Files(path, data.annotations, None), [1, 3])
