"""A run's configuration as its difference from what ships."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets.errors import DataError
from tests.train.page.made_run import write_run
from train.page import runs, settings


def test_what_ships_has_no_difference(tmp_path: Path) -> None:
    (run,) = runs.read([write_run(tmp_path / "run", (10,), "MODEL.ROI_HEADS.NUM_CLASSES", "3")])
    # The number of classes is that of the data.
    assert settings.settings_of(run) == ("tiny", "sample", [])


def test_changed_keys_are_named(tmp_path: Path) -> None:
    (run,) = runs.read([write_run(tmp_path / "run", (10,), "SOLVER.EMA", "0.999", "INPUT.MIN_SIZE_TEST", "160")])
    assert settings.settings_of(run).changed == [("INPUT.MIN_SIZE_TEST", "144", "160"), ("SOLVER.EMA", "0", "0.999")]


def test_of_a_model_in_a_file_the_nearest_is_named(tmp_path: Path) -> None:
    (run,) = runs.read([write_run(tmp_path / "run", (10,), "SOLVER.EMA", "0.999", name="/home/me/mine.yaml")])
    assert settings.settings_of(run) == ("tiny", "sample", [("SOLVER.EMA", "0", "0.999")])


def test_an_unreadable_configuration_is_an_error(tmp_path: Path) -> None:
    (run,) = runs.read([write_run(tmp_path / "run", (10,), config="NO_SUCH_KEY: 1")])
    with pytest.raises(DataError, match="its configuration cannot be read"):
        settings.settings_of(run)
