"""Commands of the project in forks of this process, under watch: a fork costs milliseconds, an interpreter a second."""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import select
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from tqdm import tqdm

from datasets import cli

# Modules of the commands, loaded once for all forks.
PRELOADED = (
    "augment.__main__",
    "augment.compiler.build",
    "augment.compiler.counts",
    "augment.compiler.estimate",
    "augment.operations.pixel",
    "augment.verify.dataset",
    "augment.compiler.source_task",
    "datasets.__main__",
    "datasets.evaluation",
    "ensemble.__main__",
    "ensemble.check",
    "ensemble.matching",
    "ensemble.pipeline",
    "ensemble.tune",
)
# Address space that a command may use beyond its initial one, so that none takes the machine down.
HEADROOM = 4 << 30

Command = Sequence[str]
"""A stage and what follows it on its command line: ("augment", "build", "--data", "sample")."""


class Outcome(NamedTuple):
    """How a command ended. `code` is negative for a signal; `memory` is its resident peak in MB, the interpreter and
    the loaded libraries included; `late` says that it was killed for taking too long."""

    command: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float
    memory: float
    late: bool = False


def preload() -> None:
    for name in PRELOADED:
        importlib.import_module(name)


def run(
    command: Command, folder: Path, *, seconds: float = 60.0, prepare: Callable[[], None] = lambda: None
) -> Outcome:
    """Run `python -m STAGE ...` in a fork, in its working folder; `prepare` is called there before it.

    It is killed, with all that it has started, after so many seconds.
    """
    with (folder / "stdout").open("w+b") as out, (folder / "stderr").open("w+b") as err:
        began = time.perf_counter()
        child = _fork()
        if not child:
            _become(command, out.fileno(), err.fileno(), prepare)
        with contextlib.suppress(OSError):  # by now it may have done so itself, and ended
            os.setpgid(child, child)
        late = not _ends_within(child, seconds)
        spent = time.perf_counter() - began
        # An ended process keeps its code; its leftovers would disturb what runs next.
        _kill_group(child)
        _, status, usage = os.wait4(child, 0)
        said = [_text(file.fileno()) for file in (out, err)]
    code = os.waitstatus_to_exitcode(status)
    # One that ended between the look and the kill was not late.
    late = late and code == -signal.SIGKILL
    return Outcome(tuple(command), code, said[0], said[1], spent, usage.ru_maxrss / 1000, late)


def _fork() -> int:
    with warnings.catch_warnings():
        # Python 3.12 warns about threads, whose locks a fork may inherit; none of ours works when we fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _become(command: Command, out: int, err: int, prepare: Callable[[], None]) -> NoReturn:
    """Be the process of `command`, in this fork; like an interpreter, it ends with 1 where an exception is left."""
    code = 1
    try:
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
        # The lock of progress bars is one for all forks: one that is killed while it holds it would stop all others.
        tqdm.set_lock(threading.RLock())
        space = _address_space() + HEADROOM
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
        prepare()
        name = f"{command[0]}.__main__"
        sys.argv = [name, *command[1:]]
        cli.run(importlib.import_module(name).main, f"python -m {command[0]}")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _address_space() -> int:
    """Bytes of this process's."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _ends_within(child: int, seconds: float) -> bool:
    descriptor = os.pidfd_open(child)
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def _kill_group(child: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)


def _text(descriptor: int) -> str:
    length = os.fstat(descriptor).st_size
    return os.pread(descriptor, min(length, 1 << 20), 0).decode("utf-8", "replace")
