"""The pool of worker processes: results in order, what starts them, and what becomes of errors."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count, islice

import pytest

from datasets.errors import DataError
from datasets.parallel import processes

_shared: list[int] = []


def _start(*shared: int) -> None:
    _shared[:] = shared


def _plus_shared(number: int) -> int:
    return number + sum(_shared)


def _end(code: int) -> None:
    os._exit(code)


def _fail(number: int) -> None:
    raise ValueError(f"no {number}")


def test_results_come_in_the_order_of_the_tasks_and_know_what_is_shared() -> None:
    with processes(2, [], _start, 10, 20) as run:
        assert list(run(_plus_shared, range(50))) == [number + 30 for number in range(50)]
        assert list(run(_plus_shared, [])) == []


def test_tasks_without_end_are_begun_only_a_few_ahead() -> None:
    with processes(2, [], _start) as run:
        assert list(islice(run(_plus_shared, count()), 5)) == [0, 1, 2, 3, 4]
        # The pool goes on with other tasks.
        assert list(run(_plus_shared, [7])) == [7]


@pytest.mark.parametrize(
    ("function", "error", "what"), [(_end, DataError, "a worker process died"), (_fail, ValueError, "no 3")]
)
def test_what_goes_wrong_in_a_worker_is_raised(
    function: Callable[[int], None], error: type[Exception], what: str
) -> None:
    with pytest.raises(error, match=what), processes(2, [], _start) as run:
        list(run(function, [3]))
