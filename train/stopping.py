"""Ending a run from outside: SIGINT and SIGTERM let a step end and save."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from train.trainer import Trainer


@contextmanager
def stop_on_signal(trainer: Trainer) -> Iterator[list[int]]:
    """SIGINT and SIGTERM let the step end and save; a second one ends at once. Yields the signals that came."""
    came: list[int] = []

    def handle(number: int, _frame: object) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)
        trainer.stop_asked = True

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(signals: list[int]) -> NoReturn:
    """End the process as the signals ask for."""
    if signal.SIGTERM in signals:
        raise SystemExit(128 + signal.SIGTERM)
    raise KeyboardInterrupt
