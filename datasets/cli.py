"""What every command line of the project shares: error output, exit codes, text output, the progress bar."""

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
    """Run a click command and exit.

    Exit codes: 0 done, 1 bad data or a full disk, 2 wrong usage, 130 Ctrl-C, 141 where the reader of stdout (a pager,
    head) closed it.

    Only errors about the user's data or machine are caught; a bug still shows its traceback.
    """
    stdout = sys.stdout
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A character that the terminal's encoding lacks is escaped, instead of ending the command.
            stream.reconfigure(errors="backslashreplace")
    try:
        result = command.main(prog_name=prog_name, standalone_mode=False)
        stdout.flush()
    except SystemExit as stop:
        # click turns a closed stdout into exit code 1, and wraps the stream.
        sys.exit(stop.code if sys.stdout is stdout else 141)
    except BrokenPipeError:
        # The rest of the buffer must go somewhere, or the interpreter complains at shutdown.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
        sys.exit(141)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as stop:
        # click raises Abort for Ctrl-C; the interrupted code may have said how to continue.
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
    """Print lines of a result for people; names in them may contain control characters, which are escaped."""
    click.echo(printable("\n".join(lines)))


def note(text: str) -> None:
    """Print a note to stderr, beside the result, which may be piped to other tools."""
    click.echo(printable(text), err=True)


def skipped_lines(inputs: Inputs) -> list[str]:
    """Lines for the user: the images that --skip-bad left out, the first ones by name."""
    if not inputs.skipped:
        return []
    lines = [f"skipped: {len(inputs.skipped):,} images whose files cannot be used"]
    lines += [f"  {inputs.inputs[item.input].images / item.file_name}: {item.why}" for item in inputs.skipped[:SHOWN]]
    return lines if len(inputs.skipped) <= SHOWN else [*lines, f"  ... and {len(inputs.skipped) - SHOWN:,} more"]


def warning_lines(warnings: Sequence[str]) -> list[str]:
    return [f"warning: {warning}" for warning in warnings]


Progress = Callable[[str, int, int], None]  # (stage, how many are done, of how many)


@contextmanager
def progress_bar(unit: str = "image") -> Iterator[Progress]:
    """A tqdm bar on stderr for long work, relabelled at each stage; silent where stderr is not a terminal."""
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


def above_progress(text: str) -> None:
    """Print a line on stdout, above the progress bar."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()
