"""Kinds of errors, confusions and calibration as the page shows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datasets.analysis import KINDS, Bin, Calibration, Confusion
from datasets.results import write
from tests.train.page.made_run import DETECTIONS, HOSTILE, results, write_data
from train.page import mistakes
from train.page.measured import Files, measure


def test_what_four_detections_get_wrong(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    write(tmp_path / "found.json", results(DETECTIONS))
    found = mistakes.find(measure(Files(tmp_path / "found.json", data.annotations, None), [1, 3]))
    # One of each, and one object that no detection is near to.
    assert {cells[0]: cells[2] for cells in found.kind_rows} == {
        "wrong category": "1",
        "badly placed": "1",
        "wrong category, badly placed": "0",
        "found twice": "0",
        "background": "1",
        "missed": "1",
    }
    assert [name for name, _ in found.remedies] == [cells[0] for cells in found.kind_rows]
    assert len(found.remedies) == len(KINDS)
    header, rows = found.matrix
    assert header == ["", HOSTILE, "car", "nothing"]
    assert [(name, [text for text, _ in cells]) for name, cells in rows] == [
        # Of three objects, one found, one as a car, one not at all.
        (HOSTILE, ["1", "1", "1"]),
        ("car", ["0", "0", "1"]),
        ("nothing", ["1", "1", "0"]),
    ]
    assert [share for _, share in rows[0][1]] == pytest.approx([1 / 3] * 3)
    assert found.left_out == 0


def test_nothing_found(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    write(tmp_path / "found.json", results([]))
    found = mistakes.find(measure(Files(tmp_path / "found.json", data.annotations, None), [1, 3]))
    assert found.calibrated == "There is no detection."
    assert {cells[0]: cells[2] for cells in found.kind_rows}["missed"] == "4"


def test_of_many_categories_the_most_confused_are_shown() -> None:
    counts = np.zeros((21, 21), dtype=np.int64)
    counts[15, 3] = 9
    counts[2, 18] = 5
    counts[7, 20] = 50  # missed
    shown = mistakes._most_confused(Confusion(list(range(20)), counts))
    assert len(shown) == mistakes.SHOWN
    assert {15, 3, 2, 18, 7} <= set(shown)
    assert shown == sorted(shown)


@pytest.mark.parametrize(
    ("bins", "error", "text"),
    [
        (
            [Bin(10, 0.9, 0.5), Bin(30, 0.5, 0.5)],
            0.1,
            "Scores say 60 % on average, and 50 % of the detections are right: "
            "scores are too high, by 10 % on average.",
        ),
        ([Bin(10, 0.2, 0.5)], 0.3, "scores are too low, by 30 % on average."),
        ([Bin(10, 0.5, 0.5)], 0.0, "scores can be read as chances, within 0 % on average."),
    ],
)
def test_what_scores_are_worth(bins: list[Bin], error: float, text: str) -> None:
    assert text in mistakes.calibrated(Calibration(error, bins))
