"""Between the steps: which files stand there after which epoch, whatever happened, and what a user sees and reads."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from datasets import result_reading
from datasets.evaluation import METRICS, Evaluation
from datasets.results import Results
from train import compat  # noqa: F401 - compat before detectron2
from train.checkpoints import checkpoint
from train.run import best_results
from train.run.best import Best
from train.run.best_results import MeasuredOn
from train.run.endings import StoppedError
from train.run.hooks import EpochHook
from train.run.schedule import Schedule, derive
from train.run.trainer import DivergedError
from train.run.validate import Validated

# isort: split
from detectron2.engine.train_loop import TrainerBase
from detectron2.utils import comm

EPOCH = 4
"""Iterations of an epoch: 8 images, 2 at a time."""


def schedule(epochs: float = 4.0) -> Schedule:
    return derive(images=8, batch=2, epochs=epochs, step_epochs=[], warmup_epochs=0.0, base_lr=0.1, reference_batch=2)


class Loop(TrainerBase):  # type: ignore[misc]
    """Detectron2's loop around a step that counts: the weight is how many were done. `act` does the rest."""

    def __init__(self, act: Callable[[Loop, int], None] = lambda _loop, _done: None) -> None:
        super().__init__()
        self.model = nn.Linear(1, 1)
        self.stopping = False
        self._act = act

    def run_step(self) -> None:
        done = self.iter + 1
        nn.init.constant_(self.model.weight, float(done))
        self.storage.put_scalars(total_loss=3.0, loss_cls=1.0, loss_mask=2.0, time=0.5)
        self.storage.put_scalar("lr", 0.1, smoothing_hint=False)
        self._act(self, done)


def validated(epoch: int, ap: float | None) -> Validated:
    """An AP, and one detection, in the image that has the epoch's number."""
    numbers: dict[str, Any] = {**dict.fromkeys(METRICS), "ap": ap, "ap50": 0.5}
    one = np.ones(1, dtype=np.int64)
    found = Results(image_ids=epoch * one, category_ids=one, boxes_xywh=np.ones((1, 4)), scores=np.ones(1))
    return Validated(Evaluation(**numbers, per_category={}), found)


MEASURED_ON = MeasuredOn(annotations="val.json", annotations_sha256="0", images="val", trained_objects={1: 5})


def read(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / name, weights_only=True)
    return found


def names(folder: Path) -> set[str]:
    """Of the checkpoints."""
    kept = {best_results.RESULTS, best_results.DATA}
    return {path.name for path in folder.iterdir()} - kept


def kept_epoch(folder: Path) -> int:
    """The epoch whose detections are kept, and for which they say so."""
    about = best_results.read_measured_on(folder)
    assert about is not None
    assert about == msgspec.structs.replace(MEASURED_ON, results_sha256=about.results_sha256, epoch=about.epoch)
    found = result_reading.read(folder / best_results.RESULTS)
    assert found.image_ids.tolist() == [about.epoch]
    return about.epoch


APS = {1: 0.1, 2: 0.3, 3: 0.3, 4: None}
"""Of the four epochs. What is as good as the best is not better, and None is nothing to compare with."""


class Run:
    """A run in `folder` from what stands there, to `loop`'s end or an error."""

    def __init__(self, folder: Path, loop: Loop | None = None, *, validated: bool = True, **changed: Any) -> None:
        self.said: list[str] = []
        self.folder = folder
        self.loop = loop or Loop()
        self.schedule: Schedule = changed.pop("schedule", schedule())
        before = read(folder, checkpoint.LAST) if (folder / checkpoint.LAST).exists() else {}
        self.first = before.get("iteration", 0)
        settings = {"period": 0, "max_to_keep": 2, **changed}
        self.hook = EpochHook(
            folder,
            self.schedule,
            evaluate=self.evaluate if validated else None,
            content=lambda done, best: {
                "model": self.loop.model.state_dict(),
                "iteration": done,
                "best": tuple(best),
            },
            keep_results=lambda found, epoch: best_results.write(folder, MEASURED_ON, found, epoch),
            best=Best(*before.get("best", ())),
            say=self.said.append,
            **settings,
        )
        self.loop.register_hooks([self.hook])

    def evaluate(self, _best: float) -> Validated | None:
        epoch = (self.loop.iter + 1) // EPOCH
        return validated(epoch, APS[epoch])

    def train(self) -> Run:
        self.loop.train(self.first, self.schedule.last)
        return self


