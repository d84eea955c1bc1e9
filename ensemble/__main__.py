"""python -m ensemble fuse | tune | check"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datasets import terminal

if TYPE_CHECKING:
    from ensemble.pipeline import Images, Model, Step

# Heavy imports stand inside the commands: `--help` must answer at once.

PATH = click.Path(path_type=Path)
FORMATS = click.Choice(["coco", "vipriors"])


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """From the saved predictions of one or more models to one submission; COCO results JSON in and out.

    \b
    Example:
      python -m ensemble tune  --annotations val.json  --results a_val.json  --results b_val.json  --output mine.yaml
      python -m ensemble fuse  --annotations test.json --results a_test.json --results b_test.json --recipe mine.yaml \\
          --output submission.json
      python -m ensemble check --annotations test.json submission.json
    """


def truth(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which images there are, and what is in them."""
    options = [
        click.option("--annotations", type=PATH, help="COCO file that lists the images; with or without objects."),
        click.option("--data", metavar="NAME|FILE", help="Instead: data in datasets/specs/, its --split."),
        click.option("--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def training(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say what models of other tools were trained on."""
    options = [
        click.option(
            "--trained-on", type=PATH, multiple=True, help="What they were trained on: a built folder, a COCO file."
        ),
        click.option("--images", "image_folder", type=PATH, help="The images, so that their content is compared too."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _annotations(annotations: Path | None, data: str | None, split: str) -> Path:
    return _where(annotations, data, split)[0]


def _where(annotations: Path | None, data: str | None, split: str) -> tuple[Path, Path | None]:
    """The annotation file and, where the data is known by name, the folder of its images."""
    import msgspec

    from datasets.spec import SplitName, split_input

    if (annotations is None) == (data is None):
        raise click.UsageError("give either --annotations or --data")
    if annotations is not None:
        return annotations, None
    return split_input(data or "", msgspec.convert(split, SplitName))


def _read(
    results: Sequence[Path], trained_on: tuple[Path, ...], image_folder: Path | None, **where: Any
) -> tuple[Images, list[Model]]:
    """The images, the models' results, and which of the images they had been trained on."""
    from datasets import provenance
    from ensemble import pipeline

    annotations, folder = _where(**where)
    images = pipeline.read_images(annotations)
    told = provenance.told(trained_on, images.images, image_folder or folder)
    return images, pipeline.read_models(results, images, told)


@main.command()
@truth
@click.option("--results", type=PATH, multiple=True, help="A model's COCO results file; one option each.")
@click.option("--recipe", default="paper", show_default=True, help="paper or a YAML file.")
@click.option("--output", type=PATH, required=True, help="COCO results file to write.")
@training
@click.option("--format", "how", type=FORMATS, default="coco", help="vipriors: `image_id` is the image's file name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def fuse(
    results: tuple[Path, ...],
    recipe: str,
    output: Path,
    trained_on: tuple[Path, ...],
    image_folder: Path | None,
    how: str,
    as_json: bool,
    **where: Any,
) -> None:
    """Suppress each model's boxes, fuse those of all models, and write a submission that `check` passes.

    Without --results, those that the recipe names are read. With annotations that have boxes, the AP of every step is
    shown.

    \b
    Example:
      python -m ensemble fuse --annotations test.json --results r50.json --results r101.json --output submission.json
    """
    from datasets import outputs, provenance
    from datasets.digests import sha256_file
    from datasets.results import write
    from ensemble import pipeline
    from ensemble import recipe as recipes
    from ensemble.check import file_names

    path = recipes.find(recipe)
    chosen = recipes.load(path)
    paths = list(results) or [path.parent / model.results for model in chosen.models]
    weights = chosen.weights(len(paths), name=str(path))
    read = [path, *paths, *trained_on, _annotations(**where)]
    target = outputs.file_to_write(output, read, beside=lambda written: [provenance.path_of(written)])
    images, models = _read(paths, trained_on, image_folder, **where)
    names = file_names(images) if how == "vipriors" else None
    with terminal.progress_bar("step") as progress:
        done = pipeline.run(models, images, chosen, progress=progress)
    counted = [model.known for model, weight in zip(models, weights, strict=True) if weight > 0]
    if any(known.provenance or known.seen for known in counted):

        def describe(written: Path) -> None:
            provenance.write(target, provenance.joined(sha256_file(written), len(images.images), counted))

        write(target, done.results, file_names=names, written=describe)
    else:
        write(target, done.results, file_names=names)
        provenance.forget(target)
    if as_json:
        click.echo(json.dumps({"steps": [step._asdict() for step in done.steps], "notes": done.notes}, indent=1))
        return
    click.echo("\n".join([*pipeline.table(done.steps), *done.notes, f"{output}: {len(done.results):,} detections"]))


@main.command()
@truth
@click.option("--results", type=PATH, multiple=True, required=True, help="A model's results on it; one option each.")
@click.option("--output", type=PATH, required=True, help="Recipe to write.")
@click.option("--recipe", default="paper", show_default=True, help="Recipe to start from.")
@training
@click.option("--trials", type=click.IntRange(1), default=60, show_default=True, help="Recipes to try.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--if-seen",
    type=click.Choice(["refuse", "tune", "keep"]),
    default="refuse",
    show_default=True,
    help="Where images were trained on: refuse, tune all the same, or keep the recipe as it is.",
)
def tune(
    results: tuple[Path, ...],
    output: Path,
    recipe: str,
    trained_on: tuple[Path, ...],
    image_folder: Path | None,
    trials: int,
    seed: int,
    if_seen: str,
    **where: Any,
) -> None:
    """Search the weights and thresholds of soft-NMS and WBF that give the highest AP, and write them as a recipe.

    On images that a model was trained on, the search would find what serves a model that knows the answers.

    \b
    Example:
      python -m ensemble tune --annotations val.json --results r50.json --results r101.json --output mine.yaml
    """
    import os

    from datasets import outputs, provenance
    from ensemble import pipeline
    from ensemble import recipe as recipes
    from ensemble import tune as search

    path = recipes.find(recipe)
    start = recipes.load(path)
    start.weights(len(results), name=str(path))
    # A recipe may be tuned further in its place.
    target = outputs.file_to_write(output, [*results, *trained_on, _annotations(**where)])
    images, models = _read(results, trained_on, image_folder, **where)
    # Relative to the recipe, as it names them.
    names = [os.path.relpath(item.resolve(), target.parent.resolve()) for item in results]
    with terminal.progress_bar("trial") as progress:
        if if_seen == "refuse":
            search.check_unseen(models, images)
        elif if_seen == "keep" and any(model.seen(images) for model in models):
            trials = 1
        tuned = search.tune(models, images, names=names, trials=trials, seed=seed, start=start, progress=progress)
    done = pipeline.run(models, images, tuned.recipe)
    said = f"the recipe {recipe} as it is" if trials == 1 else f"the best of {tuned.trials} recipes"
    head = said if trials == 1 else f"{said}, seed {seed}"
    _write_text(target, _with_table(recipes.dump(tuned.recipe), done.steps, head))
    doubts = provenance.notes((model.path, model.known) for model in models)
    click.echo("\n".join([*pipeline.table(done.steps), *doubts, f"{output}: {said}"]))


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


@main.command()
@click.argument("submission", type=PATH)
@truth
@click.option("--format", "how", type=FORMATS, default="coco", help="vipriors: `image_id` is the image's file name.")
def check(submission: Path, how: str, **where: Any) -> None:
    """Lint a submission: ids, categories, boxes inside their images, scores, at most 100 an image. Exit 1 if refused.

    \b
    Example:
      python -m ensemble check --annotations test.json submission.json
    """
    from ensemble.check import check as lint
    from ensemble.pipeline import read_images

    done = lint(submission, read_images(_annotations(**where)), "vipriors" if how == "vipriors" else "coco")
    click.echo(
        f"{submission}: good; {done.detections:,} detections in {done.images:,} images, {done.without:,} without any"
    )


if __name__ == "__main__":
    terminal.run(main, "python -m ensemble")
