"""The data loaders: training batches, in an order determined by the seed alone, and images to predict on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import torch
from threadpoolctl import threadpool_limits
from torch.utils.data import DataLoader, Dataset

from datasets.errors import DataError
from train.data.mapper import InferenceMapper
from train.data.records import Record
from train.data.sampler import BatchSampler, Key
from train.processes import signals

# torch's messages where a worker was killed or exited unexpectedly.
_LOST = re.compile(r"DataLoader worker \(pid")


class _Mapped(Dataset[Any]):
    """Looks up an image and maps it. An error is returned as a value, so that it arrives without a worker's
    traceback.
    """

    def __init__(self, look_up: Callable[[Any], dict[str, Any]]) -> None:
        self._look_up = look_up

    def __getitem__(self, key: Any) -> dict[str, Any] | DataError:
        try:
            return self._look_up(key)
        except DataError as error:
            return error


class _InferenceLookUp:
    def __init__(self, records: Sequence[Record], mapper: Callable[[Record], dict[str, Any]]) -> None:
        self._records, self._mapper = records, mapper

    def __call__(self, index: int) -> dict[str, Any]:
        return self._mapper(self._records[index])


def training_batches(
    map_key: Callable[[Key], dict[str, Any]], sampler: BatchSampler, workers: int
) -> Iterator[list[dict[str, Any]]]:
    """Lists of mapped images, in the order of `sampler`. Raises DataError for an image that cannot be read."""
    loader = DataLoader(
        _Mapped(map_key),
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_as_list,
        worker_init_fn=_begin,
    )
    return _raising(loader)


def inference_batches(
    records: Sequence[Record],
    mapper: InferenceMapper | Callable[[Record], dict[str, Any]],
    workers: int,
    *,
    batch: int = 1,
    first: int = 0,
    step: int = 1,
) -> Iterator[list[dict[str, Any]]]:
    """Every `step`th record from `first`, in order, in lists of `batch`."""
    loader = DataLoader(
        _Mapped(_InferenceLookUp(records, mapper)),
        sampler=range(first, len(records), step),
        batch_size=batch,
        num_workers=workers,
        collate_fn=_as_list,
        worker_init_fn=_begin,
    )
    return _raising(loader)


def _as_list(items: list[Any]) -> list[Any]:
    # A function of the module, so that workers can be spawned as well as forked.
    return items


def _raising(loader: DataLoader[Any]) -> Iterator[list[dict[str, Any]]]:
    for batch in _started(loader):
        for item in batch:
            if isinstance(item, DataError):
                raise item
        yield batch


def _started(loader: DataLoader[Any]) -> Iterator[Any]:
    # Forked workers lack this process's threads. OpenCV would wait in them for threads that do not exist, so they are
    # ended here first.
    threads = cv2.getNumThreads()
    if loader.num_workers:
        cv2.setNumThreads(1)
    try:
        with signals.blocked():
            return iter(loader)
    finally:
        cv2.setNumThreads(threads)


@contextmanager
def naming_lost_workers(workers: int, remedy: str) -> Iterator[None]:
    """Raises DataError where a worker is killed: torch's signal handler raises an error wherever the process is, also
    while saving a checkpoint.
    """
    try:
        yield
    except RuntimeError as error:
        if not _LOST.search(str(error)):
            raise
        raise DataError(
            "a worker process of the data loader was killed, as happens when memory runs out",
            advice=f"Try fewer workers, DATALOADER.NUM_WORKERS (was {workers}). {remedy}",
        ) from None


def _begin(_worker: int) -> None:
    signals.leave_signals_to_parent()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    # BLAS, too, which some pixel transforms use.
    threadpool_limits(1)
