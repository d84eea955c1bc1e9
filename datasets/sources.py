"""One or more annotation files with their image folders, read as one list of source images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from datasets import coco, images, suspicions
from datasets.checks import ORIENTATION_IGNORED, STRICT, Leniency, Repairs
from datasets.errors import DataError, Problems
from datasets.records import Annotation, Category, Image
from datasets.terminal import Progress

# A `map`, of this process or of several: (function, tasks) -> results in the order of the tasks.
Run = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]

# Looking at one file takes so little time that a task is a handful of them.
FILES_PER_TASK = 32


Item = TypeVar("Item")


class Input(NamedTuple):
    """An annotation file and the folder that its `file_name`s start from."""

    annotations: Path
    images: Path


class Examined(NamedTuple):
    """How an image file is to be read, with its size in bytes and its time of change, which tell whether it stays."""

    reading: images.Reading
    size: int
    mtime_ns: int


class Source(msgspec.Struct):
    """One image of an input with its annotations. `examined` is set by `examine_images`."""

    input: int
    image: Image
    annotations: list[Annotation]
    path: Path
    examined: Examined | None = None


class Skipped(NamedTuple):
    """An image that was left out, with the place of its input, and why."""

    input: int
    id: int
    file_name: str
    why: str


class Inputs(msgspec.Struct):
    """All sources in the order of the inputs and of their files; categories and licences are common to all."""

    inputs: list[Input]
    sha256: list[str]
    categories: list[Category]
    licenses: list[dict[str, Any]]
    sources: list[Source]
    repairs: Repairs
    skipped: list[Skipped] = []
    warnings: list[str] = []


def read_inputs(
    inputs: list[Input], *, strict: bool = False, provenance: bool = False, leniency: Leniency | None = None
) -> Inputs:
    """Read and check every annotation file; ids and file names may repeat between inputs.

    With `provenance`, the keys that augment adds are read too; `leniency` is what the options of the command ask for.
    Raises DataError for a bad file (see `coco.read`), a missing image folder, or category lists that differ.
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
    names = told_apart([item.annotations.name for item in inputs])
    for index, (item, file) in enumerate(zip(inputs, read, strict=True)):
        _check_same_categories(
            first.categories, inputs[of_first].annotations, file.dataset.categories, item.annotations
        )
        renamed = merge_licenses(licenses, file.dataset.licenses)
        annotations = file.dataset.annotations_by_image()
        folder = item.images.absolute()
        for image in file.dataset.images:
            if isinstance(image.license, (int, float, str)):
                image.license = renamed.get(image.license, image.license)
            # Absolute: workers may run in another folder.
            path = images.path_inside(folder, image.file_name)
            sources.append(Source(index, image, annotations[image.id], path))
        repairs.extend(file.repairs, f"{names[index]} ")
    warnings = [
        f"{name}: {warning}"
        for name, file in zip(names, read, strict=True)
        for warning in suspicions.find(file.dataset.annotations, file.dataset.categories)
    ]
    sha256 = [file.sha256 for file in read]
    return Inputs(inputs, sha256, first.categories, licenses, sources, repairs, warnings=warnings)


def told_apart(names: list[str]) -> list[str]:
    """What each annotation file is called where a place in it is told: its name, with its number where two share it.

    No path, which would go into the bytes of a manifest.
    """
    return [f"{name} (input {number})" if names.count(name) > 1 else name for number, name in enumerate(names, start=1)]


def _check_same_categories(first: list[Category], first_path: Path, other: list[Category], other_path: Path) -> None:
    ours, theirs = ({(category.id, category.name) for category in categories} for categories in (first, other))
    # A file of pictures without objects may name no category.
    if not ours or not theirs:
        return
    problems = [f"{first_path} has {id_} {name!r}, {other_path} has not" for id_, name in sorted(ours - theirs)]
    problems += [f"{other_path} has {id_} {name!r}, {first_path} has not" for id_, name in sorted(theirs - ours)]
    if problems:
        raise DataError("expected the same category ids and names in all inputs, found differences", problems)


def merge_licenses(merged: list[dict[str, Any]], licenses: list[dict[str, Any]]) -> dict[Any, int | str]:
    """Add `licenses` to `merged` in place; returns the ids that had to change, old -> new.

    An id that is free is kept, and an entry with the same content as one of `merged` takes that one's id.
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


def read_checked(inputs: list[Input], *, strict: bool, progress: Progress, leniency: Leniency = STRICT) -> Inputs:
    """`read_inputs` and `examine_images` of everything, in this process."""
    read = read_inputs(inputs, strict=strict, leniency=leniency)
    for done in examine_images(read, read.sources, strict=strict, skip_bad=leniency.skip_bad):
        progress("checking", done, len(read.sources))
    return read


def examine_images(
    inputs: Inputs, sources: list[Source], run: Run = map, *, strict: bool = False, skip_bad: bool = False
) -> Iterator[int]:
    """Check the image files of `sources` against their records and set `examined`; yields files done so far.

    `run` is `map` or one that works in other processes. EXIF repairs are added to `inputs.repairs`. Raises DataError
    at the end, listing every file that is missing, cut short, of another size, or no 8-bit JPEG or PNG; with
    `strict`, every repair too.

    With `skip_bad`, such images go from `inputs.sources` to `inputs.skipped` instead, and so that none is missed,
    every file is decoded whole. Raises DataError where no image is left.
    """
    problems = Problems()
    names = told_apart([item.annotations.name for item in inputs.inputs])
    chunked = list(chunks(sources, FILES_PER_TASK))
    tasks = ([(source.path, source.image.width, source.image.height) for source in chunk] for chunk in chunked)
    done = 0
    for chunk, results in zip(chunked, run(partial(examine_files, thorough=skip_bad), tasks), strict=True):
        for source, result in zip(chunk, results, strict=True):
            if isinstance(result, str):
                problems.add(f"{source.path}: {result}")
                if skip_bad:
                    inputs.skipped.append(Skipped(source.input, source.image.id, source.image.file_name, result))
                continue
            source.examined = result
            if result.reading.strip_orientation:
                inputs.repairs.add(ORIENTATION_IGNORED, f"{names[source.input]} {source.image.file_name}")
        done += len(chunk)
        yield done
    if not skip_bad or problems.count == len(sources):
        problems.raise_if_any("{n} problem(s) in the image files")
    if inputs.skipped:
        bad = {(item.input, item.id) for item in inputs.skipped}
        inputs.sources = [source for source in inputs.sources if (source.input, source.image.id) not in bad]
    if strict:
        inputs.repairs.as_problems().raise_if_any("{n} problem(s) that --strict does not repair")


def examine_files(files: list[tuple[Path, int, int]], thorough: bool = False) -> list[Examined | str]:
    """Examine (path, width, height) each; a text says what is wrong with a file.

    Heads and ends are looked at, which finds all but odd damage in a hundredth of the time that a picture takes to
    decode; with `thorough`, it is decoded too.
    """
    return [_examine_file(*file, thorough) for file in files]


def _examine_file(path: Path, width: int, height: int, thorough: bool) -> Examined | str:
    try:
        data = images.read_file(path)
        reading = images.examine(data, width, height)
        if thorough:
            images.decode(data, reading)
        return Examined(reading, len(data), path.stat().st_mtime_ns)
    except (ValueError, OSError) as error:
        return str(error)


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of `size`, the last one shorter."""
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk
