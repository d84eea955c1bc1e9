"""What a user sees and reads of a run: the line of progress, metrics.json and TensorBoard's events."""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.train.conftest import small_config
from train import compat  # noqa: F401 - compat before detectron2
from train.run import hooks
from train.run.hooks import ReportHook, progress_line
from train.run.loggers import METRICS, drop_metrics_after, writers
from train.run.report import quicker
from train.run.schedule import Schedule, derive
from train.run.services import About

# isort: split
from detectron2.engine.train_loop import TrainerBase

LOSSES = {"total_loss": 2.5, "loss_cls": 0.75, "loss_box_reg": 0.5, "loss_rpn_cls": 1.125, "loss_rpn_loc": 0.125}


def line(**changed: Any) -> str:
    numbers: dict[str, Any] = {
        "epoch": 3.14159,
        "epochs": 56.0,
        "done": 1234,
        "last": 227199,
        "losses": LOSSES,
        "lr": 0.02,
        "images_per_second": 31.25,
        "seconds_left": 3725.0,
    }
    return progress_line(**{**numbers, **changed})


def test_the_line_of_progress() -> None:
    # 3725 s = 1 h + 2 min + 5 s.
    assert line() == (
        "epoch 3.14/56  1,234/227,199  1:02:05 left  31.2 images/s  lr 0.02  "
        "loss 2.500 (box-reg 0.500 cls 0.750 rpn-cls 1.125 rpn-loc 0.125)"
    )


def test_the_stages_of_a_cascade_are_shown_as_their_sum() -> None:
    stages = {f"loss_{part}_stage{at}": value for part, value in (("cls", 0.25), ("box_reg", 0.125)) for at in range(3)}
    text = line(losses={"total_loss": 2.0, "loss_mask": 0.5, **stages})
    assert f"loss 2.000 (box-reg {3 * 0.125:.3f} cls {3 * 0.25:.3f} mask 0.500)" in text


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0, "0:00:00"),
        (-3.0, "0:00:00"),
        (0.2, "0:00:01"),
        (59.5, "0:01:00"),
        (3599.0, "0:59:59"),
        # 5 days
        (5 * 86400.0, "120:00:00"),
    ],
)
def test_the_time_left_is_rounded_up(seconds: float, expected: str) -> None:
    assert f"  {expected} left  " in line(seconds_left=seconds)


def test_small_rates_and_odd_epochs_are_readable() -> None:
    text = line(lr=0.000123456, epochs=0.5, epoch=0.0, losses={})
    assert text.startswith("epoch 0.00/0.5  ")
    assert text.endswith("  lr 0.0001235  loss nan ()")


def metrics(*iterations: int) -> str:
    return "".join(json.dumps({"iteration": number, "total_loss": 0.5}) + "\n" for number in iterations)


def test_what_came_after_the_last_checkpoint_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / METRICS
    # Two runs from iteration 40 wrote the same, and the second one was killed in the middle of a line.
    path.write_text(metrics(19, 39, 59, 79, 59) + metrics(79)[:-9])
    drop_metrics_after(path, 60)
    # Lines count iterations from 0: 59 is the 60th.
    assert path.read_text() == metrics(19, 39, 59, 59)
    drop_metrics_after(path, 40)
    assert path.read_text() == metrics(19, 39)
    assert [item.name for item in tmp_path.iterdir()] == [METRICS]


def test_metrics_that_are_whole_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / METRICS
    path.write_text(metrics(19, 39))
    before = path.stat()
    drop_metrics_after(path, 40)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_new_run_has_no_metrics_to_drop(tmp_path: Path) -> None:
    drop_metrics_after(tmp_path / METRICS, 0)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / METRICS).write_text(metrics(19))
    drop_metrics_after(tmp_path / METRICS, 0)
    assert (tmp_path / METRICS).read_text() == ""


@pytest.mark.parametrize(
    "spoilt", ["\n", "5\n", "[1]\n", "{}\n", '{"iteration": null}\n', '{"iteration": "x"}\n', "\0\n"]
)
def test_lines_that_say_no_iteration_are_dropped(spoilt: str, tmp_path: Path) -> None:
    path = tmp_path / METRICS
    path.write_text(metrics(19) + spoilt + metrics(39))
    drop_metrics_after(path, 40)
    assert path.read_text() == metrics(19, 39)


