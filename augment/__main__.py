"""python -m augment plan | build | verify | report"""

from __future__ import annotations

import functools
import json
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from datasets import cli, options

if TYPE_CHECKING:
    from augment.compiler.inputs import Request
    from datasets.checks import Leniency
    from datasets.parallel import Run
    from datasets.sources import Input

# Heavy imports are inside the commands: `--help` must answer at once.


@options.group
def main() -> None:
    """Compile COCO datasets into an expanded COCO dataset.

    \b
    Example:
      python -m augment plan  --data sample
      python -m augment build --annotations instances_train.json --images train2017 --output out/expanded
      python -m augment verify out/expanded
      python -m augment report out/expanded
    """


def request_options(command: options.Command) -> options.Command:
    """The options that say what to compile, shared by plan and build; the command gets `request`."""

    @functools.wraps(command)
    def wrapped(
        inputs: list[Input],
        recipe: str,
        seed: int | None,
        limit: int | None,
        strict: bool,
        leniency: Leniency,
        **chosen: Any,
    ) -> None:
        from augment.compiler.inputs import Request
        from augment.recipe import load

        loaded = load(recipe, seed)
        command(request=Request(inputs, loaded, limit=limit, strict=strict, leniency=leniency), **chosen)

    return options.with_options(
        options.inputs,
        click.option(
            "--recipe",
            metavar="NAME|FILE",
            default="expanded",
            show_default=True,
            help="expanded, balanced, everything, scarce, scarce-turned, or a YAML file.",
        ),
        click.option("--seed", type=click.IntRange(0, 2**63 - 1), metavar="N", help="Overrides the recipe's seed."),
        click.option("--limit", type=click.IntRange(1), metavar="N", help="Take the first N source images only."),
        click.option("--strict", is_flag=True, help="Make every repair of the input an error."),
        options.leniency,
    )(wrapped)


def executor_options(command: options.Command) -> options.Command:
    """The options that say where the work runs; the command gets a context manager, `executor`."""

    @functools.wraps(command)
    def wrapped(workers: int | None, executor: str | None, ray_address: str | None, **chosen: Any) -> None:
        source = click.get_current_context().get_parameter_source("ray_address")
        if executor != "ray" and source is ParameterSource.COMMANDLINE:
            raise click.UsageError("--ray-address goes with --executor ray")
        if executor == "ray" and workers:
            raise click.UsageError("--workers is for this machine; with --executor ray all CPUs of the cluster work")
        from augment.executors import local

        command(executor=local.executor(executor, workers, ray_address), **chosen)

    return options.with_options(
        click.option(
            "--workers", type=click.IntRange(1, 1024), metavar="N", help="Worker processes.  [default: one a core]"
        ),
        click.option(
            "--executor",
            type=click.Choice(["serial", "process", "ray"]),
            help="Where the work runs.  [default: serial for 1 worker, else process]",
        ),
        click.option(
            "--ray-address",
            metavar="HOST:PORT",
            envvar="RAY_ADDRESS",
            help="The Ray cluster's head.  [default: $RAY_ADDRESS, or a cluster of this machine alone]",
        ),
    )(wrapped)


@main.command(short_help="Show what a build would make; write nothing.")
@executor_options
@request_options
@options.json_output
def plan(as_json: bool, executor: AbstractContextManager[Run], request: Request) -> None:
    """Show what a build would make: images, boxes, bytes, time. Writes nothing.

    \b
    Example:
      python -m augment plan --annotations instances_train.json --images train2017 --recipe balanced
    """
    from augment.compiler import estimate
    from augment.compiler.counts import categories_table, operations_table, target_line, warnings
    from augment.compiler.inputs import prepare
    from augment.operations.parameters import Copy

    with executor as run, cli.progress_bar() as progress:
        prepared = prepare(request, run, progress)
        planned = estimate.plan(prepared, run, progress)
    categories = prepared.inputs.categories
    balance = prepared.balance()
    warned = [
        *prepared.inputs.warnings,
        *warnings(planned.counts, request.recipe, balance, len(prepared.sources)),
    ]
    copies = [operation for operation in request.recipe.operations if isinstance(operation, Copy)]
    repairs = prepared.inputs.repairs.counts()
    if as_json:
        document = planned.counts.as_json(categories)
        cost = {"bytes": planned.bytes, "seconds_one_worker": round(planned.seconds, 1)}
        skipped = len(prepared.inputs.skipped)
        notes = {"repairs": repairs, "skipped": skipped, "warnings": warned}
        click.echo(json.dumps({**document, **notes, "estimate": cost}, indent=1))
        return
    lines = [
        f"recipe {request.recipe.name}, seed {request.recipe.seed}: {len(prepared.sources):,} source images",
        "",
        *operations_table(planned.counts),
        "",
        *categories_table(planned.counts, categories),
        "",
        # Without copies, the target is among the warnings.
        *(f"copies are for {target_line(item, balance)}" for item in copies if planned.counts.images[Copy.name]),
        *_repair_lines(repairs),
        *cli.skipped_lines(prepared.inputs),
        *cli.warning_lines(warned),
        f"about {_bytes(planned.bytes)} and {_duration(planned.seconds)} with one worker (estimated)",
    ]
    cli.show(*lines)


