"""Batches: the same in order and content for any number of workers, and errors that a user can read."""

from __future__ import annotations

import multiprocessing
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from datasets.errors import DataError
from datasets.sources import Input
from tests.train.conftest import small_config
from train.data.loader import inference_batches, naming_lost_workers, training_batches
from train.data.mapper import InferenceMapper, RecordMapper, TrainingMapper
from train.data.read import TrainingData, read_training
from train.data.records import Record
from train.data.sampler import BatchSampler, Division

pytestmark = [
    # torch warns where there are more workers than cores; here they only must give the same.
    pytest.mark.filterwarnings("ignore:This DataLoader will create .* worker processes"),
    # Python 3.12 warns of what torch does to start workers.
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]

WORKERS = [0, 1, 2]
Batches = Iterator[list[dict[str, Any]]]


def sampler(data: TrainingData, *, first: int = 0, last: int = 7) -> BatchSampler:
    return BatchSampler(images=len(data.records), division=Division(3), seed=5, first=first, last=last, tall=data.tall)


def train_on(data: TrainingData, workers: int, *, first: int = 0, last: int = 7) -> Batches:
    mapper = TrainingMapper(small_config(), masks=data.masks, seed=5)
    return training_batches(RecordMapper(data.records, mapper), sampler(data, first=first, last=last), workers)


def look_at(data: TrainingData, workers: int, **options: int) -> Batches:
    return inference_batches(data.records, InferenceMapper(small_config()), workers, **options)


def content(batches: Batches) -> list[list[tuple[Any, ...]]]:
    """Each image of each batch in plain values that can be compared."""
    return [[_content(mapped) for mapped in batch] for batch in batches]


def _ids(batch: list[dict[str, Any]]) -> list[int]:
    return [mapped["image_id"] for mapped in batch]


def _content(mapped: dict[str, Any]) -> tuple[Any, ...]:
    found = (mapped["image_id"], mapped["height"], mapped["width"], mapped["image"].numpy().tobytes())
    if "instances" not in mapped:
        return found
    fields = mapped["instances"].get_fields()
    polygons = [polygon.tolist() for outline in fields["gt_masks"].polygons for polygon in outline]
    plain = [fields["gt_boxes"].tensor.tolist(), fields["gt_classes"].tolist(), fields["ignored"].tolist()]
    return (*found, mapped["image"].shape, plain, polygons)


@pytest.fixture
def spoilt(drawn: Input, tmp_path: Path) -> tuple[TrainingData, Path]:
    """The drawn dataset, of which one file changes after it was read, as on a failing disk; image 12 of id."""
    folder = Path(shutil.copytree(drawn.images, tmp_path / "images"))
    data = read_training(Input(drawn.annotations, folder), keep_empty=True, masks=None, progress=None)
    (folder / "grey.jpg").write_bytes((folder / "grey.jpg").read_bytes()[:500])
    return data, folder / "grey.jpg"


def test_training_batches_are_the_same_for_any_number_of_workers(drawn_data: TrainingData) -> None:
    found = [content(train_on(drawn_data, workers)) for workers in WORKERS]

    assert [len(batch) for batch in found[0]] == [3] * 7
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("workers", WORKERS)
def test_training_batches_come_in_the_order_of_the_sampler(drawn_data: TrainingData, workers: int) -> None:
    expected = [[drawn_data.records[key.image].image_id for key in keys] for keys in sampler(drawn_data)]

    assert [_ids(batch) for batch in train_on(drawn_data, workers)] == expected


def test_an_image_of_a_batch_is_mapped_for_its_own_epoch_and_place(drawn_data: TrainingData) -> None:
    mapper = TrainingMapper(small_config(), masks=True, seed=5)
    keys = [key for part in sampler(drawn_data) for key in part]
    assert len({key.epoch for key in keys}) > 2  # 7 x 3 of 8 images

    alone = [_content(mapper(drawn_data.records[key.image], key)) for key in keys]

    assert [image for batch in content(train_on(drawn_data, 1)) for image in batch] == alone


@pytest.mark.parametrize("first", [1, 6, 7])
def test_going_on_gives_the_batches_that_were_left(drawn_data: TrainingData, first: int) -> None:
    assert content(train_on(drawn_data, 2, first=first)) == content(train_on(drawn_data, 0))[first:]


def test_inference_batches_are_the_same_for_any_number_of_workers(drawn_data: TrainingData) -> None:
    found = [content(look_at(drawn_data, workers)) for workers in WORKERS]

    assert [[image[0] for image in batch] for batch in found[0]] == [[7], [3], [12], [20], [21], [30], [31], [40]]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("processes", [1, 2, 3, 9])
