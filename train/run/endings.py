"""How a run ends other than by its last iteration, and what loggers call that."""

from __future__ import annotations

from typing import Literal

Ending = Literal["finished", "stopped", "failed"]


class StoppedError(Exception):
    """A signal stopped the run; everything is saved."""


class NoBetterError(Exception):
    """AP has not been better for SOLVER.PATIENCE epochs; the text says so. Everything is saved."""


def ending_of(error: BaseException | None) -> Ending:
    """The ending of a run whose loop `error` left, or nothing; --resume continues one that is `stopped`."""
    if error is None or isinstance(error, NoBetterError):
        return "finished"
    return "stopped" if isinstance(error, (StoppedError, KeyboardInterrupt)) else "failed"