def files(folder: Path) -> dict[str, tuple[int, float, list[Any]]]:
    """Each checkpoint's name -> its iteration, its weight, which is the same, and what it says of the best."""
    found = {name: read(folder, name) for name in sorted(names(folder))}
    return {
        name: (item["iteration"], float(item["model"]["weight"]), list(item["best"])) for name, item in found.items()
    }


WHOLE = {
    "model_best.pth": (8, 8.0, [2, 0.3, 0, 0, -1.0, -1.0]),
    "model_epoch_0003.pth": (12, 12.0, [2, 0.3, 0, 0, -1.0, -1.0]),
    "model_epoch_0004.pth": (16, 16.0, [2, 0.3, 0, 0, -1.0, -1.0]),
    "model_last.pth": (16, 16.0, [2, 0.3, 0, 0, -1.0, -1.0]),
}


def test_the_best_the_last_and_the_newest_epochs_stay(tmp_path: Path) -> None:
    run = Run(tmp_path).train()
    assert files(tmp_path) == WHOLE
    assert (tmp_path / checkpoint.LAST).samefile(tmp_path / checkpoint.epoch_name(4))
    assert run.hook.best == Best(2, 0.3)
    assert kept_epoch(tmp_path) == 2
    assert run.said == [
        "epoch 1: AP 10.0  AP50 50.0 (best)",
        "epoch 2: AP 30.0  AP50 50.0 (best)",
        "epoch 3: AP 30.0  AP50 50.0",
        "epoch 4: AP -  AP50 50.0",
    ]


def test_ap_goes_into_the_metrics_in_percent(tmp_path: Path) -> None:
    run = Run(tmp_path).train()
    latest = run.loop.storage.latest()
    # Of the third epoch, since the fourth had nothing to find.
    assert latest["bbox/ap"] == (100 * 0.3, 11)
    assert latest["bbox/ap50"] == (100 * 0.5, 15)
    assert "bbox/ap75" not in latest


TOUCHED = 19
"""4 epochs x (save, last, forget), the best of 2 of them and its detections, and 3 times in between, after 5, 10 and
15: 4 * 3 + 2 * 2 + 3."""
TOUCHING = [(checkpoint, "save"), (checkpoint, "keep"), (checkpoint, "forget_old_epochs"), (best_results, "write")]


