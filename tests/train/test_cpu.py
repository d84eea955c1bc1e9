"""Free cores, from what the system counts; threads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from train import cpu
from train.cpu import Usage, free_threads, idle_seconds

ROOT = Path(__file__).resolve().parents[2]

STAT = """\
cpu  100 0 100 9000 500 0 0 0 0 0
cpu0 50 0 50 4000 200 0 0 0 0 0
cpu1 30 0 30 3000 100 0 0 0 0 0
cpu10 20 0 20 2000 200 0 0 0 0 0
intr 12345
"""


def test_only_the_cores_of_this_process_count_as_idle() -> None:
    # Idle and waiting for a disk, in hundredths of a second.
    assert idle_seconds(STAT, {0}, 100) == (4000 + 200) / 100
    assert idle_seconds(STAT, {1, 10}, 100) == (3000 + 100 + 2000 + 200) / 100
    assert idle_seconds("", {0}, 100) == 0


@pytest.mark.parametrize(
    ("idle", "own", "cores", "expected"),
    [
        # Of ten seconds: nobody else at work; one core, then both taken by others; half of one.
        (12.0, 8.0, 2, 2),
        (2.0, 8.0, 2, 1),
        (0.0, 6.0, 2, 1),
        (7.0, 8.0, 2, 2),
        (150.0, 9.0, 16, 16),
        (30.0, 9.0, 16, 4),
        # Clocks that disagree a little.
        (25.0, 9.0, 2, 2),
    ],
)
def test_threads_are_for_the_cores_that_others_leave(idle: float, own: float, cores: int, expected: int) -> None:
    before = Usage(clock=100.0, idle=50.0, own=3.0)
    now = Usage(clock=110.0, idle=50.0 + idle, own=3.0 + own)
    assert free_threads(before, now, cores) == expected


def test_all_cores_are_used_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now = Usage(1.0, 1.0, 1.0)
    assert free_threads(None, now, 4) == 4
    assert free_threads(now, None, 4) == 4
    assert free_threads(now, now, 4) == 4
    monkeypatch.setattr(cpu, "STAT", tmp_path / "none")
    assert cpu.usage() is None
    (tmp_path / "odd").write_text("cpu0 a b c d e\n")
    monkeypatch.setattr(cpu, "STAT", tmp_path / "odd")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert cpu.usage() is None


def test_a_run_goes_on_with_the_threads_that_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setattr("datasets.parallel.cores", lambda: 4)
    monkeypatch.setattr(cpu, "usage", lambda: None)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cpu.set_threads(3)
    cpu.set_threads(8)  # a machine with more cores
    cpu.set_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    cpu.set_threads(3)
    assert asked == [3, 4, 4]
