"""All images: check the inputs, render every source's variants on the workers, number and write what comes back."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from augment import manifest
from augment.balance import Balance, count_boxes
from augment.counts import Counts
from augment.labels import label_variant
from augment.output import check_output, staging
from augment.plan import Variant, image_records, variants
from augment.recipe import LabelRule, Original, Recipe
from augment.render import render
from datasets import __version__, images
from datasets.coco import DatasetWriter, annotation_body
from datasets.errors import DataError
from datasets.records import Image
from datasets.sources import Examined, Input, Inputs, Run, Source, examine_images, read_inputs
from datasets.terminal import Progress


class Request(NamedTuple):
    """What to build. `limit` takes the first sources only; `link` makes hard links of originals instead of copies."""

    inputs: list[Input]
    recipe: Recipe
    limit: int | None = None
    link: bool = False
    strict: bool = False


class Prepared(NamedTuple):
    """Inputs that were read and checked, image files included; `sources` are those within the limit."""

    inputs: Inputs
    sources: list[Source]
    recipe: Recipe

    def planned(self) -> Iterator[tuple[Source, list[Variant]]]:
        """Every source with its variants. Balance looks at all sources, also those beyond the limit."""
        everything = self.inputs.sources
        balance = Balance(count_boxes(item for source in everything for item in source.annotations), len(everything))
        for source in self.sources:
            yield source, variants(self.recipe, source.image, balance.copies(source.annotations))


class Built(NamedTuple):
    """A finished build; `counts` is None where it stood there already and nothing was done."""

    output: Path
    counts: Counts | None
    bytes: int
    prepared: Prepared


def prepare(request: Request, run: Run, progress: Progress) -> Prepared:
    """Read and check everything that a build reads. Raises DataError with all offenders; writes nothing."""
    inputs = read_inputs(request.inputs, strict=request.strict)
    sources = inputs.sources[: request.limit]
    for done in examine_images(inputs, sources, run):
        progress("checking", done, len(sources))
    if request.strict:
        inputs.repairs.as_problems().raise_if_any("{n} problem(s) that --strict does not repair")
    return Prepared(inputs, sources, request.recipe)


def build(request: Request, output: Path, run: Run, progress: Progress) -> Built:
    """Build the dataset at `output`, whole or not at all.

    `run` is a `map` (see `augment.executors`). Raises DataError for bad inputs, and for an `output` that must not be
    written: inside an input, or holding anything but this very build.
    """
    output = check_output(output, request.inputs)
    prepared = prepare(request, run, progress)
    identity = manifest.identity(prepared.inputs, prepared.sources, request.recipe, request.limit)
    if (output / manifest.MANIFEST).exists():
        problems = manifest.differences(identity, manifest.read(output))
        if problems:
            raise DataError(f"{output}: holds another build; name another folder, or delete this one", problems)
        return Built(output, None, 0, prepared)
    with staging(output) as folder:
        counts, size = _compile(prepared, folder, request.link, run, progress)
        document = manifest.complete(identity, counts.as_json(prepared.inputs.categories), prepared.inputs.repairs)
        manifest.write(folder, document)
        with (folder / manifest.SUMS).open("a", encoding="utf-8") as sums:
            for name in (manifest.INSTANCES, manifest.MANIFEST):
                sums.write(manifest.sum_line(manifest.sha256_file(folder / name), name))
    return Built(output, counts, size, prepared)


def _compile(prepared: Prepared, folder: Path, link: bool, run: Run, progress: Progress) -> tuple[Counts, int]:
    """Write images/, annotations/ and the images' lines of SHA256SUMS into `folder`; returns counts and bytes."""
    inputs, recipe = prepared.inputs, prepared.recipe
    counts = Counts.empty()
    size, annotation_id = 0, 1
    (folder / manifest.INSTANCES).parent.mkdir()
    (folder / manifest.IMAGES).mkdir()
    with (
        DatasetWriter(folder / manifest.INSTANCES, _info(prepared), inputs.licenses, inputs.categories) as writer,
        (folder / manifest.SUMS).open("w", encoding="utf-8") as sums,
    ):
        writer.images(image for _, _, records in _numbered(prepared) for image in records)
        tasks = (
            SourceTask(source, planned, records, recipe.labels, recipe.jpeg_quality, folder / manifest.IMAGES, link)
            for source, planned, records in _numbered(prepared)
        )
        for done, result in enumerate(run(compile_source, tasks), start=1):
            for image_id, bodies in result.annotations:
                for body in bodies:
                    writer.annotation(annotation_id, image_id, body)
                    annotation_id += 1
            for name, digest, length in result.files:
                sums.write(manifest.sum_line(digest, f"{manifest.IMAGES}/{name}"))
                size += length
            counts.add(result.counts)
            progress("rendering", done, len(prepared.sources))
    return counts, size


