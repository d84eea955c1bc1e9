"""python -m augment plan | build | verify"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from datasets import terminal

if TYPE_CHECKING:
    from augment.prepare import Request
    from datasets.sources import Input, Run

# Heavy imports stand inside the commands: `--help` must answer at once.

PATH = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Compile COCO datasets into an expanded COCO dataset.

    \b
    Example:
      python -m augment plan  --data sample
      python -m augment build --annotations instances_train.json --images train2017 --output out/expanded
      python -m augment verify out/expanded
    """


def inputs_and_recipe(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say what to compile, shared by plan and build."""
    options = [
        click.option("--annotations", type=PATH, multiple=True, help="COCO annotation file; may be repeated."),
        click.option("--images", type=PATH, multiple=True, help="Image folder of each annotation file."),
        click.option("--data", metavar="NAME|FILE", help="Data that datasets/specs/NAME.yaml describes."),
        click.option(
            "--recipe", default="expanded", show_default=True, help="balanced, expanded, everything or a YAML file."
        ),
        click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Overrides the recipe's seed."),
        click.option("--limit", type=click.IntRange(1), metavar="N", help="Take the first N source images only."),
        click.option("--strict", is_flag=True, help="Make every repair of the input an error."),
        *terminal.leniency_options(),
    ]
    return _with(options, command)


def where_to_run(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say where the work runs; the command gets a context manager, `executor`, in their place."""

    @functools.wraps(command)
    def wrapped(workers: int | None, executor: str | None, ray_address: str | None, **chosen: Any) -> None:
        source = click.get_current_context().get_parameter_source("ray_address")
        if executor != "ray" and source is ParameterSource.COMMANDLINE:
            raise click.UsageError("--ray-address goes with --executor ray")
        if executor == "ray" and workers:
            raise click.UsageError("--workers is for this machine; with --executor ray all CPUs of the cluster work")
        from augment import executors

        command(executor=executors.executor(executor, workers, ray_address), **chosen)

    options = [
        click.option("--workers", type=click.IntRange(1, 1024), help="Worker processes  [default: one a core]"),
        click.option(
            "--executor", type=click.Choice(["serial", "process", "ray"]), help="[default: serial for 1 worker]"
        ),
        click.option(
            "--ray-address",
            metavar="HOST:PORT",
            envvar="RAY_ADDRESS",
            help="The Ray cluster's head.  [default: $RAY_ADDRESS, or a cluster of this machine alone]",
        ),
    ]
    return _with(options, wrapped)


def _with(options: list[Callable[..., Any]], command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(options):
        command = option(command)
    return command


@main.command()
@inputs_and_recipe
@where_to_run
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def plan(as_json: bool, executor: AbstractContextManager[Run], **chosen: Any) -> None:
    """Show what a build would make: images, boxes, bytes, time. Writes nothing.

    \b
    Example:
      python -m augment plan --annotations instances_train.json --images train2017 --recipe balanced
    """
    from augment import estimate
    from augment.counts import categories_table, operations_table, warnings
    from augment.prepare import prepare

    request = _request(**chosen)
    with executor as run, terminal.progress_bar() as progress:
        prepared = prepare(request, run, progress)
        planned = estimate.plan(prepared, run, progress)
    categories = prepared.inputs.categories
    warned = [*prepared.inputs.warnings, *warnings(planned.counts, request.recipe)]
    repairs = prepared.inputs.repairs.counts()
    if as_json:
        document = planned.counts.as_json(categories)
        cost = {"bytes": planned.bytes, "seconds_one_worker": round(planned.seconds, 1)}
        skipped = len(prepared.inputs.skipped)
        found = {"repairs": repairs, "skipped": skipped, "warnings": warned}
        click.echo(json.dumps({**document, **found, "estimate": cost}, indent=1))
        return
    lines = [
        f"recipe {request.recipe.name}, seed {request.recipe.seed}: {len(prepared.sources):,} source images",
        "",
        *operations_table(planned.counts),
        "",
        *categories_table(planned.counts, categories),
        "",
        *_repair_lines(repairs),
        *terminal.skipped_lines(prepared.inputs),
        *terminal.warning_lines(warned),
        f"about {_bytes(planned.bytes)} and {_duration(planned.seconds)} with one worker (estimated)",
    ]
    terminal.show(*lines)


@main.command()
@inputs_and_recipe
@where_to_run
@click.option("--output", type=PATH, required=True, help="Folder to make; must be new, empty, or this very build.")
@click.option(
    "--link",
    is_flag=True,
    help="Hard-link originals instead of copying them: writing to one in OUTPUT then writes to the source.",
)
@click.option("--restart", is_flag=True, help="Remove what a stopped build left at OUTPUT.partial, and begin anew.")
def build(output: Path, link: bool, restart: bool, executor: AbstractContextManager[Run], **chosen: Any) -> None:
    """Build the expanded dataset: OUTPUT/images, annotations/instances.json, sources.jsonl, manifest.json, SHA256SUMS.

    The same input, recipe and seed give the same bytes for any number of workers. A build that was stopped, by
    whatever, goes on when the same command is given again; until it is finished, it is at OUTPUT.partial.

    \b
    Example:
      python -m augment build --annotations instances_train.json --images train2017 --output out/expanded
    """
    from augment import compiler
    from augment.counts import operations_table, warnings

    request = _request(**chosen)._replace(link=link)
    start = time.monotonic()
    with executor as run, terminal.progress_bar() as progress:
        built = compiler.build(request, output, run, progress, restart=restart)
    if built.counts is None:
        click.echo(f"{output}: this very build is there already; nothing to do")
        return
    if built.kept:
        click.echo(f"{output}: {built.kept:,} source images were finished before and kept")
    lines = [
        *operations_table(built.counts),
        *_repair_lines(built.prepared.inputs.repairs.counts()),
        *terminal.skipped_lines(built.prepared.inputs),
        *terminal.warning_lines([*built.prepared.inputs.warnings, *warnings(built.counts, request.recipe)]),
        f"{output}: {_bytes(built.bytes)} of images in {_duration(time.monotonic() - start)}",
    ]
    terminal.show(*lines)


@main.command()
@click.argument("folder", type=PATH)
@where_to_run
def verify(folder: Path, executor: AbstractContextManager[Run]) -> None:
    """Check a built dataset: digests, orphans, sources, ids, sizes, boxes, and every label against the recipe's rule.

    \b
    Example:
      python -m augment verify out/expanded
    """
    from augment.verify import verify as check

    with executor as run, terminal.progress_bar() as progress:
        verified = check(folder, run, progress)
    click.echo(
        f"{folder}: good; {verified.files:,} files, {verified.images:,} images, {verified.annotations:,} annotations"
        + ("" if verified.ruled else "; labels were not checked, since the recipe keeps no originals to check against")
    )


def _request(
    annotations: tuple[Path, ...],
    images: tuple[Path, ...],
    data: str | None,
    recipe: str,
    seed: int | None,
    limit: int | None,
    strict: bool,
    clip_boxes: bool,
    skip_bad: bool,
    follow_links: bool,
) -> Request:
    """What the options ask for. Raises click.UsageError where they contradict each other."""
    import msgspec

    from augment.prepare import Request
    from augment.recipe import load
    from datasets.checks import Leniency

    loaded = load(recipe)
    if seed is not None:
        loaded = msgspec.structs.replace(loaded, seed=seed)
    return Request(
        _inputs(annotations, images, data),
        loaded,
        limit=limit,
        strict=strict,
        leniency=Leniency(clip_boxes, skip_bad, follow_links),
    )


def _inputs(annotations: tuple[Path, ...], images: tuple[Path, ...], data: str | None) -> list[Input]:
    from datasets.sources import Input
    from datasets.spec import compiled_inputs

    if data is not None:
        if annotations or images:
            raise click.UsageError("give either --data, or --annotations and --images")
        return compiled_inputs(data)
    if not annotations:
        raise click.UsageError("say what to compile: --annotations FILE --images FOLDER, or --data NAME")
    return [Input(*pair) for pair in terminal.pairs(annotations, images)]


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
    terminal.run(main, "python -m augment")
