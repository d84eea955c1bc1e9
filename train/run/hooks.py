"""Hooks of the training loop: checkpoints, validation, metrics and progress."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from datasets import cli, percent
from datasets.evaluation import Evaluation
from datasets.results import Results
from datasets.seen import seen_note
from train import compat  # noqa: F401 - compat before detectron2
from train.checkpoints import checkpoint
from train.processes import signals
from train.run import patience
from train.run.best import Best
from train.run.endings import NoBetterError, StoppedError
from train.run.schedule import Schedule, pace, validation_cost
from train.run.trainer import DivergedError
from train.run.validate import Validated

# isort: split
from detectron2.engine.train_loop import HookBase
from detectron2.utils import comm
from detectron2.utils.events import EventWriter

# Iterations between two lines of metrics.
PERIOD = 20
# Iterations, or seconds and at least three iterations, after which the remaining time is told. The first one is slower.
PACE_KNOWN = 20
PACE_WAIT = 20.0
# Seconds between two progress lines where there is no terminal to rewrite one on.
QUIET_PERIOD = 30.0


class EpochHook(HookBase):  # type: ignore[misc]
    """At the end of each epoch: validate, save, keep the best. Also saves every `period` iterations, and on signals.

    `evaluate`, given the best AP so far, runs in every process and returns the result in the first one, on `images`
    images, `seen` of which were trained on. `content` returns the content of a checkpoint. `keep_results` gets the
    detections of the best epoch and its number, in the first process.
    """

    def __init__(
        self,
        folder: Path,
        schedule: Schedule,
        *,
        evaluate: Callable[[float], Validated | None] | None,
        content: Callable[[int, Best], dict[str, Any]],
        keep_results: Callable[[Results, int], None],
        best: Best,
        period: int,
        max_to_keep: int,
        patience_epochs: int = 0,
        say: Callable[[str], None],
        seen: int = 0,
        images: int = 0,
    ) -> None:
        self.best = best
        self._seen, self._images = seen, images
        self._note = seen_note(seen, images)
        self._folder = folder
        self._schedule = schedule
        self._ends = set(schedule.epoch_ends())
        self._evaluate = evaluate
        self._content = content
        self._keep_results = keep_results
        self._period = period
        self._max_to_keep = max_to_keep
        self._patience = patience_epochs
        self._say = say
        self._is_cost_told = False

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done in self._ends:
            self._end_epoch(done)
            self._check_patience(done)
        elif self.trainer.stopping or (self._period > 0 and done % self._period == 0):
            self._save(checkpoint.LAST, done)
        if self.trainer.stopping and done < self._schedule.last:
            raise StoppedError

    def _check_patience(self, done: int) -> None:
        """Raises NoBetterError, in all processes, where the first one, which measures AP, finds the run over."""
        if not self._patience or done == self._schedule.last:
            return
        epoch = self._schedule.epoch_of(done)
        is_over = patience.is_over(self._patience, epoch, self.best.epoch)
        if comm.all_gather(is_over)[0]:
            raise NoBetterError(patience.ended(self._patience, epoch, self.best.epoch))

    def _end_epoch(self, done: int) -> None:
        _check_weights(self.trainer.model, done)
        epoch = self._schedule.epoch_of(done)
        begun = time.monotonic()
        validated = self._evaluate(self.best.ap) if self._evaluate else None
        better = None
        if validated is not None:
            better = self._better(epoch, validated.evaluation)
            self._report(epoch, validated.evaluation, is_best=better is not None)
            self._tell_cost(done, time.monotonic() - begun)
        self.best = better or self.best
        self.trainer.storage.put_scalars(**self.best.scalars(), smoothing_hint=False)
        # The last checkpoint is written last, so that whatever it says of the best one is true of the files.
        with signals.SAVING:
            path = self._save(checkpoint.epoch_name(epoch), done)
            if path is not None:
                if better is not None and validated is not None:
                    checkpoint.keep(path, checkpoint.BEST)
                    self._keep_results(validated.found, epoch)
                checkpoint.keep(path, checkpoint.LAST)
                checkpoint.forget_old_epochs(self._folder, self._max_to_keep)

    def _better(self, epoch: int, evaluation: Evaluation) -> Best | None:
        """The epoch as the best one; None where it is not."""
        if evaluation.ap is None or evaluation.ap <= self.best.ap:
            return None
        return Best(epoch, evaluation.ap, self._seen, self._images, *(evaluation.interval or ()))

    def _report(self, epoch: int, evaluation: Evaluation, *, is_best: bool) -> None:
        # In percent, as usual in the field.
        scalars = {f"bbox/{key}": 100 * value for key, value in evaluation.numbers().items() if value is not None}
        scalars["bbox/images_seen_in_training"] = self._seen
        if evaluation.interval is not None:
            scalars |= {f"bbox/ap_{side}": 100 * value for side, value in evaluation.interval._asdict().items()}
        self.trainer.storage.put_scalars(**scalars, smoothing_hint=False)
        aps = f"AP {percent.precision(evaluation.ap)}  AP50 {percent.precision(evaluation.ap50)}"
        said = f"  {self._note}" if self._note else ""
        self._say(f"epoch {epoch}: {aps}{said}" + (" (best)" * is_best))

    def _tell_cost(self, done: int, seconds: float) -> None:
        """Print, once, how long the validations take that are left."""
        left = sum(end > done for end in self._ends)
        if not self._is_cost_told and left:
            for line in validation_cost(left, seconds):
                self._say(line)
        self._is_cost_told = True

    def _save(self, name: str, done: int) -> Path | None:
        _check_weights(self.trainer.model, done)
        if not comm.is_main_process():
            return None
        with signals.SAVING:
            return checkpoint.save(self._folder / name, self._content(done, self.best))


def _check_weights(model: torch.nn.Module, done: int) -> None:
    """Losses can be finite when weights no longer are; such weights must not replace good ones."""
    if not all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters()):
        raise DivergedError(f"iteration {done}: weights that are not finite")


class ReportHook(HookBase):  # type: ignore[misc]
    """Lets `writers` write, and prints the progress line; in the first process only.

    `writers` makes them, given a function that prints a line. `quicker` is what would make the run shorter, `besides`
    what its pace leaves out. With a
    `label`, which begins each line, progress is new lines also on a terminal, since other runs print there too.
    """

    def __init__(
        self,
        writers: Callable[[Callable[[str], None]], Sequence[EventWriter]],
        schedule: Schedule,
        start: int,
        *,
        quicker: Sequence[str] = (),
        besides: str = "",
        label: str = "",
    ) -> None:
        self._besides = besides
        self._schedule = schedule
        self._start = start
        self._ends = set(schedule.epoch_ends())
        self._quicker: Sequence[str] | None = quicker
        self._label = label
        self._writers = writers(self.say)
        self._line = tqdm(
            total=schedule.last,
            initial=start,
            disable=True if label else None,
            leave=False,
            dynamic_ncols=True,
            bar_format="{desc}",
        )
        self._begun = self._shown = self._paced = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line above the progress line."""
        cli.above_progress(f"{self._label}{text}")

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % PERIOD == 0 or done in self._ends:
            for writer in self._writers:
                writer.write()
        now = time.monotonic()
        if not self._line.disable:
            # A line wider than the terminal would be repeated instead of rewritten.
            width = shutil.get_terminal_size().columns - 1
            self._line.set_description_str(self._progress(done, now)[:width], refresh=now - self._shown > 0.2)
            self._shown = now if now - self._shown > 0.2 else self._shown
        elif now - self._shown > QUIET_PERIOD or done == self._start + 1:
            self.say(self._progress(done, now))
            self._shown = now
        self._tell_pace(done - self._start, self._schedule.last - done, now)

    def _tell_pace(self, done: int, left: int, now: float) -> None:
        """Print, once, how long the run takes."""
        if done == 1:
            self._paced = now
        is_known = done >= PACE_KNOWN or (done >= 3 and now - self._paced > PACE_WAIT)
        if self._quicker is not None and is_known:
            for line in pace(left, (now - self._paced) / (done - 1), self._quicker, self._besides):
                self.say(line)
            self._quicker = None

    def _progress(self, done: int, now: float) -> str:
        storage = self.trainer.storage
        left = (now - self._begun) / (done - self._start) * (self._schedule.last - done)
        return progress_line(
            epoch=self._schedule.epoch(done),
            epochs=self._schedule.epochs,
            done=done,
            last=self._schedule.last,
            losses={name: history.median(PERIOD) for name, history in storage.histories().items() if "loss" in name},
            lr=storage.history("lr").latest(),
            images_per_second=self._schedule.batch / storage.history("time").avg(PERIOD),
            seconds_left=left,
        )

    def after_train(self) -> None:
        self._line.close()
        for writer in self._writers:
            writer.write()
            writer.close()


def progress_line(
    *,
    epoch: float,
    epochs: float,
    done: int,
    last: int,
    losses: dict[str, float],
    lr: float,
    images_per_second: float,
    seconds_left: float,
) -> str:
    """The progress line, the most important first, since a narrow terminal truncates it.

    Losses of cascade stages are shown as their sum.
    """
    parts: dict[str, float] = {}
    for name, value in losses.items():
        if name != "total_loss":
            short = name.removeprefix("loss_").partition("_stage")[0].replace("_", "-")
            parts[short] = parts.get(short, 0.0) + value
    shown = " ".join(f"{name} {value:.3f}" for name, value in sorted(parts.items()))
    minutes, seconds = divmod(math.ceil(max(seconds_left, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"epoch {epoch:.2f}/{epochs:g}  {done:,}/{last:,}  {hours}:{minutes:02d}:{seconds:02d} left  "
        f"{images_per_second:.1f} images/s  lr {lr:.4g}  loss {losses.get('total_loss', math.nan):.3f} ({shown})"
    )