def _info(prepared: Prepared) -> dict[str, Any]:
    recipe = prepared.recipe
    names = ", ".join(item.annotations.name for item in prepared.inputs.inputs)
    return {
        "description": f"{names}, compiled by scarcedet {__version__} with recipe {recipe.name}, seed {recipe.seed}",
        "version": __version__,
    }


def _numbered(prepared: Prepared) -> Iterator[tuple[Source, list[Variant], list[Image]]]:
    """Every source with its variants and their image records, ids counting up from 1."""
    next_id = 1
    for source, planned in prepared.planned():
        file_format = examined(source).reading.format
        yield source, planned, image_records(planned, source.image, source.input, file_format, next_id)
        next_id += len(planned)


def examined(source: Source) -> Examined:
    """What the check found out about a source's file."""
    assert source.examined is not None, "examine_images comes first"
    return source.examined


class SourceTask(NamedTuple):
    """All that a worker needs to make one source's variants."""

    source: Source
    variants: list[Variant]
    records: list[Image]
    rule: LabelRule
    quality: int
    folder: Path
    link: bool


class SourceResult(NamedTuple):
    """`annotations` are (image id, JSON bodies without ids); `files` are (name, SHA-256, bytes)."""

    annotations: list[tuple[int, list[bytes]]]
    files: list[tuple[str, str, int]]
    counts: Counts


def compile_source(task: SourceTask) -> SourceResult:
    """Read and decode one source, once, and write all its variants. Raises DataError naming a file that fails."""
    source, file = task.source, examined(task.source)
    data = _read_unchanged(source.path, file)
    try:
        pixels = images.decode(data, file.reading)
    except ValueError as error:
        raise DataError(f"{source.path}: {error}") from None
    counts = Counts.empty()
    counts.before = count_boxes(source.annotations)
    annotations, files = [], []
    whole: list[bytes] | None = None
    for variant, record in zip(task.variants, task.records, strict=True):
        if variant.operation == Original.name:
            encoded = _write_original(task, data, file, task.folder / record.file_name)
        else:
            encoded = images.encode_jpeg(render(pixels, variant), task.quality)
            (task.folder / record.file_name).write_bytes(encoded)
        files.append((record.file_name, hashlib.sha256(encoded).hexdigest(), len(encoded)))
        labels = label_variant(source.annotations, source.image, variant.window, task.rule)
        counts.add_variant(variant.operation, labels)
        if variant.window is not None:
            bodies = [annotation_body(item) for item in labels.annotations]
        else:
            # The same for every variant that cuts nothing.
            bodies = whole = whole or [annotation_body(item) for item in labels.annotations]
        annotations.append((record.id, bodies))
    return SourceResult(annotations, files, counts)


def _read_unchanged(path: Path, file: Examined) -> bytes:
    try:
        data = images.read_file(path)
    except ValueError as error:
        raise DataError(f"{path}: changed while the build ran: {error}") from None
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise DataError(f"{path}: changed while the build ran; give the same command again")
    return data


def _write_original(task: SourceTask, data: bytes, file: Examined, target: Path) -> bytes:
    """Copy or link the source file; returns the bytes written."""
    if file.reading.strip_orientation:
        data = images.without_orientation(data, file.reading)
    elif task.link:
        try:
            os.link(task.source.path.resolve(), target)
        except OSError as error:
            raise DataError(
                f"{task.source.path}: cannot be hard-linked into {target.parent} ({error.strerror}); "
                "input and output must lie on one file system, or leave --link out"
            ) from None
        return data
    target.write_bytes(data)
    return data
