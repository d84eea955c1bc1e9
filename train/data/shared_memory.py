"""Shared memory: loader workers pass images in /dev/shm; where it is full, torch hangs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from datasets.errors import DataError
from train import compat  # noqa: F401 - before detectron2
from train.data.geometry import SizesByEpoch, resized
from train.data.records import Record

# isort: split
from detectron2.utils import comm

FOLDER = Path("/dev/shm")
# torch's default number of batches that each worker prefetches.
AHEAD = 2
# Boxes, classes and flags of an image: a file of one page each, with their content.
TARGETS = 6 * 4096


class Load(NamedTuple):
    """What one loader of a process passes: batches of `batch` images of up to `image_bytes` bytes."""

    batch: int
    image_bytes: int

    def needed(self, workers: int) -> int:
        """Bytes needed while all workers prefetch and one batch is in use."""
        return (AHEAD * workers + 1) * self.batch * (self.image_bytes + TARGETS) if workers else 0


def training_load(cfg: Any, records: Iterable[Record], batch: int) -> Load:
    if cfg.INPUT.CANVAS:
        return Load(batch, 3 * cfg.INPUT.CANVAS**2)
    return Load(batch, _largest(records, SizesByEpoch(cfg).largest(), cfg.INPUT.MAX_SIZE_TRAIN))


def inference_load(cfg: Any, records: Iterable[Record]) -> Load:
    return Load(1, _largest(records, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST))


def whole_images_load(records: Iterable[Record]) -> Load:
    """Images in their original size."""
    return Load(1, max((3 * record.height * record.width for record in records), default=0))


def _largest(records: Iterable[Record], shorter: int, longest: int) -> int:
    """Bytes of the largest resized image, with three channels of one byte."""
    sizes = (resized(record.height, record.width, shorter, longest) for record in records)
    return max((3 * height * width for height, width in sizes), default=0)


def check(loads: Iterable[Load], workers: int) -> None:
    """Raises DataError where the loaders of this machine's processes need more than is free."""
    trouble = problem(list(loads), workers, comm.get_local_size(), free(FOLDER))
    if trouble is not None:
        raise DataError(trouble)


def free(folder: Path) -> int | None:
    """Free bytes; None where the system has no such folder."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize


def problem(loads: list[Load], workers: int, processes: int, available: int | None) -> str | None:
    """Why `available` bytes do not suffice for `processes` with `workers` for each of `loads`; None where they do."""
    if available is None:
        return None

    def needed(count: int) -> int:
        return processes * sum(load.needed(count) for load in loads)

    if needed(workers) <= available:
        return None
    fewer = next(count for count in range(workers, -1, -1) if needed(count) <= available)
    return (
        f"{FOLDER}: expected {_mib(needed(workers))} MiB for the images that {workers} loader workers "
        + (f"of each of {processes} processes " if processes > 1 else "")
        + f"prepare ahead, found {_mib(available, up=False)} MiB free. In a container, `docker run --shm-size="
        f"{_gib(needed(workers))}g` or `--ipc=host` gives more; else say DATALOADER.NUM_WORKERS {fewer}"
    )


def _mib(size: int, *, up: bool = True) -> str:
    return f"{(size + 2**20 - 1 if up else size) // 2**20:,}"


def _gib(size: int) -> int:
    """GiB, rounded up with a margin."""
    return size // 2**30 + 1
