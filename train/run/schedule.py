"""The schedule: from epochs, which users think in, to iterations, which Detectron2 counts. Pure functions.

An iteration is one optimiser step on a whole batch; an epoch is `images / batch` iterations, not necessarily an
integer: batches continue across the end of an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

# Below this many iterations, training from scratch has hardly begun.
FEW_ITERATIONS = 200
# Longer runs, in seconds, are told what would make them shorter; those of more than a day are warned.
LONG = 600.0
# Less than this is not worth a line.
SHORT = 60.0
DAY = 86400.0


class Schedule(NamedTuple):
    """A run over `images` images with batches of `batch`, in iterations. `learning_rate` is that after warm-up."""

    images: int
    batch: int
    epochs: float
    last: int
    """Iterations of the whole run."""
    steps: tuple[int, ...]
    warmup: int
    learning_rate: float
    validate_epochs: int = 1
    """Epochs between two validations, each of which keeps a checkpoint."""

    def at(self, epoch: float) -> int:
        """The iteration at which `epoch` epochs are complete, rounded down."""
        return iterations(epoch, self.images, self.batch)

    def epoch(self, iteration: int) -> float:
        """Epochs completed after `iteration` iterations."""
        return iteration * self.batch / self.images

    def epoch_of(self, iteration: int) -> int:
        """The epoch, from 1, that iteration number `iteration` belongs to."""
        return max(1, -(-iteration * self.batch // self.images))

    def ended(self, iteration: int) -> int:
        """The last epoch that has ended after `iteration` iterations; 0 before the first."""
        return max((self.epoch_of(end) for end in self.epoch_ends() if end <= iteration), default=0)

    def epoch_ends(self) -> tuple[int, ...]:
        """The iterations at which epochs end, sorted; the end of the run is one, even within an epoch.

        Of several `validate_epochs`, only the last one's end counts.
        """
        every = self.validate_epochs
        ends = {self.at(epoch) for epoch in range(every, int(self.epochs) + 1, every)}
        return tuple(sorted({end for end in ends if 0 < end < self.last} | {self.last}))


def iterations(epochs: float, images: int, batch: int) -> int:
    """Complete iterations in `epochs` epochs; decimal fractions are exact (0.1 is a tenth)."""
    return int(Fraction(str(epochs)) * images / batch)


def derive(
    *,
    images: int,
    batch: int,
    epochs: float,
    step_epochs: Sequence[float],
    warmup_epochs: float,
    base_lr: float,
    reference_batch: int,
    max_iter: int = 0,
    validate_epochs: int = 1,
) -> Schedule:
    """The schedule in iterations.

    The learning rate is linear in the batch (Goyal et al., 2017, "Accurate, Large Minibatch SGD"): `base_lr` is for a
    batch of `reference_batch`. `max_iter` above 0 ends the run early and changes nothing else. Raises ValueError,
    naming the config's keys, where the numbers are impossible.
    """
    problems = []
    if images < 1:
        problems.append(f"expected at least one image, found {images}")
    if batch < 1:
        problems.append(f"SOLVER.IMS_PER_BATCH: expected 1 or more, found {batch}")
    if not 0 < epochs < math.inf:
        problems.append(f"SOLVER.EPOCHS: expected more than 0, found {epochs}")
    if list(step_epochs) != sorted(step_epochs) or any(not 0 < step < math.inf for step in step_epochs):
        problems.append(f"SOLVER.STEP_EPOCHS: expected rising numbers above 0, found {list(step_epochs)}")
    if not 0 <= warmup_epochs < math.inf:
        problems.append(f"SOLVER.WARMUP_EPOCHS: expected 0 or more, found {warmup_epochs}")
    if not 0 < base_lr < math.inf:
        problems.append(f"SOLVER.BASE_LR: expected more than 0, found {base_lr}")
    if reference_batch < 1:
        problems.append(f"SOLVER.REFERENCE_BATCH: expected 1 or more, found {reference_batch}")
    if problems:
        raise ValueError("; ".join(problems))
    last = max(1, iterations(epochs, images, batch))
    # Steps beyond the end of the run are dropped.
    steps = tuple(step for step in (iterations(epoch, images, batch) for epoch in step_epochs) if step < last)
    return Schedule(
        images=images,
        batch=batch,
        epochs=epochs,
        last=min(last, max_iter) if max_iter > 0 else last,
        steps=steps,
        warmup=iterations(warmup_epochs, images, batch),
        learning_rate=base_lr * batch / reference_batch,
        validate_epochs=validate_epochs,
    )


def describe(schedule: Schedule, *, cosine: bool = False) -> list[str]:
    """The schedule as text, for the plan."""
    steps = "lowered at " + (", ".join(f"{step:,}" for step in schedule.steps) or "none")
    if cosine:
        steps = "then along half a cosine to 0 (SOLVER.STEP_EPOCHS and GAMMA have no effect)"
    whole = max(1, schedule.at(schedule.epochs))
    early = f" (SOLVER.MAX_ITER ends it at {schedule.last:,})" if schedule.last < whole else ""
    return [
        f"{schedule.images:,} images, batch {schedule.batch}: "
        f"{schedule.images / schedule.batch:,.1f} iterations an epoch",
        f"{schedule.epochs:g} epochs = {whole:,} iterations{early}; learning rate {schedule.learning_rate:g} after "
        f"{schedule.warmup:,} of warm-up, {steps}",
        *(
            [f"validated every {schedule.validate_epochs} epochs (SOLVER.VALIDATE_EPOCHS)"]
            if schedule.validate_epochs > 1
            else []
        ),
    ]


def short(schedule: Schedule) -> list[str]:
    """A note on a run too short to learn anything; None otherwise."""
    if schedule.last <= schedule.warmup:
        return [f"warning: the run ends within the {schedule.warmup:,} iterations of warm-up (SOLVER.WARMUP_EPOCHS)"]
    if schedule.last < FEW_ITERATIONS:
        return [f"warning: {schedule.last:,} iterations are very few for a network from scratch; see SOLVER.EPOCHS"]
    return []


def pace(iterations_left: int, seconds_an_iteration: float, quicker: Sequence[str], besides: str = "") -> list[str]:
    """How long a run takes on this machine and, unless it is short, what would make it shorter.

    `besides` says what is not counted.
    """
    left = iterations_left * seconds_an_iteration
    warned = "warning: " if left >= DAY else ""
    line = f"{warned}{duration(left)} to go on this machine, at {seconds_an_iteration:.2g} s an iteration{besides}"
    return [line] if left < LONG else [line, f"  quicker: {'; '.join(quicker)}"]


def validation_cost(left: int, seconds: float) -> list[str]:
    """How long the validations take that are left, of so many seconds each; nothing where that is short."""
    total = left * seconds
    if total < SHORT:
        return []
    warned = "warning: " if total >= DAY else ""
    return [f"{warned}{duration(total)} more for {left:,} validations to come, at {duration(seconds)} each"]


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 20 min` or `12 days`."""
    minutes = round(seconds / 60)
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes / 1440:,.0f} days"
