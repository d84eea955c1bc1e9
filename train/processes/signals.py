"""Stopping a run by SIGINT, SIGTERM or SIGHUP: the current step ends, and everything is saved.

A signal may reach one process, or its whole process group: loader workers leave it to the process that they work for,
and `train.processes.children` forwards it to the processes of a run and counts repetitions.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn, Protocol

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Seconds. `timeout`, Slurm and systemd may send the same signal to a process and to its group.
ECHO = 1.0

SAVING = threading.RLock()
"""Held while checkpoints are written; a process that is ended by others releases it first."""


class Stoppable(Protocol):
    """A training loop that stops after the step in which `stop_asked` was set."""

    stop_asked: bool


class Asked:
    """The signals received; `first` is the number of the first one, if any."""

    def __init__(self) -> None:
        self.first: int | None = None
        self._since = 0.0

    def again(self, number: int, now: float) -> bool:
        """Record a signal at `now` (seconds); whether it is a second one, from an impatient user."""
        if self.first is None:
            self.first, self._since = number, now
        return now - self._since > ECHO


@contextmanager
def handled(asked: Asked, handle: Callable[[int, bool], None]) -> Iterator[None]:
    """Call `handle` for each signal with its number and whether it is a second one; `asked` records it.

    An ignored signal, such as SIGHUP under nohup, stays ignored. After a first signal, they stay handled to the end of
    the process: a signal's echo must not kill what is about to leave in order.
    """
    terminals = [descriptor for descriptor in (1, 2) if _is_terminal(descriptor)]

    def on_signal(number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            _forget_closed(terminals)
        handle(number, asked.again(number, time.monotonic()))

    before = {number: signal.signal(number, on_signal) for number in not_ignored()}
    try:
        yield
    finally:
        for number, handler in before.items() if asked.first is None else ():
            signal.signal(number, handler)


def not_ignored() -> list[signal.Signals]:
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def _forget_closed(terminals: list[int]) -> None:
    """Redirect output from a closed terminal, where writing fails, so that the run can still save."""
    for descriptor in terminals:
        if not _is_terminal(descriptor):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


@contextmanager
def stop_on_signal(trainer: Stoppable, *, alone: bool) -> Iterator[Asked]:
    """A signal lets the step end and save.

    In a process that is `alone`, a second signal ends it at once; otherwise the parent decides, since forwarded signals
    may arrive late.
    """
    asked = Asked()

    def handle(_number: int, again: bool) -> None:
        trainer.stop_asked = True
        if again and alone:
            raise KeyboardInterrupt

    with handled(asked, handle):
        yield asked


def leave(number: int | None) -> NoReturn:
    """Exit as signal `number` demands; None where only other processes received one."""
    if number in (signal.SIGTERM, signal.SIGHUP):
        raise SystemExit(128 + number)
    raise KeyboardInterrupt


@contextmanager
def blocked() -> Iterator[None]:
    """Block these signals, also in processes started meanwhile, until they unblock them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_by_default() -> None:
    """Unblock the signals with their default action: end this process at once, whatever it waits for."""
    for number in not_ignored():
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def leave_signals_to_parent() -> None:
    """In a worker started with the signals `blocked`: obey SIGTERM from the parent, and nothing else.

    Whoever signals all processes of a run wants it to save, for which its workers are needed.
    """
    parent = os.getppid()

    def obey() -> None:
        while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent:
            pass
        os._exit(0)

    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=obey, daemon=True).start()


def leave_now(code: int, *, patience: float = 60) -> NoReturn:
    """End this process and its workers, from any thread, without Python's shutdown.

    Shutdown would wait for other processes, and gloo threads that still hold Python objects abort it (seen in 4 of 140
    runs; pytorch/pytorch#179291). Waits up to `patience` seconds for a checkpoint that is being written.
    """
    import multiprocessing

    SAVING.acquire(timeout=patience)
    for worker in multiprocessing.active_children():
        worker.kill()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
