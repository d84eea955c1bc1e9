"""Parallel work: the type of a `map` over processes, a pool of them, chunks of items, the number of cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import forkserver, resource_tracker
from typing import Any, TypeVar

from datasets.errors import DataError

Run = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]
"""A `map`, of this process or of several: (function, tasks) -> results in the order of the tasks."""

Item = TypeVar("Item")


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of `size`, the last one shorter."""
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk


def cores() -> int:
    """The number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def processes(workers: int, preload: Sequence[str], start: Callable[..., None], *shared: Any) -> Iterator[Run]:
    """A `map` over tasks in worker processes, each of which calls `start(*shared)` first.

    A few results are worked out ahead; those that nobody takes are dropped. `preload` are the modules that the server
    imports from which workers are forked. Raises DataError where a worker dies.
    """
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload(list(preload))
        # Ctrl-C reaches the whole process group, and is this process's to answer. The mask is inherited by the workers;
        # starting the resource tracker would lift it, hence that first.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, context, _start_worker, (start, shared))
    try:
        yield lambda function, tasks: _in_order(pool, function, tasks, workers)
    except BaseException:
        # Nobody waits for a result any more.
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(
    pool: ProcessPoolExecutor, function: Callable[[Any], Any], tasks: Iterable[Any], ahead: int
) -> Iterator[Any]:
    waiting: deque[Future[Any]] = deque()
    remaining = iter(tasks)
    try:
        while True:
            waiting.extend(pool.submit(function, task) for task in islice(remaining, ahead - len(waiting)))
            if not waiting:
                return
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise DataError(
            "a worker process died, as happens when memory runs out", advice="try again with fewer --workers"
        ) from None
    finally:
        for future in waiting:
            future.cancel()


def _start_worker(start: Callable[..., None], shared: tuple[Any, ...]) -> None:
    # Where workers are spawned, no mask is inherited.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    start(*shared)


def _end_with_parent() -> None:
    """A parent that was killed cannot end its workers, and they would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
