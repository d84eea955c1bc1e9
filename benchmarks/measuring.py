"""What a command costs: seconds of the clock and of CPU, and the peak memory of each of its processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PROC = Path("/proc")
POLL_SECONDS = 0.1


class Cost(NamedTuple):
    """`cpu` is of all processes; peak resident memory in MB, of the first process and of the largest other one."""

    wall: float
    cpu: float
    cpu_first: float
    memory_first: float
    memory_other: float


def environment(*, one_thread: bool = True) -> dict[str, str]:
    """For processes that find the project from any folder and, with `one_thread`, use one thread each."""
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")} if one_thread else {}
    # Existing entries may contain what the project needs.
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, **threads, "PYTHONPATH": paths, "NO_ALBUMENTATIONS_UPDATE": "1"}


def measure(arguments: list[str]) -> Cost:
    """Run `python ARGUMENTS` to its end. Raises SystemExit where it fails. Linux only: it reads /proc.

    CPU and memory of the first process are the kernel's own figures; those of its descendants, which nobody waits
    for, are looked up ten times a second, so that up to a tenth of a second of each may be missed.
    """
    # What was written before must not be written to the disk at this command's cost.
    os.sync()
    start = time.perf_counter()
    command = [sys.executable, *arguments]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)
    seconds: dict[int, float] = {}
    peaks: dict[int, float] = {}
    first_peak = 0.0
    while True:
        for pid in descendants(process.pid):
            seconds[pid] = max(seconds.get(pid, 0.0), cpu_seconds(pid))
            peaks[pid] = max(peaks.get(pid, 0.0), peak_memory(pid))
        first_peak = max(first_peak, peak_memory(process.pid))
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        time.sleep(POLL_SECONDS)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with exit code {process.returncode}")
    first = usage.ru_utime + usage.ru_stime
    return Cost(wall, first + sum(seconds.values()), first, first_peak, max(peaks.values(), default=0.0))


def repeat(annotations: Sequence[Path], images: Sequence[Path], count: int, folder: Path) -> list[str]:
    """Blow a dataset up to `count` images in `folder`; returns the options that name the result as an input."""
    script = [sys.executable, str(ROOT / "scripts" / "repeat_dataset.py"), "--count", str(count), "--copy"]
    for path, image_folder in zip(annotations, images, strict=True):
        script += ["--annotations", str(path), "--images", str(image_folder)]
    subprocess.run([*script, "--output", str(folder)], env=environment(), check=True, stdout=subprocess.DEVNULL)
    return ["--annotations", str(folder / "annotations" / "instances.json"), "--images", str(folder / "images")]


def descendants(pid: int) -> Iterator[int]:
    """The children of a process, and theirs."""
    for children in PROC.glob(f"{pid}/task/*/children"):
        for child in _read(children).split():
            yield int(child)
            yield from descendants(int(child))


def cpu_seconds(pid: int) -> float:
    fields = _read(PROC / str(pid) / "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def peak_memory(pid: int) -> float:
    """MB, as the process itself had it: a figure for children would begin with the memory of their parent."""
    status = _read(PROC / str(pid) / "status").splitlines()
    return next((int(line.split()[1]) / 1000 for line in status if line.startswith("VmHWM")), 0.0)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