@pytest.mark.parametrize("batch", [1, 3])
def test_processes_look_at_every_image_once(drawn_data: TrainingData, processes: int, batch: int) -> None:
    shares = [list(look_at(drawn_data, 0, first=rank, step=processes, batch=batch)) for rank in range(processes)]

    ids = [[id_ for part in share for id_ in _ids(part)] for share in shares]
    assert ids == [[record.image_id for record in drawn_data.records[rank::processes]] for rank in range(processes)]
    # All batches but a share's last one are full.
    assert all(len(part) == batch for share in shares for part in share[:-1])
    assert all(1 <= len(part) <= batch for share in shares for part in share)


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("begin", [train_on, look_at])
def test_a_file_that_cannot_be_read_is_named_without_a_traceback(
    spoilt: tuple[TrainingData, Path], workers: int, begin: Callable[[TrainingData, int], Batches]
) -> None:
    data, path = spoilt

    with pytest.raises(DataError) as caught:
        list(begin(data, workers))

    assert str(caught.value) == (f"{path}: expected a whole JPEG file, found one that was cut short at 500 bytes")
    assert type(caught.value) is DataError


@pytest.mark.parametrize("workers", WORKERS)
def test_batches_before_the_error_arrive(spoilt: tuple[TrainingData, Path], workers: int) -> None:
    data, _ = spoilt
    seen: list[int] = []

    with pytest.raises(DataError):
        seen.extend(image for batch in look_at(data, workers, batch=2) for image in _ids(batch))

    assert seen == [7, 3]  # image 12 is in the second batch


@pytest.mark.parametrize("workers", [0, 1])
def test_a_fault_of_ours_is_not_taken_for_one_of_the_data(drawn_data: TrainingData, workers: int) -> None:
    with pytest.raises(ZeroDivisionError):
        list(inference_batches(drawn_data.records, _broken, workers))


def _broken(record: Record) -> dict[str, Any]:
    return {"image": record.width // 0}


@pytest.fixture
def threads() -> Iterator[None]:
    """This process has two threads for each library, and OpenCV's are at work, as after mapping images itself."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(2)
    cv2.setNumThreads(2)
    cv2.resize(np.zeros((1000, 1000, 3), dtype=np.uint8), (2000, 2000))
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


@pytest.fixture
def deadline() -> Iterator[None]:
    """A test that would wait for ever fails."""

    def fail(_number: int, _frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("threads", "deadline")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_takes_one_core_and_leaves_this_process_its_own(drawn_data: TrainingData, workers: int) -> None:
    # A worker is a copy of this process without its threads: OpenCV waits for them when it is told to end them there.
    found = [mapped for batch in inference_batches(drawn_data.records, _threads, workers) for mapped in batch]

    assert found == [{"torch": 1, "cv2": 1}] * len(drawn_data.records)
    assert (torch.get_num_threads(), cv2.getNumThreads()) == (2, 2)
    assert next(inference_batches(drawn_data.records, _threads, 0)) == [{"torch": 2, "cv2": 2}]


@pytest.mark.usefixtures("deadline")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_workers_leave_signals_to_their_parent(drawn_data: TrainingData, number: signal.Signals) -> None:
    batches = train_on(drawn_data, 2)
    found = [next(batches)]
    workers = multiprocessing.active_children()
    assert len(workers) == 2

    # From somebody else, as to a whole group.
    subprocess.run(["kill", f"-{int(number)}", *(str(worker.pid) for worker in workers)], check=True)
    time.sleep(0.1)
    found += list(batches)

    assert content(iter(found)) == content(train_on(drawn_data, 0))
    assert not any(worker.is_alive() for worker in workers)


@pytest.mark.usefixtures("deadline")
def test_workers_end_when_their_parent_says_so(drawn_data: TrainingData) -> None:
    batches = train_on(drawn_data, 2)
    next(batches)
    workers = multiprocessing.active_children()

    for worker in workers:
        worker.terminate()
        worker.join()

    assert [worker.exitcode for worker in workers] == [0, 0]


def _threads(_record: Record) -> dict[str, Any]:
    return {"torch": torch.get_num_threads(), "cv2": cv2.getNumThreads()}


def test_a_worker_that_is_killed_is_one_error_wherever_it_is_heard_of(drawn_data: TrainingData) -> None:
    """As the kernel does when memory runs out; here while this process is not waiting for a batch."""
    with pytest.raises(DataError, match="was killed, as happens when memory runs out") as caught:  # noqa: PT012, SIM117
        with naming_lost_workers(1, "Nothing was written."):
            batches = train_on(drawn_data, 1)
            next(batches)
            (worker,) = multiprocessing.active_children()
            worker.kill()
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                time.sleep(0.01)
    assert caught.value.advice == "Try fewer workers, DATALOADER.NUM_WORKERS (was 1). Nothing was written."


def test_other_errors_are_not_taken_for_a_lost_worker() -> None:
    with pytest.raises(RuntimeError, match="shapes"), naming_lost_workers(1, ""):
        raise RuntimeError("shapes cannot be multiplied")
