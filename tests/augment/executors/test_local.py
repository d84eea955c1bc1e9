"""Where the work runs: results in order, a few tasks at a time, one thread each, and an error when a worker dies.

Workers can only call what they can import, hence built-ins as tasks: `eval` of an expression.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from augment.executors.local import CALLS_PER_WORKER, TASKS_PER_CALL, executor
from datasets.errors import DataError
from datasets.parallel import Run, cores
from tests.protocols import Python

THREADS = "[info['num_threads'] for info in __import__('threadpoolctl').threadpool_info()]"
# Starts a pool, says which process works for it and dies without a chance to clean up.
KILLED = """
import os, signal
from augment.executors.local import executor
with executor("process", 1) as run:
    print(*run(eval, ["__import__('os').getpid()"]), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def two() -> Iterator[Run]:
    """Two worker processes."""
    with executor("process", 2) as run:
        yield run


def test_results_come_in_the_order_of_the_tasks(two: Run) -> None:
    # The first tasks take longest.
    tasks = [f"(__import__('time').sleep({0.05 if number < 2 else 0}), {number})[1]" for number in range(20)]
    assert list(two(eval, tasks)) == list(range(20))
    with executor("serial") as run:
        assert list(run(eval, map(str, range(5)))) == list(range(5))


def test_serial_works_here_and_processes_do_not(two: Run) -> None:
    with executor("serial") as run:
        assert set(run(eval, ["__import__('os').getpid()"])) == {os.getpid()}
    assert os.getpid() not in set(two(eval, ["__import__('os').getpid()"] * 8))


def test_tasks_are_taken_as_they_are_needed(two: Run) -> None:
    """Memory stays bounded, however many images there are."""
    taken = itertools.count()
    results = two(eval, (str(next(taken)) for _ in itertools.count()))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert next(taken) <= 3 + 2 * CALLS_PER_WORKER * TASKS_PER_CALL
    with executor("serial") as run:
        taken = itertools.count()
        results = run(eval, (str(next(taken)) for _ in itertools.count()))
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        assert next(taken) == 3


def test_a_task_has_one_thread(two: Run) -> None:
    assert list(two(eval, ["__import__('cv2').getNumThreads()"])) == [1]
    assert {count for counts in two(eval, [THREADS]) for count in counts} <= {1}
    before = cv2.getNumThreads()
    with executor("serial") as run:
        assert list(run(eval, ["__import__('cv2').getNumThreads()"])) == [1]
        assert {count for counts in run(eval, [THREADS]) for count in counts} <= {1}
    assert cv2.getNumThreads() == before


def test_ctrl_c_is_left_to_the_parent(two: Run) -> None:
    handlers = two(eval, ["__import__('signal').getsignal(2) == __import__('signal').SIG_IGN"])
    assert list(handlers) == [True]


def test_an_error_crosses_whole_from_a_worker(two: Run) -> None:
    raising = "(_ for _ in ()).throw(__import__('datasets.errors').errors.DataError('bad', ['a', 'b'], 7))"
    with pytest.raises(DataError) as caught:
        list(two(eval, ["1", raising, "1"]))
    assert (caught.value.headline, caught.value.problems, caught.value.count) == ("bad", ["a", "b"], 7)


def test_a_worker_that_is_killed_is_an_error_and_not_a_hang() -> None:
    with pytest.raises(DataError, match="a worker process died"), executor("process", 1) as run:
        list(run(signal.raise_signal, [signal.SIGKILL]))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc to see processes in")
def test_workers_end_with_a_parent_that_was_killed(
    python: Python,
) -> None:
    parent = python("-c", KILLED)
    assert parent.returncode == -signal.SIGKILL
    stat = Path(f"/proc/{int(parent.stdout)}/stat")
    deadline = time.monotonic() + 20
    # A zombie has ended, and waits for somebody to ask how.
    while stat.exists() and ") Z " not in stat.read_text():
        assert time.monotonic() < deadline, "a worker outlives its parent"
        time.sleep(0.05)


def test_there_is_a_worker_for_each_core_that_may_be_used() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):
        assert cores() == len(os.sched_getaffinity(0))
