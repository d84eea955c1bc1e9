"""The processes of a run as their parent sees them: signals are passed on, the first error of any ends all."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

from datasets.errors import DataError
from train.processes import signals

# Seconds. An exchange breaks because another process is gone, whose own word comes within them.
GRACE = 5.0
# For a checkpoint that is being written.
PATIENCE = 60.0

STOPPED = {128 + number for number in signals.SIGNALS}
_NOW = b"now"


class Report(NamedTuple):
    """How a process failed, at `at` by the clock of its machine."""

    at: float
    error: Exception | None
    """What a user can put right; None for a bug, of which there is only the traceback."""
    traceback: str = ""
    of_exchange: bool = False
    """An exchange with the others broke, which is what any of them leaves behind when it fails."""


class Ended(NamedTuple):
    """What is known of a process: its exit code, None while it runs, and what it reported."""

    code: int | None = None
    report: Report | None = None


def report_of(error: BaseException) -> Report:
    """The report on `error`, in its handler."""
    text = traceback.format_exc()
    broken = _is_of_exchange(error)
    # Any file that cannot be read or written, as on a full disk, is the user's, as `datasets.cli` has it.
    known = isinstance(error, (DataError, OSError)) and not broken
    return Report(time.monotonic(), error if known and isinstance(error, Exception) else None, text, broken)


def _is_of_exchange(error: BaseException) -> bool:
    from torch import distributed

    # gloo has no exception of its own.
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error).lower()
    )


def is_over(ended: Sequence[Ended], now: float) -> bool:
    """Have the processes that still run nothing to do any more, at `now` by the clock of the machine?"""
    reports = [item.report for item in ended if item.report]
    if any(not report.of_exchange or now - report.at > GRACE for report in reports):
        return True
    # One that was killed said nothing. Those that were asked to stop may be ended: the others save.
    return any(item.code not in (None, 0, *STOPPED) and item.report is None for item in ended)


def conclude(ended: Sequence[Ended], asked: int | None, machines: int) -> None:
    """Raise what the end of the processes amounts to; nothing, where all is done. A bug's traceback is printed.

    `asked` is the signal that asked for the end.
    """
    reports = sorted((item.report for item in ended if item.report), key=lambda report: report.at)
    own = [report for report in reports if not report.of_exchange]
    if own:
        if own[0].error is not None:
            raise own[0].error
        sys.stderr.write(own[0].traceback)
        raise SystemExit(1)
    by_signal = set() if asked is None else {-number for number in signals.SIGNALS}
    killed = [item.code for item in ended if item.code not in (None, 0, *STOPPED, *by_signal) and item.report is None]
    if killed:
        raise DataError(
            f"a training process ended with exit code {killed[0]} (-9: killed, as happens when memory runs out); what "
            "it had saved is there, and --resume goes on from it"
        )
    stopped = [item.code for item in ended if item.code in STOPPED]
    if asked is not None or stopped:
        signals.leave(asked if asked is not None else stopped[0] - 128)
    if reports:
        # Without gloo's guesses at the cause.
        line = reports[0].traceback.strip().splitlines()[-1].partition(". This is typically")[0]
        where = " of another machine has failed or was stopped; its own output says why" if machines > 1 else " is gone"
        raise DataError(f"the exchange with other processes broke, as where one{where}: {line}")


class Child:
    """One process, which calls `work(*arguments, reporter)`."""

    def __init__(self, context: Any, work: Callable[..., NoReturn], arguments: tuple[Any, ...]) -> None:
        # Pipes of its own: two errors at a time must not run into one another.
        self.receiver, sender = context.Pipe(duplex=False)
        order, self._orders = context.Pipe(duplex=False)
        self.process = context.Process(target=work, args=(*arguments, Reporter(sender, order)))
        self.process.start()
        sender.close()
        order.close()
        self.report: Report | None = None

    @property
    def ended(self) -> Ended:
        return Ended(self.process.exitcode, self.report)

    def listen(self) -> None:
        """Take a report, if there is one. A long one fits into no pipe: its sender waits until it is read."""
        with suppress(EOFError, OSError):
            if self.report is None and self.receiver.poll():
                self.report = pickle.loads(self.receiver.recv_bytes())

    def signal(self, number: int) -> None:
        if self.process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def end(self, *, now: bool = False) -> None:
        """Ask it to leave, as soon as a checkpoint is written, or even before that."""
        with suppress(OSError):
            self._orders.send_bytes(_NOW if now else b"")


class Reporter:
    """A process's side: what it says, and what it is told."""

    def __init__(self, sender: Any, orders: Any) -> None:
        self._sender, self._orders = sender, orders

    def obey(self) -> None:
        """From now on, leave when told to, or when there is nobody any more who could."""
        threading.Thread(target=self._obey, daemon=True).start()

    def _obey(self) -> None:
        parent = multiprocessing.parent_process()
        watched = [self._orders, *([parent.sentinel] if parent else [])]
        if self._orders in multiprocessing.connection.wait(watched):
            with suppress(EOFError, OSError):
                if self._orders.recv_bytes() == _NOW:
                    signals.leave_now(128 + signal.SIGINT, patience=0)
        signals.leave_now(1, patience=PATIENCE)

    def send(self, report: Report) -> None:
        # Nobody listens any more where the parent is gone.
        with suppress(OSError):
            self._sender.send_bytes(_packed(report))


def _packed(report: Report) -> bytes:
    try:
        return pickle.dumps(report)
    except Exception:  # whatever an exception of a library holds: PicklingError, TypeError, AttributeError
        return pickle.dumps(report._replace(error=None))


def supervise(start: Callable[[int], Child], count: int, machines: int) -> None:
    """Run `count` processes until all are done, or one has failed, whose error is raised."""
    asked, children = signals.Asked(), list[Child]()

    def pass_on(number: int, again: bool) -> None:
        for child in children:
            if again:
                child.end(now=True)
            else:
                child.signal(number)

    with signals.handled(asked, pass_on):
        try:
            # Whoever has to pass a signal on must know of all of them.
            with signals.blocked():
                if asked.first is not None:
                    signals.leave(asked.first)
                for rank in range(count):
                    children.append(start(rank))
            _wait(children)
            ended = [child.ended for child in children]
        finally:
            _end(children)
    conclude(ended, asked.first, machines)


def _wait(children: Sequence[Child]) -> None:
    while running := [child for child in children if child.process.is_alive()]:
        reports = [child.report.at for child in children if child.report]
        left = max(0.0, min(reports) + GRACE - time.monotonic()) + 0.1 if reports else None
        silent = [child.receiver for child in running if child.report is None]
        multiprocessing.connection.wait([*(child.process.sentinel for child in running), *silent], left)
        for child in children:
            child.listen()
        if is_over([child.ended for child in children], time.monotonic()):
            break
    for child in children:
        child.listen()


def _end(children: Sequence[Child]) -> None:
    """End all that still run, at the same time."""
    for child in children:
        child.end()
    deadline = time.monotonic() + PATIENCE + GRACE
    for child in children:
        child.process.join(timeout=max(0.0, deadline - time.monotonic()))
        if child.process.is_alive():
            child.signal(signal.SIGKILL)
            child.process.join()
