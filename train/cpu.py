"""What training asks of a CPU: as many threads as cores are free, waiting without spinning."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

STAT = Path("/proc/stat")


class Usage(NamedTuple):
    """Seconds since some point: on the clock, that the cores of this process idled, and that it computed itself."""

    clock: float
    idle: float
    own: float


def usage() -> Usage | None:
    """The usage until now; None where the system does not tell (it does on Linux)."""
    try:
        text = STAT.read_text(encoding="ascii")
        cores = os.sched_getaffinity(0)
        idle = idle_seconds(text, cores, os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, AttributeError):
        return None
    return Usage(time.monotonic(), idle, time.process_time())


def idle_seconds(text: str, cores: set[int], ticks: int) -> float:
    """Seconds that `cores` idled or waited for a disk, from the text of /proc/stat, which counts `ticks` a second."""
    wanted = {f"cpu{core}" for core in cores}
    rows = (line.split() for line in text.splitlines())
    return sum(int(row[4]) + int(row[5]) for row in rows if row and row[0] in wanted) / ticks


def free_threads(before: Usage | None, now: Usage | None, cores: int) -> int:
    """Threads for the cores that no other process used between two points, from 1 to `cores`."""
    if before is None or now is None or now.clock <= before.clock:
        return cores
    free = (now.idle - before.idle + now.own - before.own) / (now.clock - before.clock)
    return min(max(1, round(free)), cores)


# At import, which comes before the imports that take seconds: long enough to tell what the other processes do.
BEGIN = usage()


def wait_without_spinning() -> None:
    """Let waiting threads sleep. Call before torch is imported, which is when OpenMP reads it.

    Threads that wait for another one by spinning keep its core busy where there are more of them than free cores: a
    step beside two other processes then takes ten times its share.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def set_threads(recorded: int | None = None) -> int:
    """Set the number of torch's threads and return it: OMP_NUM_THREADS, or what the run had so far, or the free cores.

    Sums depend on how they are divided among threads, so a run goes on with the number that it began with.
    """
    import torch

    from datasets.parallel import cores

    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(min(recorded, cores()) if recorded else free_threads(BEGIN, usage(), cores()))
    return torch.get_num_threads()


def prepare(recorded: int | None = None, *, processes: int = 1) -> None:
    """Memory that is kept when it is freed and, unless `launch` divided them among several `processes`, threads.

    `recorded` is the number of threads that a resumed run had.
    """
    from datasets import allocator

    allocator.keep_freed_memory()
    if processes == 1:
        set_threads(recorded)
