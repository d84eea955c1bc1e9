"""A run's metrics, handed to a service in a thread of its own.

Training waits for a service when it is opened and when it is closed, for a bounded time, and never in between. A
service that fails in between is warned of once; what it did not take is offered again with the next metrics.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from train import compat  # noqa: F401 - compat before detectron2
from train.run.endings import Ending, ending_of

# isort: split
from detectron2.utils.events import EventWriter, get_event_storage

# Seconds to wait for a service before the first step, and after the last.
WAIT = 60.0
# Iterations over which Detectron2 smooths losses, as in metrics.json.
WINDOW = 20


class About(NamedTuple):
    """What a service is told of a run. `parameters` are its model, dataset and configuration, by dotted key."""

    folder: Path
    parameters: Mapping[str, Any]


class Service(Protocol):
    """A service that keeps metrics of runs. Its methods are called in one thread, and may raise anything."""

    name: str
    where: str
    """Where the run is found, once it is open."""

    def open(self, about: About, run_id: str | None) -> str:
        """Begin a run, or continue the one of this id; returns the id."""

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        """Add metrics; those that an interrupted run logged already are not logged twice."""

    def close(self, ending: Ending) -> None: ...


class ServiceWriter(EventWriter):  # type: ignore[misc]
    """Detectron2's interface to a service; `say` prints a line.

    Raises what opening the service raises, or TimeoutError.
    """

    def __init__(
        self,
        service: Service,
        about: About,
        run_id: str | None,
        say: Callable[[str], None],
        *,
        wait: float = WAIT,
    ) -> None:
        self._service = service
        self._say = say
        self._wait = wait
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._untaken: deque[tuple[int, dict[str, float]]] = deque()
        self._is_warned = self._is_closed = False
        self._last = -1
        # A daemon: a service that does not answer must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name=service.name, daemon=True)
        self._thread.start()
        self.run_id = self._opened(about, run_id)

    def _opened(self, about: About, run_id: str | None) -> str:
        answers: queue.SimpleQueue[str | Exception] = queue.SimpleQueue()

        def open_() -> None:
            try:
                answers.put(self._service.open(about, run_id))
            except Exception as error:  # whatever the service raises
                answers.put(error)

        self._tasks.put(open_)
        try:
            answer = answers.get(timeout=self._wait)
        except queue.Empty:
            raise TimeoutError(f"no answer within {self._wait:g} s") from None
        if isinstance(answer, Exception):
            raise answer
        self._say(f"{self._service.name}: {self._service.where}")
        return answer

    def write(self) -> None:
        """Hand over the metrics that are new since the last call, at once."""
        by_iteration: dict[int, dict[str, float]] = defaultdict(dict)
        for name, (value, iteration) in get_event_storage().latest_with_smoothing_hint(WINDOW).items():
            if iteration > self._last:
                by_iteration[iteration][name] = float(value)
        for iteration, values in sorted(by_iteration.items()):
            self._last = iteration
            self._tasks.put(lambda item=(iteration, values): self._offer(item))  # type: ignore[misc]

    def close(self) -> None:
        """Close the run as the loop ended, whose error, if any, is on its way when Detectron2 calls this."""
        ending = ending_of(sys.exc_info()[1])
        self._tasks.put(lambda: self._close(ending))
        self._thread.join(self._wait)
        if self._thread.is_alive():
            self._warn(f"it has not taken everything within {self._wait:g} s")

    def _work(self) -> None:
        while not self._is_closed:
            self._tasks.get()()

    def _offer(self, *items: tuple[int, dict[str, float]]) -> None:
        self._untaken.extend(items)
        try:
            while self._untaken:
                self._service.log(*self._untaken[0])
                self._untaken.popleft()
        except Exception as error:  # whatever the service raises
            self._warn(first_line(error))

    def _close(self, ending: Ending) -> None:
        self._offer()
        self._is_closed = True
        try:
            self._service.close(ending)
        except Exception as error:  # whatever the service raises
            self._warn(first_line(error))

    def _warn(self, why: str) -> None:
        """Once: services that are away stay so for a while."""
        if not self._is_warned:
            self._say(f"warning: {self._service.name}: {why}; training goes on, and metrics.json has everything")
        self._is_warned = True


def first_line(error: Exception) -> str:
    """The first line of an error of any library."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
