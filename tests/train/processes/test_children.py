"""What the ends of several processes amount to: the first error of any, or the signal that asked for the end."""

from __future__ import annotations

import pickle
import signal
import threading

import pytest
import torch
from torch import distributed

from datasets.errors import DataError
from train.processes.children import GRACE, Ended, Report, _packed, conclude, is_over, report_of

RUNNING, DONE = Ended(), Ended(0)
SAVED = Ended(128 + signal.SIGTERM)
KILLED = Ended(-signal.SIGKILL)


def failed(at: float, text: str = "bad", *, of_exchange: bool = False, bug: bool = False) -> Ended:
    error = None if bug or of_exchange else DataError(text)
    return Ended(1, Report(at, error, f"Traceback ...\nRuntimeError: {text}\n", of_exchange))


BROKEN = failed(5.0, "Connection closed by peer", of_exchange=True)


@pytest.mark.parametrize(
    ("ended", "now", "over"),
    [
        ([RUNNING, RUNNING], 0, False),
        ([RUNNING, DONE], 0, False),
        # One leaves with its signal's code while the first one still saves.
        ([RUNNING, SAVED], 0, False),
        ([RUNNING, KILLED], 0, True),
        ([RUNNING, Ended(-signal.SIGTERM)], 0, True),
        ([RUNNING, failed(5.0)], 5.0, True),
        # Its report may come before its end.
        ([RUNNING, failed(5.0)._replace(code=None)], 5.0, True),
        # Whose connection broke waits for the word of the one that broke it.
        ([RUNNING, BROKEN], 5.0 + GRACE, False),
        ([RUNNING, BROKEN], 5.1 + GRACE, True),
    ],
)
def test_when_the_others_have_nothing_to_do_any_more(ended: list[Ended], now: float, over: bool) -> None:
    assert is_over(ended, now) == over


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        ([failed(2.0, "second"), failed(1.0, "first")], "first"),
        # A connection breaks before the one that broke it is heard.
        ([failed(0.5, "Connection closed", of_exchange=True), failed(1.0, "disk full")], "disk full"),
        ([BROKEN, KILLED], r"ended with exit code -9 \(-9: killed"),
        ([BROKEN, DONE], "as where one is gone: RuntimeError: Connection closed by peer"),
    ],
)
def test_the_error_that_began_it_is_raised(ended: list[Ended], expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        conclude(ended, None, 1)


def test_guesses_of_gloo_are_left_out() -> None:
    long = failed(5.0, "Connection reset by peer. This is typically caused by bugs. GLHF!", of_exchange=True)
    with pytest.raises(DataError, match=r"RuntimeError: Connection reset by peer$"):
        conclude([long], None, 1)


def test_what_broke_on_another_machine_is_said_there() -> None:
    with pytest.raises(DataError, match="one of another machine has failed or was stopped; its own output says why"):
        conclude([BROKEN], None, 2)


def test_a_bug_shows_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        conclude([failed(1.0, "ours", bug=True), BROKEN], None, 1)
    assert capsys.readouterr().err == "Traceback ...\nRuntimeError: ours\n"


@pytest.mark.parametrize(
    ("ended", "asked", "code"),
    [
        ([SAVED, SAVED], signal.SIGTERM, 143),
        # Sent to a single one of them.
        ([SAVED, Ended(130)], None, 143),
        # Before the first step it ends them at once, whose connections break.
        ([Ended(-signal.SIGTERM), BROKEN], signal.SIGTERM, 143),
        ([Ended(-signal.SIGHUP)], signal.SIGHUP, 129),
        # It came after the last step.
        ([DONE, DONE], signal.SIGTERM, 143),
    ],
)
def test_a_signal_ends_with_its_code(ended: list[Ended], asked: int | None, code: int) -> None:
    with pytest.raises(SystemExit, match=str(code)):
        conclude(ended, asked, 1)


def test_ctrl_c_is_an_interruption() -> None:
    with pytest.raises(KeyboardInterrupt):
        conclude([Ended(130), Ended(-signal.SIGINT)], signal.SIGINT, 1)


def test_an_error_while_stopping_is_not_lost() -> None:
    with pytest.raises(DataError, match="disk full"):
        conclude([failed(1.0, "disk full"), SAVED], signal.SIGTERM, 1)


def test_where_all_is_done_nothing_is_raised() -> None:
    conclude([DONE, DONE], None, 1)


def reported(error: Exception) -> Report:
    try:
        raise error
    except Exception as caught:
        return report_of(caught)


@pytest.mark.parametrize("error", [DataError("bad", ["one"]), OSError(28, "No space left on device", "metrics.json")])
def test_errors_that_a_user_can_put_right_cross_over(error: Exception) -> None:
    report: Report = pickle.loads(_packed(reported(error)))
    assert (type(report.error), str(report.error), report.of_exchange) == (type(error), str(error), False)


@pytest.mark.parametrize(
    ("error", "of_exchange"),
    [
        (RuntimeError("[third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer"), True),
        (RuntimeError("Gloo connectFullMesh failed with [...] no error"), True),
        (distributed.DistBackendError("NCCL error"), True),
        (torch.cuda.OutOfMemoryError("no memory"), False),
        (ZeroDivisionError(), False),
    ],
)
def test_a_bug_is_told_from_a_broken_exchange(error: Exception, of_exchange: bool) -> None:
    report = reported(error)
    assert (report.error, report.of_exchange) == (None, of_exchange)
    assert type(error).__name__ in report.traceback.splitlines()[-1]


def test_an_error_that_does_not_cross_over_leaves_its_traceback() -> None:
    error = OSError("held")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    report: Report = pickle.loads(_packed(reported(error)))
    assert report.error is None
    assert "OSError: held" in report.traceback
