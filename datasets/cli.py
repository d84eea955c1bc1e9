"""What every command line of the project does alike: errors, exit codes, output, the progress bar."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from datasets.errors import SHOWN, DataError, printable

if TYPE_CHECKING:
    from datasets.sources import Inputs


def run(command: click.Command, prog_name: str) -> None:
    """Run a click command and leave the process.

    Exit codes: 0 done, 1 bad data or a full disk, 2 wrong usage, 130 Ctrl-C, 141 where the reader of our output (a
    pager, head) went away.

    Only errors that speak of the user's data or machine are caught: a bug still shows its traceback.
    """
    stdout = sys.stdout
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal's encoding lacks is shown by its number, instead of ending the command.
            stream.reconfigure(errors="backslashreplace")
    try:
        result = command.main(prog_name=prog_name, standalone_mode=False)
        stdout.flush()
    except SystemExit as stop:
        # click makes of a reader that went away an exit with 1, and puts a wrapper around the stream.
        sys.exit(stop.code if sys.stdout is stdout else 141)
    except BrokenPipeError:
        # What is left in the buffer must go somewhere, or the interpreter complains while it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
        sys.exit(141)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as stop:
        # click makes an Abort of Ctrl-C; what was interrupted may have left word on how to go on.
        advice = str(stop.__cause__ or stop)
        click.echo(f"interrupted; {advice}" if advice else "interrupted", err=True)
        sys.exit(130)
    except DataError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        click.echo(f"error: {error.strerror or error}{where}", err=True)
        sys.exit(1)
    sys.exit(result if isinstance(result, int) else 0)


def show(*lines: str) -> None:
    """Lines of a result that people read; names in them may hold anything."""
    click.echo(printable("\n".join(lines)))


def note(text: str) -> None:
    """Say something beside the result, which may be piped to other tools."""
    click.echo(printable(text), err=True)


def skipped_lines(inputs: Inputs) -> list[str]:
    """The images that --skip-bad left out, the first ones by name."""
    if not inputs.skipped:
        return []
    lines = [f"skipped: {len(inputs.skipped):,} images whose files cannot be used"]
    lines += [f"  {inputs.inputs[item.input].images / item.file_name}: {item.why}" for item in inputs.skipped[:SHOWN]]
    return lines if len(inputs.skipped) <= SHOWN else [*lines, f"  ... and {len(inputs.skipped) - SHOWN:,} more"]


def warning_lines(warnings: Sequence[str]) -> list[str]:
    return [f"warning: {warning}" for warning in warnings]


Progress = Callable[[str, int, int], None]  # (what is being done, how many are done, of how many)


@contextmanager
def progress_bar(unit: str = "image") -> Iterator[Progress]:
    """One tqdm bar on stderr that long work reports to, renamed as it goes on; silent where stderr is no terminal."""
    from tqdm import tqdm

    with tqdm(disable=None, leave=False, unit=unit, dynamic_ncols=True) as bar:
        stage, shown = "", 0

        def show(what: str, done: int, of: int) -> None:
            nonlocal stage, shown
            if what != stage:
                bar.reset(of)
                bar.set_description(what)
                stage, shown = what, 0
            bar.update(done - shown)
            shown = done

        yield show
