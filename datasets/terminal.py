"""How every command line of the project ends: an error that a user can act on, and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from datasets.errors import DataError


def run(command: click.Command, prog_name: str) -> None:
    """Run a click command and leave the process: 0 done, 1 bad data or a full disk, 2 wrong usage, 130 Ctrl-C.

    Only errors that speak of the user's data or machine are caught: a bug still shows its traceback.
    """
    try:
        command.main(prog_name=prog_name, standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output (a pager, head) has gone; nothing is wrong. Closing stderr keeps the interpreter
        # from complaining about the same pipe once more while it shuts down.
        sys.stderr.close()
        sys.exit(141)
    except DataError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        click.echo(f"error: {error.strerror or error}{where}", err=True)
        sys.exit(1)


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
