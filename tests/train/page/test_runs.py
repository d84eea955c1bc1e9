"""The folder of a run as a record."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets.errors import DataError
from datasets.evaluation import Interval
from tests.train.page.made_run import HOSTILE, write_run
from train.page import runs


def test_a_run_is_read(tmp_path: Path) -> None:
    (run,) = runs.read([write_run(tmp_path / "cells", (10, 20, 20, 15))])
    assert (run.name, run.model, run.iterations, run.from_scratch) == ("cells", "tiny", 40, True)
    assert run.categories == [(1, HOSTILE), (3, "car")]
    # Ten iterations an epoch.
    assert [(item.epoch, item.epochs, item.ap) for item in run.validations] == [
        (1, 1.0, 0.1),
        (2, 2.0, 0.2),
        (3, 3.0, 0.2),
        (4, 4.0, 0.15),
    ]
    # What is as good as the best is not better.
    assert run.best == run.validations[1]
    assert (run.interval, run.best_text) == (Interval(0.19, 0.21), "20.0 (19.0 to 21.0)")
    assert run.lineage[-1] == "from scratch: yes"


def test_a_part_of_an_epoch_is_the_first() -> None:
    assert [runs.Validation(epochs, 0.5).epoch for epochs in (0.4, 1.0, 2 + 1e-12, 2.5)] == [1, 1, 2, 3]


def test_a_run_without_validation(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "metrics.json").write_text('{"iteration": 9, "total_loss": 1.5}\n')
    (run,) = runs.read([folder])
    assert (run.best, run.interval, run.best_text, run.validations) == (None, None, "-", [])


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["runs/a", "runs/b"], ["a", "b"]),
        (["x/tiny", "y/tiny"], ["x/tiny", "y/tiny"]),
        (["x/tiny"], ["tiny"]),
        (["x/tiny", "x/tiny"], ["x/tiny (1)", "x/tiny (2)"]),
    ],
)
def test_names_tell_runs_apart(folders: list[str], names: list[str]) -> None:
    assert runs.names_of([Path(folder) for folder in folders]) == names


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected the metrics of a run"):
        runs.read([tmp_path])
    (tmp_path / "metrics.json").write_text("")
    with pytest.raises(DataError, match=r"expected the folder of a run with model_best\.pth or model_last\.pth"):
        runs.read([tmp_path])
