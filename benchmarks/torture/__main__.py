"""Torture: kills the project's commands, breaks the files that they read, and reports what goes wrong.

python -m benchmarks.torture, as `make torture` runs it.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click

from benchmarks import reports
from benchmarks.torture import report
from benchmarks.torture.report import Example, Part, Report
from datasets import cli
from datasets.checkout import commit
from datasets.errors import DataError
from scripts.experiments import environment

PATH = click.Path(path_type=Path)
WORK = "work"


class Planned(NamedTuple):
    """A part: what it does, and how many cases or kills it makes of the requested N."""

    about: str
    share: float


PARTS = {
    "annotations": Planned("broken annotation files", 1),
    "results": Planned("broken results files", 1),
    "pictures": Planned("broken pictures", 1),
    "build": Planned("builds by one worker, killed", 0.75),
    "build-workers": Planned("builds by two workers, killed", 0.25),
    "fit": Planned("trainings, killed", 0.05),
    "submit": Planned("make submit, killed", 0.02),
}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("-n", "number", type=click.IntRange(1), default=100, show_default=True, help="Of each kind; see below.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Another one tries other cases.")
@click.option("--only", metavar="NAMES", help=f"Some parts, with commas: {','.join(PARTS)}.")
@click.option("--output", type=PATH, default=Path("runs/torture"), show_default=True, help="Folder of the report.")
def main(number: int, seed: int, only: str | None, output: Path) -> None:
    """Kill commands and break their input, and tell what goes wrong. Exit code 1 if anything does.

    N mutants each of an annotation file, a results file and a picture are given to every command that reads one: none
    may end in a traceback, a hang, more than 1 GB of memory or half an output. N builds, N / 20 trainings and N / 50
    runs of `make submit` are killed at random moments and given again: they must end with the bytes of one that was
    not. OUTPUT/report.txt and report.json have what was found so far at any time, OUTPUT/work the files of every
    offence.

    \b
    Example:
      python -m benchmarks.torture -n 1000
      python -m benchmarks.torture -n 50 --only results,pictures --seed 7
    """
    chosen = reports.chosen(only, list(PARTS))
    output = output.absolute()
    _clear(output)
    # Before numpy starts threads, which forks would go without.
    os.environ.update({f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "RAYON")})
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    found = Report(
        seed=seed,
        machine={"machine": environment.kind([]), **environment.versions(), "commit": commit() or "not a checkout"},
        parts=[
            Part(name=name, about=PARTS[name].about, asked=max(1, round(number * PARTS[name].share))) for name in chosen
        ],
    )
    with cli.progress_bar("case") as progress:
        for part in found.parts:
            began = time.monotonic()

            def show(done: int, part: Part = part, began: float = began) -> None:
                part.done, part.seconds = done, round(time.monotonic() - began, 1)
                progress(part.name, min(done, part.asked), part.asked)

            try:
                _run(part, seed, output / WORK / part.name, show)
            except RuntimeError as error:
                part.problem = str(error)
            part.seconds = round(time.monotonic() - began, 1)
            reports.write(found, report.as_text(found), output)
    click.echo(report.as_text(found))
    click.echo(output / reports.TEXT)
    if found.offences:
        sys.exit(1)
    shutil.rmtree(output / WORK)


def _clear(output: Path) -> None:
    """Create `output`, or remove an earlier torture's files from it. Raises DataError for any other folder."""
    known = {WORK, reports.JSON, reports.TEXT}
    if output.is_dir() and not {path.name for path in output.iterdir()} <= known:
        raise DataError(f"{output}: expected a new folder or one of an earlier torture, found something else in it")
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)


def _run(part: Part, seed: int, work: Path, show: Callable[[int], None]) -> None:
    work.mkdir(parents=True)
    if part.name in ("annotations", "results", "pictures"):
        _mutate(part, seed, work, show)
    else:
        _kill(part, seed, work, show)


def _mutate(part: Part, seed: int, work: Path, show: Callable[[int], None]) -> None:
    from benchmarks.torture import forked, material, mutations

    forked.preload()
    (work / "good").mkdir()
    kind = mutations.KINDS[part.name](material.made(work / "good"))

    def take(case: mutations.Case) -> None:
        for outcome in case.outcomes:
            part.count(" ".join(outcome.command[:2]), f"exit {outcome.code}")
            part.memory = max(part.memory, outcome.memory)
        for item in case.found:
            said = item.said[-report.KEPT :]
            command = f"python -m {' '.join(item.command)}"
            part.add(item.signature, Example(case=str(case.number), about=case.about, command=command, said=said))
        show(case.number)

    mutations.explore(kind, part.asked, seed, work, take)


def _kill(part: Part, seed: int, work: Path, show: Callable[[int], None]) -> None:
    from benchmarks.torture import kills, targets

    target = targets.TARGETS[part.name](work / "good")
    part.about = target.about

    def take(kill: kills.Kill) -> None:
        part.count(part.name, kill.ended)
        for item in kill.found:
            about = f"killed {len(kill.moments)} times, last at {kill.moments[-1:] or 'no moment'}"
            part.add(
                f"{part.name}: {item.rule}: {item.text[:120]}",
                Example(
                    case=str(kill.chain), about=about, command=" ".join(kill.command), said=kill.said[-report.KEPT :]
                ),
            )
        show(kill.struck)

    kills.torture(target, part.asked, seed, work, take)


if __name__ == "__main__":
    cli.run(main, "python -m benchmarks.torture")
