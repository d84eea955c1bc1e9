"""A service beside a training: never waited for in between, never a reason to end, warned of once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from train import compat  # noqa: F401 - compat before detectron2
from train.run.endings import Ending, NoBetterError, StoppedError, ending_of
from train.run.services import About, ServiceWriter

# isort: split
from detectron2.engine.train_loop import TrainerBase
from detectron2.utils.events import EventStorage

WAITED = 0.2


class Fake:
    """Keeps what it is given, and does `act` before that."""

    name = "fake"
    where = "run 1"

    def __init__(self, act: Callable[[str], None] = lambda _: None) -> None:
        self.kept: list[tuple[int, Mapping[str, float]]] = []
        self.ended: Ending | None = None
        self.threads: set[str] = set()
        self._act = act

    def open(self, about: About, run_id: str | None) -> str:
        self._called("open")
        return run_id or f"{about.folder}-1"

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        self._called("log")
        self.kept.append((iteration, values))

    def close(self, ending: Ending) -> None:
        self._called("close")
        self.ended = ending

    def _called(self, what: str) -> None:
        self.threads.add(threading.current_thread().name)
        self._act(what)


class Said(list[str]):
    """What was said after the service was open."""

    def append(self, text: str) -> None:
        if text != "fake: run 1":
            super().append(text)


@pytest.fixture
def said() -> list[str]:
    return Said()


@pytest.fixture
def storage() -> Iterator[EventStorage]:
    with EventStorage(0) as storage:
        yield storage


def writer(service: Fake, said: list[str], run_id: str | None = None) -> ServiceWriter:
    return ServiceWriter(service, About(Path("run"), {}), run_id, said.append, wait=WAITED)


def write(writer: ServiceWriter, storage: EventStorage, iteration: int, **values: float) -> None:
    storage.iter = iteration
    storage.put_scalars(**values, smoothing_hint=False)
    writer.write()


def test_metrics_arrive_in_order_each_once(storage: EventStorage, said: list[str]) -> None:
    service = Fake()
    ours = writer(service, said)
    write(ours, storage, 19, total_loss=2.0, lr=0.5)
    ours.write()
    write(ours, storage, 39, total_loss=1.0)
    ours.close()
    assert service.kept == [(19, {"total_loss": 2.0, "lr": 0.5}), (39, {"total_loss": 1.0})]
    assert service.ended == "finished"
    # Of its own: training may go on meanwhile.
    assert service.threads == {"fake"}
    assert said == []


def test_the_id_of_the_run_is_kept_or_made_and_where_it_is_told() -> None:
    said: list[str] = []
    assert writer(Fake(), said).run_id == "run-1"
    assert writer(Fake(), said, "run-7").run_id == "run-7"
    assert said == ["fake: run 1"] * 2


def test_a_service_that_is_away_for_a_while_gets_everything_later(storage: EventStorage, said: list[str]) -> None:
    away = threading.Event()
    away.set()

    def act(what: str) -> None:
        if what == "log" and away.is_set():
            raise ConnectionError("no route to host\nand a page of details")

    service = Fake(act)
    ours = writer(service, said)
    for iteration in (19, 39):
        write(ours, storage, iteration, total_loss=1.0)
    while not said:
        time.sleep(0.001)
    away.clear()
    write(ours, storage, 59, total_loss=1.0)
    ours.close()
    assert [iteration for iteration, _ in service.kept] == [19, 39, 59]
    assert said == ["warning: fake: no route to host; training goes on, and metrics.json has everything"]


@pytest.mark.parametrize("broken", ["log", "close"])
def test_a_service_that_fails_is_warned_of_once_and_ends_nothing(
    broken: str, storage: EventStorage, said: list[str]
) -> None:
    def act(what: str) -> None:
        if what == broken:
            raise ValueError

    ours = writer(Fake(act), said)
    for iteration in (19, 39):
        write(ours, storage, iteration, total_loss=1.0)
    ours.close()
    assert said == ["warning: fake: ValueError; training goes on, and metrics.json has everything"]


@pytest.mark.parametrize("hanging", ["log", "close"])
def test_a_service_that_does_not_answer_is_not_waited_for(hanging: str, storage: EventStorage, said: list[str]) -> None:
    forever = threading.Event()

    def act(what: str) -> None:
        if what == hanging:
            forever.wait(60)

    service = Fake(act)
    ours = writer(service, said)
    for iteration in range(100):
        write(ours, storage, iteration, total_loss=1.0)
    ours.close()
    assert said == [
        "warning: fake: it has not taken everything within 0.2 s; training goes on, and metrics.json has everything"
    ]
    assert (service.ended, len(service.kept)) == (None, 0 if hanging == "log" else 100)
    forever.set()


def test_a_service_that_does_not_open_is_an_error_before_the_first_step(said: list[str]) -> None:
    forever = threading.Event()

    def hang(_: str) -> None:
        forever.wait(60)

    with pytest.raises(TimeoutError, match=r"^no answer within 0\.2 s$"):
        writer(Fake(hang), said)
    forever.set()

    def act(_: str) -> None:
        raise ConnectionError("no route to host")

    with pytest.raises(ConnectionError, match="no route"):
        writer(Fake(act), said)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, "finished"),
        (NoBetterError(""), "finished"),
        (StoppedError(), "stopped"),
        (KeyboardInterrupt(), "stopped"),
        (ValueError(), "failed"),
    ],
)
def test_a_service_is_told_how_the_loop_ended(error: BaseException | None, expected: str, said: list[str]) -> None:
    service = Fake()
    ours = writer(service, said)

    class Loop(TrainerBase):  # type: ignore[misc]
        def run_step(self) -> None:
            if error is not None:
                raise error

        def after_train(self) -> None:
            ours.close()

    if error is None:
        Loop().train(0, 1)
    else:
        with pytest.raises(type(error)):
            Loop().train(0, 1)
    assert service.ended == ending_of(error) == expected
