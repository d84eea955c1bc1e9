"""What the folder of a run holds, but for its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datasets import percent
from datasets.evaluation import Interval
from train.checkpoints import checkpoint, lineage
from train.page import metrics
from train.page.metrics import Metrics


class Validation(NamedTuple):
    """An AP, a fraction, after so many epochs; the last one may be a part of one."""

    epochs: float
    ap: float

    @property
    def epoch(self) -> int:
        """The number of the epoch, from 1, as checkpoints have it."""
        return max(1, math.ceil(self.epochs - 1e-6))


class Run(NamedTuple):
    """A run; `name` tells it from the others of a page."""

    name: str
    folder: Path
    metrics: Metrics
    model: str
    config: str
    """As YAML."""
    categories: list[tuple[int, str]]
    data: dict[str, Any]
    """The identity of its training data."""
    epochs_an_iteration: float
    lineage: list[str]
    """As `lineage` prints it."""
    from_scratch: bool

    @property
    def iterations(self) -> int:
        """How many were done."""
        return self.metrics.iterations[-1] if self.metrics.iterations else 0

    def epochs(self, iterations: float) -> float:
        return iterations * self.epochs_an_iteration

    @property
    def validations(self) -> list[Validation]:
        return [Validation(self.epochs(done), value / 100) for done, value in self.metrics.points("bbox/ap")]

    @property
    def best(self) -> Validation | None:
        """The first of the highest AP."""
        return max(self.validations, key=lambda item: item.ap, default=None)

    @property
    def interval(self) -> Interval | None:
        """That of the best AP; earlier versions did not measure it."""
        low, high = self.metrics.last("best/ap_low"), self.metrics.last("best/ap_high")
        return None if low is None or high is None else Interval(low / 100, high / 100)

    @property
    def best_text(self) -> str:
        """`52.1 (49.0 to 55.2)`."""
        if self.best is None:
            return "-"
        return percent.precision(self.best.ap) + (f" ({self.interval})" if self.interval else "")


def read(folders: Sequence[Path]) -> list[Run]:
    """Raises DataError for a folder that is not of a run, or whose files are damaged."""
    return [_read(folder, name) for folder, name in zip(folders, names_of(folders), strict=True)]


def names_of(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of their paths that tell them apart."""
    parts = [folder.absolute().parts for folder in folders]
    for length in range(1, max(map(len, parts), default=1)):
        names = ["/".join(item[-length:]) for item in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{folder} ({number})" for number, folder in enumerate(folders, 1)]


def _read(folder: Path, name: str) -> Run:
    found = metrics.read(folder)
    loaded = checkpoint.read(checkpoint.find_in_run(folder))
    content = loaded.content
    iteration = content["iteration"]
    return Run(
        name=name,
        folder=folder,
        metrics=found,
        model=str(content.get("name", "a model")),
        config=content["config"],
        categories=[(int(id_), str(label)) for id_, label in content["categories"]],
        data=content.get("data", {}),
        # A checkpoint of an earlier version does not have the epoch.
        epochs_an_iteration=content.get("epoch", float(iteration)) / iteration if iteration > 0 else 1.0,
        lineage=lineage.describe(loaded),
        from_scratch=not lineage.doubts(loaded.path.name, loaded.lineage),
    )
