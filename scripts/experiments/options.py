"""The options that the commands of all experiments have."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from datasets.options import Command, with_options

# Heavy imports are inside: `--help` must answer at once.


def of_experiment(work: str, unit: str) -> Callable[[Command], Command]:
    """Options of an experiment called `work`, whose seeds are those of each `unit`; the command gets them as `request`,
    an `experiment.Request`, and `seeds` and `dry_run` as they are.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(data: str, output: Path | None, jobs: int | None, gpus: int, **chosen: Any) -> None:
            from scripts.experiments.experiment import Request

            name = Path(data).stem if Path(data).suffix else Path(data).name
            line = shlex.join(["python", "-m", f"scripts.{work}", *sys.argv[1:]])
            folder = _with_a_name(output or Path("runs") / name / work)
            command(request=Request(data, name, folder, jobs, gpus, line, work), **chosen)

        return with_options(*_options(work, unit))(wrapped)

    return decorate


def _options(work: str, unit: str) -> list[Callable[[Command], Command]]:
    return [
        click.option(
            "--data", default="sample", show_default=True, metavar="NAME|FILE", help="Data in datasets/specs/."
        ),
        click.option(
            "--seeds", type=click.IntRange(1), default=3, show_default=True, help=f"Seeds 0, 1, ... of each {unit}."
        ),
        click.option(
            "--output",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help=f"Folder of all runs; the page lies beside it.  [default: runs/DATA/{work}]",
        ),
        click.option("--jobs", type=click.IntRange(1), help="Commands at a time.  [default: CPU cores, 1 with a GPU]"),
        click.option("--gpus", type=click.IntRange(1), default=1, show_default=True, help="GPUs of each training."),
        click.option("--dry-run", is_flag=True, help="List the jobs and which are done; run nothing."),
    ]


def _with_a_name(folder: Path) -> Path:
    """The page lies beside the folder, under its name."""
    folder = folder.resolve() if folder.name in ("", "..") else folder
    if not folder.name:
        raise click.UsageError(f"--output: expected a folder with a name, found {folder}")
    return folder
