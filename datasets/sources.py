"""One or more annotation files with their image folders, read into one list of source images."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from datasets import categories, coco, orientation, suspicions
from datasets.checks import BACKSLASHES, ORIENTATION_IGNORED, STRICT, Leniency, Repairs
from datasets.cli import Progress
from datasets.errors import DataError, Problems
from datasets.file_names import locate
from datasets.image_files import FILES_PER_TASK, Examined, ImageFile, examine_files
from datasets.parallel import Run, chunks
from datasets.records import Annotation, Category, Image


class Input(NamedTuple):
    """An annotation file and the folder that its file names are relative to."""

    annotations: Path
    images: Path


class Source(msgspec.Struct):
    """One image of an input with its annotations. `examined` is set by `examine_images`."""

    input: int
    image: Image
    annotations: list[Annotation]
    path: Path
    examined: Examined | None = None


class Skipped(NamedTuple):
    """An image that was left out: the index of its input, its record, and why."""

    input: int
    id: int
    file_name: str
    why: str


class Inputs(msgspec.Struct):
    """All sources, in the order of inputs and files; categories and licences are shared."""

    inputs: list[Input]
    sha256: list[str]
    categories: list[Category]
    licenses: list[dict[str, Any]]
    sources: list[Source]
    repairs: Repairs
    skipped: list[Skipped] = []
    warnings: list[str] = []
    on_stored_pixels: frozenset[int] = frozenset()
    """Indices of the inputs whose annotations ignore EXIF orientations; set by `examine_images`."""


def read_inputs(
    inputs: list[Input], *, strict: bool = False, provenance: bool = False, leniency: Leniency | None = None
) -> Inputs:
    """Read and check every annotation file; ids and file names may repeat between inputs.

    With `provenance`, the keys that augment adds are read too. Raises DataError for an invalid file (see `coco.read`),
    a missing image folder, or category lists that differ.
    """
    for item in inputs:
        if not item.images.is_dir():
            raise DataError(f"{item.images}: expected the folder of the images, found none")
    read = [
        coco.read(item.annotations, strict=strict, provenance=provenance, leniency=leniency, images=item.images)
        for item in inputs
    ]
    first = next((file.dataset for file in read if file.dataset.categories), read[0].dataset)
    of_first = [file.dataset for file in read].index(first)
    licenses: list[dict[str, Any]] = []
    sources = []
    repairs = Repairs()
    skipped = []
    names = told_apart([item.annotations.name for item in inputs])
    for index, (item, file) in enumerate(zip(inputs, read, strict=True)):
        # A file of images without objects may list no category.
        if first.categories and file.dataset.categories:
            categories.check_same(
                first.categories, str(inputs[of_first].annotations), file.dataset.categories, str(item.annotations)
            )
        renamed = merge_licenses(licenses, file.dataset.licenses)
        annotations = file.dataset.annotations_by_image()
        folder = item.images.absolute()
        for image in file.dataset.images:
            if isinstance(image.license, (int, float, str)):
                image.license = renamed.get(image.license, image.license)
            # Absolute, since workers may run in another folder.
            path, backslashes = locate(folder, image.file_name)
            if backslashes:
                repairs.add(BACKSLASHES, f"{names[index]} {image.file_name}")
            sources.append(Source(index, image, annotations[image.id], path))
        repairs.extend(file.repairs, f"{names[index]} ")
        skipped += [Skipped(index, *left_out) for left_out in file.unsized]
    warnings = [
        f"{name}: {warning}"
        for name, file in zip(names, read, strict=True)
        for warning in suspicions.find(file.dataset.annotations, file.dataset.categories)
    ]
    sha256 = [file.sha256 for file in read]
    return Inputs(inputs, sha256, first.categories, licenses, sources, repairs, skipped, warnings)


def told_apart(names: list[str]) -> list[str]:
    """The names of annotation files in places: the file name, with a number where several share it.

    Not the path, which would go into the manifest's bytes.
    """
    return [f"{name} (input {number})" if names.count(name) > 1 else name for number, name in enumerate(names, start=1)]


def merge_licenses(merged: list[dict[str, Any]], licenses: list[dict[str, Any]]) -> dict[Any, int | str]:
    """Add `licenses` to `merged` in place; returns the ids that had to change, old -> new.

    A free id is kept, and an entry equal to one of `merged` takes its id.
    """
    renamed: dict[Any, int | str] = {}
    for entry in licenses:
        number = entry.get("id")
        same = next((known.get("id") for known in merged if _content(known) == _content(entry)), None)
        if not isinstance(number, (int, str)) or isinstance(number, bool):
            merged.append(entry)
        elif isinstance(same, (int, str)):
            renamed[number] = same
        elif any(known.get("id") == number for known in merged):
            taken = [known.get("id") for known in merged]
            renamed[number] = max((item for item in taken if isinstance(item, int)), default=0) + 1
            merged.append({**entry, "id": renamed[number]})
        else:
            merged.append(entry)
    return renamed


def _content(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "id"}


def read_checked(
    inputs: list[Input],
    *,
    strict: bool,
    progress: Progress,
    thorough: bool = False,
    leniency: Leniency = STRICT,
) -> Inputs:
    """`read_inputs` and `examine_images`, in this process."""
    read = read_inputs(inputs, strict=strict, leniency=leniency)
    total = len(read.sources)
    looking = examine_images(
        read,
        read.sources,
        strict=strict,
        skip_bad=leniency.skip_bad,
        thorough=thorough,
        follow_links=leniency.follow_links,
    )
    for done in looking:
        progress("checking", done, total)
    return read


def examine_images(
    inputs: Inputs,
    sources: list[Source],
    run: Run = map,
    *,
    strict: bool = False,
    skip_bad: bool = False,
    thorough: bool = False,
    follow_links: bool = False,
) -> Iterator[int]:
    """Check the image files of `sources` against their records and set `examined`; yields the number done so far.

    `run` is `map` or a parallel one. `thorough` decodes every file, and `follow_links` allows symbolic links out of the
    image folder. EXIF repairs are added to `inputs.repairs`. Raises DataError at the end, listing every file that is
    missing, truncated, of another size, or not an 8-bit JPEG or PNG; with `strict`, every repair too; and where files
    of one input contradict each other on EXIF orientations.

    With `skip_bad`, bad images move from `inputs.sources` to `inputs.skipped` instead, and every file is decoded.
    Raises DataError where no image is left.
    """
    folders = [item.images.absolute() for item in inputs.inputs]
    if not sources and inputs.skipped:
        left_out = [f"{folders[item.input] / item.file_name}: {item.why}" for item in inputs.skipped]
        files = _listed_in(inputs, {item.input for item in inputs.skipped})
        raise DataError(f"{files}: {len(left_out)} problem(s) in the image files", left_out, advice=_NONE_LEFT)
    problems = Problems()
    listed = set()
    chunked = list(chunks(sources, FILES_PER_TASK))
    tasks = ([_image_file(source, folders) for source in chunk] for chunk in chunked)
    look = partial(examine_files, thorough=thorough or skip_bad, follow_links=follow_links)
    done = 0
    for chunk, results in zip(chunked, run(look, tasks), strict=True):
        for source, result in zip(chunk, results, strict=True):
            if isinstance(result, str):
                problems.add(f"{source.path}: {result}")
                listed.add(source.input)
                if skip_bad:
                    inputs.skipped.append(Skipped(source.input, source.image.id, source.image.file_name, result))
                continue
            source.examined = result
        done += len(chunk)
        yield done
    if not skip_bad or problems.count == len(sources):
        advice = _NONE_LEFT if skip_bad else _LEAVE_OUT
        files = _listed_in(inputs, listed)
        problems.raise_if_any(f"{files}: {{n}} problem(s) in the image files", advice=advice)
    if inputs.skipped:
        bad = {(item.input, item.id) for item in inputs.skipped}
        inputs.sources = [source for source in inputs.sources if (source.input, source.image.id) not in bad]
    _settle_orientations(inputs, sources)
    if strict:
        inputs.repairs.as_problems().raise_if_any("{n} problem(s) that --strict does not repair")


_NONE_LEFT = "no image would be left; replace these files"
_LEAVE_OUT = "replace these files, or leave these images out: --skip-bad"


def _listed_in(inputs: Inputs, places: set[int]) -> str:
    """The annotation files of these inputs, for messages about their images."""
    return ", ".join(dict.fromkeys(str(inputs.inputs[place].annotations) for place in sorted(places)))


def _image_file(source: Source, folders: list[Path]) -> ImageFile:
    return ImageFile(source.path, folders[source.input], source.image.width, source.image.height)


def _settle_orientations(inputs: Inputs, sources: list[Source]) -> None:
    """Apply one EXIF convention per input (see `datasets.orientation`). Raises DataError where its files contradict."""
    problems = Problems()
    names = told_apart([item.annotations.name for item in inputs.inputs])
    looked = [(source, source.examined) for source in sources if source.examined is not None]
    stored = set()
    for index, item in enumerate(inputs.inputs):
        evidence = orientation.weigh(
            (str(source.path), found.reading, source.image.width, source.image.height)
            for source, found in looked
            if source.input == index
        )
        if evidence.contradicts:
            problems.add(f"{item.annotations}: {orientation.refusal(evidence)}")
        if evidence.on_stored_pixels:
            stored.add(index)
    problems.raise_if_any("{n} input(s) that cannot be read in one way")
    inputs.on_stored_pixels = frozenset(stored)
    for source, found in looked:
        size = source.image.width, source.image.height
        reading = orientation.follow(found.reading, *size, on_stored_pixels=source.input in stored)
        source.examined = found._replace(reading=reading)
        if reading.strip_orientation:
            inputs.repairs.add(ORIENTATION_IGNORED, f"{names[source.input]} {source.image.file_name}")
