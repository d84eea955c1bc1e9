"""Signals: to one process or to its whole group, once, as an echo, or in earnest a second time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from datasets.sources import Input
from train.checkpoints import checkpoint
from train.processes.signals import ECHO, SIGNALS, Asked, leave, stop_on_signal

ROOT = Path(__file__).parents[3]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """As a terminal gives them to a process; a test run in the background inherits that SIGINT is ignored."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_an_echo_is_no_second_signal() -> None:
    asked = Asked()
    assert asked.first is None
    assert [asked.again(number, now) for number, now in [(15, 7.0), (15, 7.0), (2, 7.0 + ECHO)]] == [False] * 3
    assert asked.again(2, 7.1 + ECHO)
    assert asked.first == 15


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_codes_are_those_of_a_shell(number: int, code: int) -> None:
    with pytest.raises(SystemExit, match=str(code)):
        leave(number)


@pytest.mark.parametrize("number", [signal.SIGINT, None])
def test_ctrl_c_is_an_interruption(number: int | None) -> None:
    with pytest.raises(KeyboardInterrupt):
        leave(number)


def trainer() -> Any:
    return SimpleNamespace(stop_asked=False)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_asks_for_the_end(number: signal.Signals) -> None:
    run = trainer()
    with stop_on_signal(run, alone=True) as asked:
        os.kill(os.getpid(), number)
        assert (run.stop_asked, asked.first) == (True, number)
        # From a parent that passes it on.
        os.kill(os.getpid(), number)
    # While it leaves in good order.
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("alone", [True, False])
def test_a_second_one_ends_at_once_where_nobody_else_decides(alone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    with stop_on_signal(trainer(), alone=alone):
        os.kill(os.getpid(), signal.SIGTERM)
        monkeypatch.setattr(time, "monotonic", lambda: now + 60)
        if alone:
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
        else:
            os.kill(os.getpid(), signal.SIGTERM)


def test_without_a_signal_all_is_as_before() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with stop_on_signal(trainer(), alone=True) as asked:
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert asked.first is None


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_is_ignored_stays_ignored(number: signal.Signals) -> None:
    """As nohup does with SIGHUP, and a shell with the SIGINT of what it runs in the background."""
    signal.signal(number, signal.SIG_IGN)
    run = trainer()
    with stop_on_signal(run, alone=True):
        os.kill(os.getpid(), number)
    assert not run.stop_asked
    assert signal.getsignal(number) is signal.SIG_IGN


TALKATIVE = """
import pathlib, sys, time
from types import SimpleNamespace
from train.processes.signals import leave, stop_on_signal
trainer = SimpleNamespace(stop_asked=False)
with stop_on_signal(trainer, alone=True) as asked:
    while not trainer.stop_asked:
        print("a step", flush=True)
        time.sleep(0.01)
    print("the last one", flush=True)
    print("the last one", file=sys.stderr, flush=True)
    pathlib.Path(sys.argv[1]).write_text("saved")
    leave(asked.first)
"""


def test_a_closed_terminal_does_not_keep_a_run_from_saving(tmp_path: Path) -> None:
    import pty

    process, terminal = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        os.execve(sys.executable, [sys.executable, "-c", TALKATIVE, str(tmp_path / "saved")], ENVIRONMENT)
    assert os.read(terminal, 6) == b"a step"
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert (tmp_path / "saved").read_text() == "saved"


SMALL = {
    "INPUT.MIN_SIZE_TRAIN": "[48, 64]",
    "INPUT.MAX_SIZE_TRAIN": "96",
    "SOLVER.IMS_PER_BATCH": "2",
    "SOLVER.EPOCHS": "300.0",
    "SOLVER.CHECKPOINT_PERIOD": "0",
    "MODEL.DEVICE": "cpu",
}


@pytest.mark.parametrize(
    ("number", "echo", "workers", "code"), [(signal.SIGINT, False, "0", 130), (signal.SIGTERM, True, "1", 143)]
)
def test_a_signal_to_the_group_of_two_processes_saves(
    number: int, echo: bool, workers: str, code: int, drawn: Input, tmp_path: Path
) -> None:
    """Ctrl-C, Slurm, systemd and `timeout` reach the workers of the loader as well, and the last one says it twice."""
    spec = tmp_path / "drawn.yaml"
    about = {"about": "drawn", "train": {"annotations": str(drawn.annotations), "images": str(drawn.images)}}
    spec.write_text(yaml.safe_dump(about), encoding="utf-8")
    command = [
        *(sys.executable, "-m", "train", "fit", "--model", "tiny", "--schedule", "sample", "--data", str(spec)),
        *("--output", str(tmp_path / "run"), "--gpus", "2", *(part for pair in SMALL.items() for part in pair)),
        *("DATALOADER.NUM_WORKERS", workers),
    ]
    with subprocess.Popen(
        command,
        env=ENVIRONMENT,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("epoch"):
                break
        os.killpg(process.pid, number)
        if echo:
            time.sleep(0.1)
            os.killpg(process.pid, number)
        rest, said = process.stdout.read(), process.stderr.read()
    assert process.returncode == code, (lines, rest, said)
    assert "all saved; --resume continues from there" in rest
    assert said.strip() == ("interrupted" if code == 130 else "")
    assert checkpoint.read(tmp_path / "run" / checkpoint.LAST).content["iteration"] > 0