@main.command(short_help="Build the expanded dataset.")
@executor_options
@request_options
@click.option(
    "--output", type=options.PATH, required=True, help="Folder to make; must be new, empty, or this very build."
)
@click.option(
    "--link",
    is_flag=True,
    help="Hard-link originals instead of copying them: writing to one in OUTPUT then writes to the source.",
)
@click.option("--restart", is_flag=True, help="Remove what a stopped build left at OUTPUT.partial, and start over.")
def build(output: Path, link: bool, restart: bool, executor: AbstractContextManager[Run], request: Request) -> None:
    """Build the expanded dataset: OUTPUT/images, annotations/instances.json, sources.jsonl, manifest.json, SHA256SUMS.

    The same input, recipe and seed give the same bytes for any number of workers. A build that was stopped, by
    whatever, resumes when the same command is given again; until it is complete, it is at OUTPUT.partial.

    \b
    Example:
      python -m augment build --annotations instances_train.json --images train2017 --output out/expanded
    """
    from augment.compiler.build import build_dataset
    from augment.compiler.counts import operations_table, warnings

    start = time.monotonic()
    with executor as run, cli.progress_bar() as progress:
        built = build_dataset(request._replace(link=link), output, run, progress, restart=restart)
    if built.counts is None:
        click.echo(f"{output}: this very build is there already; nothing to do")
        return
    if built.kept:
        click.echo(f"{output}: {built.kept:,} source images had been rendered before and are kept")
    prepared = built.prepared
    warned = [
        *prepared.inputs.warnings,
        *warnings(built.counts, request.recipe, prepared.balance(), len(prepared.sources)),
    ]
    lines = [
        *operations_table(built.counts),
        *_repair_lines(prepared.inputs.repairs.counts()),
        *cli.skipped_lines(prepared.inputs),
        *cli.warning_lines(warned),
        f"{output}: {_bytes(built.bytes)} of images in {_duration(time.monotonic() - start)}",
    ]
    cli.show(*lines)


@main.command(short_help="Check a built dataset against its manifest and the recipe's rule.")
@click.argument("folder", type=options.PATH)
@executor_options
def verify(folder: Path, executor: AbstractContextManager[Run]) -> None:
    """Check a built dataset: digests, orphans, sources, ids, sizes, boxes, and every label against the recipe's rule.

    \b
    Example:
      python -m augment verify out/expanded
    """
    from augment.verify.dataset import verify as check

    with executor as run, cli.progress_bar() as progress:
        verified = check(folder, run, progress)
    click.echo(
        f"{folder}: good; {verified.files:,} files, {verified.images:,} images, {verified.annotations:,} annotations"
        + (
            ""
            if verified.labels_verified
            else "; labels were not checked, since the recipe keeps no originals to check against"
        )
    )


@main.command(short_help="Show what a build did, as an HTML page.")
@click.argument("folder", type=options.PATH)
@click.option("--output", type=options.PATH, help="Page to write.  [default: FOLDER/report.html]")
@click.option(
    "--sources",
    type=click.IntRange(0, 1000),
    metavar="N",
    default=24,
    show_default=True,
    help="Source images to show with all that was made of them, as far as the page has room.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), metavar="N", default=0, show_default=True, help="Draws the sources."
)
def report(folder: Path, output: Path | None, sources: int, seed: int) -> None:
    """Show what a build did, as one HTML page: boxes per category, what became of objects, pictures. Builds nothing.

    \b
    Example:
      python -m augment report out/expanded
    """
    from augment.report.report import write_report
    from datasets.build_layout import REPORT

    target = output or folder / REPORT
    with cli.progress_bar() as progress:
        written = write_report(folder, target, sources, seed, progress)
    if written.unreadable:
        cli.note(f"warning: {written.unreadable:,} pictures are left out, since their files cannot be read")
    cli.show(f"{target}: {written.pictures:,} pictures of {written.sources:,} source images; open it in a browser")


def _repair_lines(repairs: dict[str, int]) -> list[str]:
    return [f"repaired: {count:,} x {kind}" for kind, count in repairs.items()]


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


if __name__ == "__main__":
    cli.run(main, "python -m augment")
