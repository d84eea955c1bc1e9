"""python -m ensemble fuse | tune | check | report"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from datasets import cli, options
from ensemble import reading
from ensemble.report.command import report

if TYPE_CHECKING:
    from ensemble.pipeline import Step

# Heavy imports stand inside the commands: `--help` must answer at once.

FORMATS = click.Choice(["coco", "vipriors"])


@options.group
def main() -> None:
    """Fuse saved predictions of one or more models into a submission: COCO results JSON in and out.

    \b
    Example:
      python -m ensemble tune  --annotations val.json  --results a_val.json  --results b_val.json  --output mine.yaml
      python -m ensemble fuse  --annotations test.json --results a_test.json --results b_test.json --recipe mine.yaml \\
          --output submission.json
      python -m ensemble check --annotations test.json submission.json
      python -m ensemble report --annotations val.json --results a_val.json --results b_val.json --recipe mine.yaml \\
          --output fusion.html
    """


main.add_command(report)


@main.command(short_help="Suppress, fuse and write a submission.")
@options.images_of("test", files_needed=False, about=reading.CONTENT)
@reading.results
@reading.recipe
@click.option("--output", type=options.PATH, required=True, help="COCO results file to write.")
@options.trained_on
@reading.how_read
@click.option("--format", "how", type=FORMATS, default="coco", help="vipriors: `image_id` is the image's file name.")
@options.json_output
def fuse(
    images: options.AskedFor,
    given: tuple[str, ...],
    recipe: str,
    output: Path,
    trained_on: tuple[Path, ...],
    numberings: tuple[str, ...],
    trust: bool,
    how: str,
    as_json: bool,
) -> None:
    """Suppress each model's boxes, fuse those of all models, and write a submission that `check` passes.

    Without --results, those that the recipe names are read. Before anything is fused, a table shows what each file
    holds and how the models agree: `met` is the share of a model's best boxes that meet one of another's (IoU 0.5),
    `same` the share of these with the same category. With annotations that have boxes, the AP of every step is shown.

    \b
    Example:
      python -m ensemble fuse --annotations test.json --results r50.json --results r101.json --output submission.json
    """
    from datasets import outputs, provenance
    from datasets.digests import sha256_file
    from datasets.results import write
    from ensemble import pipeline
    from ensemble.check import file_names

    where = images.resolved()
    path, chosen, paths = reading.choose(recipe, given)
    target = outputs.file_to_write(
        output, [path, *paths, *trained_on, where.annotations], beside=lambda written: [provenance.path_of(written)]
    )
    weights = chosen.weights(len(paths), name=str(path))
    read, models, _ = reading.read(where, chosen, paths, trained_on, numberings)
    if not as_json:
        click.echo(reading.read_about(where, read))
    examined = reading.examine(models, chosen, read, trust=trust, shown=not as_json)
    names = file_names(read) if how == "vipriors" else None
    with cli.progress_bar("step") as progress:
        done = pipeline.run(models, read, chosen, progress=progress)
    counted = [model.provenance for model, weight in zip(models, weights, strict=True) if weight > 0]
    if any(part.recorded or part.seen for part in counted):

        def describe(written: Path) -> None:
            provenance.write(target, provenance.joined(sha256_file(written), len(read.images), counted))

        write(target, done.results, file_names=names, written=describe)
    else:
        write(target, done.results, file_names=names)
        provenance.remove(target)
    if as_json:
        document = {
            "images": {"annotations": str(where.annotations), "split": where.split},
            "inputs": [row._asdict() for row in examined.rows],
            "steps": [step._asdict() for step in done.steps],
            "notes": [*(examined.problems if trust else []), *examined.notes, *done.notes],
        }
        click.echo(json.dumps(document, indent=1))
        return
    cli.show(*pipeline.table(done.steps), *done.notes, f"{output}: {len(done.results):,} detections")


@main.command(short_help="Search the recipe that gives the highest AP on validation data.")
@options.images_of("val", files_needed=False, about=reading.CONTENT)
@click.option(
    "--results",
    "given",
    metavar="[NAME=]FILE",
    multiple=True,
    required=True,
    help="A model's results on it; one option each. NAME: as the recipe to start from calls the model.",
)
@click.option("--output", type=options.PATH, required=True, help="Recipe to write.")
@click.option("--recipe", default="per-category", show_default=True, help="Recipe to start from.")
@options.trained_on
@reading.how_read
@click.option("--trials", type=click.IntRange(1), default=60, show_default=True, help="Recipes to try.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--workers", type=click.IntRange(1, 1024), metavar="N", help="Worker processes.  [default: one a core]")
@click.option(
    "--if-seen",
    type=click.Choice(["refuse", "tune", "keep"]),
    default="refuse",
    show_default=True,
    help="Where images were trained on: refuse, tune all the same, or keep the recipe as it is.",
)
def tune(
    images: options.AskedFor,
    given: tuple[str, ...],
    output: Path,
    recipe: str,
    trained_on: tuple[Path, ...],
    numberings: tuple[str, ...],
    trust: bool,
    trials: int,
    seed: int,
    workers: int | None,
    if_seen: str,
) -> None:
    """Search the weights and thresholds of soft-NMS and WBF that give the highest AP, and write them as a recipe.

    Refuses images that a model was trained on (--if-seen), since parameters tuned on them do not transfer. The same
    input and seed give the same recipe for any number of workers.

    \b
    Example:
      python -m ensemble tune --annotations val.json --results r50.json --results r101.json --output mine.yaml
    """
    import os

    import msgspec

    from datasets import outputs, provenance
    from datasets.parallel import cores
    from ensemble import pipeline
    from ensemble import recipe as recipes
    from ensemble import tune as search

    where = images.resolved()
    path, start, results = reading.choose(recipe, given)
    start.weights(len(results), name=str(path))
    # A recipe may be tuned further in place.
    target = outputs.file_to_write(output, [*results, *trained_on, where.annotations])
    read, models, how = reading.read(where, start, results, trained_on, numberings)
    click.echo(reading.read_about(where, read))
    reading.examine(models, start, read, trust=trust, shown=True)
    # A recipe names its results files relative to itself.
    names = [os.path.relpath(item.resolve(), target.parent.resolve()) for item in results]
    with cli.progress_bar("trial") as progress:
        if if_seen == "refuse":
            search.check_unseen(models, read)
        elif if_seen == "keep" and any(model.seen(read) for model in models):
            trials = 1
        tuned = search.tune(
            models,
            read,
            names=names,
            trials=trials,
            seed=seed,
            start=start,
            workers=workers or cores(),
            progress=progress,
        )
    numbered = [
        msgspec.structs.replace(model, categories=numbering)
        for model, numbering in zip(tuned.recipe.models, how, strict=True)
    ]
    best = msgspec.structs.replace(tuned.recipe, models=tuple(numbered))
    done = pipeline.run(models, read, best)
    said = f"the recipe {recipe} as it is" if trials == 1 else f"the best of {tuned.trials} recipes"
    head = said if trials == 1 else f"{said}, seed {seed}"
    _write_text(target, _with_table(recipes.dump(best), done.steps, head))
    doubts = provenance.notes((model.path, model.provenance) for model in models)
    cli.show(*pipeline.table(done.steps), *doubts, f"{output}: {said}")


def _with_table(text: str, steps: list[Step], said: str) -> str:
    from ensemble.pipeline import table

    head = [f"{said[0].upper()}{said[1:]}; on the validation data:", *table(steps)]
    return "".join(f"# {line}\n" for line in head) + text


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@main.command(short_help="Check a submission as a server would.")
@click.argument("submission", type=options.PATH)
@options.images_of("test", files_needed=False, about="Not read.")
@click.option("--format", "how", type=FORMATS, default="coco", help="vipriors: `image_id` is the image's file name.")
@click.option(
    "--max-dets", type=click.IntRange(1), default=100, show_default=True, help="Detections that an image may have."
)
def check(submission: Path, how: str, max_dets: int, images: options.AskedFor) -> None:
    """Check a submission as a server would: ids, categories, boxes, scores, their number. Exit 1 if refused.

    \b
    Example:
      python -m ensemble check --annotations test.json submission.json
    """
    from ensemble.check import check as lint
    from ensemble.pipeline import read_images

    where = images.resolved()
    read = read_images(where.annotations)
    done = lint(submission, read, "vipriors" if how == "vipriors" else "coco", max_dets)
    if where.data is not None:
        click.echo(reading.read_about(where, read))
    click.echo(
        f"{submission}: good; {done.detections:,} detections in {done.images:,} images, {done.without:,} without any"
    )


if __name__ == "__main__":
    cli.run(main, "python -m ensemble")
