"""What the commands are given: images, a recipe, and the results files of its models, read and examined."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from datasets import cli, options

if TYPE_CHECKING:
    from datasets.result_names import Numbering
    from ensemble.inputs import Inputs
    from ensemble.pipeline import Images, Model
    from ensemble.recipe import Recipe

# Heavy imports stand inside the functions: `--help` must answer at once.

CONTENT = "Their folder, so that --trained-on knows them by content too."

results = click.option(
    "--results",
    "given",
    metavar="[NAME=]FILE",
    multiple=True,
    help="A model's results; one option each. NAME: as the recipe calls the model, if the file's name does not tell.",
)

recipe = click.option("--recipe", default="per-category", show_default=True, help="per-category, paper or a YAML file.")

# How results files are read.
how_read = options.with_options(
    click.option(
        "--category-ids",
        "--categories",
        "numberings",
        metavar="[FILE=]HOW",
        multiple=True,
        help="How a file, or all, numbers its categories: ids, contiguous0, contiguous1 (positions from 0 or 1).",
    ),
    click.option("--trust", is_flag=True, help="Go on with results that cannot be right, which is an error otherwise."),
)


def read_about(images: options.Images, read: Images) -> str:
    """The line that says which images were read, so that no submission is made of the wrong split unawares."""
    which = "" if images.data is None else f"split {images.split} of {images.data}, "
    return f"images: {which}{images.annotations}: {len(read.images):,}, {'with' if read.truth else 'without'} objects"


def choose(name: str, given: tuple[str, ...]) -> tuple[Path, Recipe, list[Path]]:
    """A recipe's file, the recipe with its models in the order of the files, and these: the given, or its own."""
    from ensemble import matching
    from ensemble import recipe as recipes

    path = recipes.find(name)
    loaded = recipes.load(path)
    files = [matching.parse(text) for text in given]
    if not files:
        files = [matching.Given(path.parent / model.results) for model in loaded.models]
    return path, matching.ordered(loaded, path, files), [item.path for item in files]


def read(
    where: options.Images, chosen: Recipe, paths: list[Path], trained_on: tuple[Path, ...], numberings: tuple[str, ...]
) -> tuple[Images, list[Model], list[Numbering]]:
    """The images, the models' results, and how each file numbers its categories."""
    from datasets import provenance
    from datasets.allocator import keep_freed_memory
    from ensemble import matching, pipeline

    keep_freed_memory()
    images = pipeline.read_images(where.annotations)
    declared = provenance.declared_training(trained_on, images.images, where.folder)
    how = matching.numberings(numberings, paths, chosen)
    return images, pipeline.read_models(paths, images, declared, how), how


def examine(models: list[Model], chosen: Recipe, images: Images, *, trust: bool, shown: bool) -> Inputs:
    """Examine the results before fusion and show the table. Raises DataError for problems, unless `trust`."""
    from ensemble import inputs

    examined = inputs.examine(models, chosen.weights(len(models)), images, chosen)
    if shown:
        notes = [f"note: {note}" for note in [*(examined.problems if trust else []), *examined.notes]]
        cli.show(*inputs.table(examined), *notes, "")
    examined.check(trust=trust)
    return examined