@pytest.mark.parametrize("at", range(TOUCHED))
def test_a_run_that_was_killed_anywhere_comes_to_the_same_files(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the nth time that it touches what it keeps, and begun again from what stands there."""
    calls = 0

    def killed_before(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == at + 1:
                raise KeyboardInterrupt
            return function(*arguments)

        return call

    with monkeypatch.context() as patch:
        for module, name in TOUCHING:
            patch.setattr(module, name, killed_before(getattr(module, name)))
        with pytest.raises(KeyboardInterrupt):
            Run(tmp_path, period=5).train()
    if (tmp_path / checkpoint.LAST).exists():
        last = read(tmp_path, checkpoint.LAST)
        epoch, *_ = last["best"]
        # What it says of the best is true of the files, or an epoch that was not over has a better one there.
        best = read(tmp_path, checkpoint.BEST)["iteration"] if epoch else 0
        assert best == EPOCH * epoch or best > last["iteration"]
    Run(tmp_path, period=5).train()
    # A run that only had old epochs left to forget was over, and has one too many.
    forgotten = {checkpoint.epoch_name(2)} if at == TOUCHED - 1 else set()
    assert {name: item for name, item in files(tmp_path).items() if name not in forgotten} == WHOLE
    assert kept_epoch(tmp_path) == 2


def test_the_last_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that whatever it says of the best one is true of the files by then."""
    calls: list[tuple[Any, ...]] = []

    def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            calls.append((name, *arguments[1:]))
            return function(*arguments)

        return call

    for module, name in TOUCHING:
        monkeypatch.setattr(module, name, watched(name, getattr(module, name)))
    Run(tmp_path, period=5).train()
    assert len(calls) == TOUCHED
    assert [name for name, *_ in calls[:5]] == ["save", "keep", "write", "keep", "forget_old_epochs"]
    assert (calls[1][1], calls[3][1]) == (checkpoint.BEST, checkpoint.LAST)


@pytest.mark.parametrize(("max_to_keep", "kept"), [(0, set()), (1, {4}), (3, {2, 3, 4}), (9, {1, 2, 3, 4})])
def test_as_many_epochs_stay_as_asked_for(max_to_keep: int, kept: set[int], tmp_path: Path) -> None:
    Run(tmp_path, max_to_keep=max_to_keep).train()
    assert names(tmp_path) == {checkpoint.BEST, checkpoint.LAST, *map(checkpoint.epoch_name, kept)}
    assert read(tmp_path, checkpoint.BEST)["iteration"] == 8


def test_without_validation_there_is_no_best(tmp_path: Path) -> None:
    run = Run(tmp_path, validated=False).train()
    assert names(tmp_path) == {checkpoint.LAST, checkpoint.epoch_name(3), checkpoint.epoch_name(4)}
    assert (run.hook.best, run.said) == (Best(), [])
    assert best_results.read_measured_on(tmp_path) is None
    assert files(tmp_path)[checkpoint.LAST] == (16, 16.0, [0, -1.0, 0, 0, -1.0, -1.0])


def test_in_between_the_last_is_saved_every_so_often(tmp_path: Path) -> None:
    seen = []

    def look(_loop: Loop, _done: int) -> None:
        path = tmp_path / checkpoint.LAST
        seen.append(read(tmp_path, checkpoint.LAST)["iteration"] if path.exists() else 0)

    Run(tmp_path, Loop(look), period=3, schedule=schedule(2.0)).train()
    # Before the steps 1 to 8: saved after 3 and 6, and at the ends of epochs, after 4 and 8.
    assert seen == [0, 0, 0, 3, 4, 4, 6, 6]
    assert read(tmp_path, checkpoint.LAST)["iteration"] == 8


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("at", "kept"),
    [
        # At the end of an epoch: what was saved in the middle of it stays.
        (8, {checkpoint.LAST: 6, checkpoint.BEST: 4, checkpoint.epoch_name(1): 4}),
        (6, {checkpoint.LAST: 4, checkpoint.BEST: 4, checkpoint.epoch_name(1): 4}),
        (3, {}),
    ],
)
def test_weights_that_are_no_numbers_replace_nothing(
    at: int, kept: dict[str, int], number: float, tmp_path: Path
) -> None:
    def spoil(loop: Loop, done: int) -> None:
        if done == at:
            nn.init.constant_(loop.model.bias, number)

    run = Run(tmp_path, Loop(spoil), period=6 if at > EPOCH else 3)
    with pytest.raises(DivergedError, match=f"^iteration {at}: weights that are not finite$"):
        run.train()
    assert {name: iteration for name, (iteration, *_) in files(tmp_path).items()} == kept
    # Nor are they validated.
    assert len(run.said) == (1 if at > EPOCH else 0)


@pytest.mark.parametrize("at", [1, 4, 7, 8])
def test_a_stop_that_was_asked_for_saves_first(at: int, tmp_path: Path) -> None:
    def stop(loop: Loop, done: int) -> None:
        loop.stopping = done == at

    run = Run(tmp_path, Loop(stop))
    with pytest.raises(StoppedError):
        run.train()
    assert (run.loop.iter + 1, read(tmp_path, checkpoint.LAST)["iteration"]) == (at, at)
    # Gone on with, it ends as if nothing had happened.
    assert Run(tmp_path).train().first == at
    assert files(tmp_path) == WHOLE


def test_an_evaluation_knows_the_best_so_far(tmp_path: Path) -> None:
    """So that the interval, which takes longer, is measured for a better AP only."""
    asked: list[float] = []
    run = Run(tmp_path)
    evaluate = run.evaluate

    def measured(best: float) -> Validated | None:
        asked.append(best)
        return evaluate(best)

    run.hook._evaluate = measured
    run.train()
    assert asked == [-1.0, 0.1, 0.3, 0.3]


def test_what_validations_cost_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 50))
    monkeypatch.setattr("train.run.hooks.time.monotonic", lambda: next(clock))
    run = Run(tmp_path).train()
    # Three are left after the first, of 50 s.
    assert run.said[1] == "2 min more for 3 validations to come, at 50 s each"
    assert len(run.said) == 5


def test_a_stop_in_the_last_step_comes_too_late(tmp_path: Path) -> None:
    def stop(loop: Loop, done: int) -> None:
        loop.stopping = done == 16

    Run(tmp_path, Loop(stop)).train()
    assert files(tmp_path) == WHOLE


def test_other_processes_validate_and_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    asked = []
    run = Run(tmp_path)
    run.hook._evaluate = lambda _best: asked.append(run.loop.iter)  # the result is the first process's
    run.train()
    assert asked == [3, 7, 11, 15]
    assert (list(tmp_path.iterdir()), run.said) == ([], [])
