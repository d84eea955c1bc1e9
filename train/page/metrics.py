"""A run's metrics.json, as columns."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import NamedTuple

import msgspec

from datasets.errors import DataError, Problems

FILE = "metrics.json"


class Metrics(NamedTuple):
    """M lines of metrics: how many iterations were done, and by name the M values, NaN where a line has none."""

    iterations: list[int]
    columns: dict[str, list[float]]

    def points(self, name: str) -> list[tuple[int, float]]:
        """(iterations done, value) where there is one."""
        column = self.columns.get(name, [])
        return [(done, value) for done, value in zip(self.iterations, column, strict=False) if math.isfinite(value)]

    def last(self, name: str) -> float | None:
        points = self.points(name)
        return points[-1][1] if points else None

    @property
    def seconds(self) -> float:
        """The time of all steps: each line has the median of those before it."""
        points = self.points("time")
        ends = [0, *(done for done, _ in points)]
        return sum(value * (done - before) for (done, value), before in zip(points, ends, strict=False))

    @property
    def losses(self) -> dict[str, list[tuple[int, float]]]:
        """The parts of the loss by name, those of a cascade's stages as their sum."""
        summed: dict[str, list[float]] = {}
        for name, column in self.columns.items():
            if name.startswith("loss_") and name != "loss_scale":
                part = name.removeprefix("loss_").partition("_stage")[0].replace("_", " ")
                summed[part] = [a + b for a, b in zip(summed.get(part, [0.0] * len(column)), column, strict=True)]
        return {part: Metrics(self.iterations, {part: column}).points(part) for part, column in summed.items()}


def read(folder: Path) -> Metrics:
    """The metrics of a run. Raises DataError where there are none, and naming each line that is no metrics.

    An incomplete last line is left out: a run may be writing it, or was killed while it did.
    """
    path = folder / FILE
    try:
        *whole, _ = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"{path}: expected the metrics of a run, found none: {error.strerror}") from None
    problems = Problems()
    lines: list[tuple[int, dict[str, float]]] = []
    for number, text in enumerate(whole, 1):
        line = _line(text)
        if line is None:
            problems.add(f"line {number}: expected numbers by name, one of them the iteration")
        else:
            lines.append((int(line.pop("iteration")) + 1, line))
    problems.raise_if_any(f"{path}: {{n}} line(s) that are no metrics of a run")
    lines.sort(key=lambda item: item[0])
    names = sorted({name for _, line in lines for name in line})
    columns = {name: [line.get(name, math.nan) for _, line in lines] for name in names}
    return Metrics([done for done, _ in lines], columns)


def _line(text: bytes) -> dict[str, float] | None:
    try:
        # Not msgspec's reader, which takes no NaN.
        line = msgspec.convert(json.loads(text), dict[str, float])
    except (ValueError, RecursionError, msgspec.ValidationError):
        return None
    return line if 0 <= line.get("iteration", -1) < 2**53 else None
