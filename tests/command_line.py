"""Command lines as a shell sees them."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import NamedTuple, Protocol
from unittest import mock

import click

from datasets.cli import run


class Ended(NamedTuple):
    """How a command ended: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str


class Cli(Protocol):
    """cli("verify", folder): what a shell would see of that command."""

    def __call__(self, *arguments: object) -> Ended: ...


def in_shell(main: click.Command, program: str, *arguments: object) -> Ended:
    """What a shell would see of `PROGRAM ARGUMENTS`; a bug shows its traceback."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", [program, *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            run(main, program)
        except SystemExit as stop:
            return Ended(int(stop.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError("a command line always leaves the process")
