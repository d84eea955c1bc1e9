"""Executors: this process, several, or a cluster. Results come in the order of the tasks, a few at a time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from typing import Any

from datasets.errors import DataError
from datasets.parallel import Run, chunks, cores

# Tasks per call to a worker: each call costs parent time, which workers on a two-core machine would lose.
TASKS_PER_CALL = 8
# Calls in flight per worker: enough to keep it busy, few enough to bound the parent's memory.
CALLS_PER_WORKER = 3
# Seconds that workers have to finish when their results are no longer needed.
PATIENCE = 0.3


@contextmanager
def executor(kind: str | None = None, workers: int | None = None, ray_address: str | None = None) -> Iterator[Run]:
    """A `map` over tasks: in this process (`serial`), or in `workers` processes (`process`), one a core.

    Without a `kind`, one worker is serial and several are processes. `ray` is `augment.executors.ray_cluster`.

    Each task runs on one thread: OpenCV and BLAS are limited to it. Raises DataError where a worker dies.
    """
    if kind == "ray":
        from augment.executors.ray_cluster import cluster

        with cluster(ray_address) as run:
            yield run
        return
    workers = workers or cores()
    kind = kind or ("serial" if workers == 1 else "process")
    with _serial() if kind == "serial" else _processes(workers) as run:
        yield run


@contextmanager
def _serial() -> Iterator[Run]:
    import cv2
    from threadpoolctl import threadpool_limits

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1):
            yield map
    finally:
        cv2.setNumThreads(threads)


@contextmanager
def _processes(workers: int) -> Iterator[Run]:
    # Workers are forked from a clean, single-threaded server which has the heavy imports behind it: as fast to start
    # as a fork of this process, without the locks and threads that it may hold.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload(["augment.compiler.source_task", "augment.operations.pixel"])
        # It imports while the parent reads its inputs. Ctrl-C, which reaches the whole process group, is the parent's
        # to answer; a mask is inherited, by the workers too. Starting the resource tracker lifts it, hence that first.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, context, _start_worker)

    def kill() -> None:
        for process in set(multiprocessing.active_children()) - others:
            process.kill()

    try:
        yield lambda function, tasks: _ordered(pool, function, tasks, workers * CALLS_PER_WORKER, kill)
    except BaseException:
        # Nobody waits for a result any more, and what a worker was writing has a temporary name.
        kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _ordered(
    pool: ProcessPoolExecutor,
    function: Callable[[Any], Any],
    tasks: Iterable[Any],
    ahead: int,
    kill: Callable[[], None],
) -> Iterator[Any]:
    waiting: deque[Future[list[Any]]] = deque()
    try:
        for chunk in chunks(tasks, TASKS_PER_CALL):
            waiting.append(pool.submit(_each, function, chunk))
            if len(waiting) >= ahead:
                yield from waiting[0].result()
                waiting.popleft()
        while waiting:
            yield from waiting[0].result()
            waiting.popleft()
    except BrokenProcessPool:
        raise DataError(
            "a worker process died, as happens when memory runs out",
            advice="give the same command again to resume, with fewer --workers where there are large images",
        ) from None
    finally:
        # Whoever stops early may clear away what the workers write, so none may be at work any more.
        for future in waiting:
            future.cancel()
        if wait(waiting, PATIENCE).not_done:
            kill()
            wait(waiting)


def _each(function: Callable[[Any], Any], tasks: list[Any]) -> list[Any]:
    return [function(task) for task in tasks]


def _start_worker() -> None:
    import cv2
    from threadpoolctl import threadpool_limits

    cv2.setNumThreads(1)
    threadpool_limits(1)
    # Ctrl-C reaches the whole process group; the parent decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed cannot end its workers, and they would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
