"""python -m ensemble report"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from datasets import cli, options
from datasets.errors import DataError
from ensemble import reading

if TYPE_CHECKING:
    from datasets.sources import Input
    from ensemble.report.page import Submission


@click.command(short_help="Show what fusion gained, as an HTML page.")
@options.images_of(
    "val", files_needed=False, about="Their folder, for pictures, and so that --trained-on knows them by content too."
)
@reading.results
@reading.recipe
@click.option("--output", type=options.PATH, required=True, help="HTML file to write.")
@options.trained_on
@reading.how_read
@click.option("--submission", type=options.PATH, help="A results file of test images, which are drawn too.")
@click.option(
    "--test-annotations", type=options.PATH, help="The images of --submission.  [default: the split test of --data]"
)
@click.option("--test-images", type=options.PATH, help="Their folder.")
def report(
    images: options.AskedFor,
    given: tuple[str, ...],
    recipe: str,
    output: Path,
    trained_on: tuple[Path, ...],
    numberings: tuple[str, ...],
    trust: bool,
    submission: Path | None,
    test_annotations: Path | None,
    test_images: Path | None,
) -> None:
    """Show what fusion gained on validation data: a page of HTML that needs no network.

    Each model and the fusion are measured with intervals and compared by category and image by image; the page begins
    with whether the gain may be chance. No model is run. Without --results, those that the recipe names are read.

    \b
    Example:
      python -m ensemble report --annotations val.json --images val --results r50.json --results r101.json \\
          --recipe mine.yaml --output fusion.html
    """
    from datasets import outputs
    from datasets.pages import page as pages
    from ensemble import pipeline
    from ensemble.report import measures, page, words

    test = _test_input(images, submission, test_annotations, test_images)
    where = images.resolved()
    path, chosen, paths = reading.choose(recipe, given)
    inputs = [path, *paths, *trained_on, where.annotations]
    inputs += [submission, test.annotations] if submission and test else []
    outputs.file_to_write(output, inputs)
    _check_folder(where.folder)
    read, models, _ = reading.read(where, chosen, paths, trained_on, numberings)
    click.echo(reading.read_about(where, read))
    if read.truth is None:
        raise DataError(f"{where.annotations}: expected objects to measure models on, found none")
    examined = reading.examine(models, chosen, read, trust=trust, shown=True)
    drawn = _read_submission(submission, test) if submission and test else None
    with cli.progress_bar("step") as progress:
        done = pipeline.run(models, read, chosen, progress=progress)
        found = measures.measure(read.truth, paths, done, chosen, progress=progress)
    asked = page.Asked(read.truth, _called(where), where.folder, path.name, chosen, examined, done)
    pages.write(output, page.made(asked, found, drawn), tuple(inputs))
    closing = f"{output}: {words.verdict(found)} {words.comparison(found)}"
    cli.show(*pipeline.table(done.steps), *done.notes, closing)


def _test_input(
    images: options.AskedFor, submission: Path | None, annotations: Path | None, folder: Path | None
) -> Input | None:
    """The test images; None without a submission."""
    from datasets.sources import Input
    from datasets.spec import input_of

    if submission is None:
        if annotations or folder:
            raise click.UsageError("--test-annotations and --test-images go with --submission")
        return None
    if annotations and folder:
        _check_folder(folder)
        return Input(annotations, folder)
    if annotations or folder or images.data is None:
        raise click.UsageError("--submission goes with --test-annotations and --test-images, or with --data")
    return input_of(images.data, "test")


def _check_folder(folder: Path | None) -> None:
    if folder is not None and not folder.is_dir():
        raise DataError(f"{folder}: expected the folder of the images, found none")


def _called(where: options.Images) -> str:
    """How the page calls the images."""
    return where.annotations.name if where.data is None else f"split {where.split} of {where.data}"


def _read_submission(path: Path, test: Input) -> Submission:
    from ensemble import pipeline
    from ensemble.report.page import Submission

    read = pipeline.read_images(test.annotations)
    (model,) = pipeline.read_models([path], read)
    return Submission(path, read.images, model.results, test.images)
