"""Blow up a COCO dataset to any number of images, the same ones again under new ids, to try things at full size.

python scripts/repeat_dataset.py --annotations instances_train.json --images train --count 10819 --output big
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path, PurePosixPath

import click
import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from datasets import cli, options
from datasets.cli import Progress
from datasets.errors import DataError
from datasets.records import Image
from datasets.sources import Input, Inputs, Source, read_inputs
from datasets.staging import staging
from datasets.stream import DatasetWriter, annotation_body

PATH = click.Path(path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@options.inputs
@click.option("--count", type=click.IntRange(1, 10**9), required=True, help="Images to have in the end.")
@click.option("--output", type=PATH, required=True, help="New or empty folder.")
@click.option("--copy", is_flag=True, help="Copy the image files instead of hard-linking them.")
def main(inputs: list[Input], count: int, output: Path, copy: bool) -> None:
    """Write OUTPUT/annotations/instances.json and OUTPUT/images: COUNT images, all there are again and again.

    Image and annotation ids count up from 1, and files are named after their image's id. Files are hard links, which
    take no room but lie on one file system with their sources.

    \b
    Example:
      python scripts/repeat_dataset.py --annotations instances_train.json --images train --count 10819 --output big
      python -m augment build --annotations big/annotations/instances.json --images big/images --output expanded
    """
    output = output.resolve()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DataError(f"{output}: expected a new or empty folder, found something in it")
    read = read_inputs(inputs)
    with staging(output) as folder, cli.progress_bar() as progress:
        (folder / "annotations").mkdir()
        (folder / "images").mkdir()
        objects = write_annotations(read, count, folder / "annotations" / "instances.json")
        place_files(read, count, folder / "images", shutil.copyfile if copy else os.link, progress)
    click.echo(f"{output}: {count:,} images of {len(read.sources):,} different ones, {objects:,} annotations")


def repeated(inputs: Inputs, count: int) -> Iterator[tuple[Image, Source]]:
    """`count` image records with new ids and names, each with its source; all sources appear before any repeats."""
    for number, source in enumerate(islice(cycle(inputs.sources), count), start=1):
        name = f"{number:012d}{PurePosixPath(source.image.file_name).suffix}"
        yield msgspec.structs.replace(source.image, id=number, file_name=name), source


def write_annotations(inputs: Inputs, count: int, path: Path) -> int:
    """The annotation file; returns the number of annotations."""
    bodies = {id(source): [annotation_body(item) for item in source.annotations] for source in inputs.sources}
    info = {"description": f"{len(inputs.sources)} images repeated to {count}"}
    next_id = 1
    with DatasetWriter(path, info, inputs.licenses, inputs.categories) as writer:
        writer.images(image for image, _ in repeated(inputs, count))
        for image, source in repeated(inputs, count):
            writer.annotations(image.id, next_id, bodies[id(source)])
            next_id += len(bodies[id(source)])
    return next_id - 1


def place_files(
    inputs: Inputs, count: int, folder: Path, put: Callable[[Path, Path], object], progress: Progress
) -> None:
    """Place every image file under its new name. Raises DataError naming a file that cannot be placed."""
    for done, (image, source) in enumerate(repeated(inputs, count), start=1):
        try:
            # The file itself, since a link might be relative.
            put(source.path.resolve(), folder / image.file_name)
        except OSError as error:
            advice = "; files on another file system need --copy" if put is os.link else ""
            raise DataError(
                f"{source.path}: cannot be placed as {folder / image.file_name}: {error.strerror}{advice}"
            ) from None
        progress("placing", done, count)


if __name__ == "__main__":
    cli.run(main, "python scripts/repeat_dataset.py")
