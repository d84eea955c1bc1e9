"""Supervision of a run's processes by their parent: forwards signals; the first error of any ends all."""

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

# Seconds. An exchange breaks because another process died, whose own report arrives within this time.
GRACE = 5.0
# Seconds for a checkpoint that is being written.
PATIENCE = 60.0

STOPPED = {128 + number for number in signals.SIGNALS}
_NOW = b"now"


class Report(NamedTuple):
    """How a process failed, at time `at` of its machine's clock."""

    at: float
    error: Exception | None
    """The error that users can act on; None for a bug, which has a traceback only."""
    traceback: str = ""
    of_exchange: bool = False
    """An exchange between processes broke, a consequence of another process's failure."""


class Ended(NamedTuple):
    """The state of a process: its exit code, None while it runs, and its report."""

    code: int | None = None
    report: Report | None = None


def report_of(error: BaseException) -> Report:
    """The report on `error`, called in its handler."""
    text = traceback.format_exc()
    broken = _is_of_exchange(error)
    # Errors of files, as on a full disk, are the user's, as in `datasets.cli`.
    known = isinstance(error, (DataError, OSError)) and not broken
    return Report(time.monotonic(), error if known and isinstance(error, Exception) else None, text, broken)


def _is_of_exchange(error: BaseException) -> bool:
    from torch import distributed

    # gloo has no exception type of its own.
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error).lower()
    )


def is_over(ended: Sequence[Ended], now: float) -> bool:
    """Whether the remaining processes can do nothing more, at time `now` of the machine's clock."""
    reports = [item.report for item in ended if item.report]
    if any(not report.of_exchange or now - report.at > GRACE for report in reports):
        return True
    # A killed process reports nothing. Processes that were asked to stop may end: the others save.
    return any(item.code not in (None, 0, *STOPPED) and item.report is None for item in ended)


def conclude(ended: Sequence[Ended], asked: int | None, machines: int) -> None:
    """Raise the error that the processes ended with; nothing where all succeeded. A bug's traceback is printed.

    `asked` is the signal that asked them to stop.
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
            "it had saved is there, and --resume continues from it"
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
        # Separate pipes: two errors at a time must not interleave.
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
        """Receive a report, if there is one. A long report does not fit into a pipe: its sender waits for the
        reader.
        """
        with suppress(EOFError, OSError):
            if self.report is None and self.receiver.poll():
                self.report = pickle.loads(self.receiver.recv_bytes())

    def signal(self, number: int) -> None:
        if self.process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def end(self, *, now: bool = False) -> None:
        """Ask the process to leave, after a checkpoint is written, then kill it."""
        with suppress(OSError):
            self._orders.send_bytes(_NOW if now else b"")


class Reporter:
    """A process's end of the connection: it reports, and obeys the parent."""

    def __init__(self, sender: Any, orders: Any) -> None:
        self._sender, self._orders = sender, orders

    def obey(self) -> None:
        """From now on, leave when the parent says so, or when it is gone."""
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
        # The parent is gone.
        with suppress(OSError):
            self._sender.send_bytes(_packed(report))


def _packed(report: Report) -> bytes:
    try:
        return pickle.dumps(report)
    except Exception:  # whatever pickling a library's exception raises: PicklingError, TypeError, AttributeError
        return pickle.dumps(report._replace(error=None))


def supervise(start: Callable[[int], Child], count: int, machines: int) -> None:
    """Run `count` processes until all are done, or one fails, whose error is raised."""
    asked, children = signals.Asked(), list[Child]()

    def pass_on(number: int, again: bool) -> None:
        for child in children:
            if again:
                child.end(now=True)
            else:
                child.signal(number)

    with signals.handled(asked, pass_on):
        try:
            # Signals are forwarded only once all processes are known.
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
    """End all running processes at once."""
    for child in children:
        child.end()
    deadline = time.monotonic() + PATIENCE + GRACE
    for child in children:
        child.process.join(timeout=max(0.0, deadline - time.monotonic()))
        if child.process.is_alive():
            child.signal(signal.SIGKILL)
            child.process.join()
