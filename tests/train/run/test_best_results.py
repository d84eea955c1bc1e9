"""The kept detections of the best epoch: two files that belong together, or an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datasets import result_reading
from datasets.digests import sha256_file
from datasets.errors import DataError
from datasets.results import Results
from train.run import best_results
from train.run.best_results import MeasuredOn

ON = MeasuredOn(annotations="/data/val.json", annotations_sha256="ab", images="/data/val", trained_objects={7: 3})


def found(score: float) -> Results:
    one = np.ones(1, dtype=np.int64)
    return Results(image_ids=one, category_ids=7 * one, boxes_xywh=np.ones((1, 4)), scores=np.array([score]))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    best_results.write(tmp_path, ON, found(0.25), 1)
    best_results.write(tmp_path, ON, found(0.5), 3)
    read = best_results.read_measured_on(tmp_path)
    assert read is not None
    assert (read.epoch, read.annotations, read.trained_objects) == (3, "/data/val.json", {7: 3})
    assert read.results_sha256 == sha256_file(tmp_path / best_results.RESULTS)
    assert result_reading.read(tmp_path / best_results.RESULTS).scores.tolist() == [0.5]
    assert {path.name for path in tmp_path.iterdir()} == {best_results.RESULTS, best_results.DATA}


def test_a_run_that_kept_none(tmp_path: Path) -> None:
    assert best_results.read_measured_on(tmp_path) is None


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    """As when a training is killed between the two: the one about the data comes first."""
    best_results.write(tmp_path, ON, found(0.25), 1)
    before = (tmp_path / best_results.RESULTS).read_bytes()
    best_results.write(tmp_path, ON, found(0.5), 3)
    (tmp_path / best_results.RESULTS).write_bytes(before)
    with pytest.raises(DataError, match=r"val_results\.data\.json: describes other results .* --resume writes both"):
        best_results.read_measured_on(tmp_path)
    (tmp_path / best_results.RESULTS).unlink()
    with pytest.raises(DataError, match="describes other results"):
        best_results.read_measured_on(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2}', '{"epoch": "one"}'])
def test_another_content_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / best_results.DATA).write_text(text)
    with pytest.raises(DataError, match=r"val_results\.data\.json: expected what a training writes beside"):
        best_results.read_measured_on(tmp_path)


def test_a_folder_that_takes_no_files(tmp_path: Path) -> None:
    (tmp_path / f"{best_results.DATA}.tmp").mkdir()
    with pytest.raises(DataError, match="cannot be written"):
        best_results.write(tmp_path, ON, found(0.5), 1)
    assert not (tmp_path / best_results.RESULTS).exists()


def test_paths_are_absolute_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert best_results.shown_path(Path("val.json")) == str(tmp_path / "val.json")
    # A name that is no UTF-8, as Python has it.
    assert best_results.shown_path(Path("/b\udcffd")) == "/b?d"
