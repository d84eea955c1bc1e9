"""Runs jobs as processes, several at a time, and stops them in order, whatever happens."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from datasets.errors import DataError
from datasets.staging import write_durably
from scripts.experiments.jobs import FOLDER, Job

ROOT = Path(__file__).resolve().parents[2]
LOG = "log.txt"
# Log lines shown of a failed command.
SHOWN = 12
# Seconds for a training to finish its step and save.
GRACE = 60.0
PAUSE = 0.1
# Loaded here, since little may be done between fork and exec.
_PRCTL = getattr(ctypes.CDLL(None), "prctl", None)


class _Running(NamedTuple):
    job: Job
    process: subprocess.Popen[bytes]
    begun: float


def run(
    jobs: Sequence[Job], folder: Path, *, slots: int, finished: set[str], done: Callable[[Job, float], None]
) -> None:
    """Run the jobs, at most `slots` at a time, in order, each once its dependencies are `finished`.

    `done` is called with each job and its seconds. Raises DataError for a command that fails, which stops the others.
    """
    waiting, finished = list(jobs), set(finished)
    with _ended_at_last() as running:
        while waiting or running:
            while len(running) < slots and (ready := _next(waiting, finished)) is not None:
                waiting.remove(ready)
                running.append(_start(ready, folder, slots))
            over = [item for item in running if item.process.poll() is not None]
            for item in over:
                running.remove(item)
                _check(item, folder)
                done(item.job, time.monotonic() - item.begun)
                finished.add(item.job.identity)
            if not over:
                time.sleep(PAUSE)


def _next(waiting: list[Job], finished: set[str]) -> Job | None:
    return next((job for job in waiting if finished.issuperset(job.needs)), None)


def command(job: Job, folder: Path) -> list[str]:
    """The arguments of `python`."""
    return ["-m", *(part.replace(FOLDER, str(folder)) for part in job.arguments)]


def _start(job: Job, folder: Path, slots: int) -> _Running:
    job_folder = folder / job.folder
    try:
        job_folder.mkdir(parents=True, exist_ok=True)
        for name, text in job.files.items():
            write_durably(job_folder / name, text)
        with (job_folder / LOG).open("ab") as log:
            return _Running(job, _popen(command(job, folder), log, slots), time.monotonic())
    except OSError as error:
        raise DataError(f"{job_folder}: cannot be written: {error.strerror} ({error.filename})") from None


def _popen(arguments: list[str], log: IO[bytes], slots: int) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": paths, "NO_ALBUMENTATIONS_UPDATE": "1"}
    if slots > 1:
        # One core each.
        environment["OMP_NUM_THREADS"] = "1"
    log.write(f"$ python {' '.join(arguments)}\n".encode())
    log.flush()
    # A session of its own: Ctrl-C in the terminal reaches only us, and we forward it once.
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
        preexec_fn=_end_with_parent,
    )


def _end_with_parent() -> None:
    """If we are killed, the kernel tells the child to save and exit, so that the next command finds its run free.

    Linux only: elsewhere the child continues, and the next command cannot lock its folder until it ends.
    """
    pr_set_pdeathsig = 1
    if _PRCTL is not None:
        _PRCTL(pr_set_pdeathsig, signal.SIGTERM, 0, 0, 0)


def _check(item: _Running, folder: Path) -> None:
    code = item.process.returncode
    if code == 0:
        return
    log = folder / item.job.folder / LOG
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-SHOWN:]
    shown = " ".join(["python", *command(item.job, folder)])
    raise DataError(
        f"{item.job}: {item.job.step} failed with exit code {code}: {shown}\n{log} ends with:",
        lines,
        advice="what is finished is kept; fix this, and the same command continues",
    )


@contextmanager
def _ended_at_last() -> Iterator[list[_Running]]:
    """A list of processes that do not outlive the block. SIGTERM ends it like Ctrl-C, with its own exit code."""
    running: list[_Running] = []

    def stop(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield running
    except KeyboardInterrupt:
        raise KeyboardInterrupt("what is finished is kept; the same command continues") from None
    finally:
        try:
            _end(running)
        finally:
            signal.signal(signal.SIGTERM, before)


def _end(running: list[_Running]) -> None:
    """Let processes save and stop; kill those that do not in time."""
    try:
        _signal(running, signal.SIGINT)
        deadline = time.monotonic() + GRACE
        while any(item.process.poll() is None for item in running) and time.monotonic() < deadline:
            time.sleep(PAUSE)
    finally:
        _signal(running, signal.SIGKILL)
        for item in running:
            item.process.wait()


def _signal(running: list[_Running], number: signal.Signals) -> None:
    for item in running:
        if item.process.poll() is None:
            os.killpg(item.process.pid, number)
