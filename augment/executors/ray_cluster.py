"""Where the work runs: the nodes of a Ray cluster, which share the folders of input and output with this machine.

This process reads the inputs, hands out sources a few at a time, and writes the annotation file; the nodes read and
write image files. A task that was lost with its node is worked on elsewhere: it writes the same bytes again.
"""

from __future__ import annotations

import functools
import logging
import os
import pickle
import platform
import shutil
import socket
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets.errors import DataError
from datasets.parallel import Run, chunks

ROOT = Path(__file__).resolve().parents[2]
# What the nodes need of this project. Below `datasets`, which has no subpackages, there may lie any amount of data.
PACKAGES = {"augment": "**/*.py", "datasets": "*.py"}
# A call costs a millisecond; calls under way for each CPU bound the memory of this process.
TASKS_PER_CALL = 8
CALLS_PER_CPU = 3
# How often a call is given to another worker after the one at work on it was lost.
RETRIES = 8
# Seconds: for a cluster to answer, between looks at it, and to wait for it when it has no CPU left.
CONNECT, LOOK, NO_CPU = 10.0, 5.0, 300.0


@contextmanager
def cluster(address: str | None = None) -> Iterator[Run]:
    """A `map` that works on all CPUs of the Ray cluster at `address`, HOST:PORT, or of one started on this machine.

    The nodes need the packages of setup.cfg in the versions of this machine, not this project: its code is sent to
    them. Raises DataError where Ray is not installed, the cluster does not answer, has other versions, or loses the
    same task again and again.
    """
    # Before Ray is imported, which reads them then: no word to its makers, and nothing that other machines could
    # reach where the cluster is this machine alone.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    local = address in (None, "", "local")
    if local:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    else:
        _check_answers(str(address))
    try:
        import ray
    except ImportError:
        raise DataError("--executor ray needs Ray: python -m pip install -c constraints.txt '.[ray]'") from None
    where = {"address": "local", "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    with tempfile.TemporaryDirectory(prefix="scarcedet-") as code:
        _copy_code(Path(code))
        environment = {"working_dir": code, "env_vars": {"NO_ALBUMENTATIONS_UPDATE": "1"}}
        try:
            ray.init(
                **(where if local else {"address": address}),
                runtime_env=environment,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise DataError(f"{address}: cannot work on this Ray cluster: {error}") from None
        try:
            call = ray.remote(num_cpus=1, max_retries=RETRIES)(_work)
            yield lambda function, tasks: _ordered(ray, call, function, tasks)
        finally:
            ray.shutdown()


def _check_answers(address: str) -> None:
    """Raises DataError where nobody listens: Ray itself would go on trying for minutes."""
    host, _, port = address.rpartition(":")
    if not host or "/" in address or not port.isdecimal():
        raise DataError(f"--ray-address: expected HOST:PORT of the cluster's head, found {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT).close()
    except (OSError, OverflowError) as error:
        raise DataError(
            f"{address}: no Ray cluster answers there: {error}; start one with `ray start --head`"
        ) from None


def _copy_code(folder: Path) -> None:
    """Copy the project's modules and nothing else.

    The copy comes first on the nodes' path, whatever folder this process runs in and whatever is installed there under
    the name `datasets`.
    """
    for package, pattern in PACKAGES.items():
        for module in (ROOT / package).glob(pattern):
            copy = folder / module.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(module, copy)


def _ordered(ray: Any, call: Any, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
    from augment.compiler import manifest

    versions = manifest.versions()
    waiting: deque[Any] = deque()
    ahead, looked = 0, -LOOK
    # Where this ends early, calls are under way. They are not cancelled: that one may just be done makes Ray abort the
    # process (2.60: "tried to complete task that was not pending"). They end with the job, when Ray is shut down.
    for chunk in chunks(tasks, TASKS_PER_CALL):
        waiting.append(call.remote(pickle.dumps((function, chunk)), versions))
        if time.monotonic() - looked >= LOOK:
            # Nodes come and go.
            ahead, looked = max(1, _cpus(ray)) * CALLS_PER_CPU, time.monotonic()
        while len(waiting) >= ahead:
            yield from _result(ray, waiting[0])
            waiting.popleft()
    while waiting:
        yield from _result(ray, waiting[0])
        waiting.popleft()


def _cpus(ray: Any) -> int:
    return int(ray.cluster_resources().get("CPU", 0))


def _result(ray: Any, reference: Any) -> list[Any]:
    """The results of a call; waits for it as long as there is anybody who could be at work on it."""
    idle_since = None
    try:
        while not ray.wait([reference], timeout=LOOK)[0]:
            now = time.monotonic()
            idle_since = None if _cpus(ray) else idle_since or now
            if idle_since is not None and now - idle_since > NO_CPU:
                raise DataError("the Ray cluster has no CPU left, and got none for some minutes")
        result = pickle.loads(ray.get(reference))
    except ray.exceptions.RayTaskError:
        # A bug of ours, with the traceback from its node.
        raise
    except ray.exceptions.RayError as error:
        first = str(error).strip().partition("\n")[0]
        raise DataError(f"a task was lost on the Ray cluster {RETRIES + 1} times: {first}") from None
    if isinstance(result, DataError):
        raise result
    return list(result)


def _work(payload: bytes, versions: dict[str, str]) -> bytes:
    """Runs on a node: the pickled results of (function, tasks), or the DataError that one of them raised.

    Pickled here, since Ray would hand out arrays that cannot be changed and put errors of its own around ours.
    """
    try:
        _prepare(tuple(versions.items()))
        function, tasks = pickle.loads(payload)
        return pickle.dumps([function(task) for task in tasks])
    except DataError as error:
        error.headline += f" (on {platform.node()})"
        return pickle.dumps(error)


@functools.cache
def _prepare(expected: tuple[tuple[str, str], ...]) -> None:
    """Once a worker: one thread, and the versions that give the same bytes as everywhere else."""
    import cv2
    from threadpoolctl import threadpool_limits

    from augment.compiler import manifest

    cv2.setNumThreads(1)
    threadpool_limits(1)
    problems = manifest.differences(dict(expected), manifest.versions())
    if problems:
        raise DataError("expected the versions of the machine that started the build, found others", problems)
