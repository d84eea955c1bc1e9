"""metrics.json as columns: what is missing is a gap, what is no line of metrics is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets.errors import DataError
from train.page import metrics


def written(tmp_path: Path, *lines: str, end: str = "\n") -> Path:
    (tmp_path / metrics.FILE).write_text("\n".join(lines) + end)
    return tmp_path


def test_points_are_where_a_line_has_a_number(tmp_path: Path) -> None:
    first = '{"iteration": 19, "total_loss": 2.5, "lr": 0.1}'
    second = '{"iteration": 29, "total_loss": NaN, "bbox/ap": 40.0}'
    found = metrics.read(written(tmp_path, first, second))
    # Iterations are counted from 0; these are how many were done.
    assert found.iterations == [20, 30]
    assert found.points("total_loss") == [(20, 2.5)]
    assert found.points("bbox/ap") == [(30, 40.0)]
    assert found.points("never") == []
    assert (found.last("lr"), found.last("never")) == (0.1, None)


def test_the_time_is_that_of_all_steps(tmp_path: Path) -> None:
    lines = ('{"iteration": 19, "time": 0.5}', '{"iteration": 24, "bbox/ap": 1}', '{"iteration": 29, "time": 2}')
    # 20 steps of half a second, and 10 of two.
    assert metrics.read(written(tmp_path, *lines)).seconds == 20 * 0.5 + 10 * 2


def test_the_stages_of_a_cascade_are_one_part_of_the_loss(tmp_path: Path) -> None:
    line = '{"iteration": 0, "loss_cls_stage0": 1, "loss_cls_stage1": 2, "loss_rpn_loc": 4, "loss_scale": 9, "lr": 1}'
    assert metrics.read(written(tmp_path, line)).losses == {"cls": [(1, 3.0)], "rpn loc": [(1, 4.0)]}


def test_an_incomplete_last_line_is_left_out(tmp_path: Path) -> None:
    found = metrics.read(written(tmp_path, '{"iteration": 0, "lr": 1}', '{"iteration": 1, "l', end=""))
    assert found.iterations == [1]


def test_no_line_at_all(tmp_path: Path) -> None:
    found = metrics.read(written(tmp_path, end=""))
    assert (found.iterations, found.seconds, found.losses) == ([], 0, {})


@pytest.mark.parametrize(
    "line", ["", "[]", "lr 1", '{"lr": 1}', '{"iteration": -1}', '{"iteration": NaN}', '{"iteration": 1, "lr": "a"}']
)
def test_what_is_no_line_of_metrics_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(DataError, match=r"metrics\.json: 1 line\(s\) that are no metrics of a run") as caught:
        metrics.read(written(tmp_path, '{"iteration": 0}', line))
    assert caught.value.problems == ["line 2: expected numbers by name, one of them the iteration"]


def test_a_nesting_without_end_is_no_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no metrics of a run"):
        metrics.read(written(tmp_path, "[" * 100_000))


def test_a_folder_without_metrics(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"metrics\.json: expected the metrics of a run, found none"):
        metrics.read(tmp_path)
