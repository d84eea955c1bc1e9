"""How a command line ends: the exit code, what stands on stderr, and a progress bar for terminals only."""

from __future__ import annotations

import errno
import functools
import io
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import click
import pytest
import tqdm

from datasets.cli import progress_bar, run
from datasets.errors import DataError

ROOT = Path(__file__).resolve().parents[2]

Ended = tuple[str | int | None, str, str]  # exit code, stdout, stderr


class End(Protocol):
    """end(body, *arguments): runs a command with that body and the option --count."""

    def __call__(self, body: Callable[[int], None], *arguments: str) -> Ended: ...


@pytest.fixture
def end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> End:
    """end(body, *arguments): runs a command with that body and the option --count."""

    def end(body: Callable[[int], None], *arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["prog", *arguments])
        command = click.command()(click.option("--count", type=int, default=0)(lambda count: body(count)))
        code: str | int | None = 0
        try:
            run(command, "prog")
        except SystemExit as stop:
            code = stop.code
        return (code, *capsys.readouterr())

    return end


def raising(error: BaseException) -> Callable[[int], None]:
    def body(_: int) -> None:
        raise error

    return body


def test_what_is_done_ends_with_0(end: End) -> None:
    assert end(lambda count: click.echo(f"{count} done"), "--count", "3") == (0, "3 done\n", "")


def test_help_ends_with_0_and_shows_the_name(end: End) -> None:
    code, out, err = end(lambda _: None, "--help")

    assert (code, err) == (0, "")
    assert out.startswith("Usage: prog ")


@pytest.mark.parametrize("arguments", [["--count", "many"], ["--counts", "3"], ["more"]])
def test_wrong_usage_ends_with_2(arguments: list[str], end: End) -> None:
    code, out, err = end(lambda _: None, *arguments)

    assert (code, out) == (2, "")
    assert "Usage: prog" in err
    assert "Error: " in err


def test_wrong_usage_found_by_the_command_ends_with_2(end: End) -> None:
    code, _, err = end(raising(click.UsageError("--a needs --b")))

    assert code == 2
    assert err.endswith("Error: --a needs --b\n")


def test_bad_data_ends_with_1_and_its_text_without_a_traceback(end: End) -> None:
    error = DataError("a.json: 2 problem(s)", ["$.images[0]: one", "$.images[1]: two"])

    assert end(raising(error)) == (1, "", "error: a.json: 2 problem(s)\n  $.images[0]: one\n  $.images[1]: two\n")


def test_a_full_disk_ends_with_1_and_one_line_that_names_the_file(end: End) -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/images/1.jpg")

    assert end(raising(error)) == (1, "", "error: No space left on device (out/images/1.jpg)\n")


def test_an_error_of_the_machine_without_number_or_file_has_its_text(end: End) -> None:
    assert end(raising(OSError("the network is down"))) == (1, "", "error: the network is down\n")


def test_a_file_that_is_not_there_ends_with_1(end: End) -> None:
    code, _, err = end(lambda _: Path("none.json").touch() if Path("none.json").read_text() else None)

    assert (code, err) == (1, "error: No such file or directory (none.json)\n")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_ctrl_c_ends_with_130_and_no_traceback(error: BaseException, end: End) -> None:
    code, out, err = end(raising(error))

    assert (code, out, err.strip()) == (130, "", "interrupted")


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_command_may_choose_its_exit_code(code: int, end: End) -> None:
    assert end(lambda _: click.get_current_context().exit(code)) == (code, "", "")


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("a bug"), AssertionError("a bug")])
def test_a_bug_is_not_caught(error: Exception, end: End) -> None:
    with pytest.raises(type(error), match="a bug"):
        end(raising(error))


def script(body: str) -> list[str]:
    """A process that runs a command with this body."""
    text = f"""
        import click, sys
        from datasets.cli import run

        @click.command()
        def command():
            {body}

        run(command, "prog")
    """
    return [sys.executable, "-c", textwrap.dedent(text)]


ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def test_a_bug_keeps_its_traceback() -> None:
    done = subprocess.run(script("{}['x']"), capture_output=True, text=True, env=ENVIRONMENT, check=False)

    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.rstrip().endswith("KeyError: 'x'")


@pytest.mark.parametrize(
    "body",
    [
        "[click.echo('x' * 80) for _ in range(5000)]",
        "[print('x' * 80) for _ in range(5000)]",
        "print('only what stays in the buffer until the end')",
    ],
    ids=["echo", "print", "little"],
)
def test_a_reader_that_went_away_ends_it_with_141_and_in_silence(body: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        done = subprocess.run(script(body), stdout=pipe, stderr=subprocess.PIPE, env=ENVIRONMENT, check=False)

    assert (done.returncode, done.stderr) == (141, b"")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_silent_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as progress:
        for done in range(1, 4):
            progress("checking", done, 3)
        progress("writing", 1, 1)

    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal_names_each_stage_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr("tqdm.tqdm", functools.partial(tqdm.tqdm, mininterval=0))

    with progress_bar("file") as progress:
        progress("checking", 2, 8)
        progress("checking", 8, 8)
        progress("writing", 1, 5)
        progress("writing", 5, 5)

    shown = stderr.getvalue()
    assert "checking: " in shown
    assert "writing: " in shown
    for count in ("8/8", "5/5"):
        assert f" {count} [" in shown
    assert "file" in shown


def test_an_error_passes_through_the_progress_bar() -> None:
    def work() -> None:
        with progress_bar() as progress:
            progress("checking", 1, 2)
            raise DataError("bad")

    with pytest.raises(DataError, match="bad"):
        work()


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_a_name_that_the_encoding_lacks_ends_no_command(encoding: str) -> None:
    code = (
        "import click\nfrom datasets.cli import run\n"
        "run(click.command()(lambda: click.echo('categories: 猫, straße')), 'prog')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = "categories: 猫, straße\n".encode(encoding, "backslashreplace")
    assert done.stdout == expected