def test_bytes_that_are_no_text_do_not_stop_a_resume(tmp_path: Path) -> None:
    path = tmp_path / METRICS
    path.write_bytes(metrics(19).encode() + b"\xff\xfe\n" + metrics(39).encode())
    drop_metrics_after(path, 40)
    assert path.read_text() == metrics(19, 39)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_file_cut_anywhere_can_be_written_on(data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(0, 99), min_size=1, max_size=4))
    text = metrics(*numbers)
    cut = data.draw(st.integers(0, len(text)))
    start = data.draw(st.integers(0, 100))
    whole = numbers[: text[:cut].count("\n")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / METRICS
        path.write_text(text[:cut])
        drop_metrics_after(path, start)
        with path.open("a") as file:
            file.write(metrics(start))
        found = [json.loads(item)["iteration"] for item in path.read_text().splitlines()]
    assert found == [*(number for number in whole if number < start), start]


class Loop(TrainerBase):  # type: ignore[misc]
    """Detectron2's loop around a step whose numbers are known: the loss is 10 times the steps done."""

    def run_step(self) -> None:
        done = self.iter + 1
        # 2 images in half a second.
        self.storage.put_scalars(total_loss=10.0 * done, loss_cls=10.0 * done, time=0.5)
        self.storage.put_scalar("lr", 0.1, smoothing_hint=False)


def schedule(epochs: float) -> Schedule:
    """12.5 iterations an epoch."""
    return derive(images=25, batch=2, epochs=epochs, step_epochs=[], warmup_epochs=0.0, base_lr=0.1, reference_batch=2)


def report_hook(folder: Path, plan: Schedule, first: int, **more: Any) -> ReportHook:
    return ReportHook(partial(writers, ["tensorboard"], About(folder, {}), first), plan, first, **more)


def report(folder: Path, first: int = 0, last: int | None = None) -> list[dict[str, Any]]:
    """Run four epochs from `first` to `last`; returns what stands in metrics.json then."""
    plan = schedule(4.0)
    loop = Loop()
    loop.register_hooks([report_hook(folder, plan, first)])
    loop.train(first, last or plan.last)
    return [json.loads(item) for item in (folder / METRICS).read_text().splitlines()]


def test_metrics_have_a_line_every_20_iterations_and_at_the_end_of_epochs(tmp_path: Path) -> None:
    found = report(tmp_path)
    # Epochs end after 12, 25, 37 and 50 iterations; counted from 0 in the file.
    assert [item["iteration"] + 1 for item in found] == [12, 20, 25, 37, 40, 50]
    assert found[0] == {"iteration": 11, "total_loss": 65.0, "loss_cls": 65.0, "time": 0.5, "lr": 0.1}
    # The median of the last 20 of 10, 20, ..., 500.
    assert found[-1]["total_loss"] == (310 + 500) / 2
    assert any(path.name.startswith("events.out.tfevents") for path in tmp_path.iterdir())


def test_metrics_of_a_run_that_was_cut_short_have_each_iteration_once(tmp_path: Path) -> None:
    # Stopped after 43 iterations, which writes a line too; the last checkpoint is of 30.
    assert report(tmp_path, last=43)[-1]["iteration"] == 42
    found = report(tmp_path, first=30)
    assert [item["iteration"] + 1 for item in found] == [12, 20, 25, 37, 40, 50]


def slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes 4 seconds."""
    clock = iter(range(1000, 10_000, 4))
    monkeypatch.setattr(hooks, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))


def test_where_there_is_no_terminal_lines_are_few(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_clock(monkeypatch)
    report(tmp_path)
    out, err = capsys.readouterr()
    lines = out.splitlines()
    # One after the first step, then one as soon as more than 30 seconds, 8 steps, have gone by.
    told = [text for text in lines if text.startswith("epoch")]
    assert [text.split()[2] for text in told] == [f"{done}/50" for done in range(1, 50, 8)]
    # 49 steps of 4 seconds are left.
    assert lines[0] == "epoch 0.08/4  1/50  0:03:16 left  4.0 images/s  lr 0.1  loss 10.000 (cls 10.000)"
    assert lines[-1] == "epoch 3.92/4  49/50  0:00:04 left  4.0 images/s  lr 0.1  loss 395.000 (cls 395.000)"
    assert err == ""


def test_a_resumed_run_estimates_by_its_own_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_clock(monkeypatch)
    report(tmp_path, first=30)
    first = capsys.readouterr().out.splitlines()[0]
    # 19 steps of 4 seconds after the 31st of 50.
    assert first.startswith("epoch 2.48/4  31/50  0:01:16 left  ")
    assert "  loss 310.000 " in first


def test_the_pace_is_told_once_without_the_first_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as more than 20 seconds have gone by since the first step; after 20 steps in any case."""
    slow_clock(monkeypatch)
    loop = Loop()
    loop.register_hooks([report_hook(tmp_path, schedule(16.0), 0, quicker=["a GPU"], label="one: ")])
    loop.train(0, 30)
    lines = capsys.readouterr().out.splitlines()
    # 6 steps after the first take 24 seconds; 193 of 200 are left: 772 s.
    told = lines.index("one: 13 min to go on this machine, at 4 s an iteration")
    assert lines[told + 1] == "one:   quicker: a GPU"
    assert sum("to go on this machine" in text for text in lines) == 1
    # Beside other runs, progress is lines that say whose they are.
    assert lines[0].startswith("one: epoch 0.08/16  1/200 ")


def test_what_is_quicker_depends_on_what_there_is() -> None:
    cfg = small_config("r18")
    on_cpu = quicker(cfg, torch.device("cpu"), "r18")
    assert on_cpu[0] == "a GPU"
    assert "a smaller model (--model tiny, was r18)" in on_cpu
    assert any("SOLVER.AMP.ENABLED True" in remedy for remedy in on_cpu)
    cfg.SOLVER.AMP.ENABLED = True
    assert quicker(cfg, torch.device("cuda"), "tiny") == [
        "more GPUs (--gpus)",
        "smaller images (INPUT.MIN_SIZE_TRAIN, was [64, 80])",
        "fewer epochs (SOLVER.EPOCHS, was 5.5, with SOLVER.STEP_EPOCHS)",
    ]
