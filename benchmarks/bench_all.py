"""Every benchmark at a small size, in about five minutes, into a table of docs/performance.md: `make bench-all`."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import figures
from benchmarks.figures import Figure
from benchmarks.measuring import ROOT, environment
from datasets.checkout import commit

BEGIN, END = "<!-- make bench-all writes from here -->", "<!-- to here -->"
PAGE = ROOT / "docs" / "performance.md"
CPU_INFO = Path("/proc/cpuinfo")

# Where no photographs are given: drawings, whose pixels cost less, so that what is done beside them counts for more.
SAMPLE = ("--annotations", "datasets/sample/annotations/instances_train.json", "--images", "datasets/sample/train")
# What `python benchmarks/...` runs on these, and on the compiled sample. The sizes are those that still tell: a ratio
# of two short runs is mostly start-up.
ON_PHOTOGRAPHS: tuple[tuple[str, ...], ...] = (
    ("bench_augment.py", "run", "--count", "1000", "--rounds", "2"),
    ("bench_augment.py", "operations", "--count", "200"),
    ("bench_scale.py", "--count", "400"),
    ("bench_train.py", "online", "--count", "60"),
)
RUNS: tuple[tuple[str, ...], ...] = (
    ("bench_train.py", "loader", "--count", "20", "--rounds", "3"),
    ("bench_train.py", "step", "--name", "tiny", "--count", "10"),
    ("bench_train.py", "cpu", "--count", "15", "--rounds", "2"),
    ("bench_train.py", "cpu", "--count", "15", "--rounds", "2", "--threads", "2"),
    ("bench_train.py", "beside", "--count", "8", "--rounds", "1"),
    ("bench_ensemble.py", "run", "--images", "2500"),
)


class Measured(NamedTuple):
    """A figure and the command that gave it."""

    figure: Figure
    command: str


@click.command()
@click.option("--annotations", multiple=True, metavar="FILE", help="Photographs to compile, which the goals are of ...")
@click.option("--images", multiple=True, metavar="DIR", help="... and their folder.  [default: the sample's drawings]")
@click.option("--page", type=click.Path(path_type=Path), default=PAGE, help="Default: docs/performance.md.")
def main(annotations: tuple[str, ...], images: tuple[str, ...], page: Path) -> None:
    """Run every benchmark at a small size and write the table of docs/performance.md (five minutes).

    Only on a machine that does nothing else meanwhile. Exit code 1 where a goal is missed or a benchmark fails.

    \b
    Example:
      python benchmarks/bench_all.py --annotations instances_val2017.json --images val2017
    """
    begun = time.perf_counter()
    data = compiled(annotations, images)
    commands = [*((arguments, data) for arguments in ON_PHOTOGRAPHS), *((arguments, ()) for arguments in RUNS)]
    found = {" ".join(arguments): run(arguments, options) for arguments, options in commands}
    measured = [item for items in found.values() for item in items or ()]
    failed = [command for command, items in found.items() if items is None]
    seconds = time.perf_counter() - begun
    text = page.read_text(encoding="utf-8")
    page.write_text(with_table(text, [heading(seconds, annotations), "", *table(measured)]), encoding="utf-8")
    missed = [item.figure for item in measured if item.figure.is_met is False]
    print(f"\n{page}: {len(measured)} figures in {seconds:.0f} s, {len(missed)} of them beside their goals")
    for figure in missed:
        print(f"  {figure.what}: {figure.text}, expected {figure.goal}")
    for command in failed:
        print(f"  {command} failed; nothing of it is in the table")
    sys.exit(1 if missed or failed else 0)


def compiled(annotations: Sequence[str], images: Sequence[str]) -> tuple[str, ...]:
    """The options that name what is compiled."""
    if len(annotations) != len(images):
        raise click.UsageError("--annotations and --images go together, one folder for each file")
    pairs = zip(annotations, images, strict=True)
    return tuple(part for file, folder in pairs for part in ("--annotations", file, "--images", folder)) or SAMPLE


def run(arguments: Sequence[str], data: Sequence[str]) -> list[Measured] | None:
    """Run a benchmark, whose own output is shown as well; None where it fails.

    Letters stand for the files of `data` in the figures' command: the page has no paths of one machine.
    """
    command = f"python benchmarks/{' '.join(arguments)}{' --annotations F --images D' if data else ''}"
    print(f"\n$ {command}", flush=True)
    script, *options = *arguments, *data
    with tempfile.TemporaryDirectory(prefix="bench-all-") as name:
        path = Path(name) / "figures.json"
        call = [sys.executable, str(ROOT / "benchmarks" / script), *options, "--json", str(path)]
        # Training is measured with the threads that it takes by itself.
        done = subprocess.run(call, env=environment(one_thread=False), cwd=ROOT, check=False)
        if done.returncode:
            return None
        return [Measured(figure, command) for figure in figures.read(path)]


def heading(seconds: float, annotations: Sequence[str]) -> str:
    """The machine, the day, the commit, and what was compiled: these files, or the sample where there are none."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in CPU_INFO.read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    day = datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat()
    machine = f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"
    what = ", ".join(Path(file).name for file in annotations) or "the sample"
    return f"{machine}; {day}, {commit()}, {seconds:.0f} s. Compiled: {what}."


def table(measured: Sequence[Measured]) -> list[str]:
    """Markdown; a command is written once, beside the first of its figures."""
    rows = ["| | measured | goal | | command |", "|---|---|---|---|---|"]
    before = ""
    for figure, command in measured:
        verdict = {True: "met", False: "**missed**", None: ""}[figure.is_met]
        shown = "" if command == before else f"`{command}`"
        rows.append(f"| {figure.what} | {figure.text} | {figure.goal} | {verdict} | {shown} |")
        before = command
    return rows


def with_table(text: str, lines: Sequence[str]) -> str:
    """The page with these lines between its marks. Raises ValueError where it has no marks."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"expected a page with the marks {BEGIN} and {END}")
    return "\n".join([f"{before}{BEGIN}", "", *lines, "", f"{END}{after}"])


if __name__ == "__main__":
    main()
