"""All images: check the inputs, have workers make every source's variants, number and write what comes back."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from augment import manifest
from augment.counts import Counts
from augment.output import check_output
from augment.plan import Variant, image_records
from augment.prepare import Prepared, Request, examined, prepare
from augment.worker import SourceResult, SourceTask, compile_source
from datasets import __version__
from datasets.coco import DatasetWriter
from datasets.errors import DataError
from datasets.records import Image
from datasets.sources import Run, Source
from datasets.staging import staging
from datasets.terminal import Progress


class Built(NamedTuple):
    """A finished build; `counts` is None where it stood there already and nothing was done."""

    output: Path
    counts: Counts | None
    bytes: int
    prepared: Prepared


def build(request: Request, output: Path, run: Run, progress: Progress) -> Built:
    """Build the dataset at `output`, whole or not at all.

    `run` is a `map` (see `augment.executors`). Raises DataError for bad inputs, and for an `output` that must not be
    written: inside an input, or holding anything but this very build.
    """
    output = check_output(output, request.inputs)
    prepared = prepare(request, run, progress)
    if (output / manifest.MANIFEST).exists():
        _check_same_build(output, prepared, request.limit, run)
        return Built(output, None, 0, prepared)
    with staging(output) as folder:
        compiled = _compile(prepared, folder, request.link, run, progress)
        identity = manifest.identity(prepared, request.limit, compiled.image_digests)
        counts = compiled.counts.as_json(prepared.inputs.categories)
        manifest.write(folder, manifest.complete(identity, counts, prepared.inputs.repairs))
        with (folder / manifest.SUMS).open("a", encoding="utf-8") as sums:
            for name in (manifest.INSTANCES, manifest.MANIFEST):
                sums.write(manifest.sum_line(manifest.sha256_file(folder / name), name))
    return Built(output, compiled.counts, compiled.bytes, prepared)


def _check_same_build(output: Path, prepared: Prepared, limit: int | None, run: Run) -> None:
    """Raises DataError, naming what differs, where `output` holds another build than the one asked for."""
    digests = manifest.ImageDigests(prepared.inputs)
    paths = (source.path for source in prepared.sources)
    for source, sha256 in zip(prepared.sources, run(manifest.sha256_file, paths), strict=True):
        digests.add(source, sha256)
    problems = manifest.differences(manifest.identity(prepared, limit, digests.hex()), manifest.read(output))
    if problems:
        raise DataError(f"{output}: holds another build; name another folder, or delete this one", problems)


class _Compiled(NamedTuple):
    counts: Counts
    bytes: int
    image_digests: list[str]


def _compile(prepared: Prepared, folder: Path, link: bool, run: Run, progress: Progress) -> _Compiled:
    """Write images/, annotations/ and the images' lines of SHA256SUMS into `folder`."""
    inputs, recipe = prepared.inputs, prepared.recipe
    counts = Counts.empty()
    digests = manifest.ImageDigests(inputs)
    size, annotation_id = 0, 1
    (folder / manifest.INSTANCES).parent.mkdir()
    (folder / manifest.IMAGES).mkdir()
    with (
        DatasetWriter(folder / manifest.INSTANCES, _info(prepared), inputs.licenses, inputs.categories) as writer,
        (folder / manifest.SUMS).open("w", encoding="utf-8") as sums,
    ):
        planned = list(prepared.planned())
        writer.images(image for _, _, records in _numbered(planned) for image in records)
        tasks = (
            SourceTask(source, variants, records, recipe.labels, recipe.jpeg_quality, folder / manifest.IMAGES, link)
            for source, variants, records in _numbered(planned)
        )
        with _closing(run(compile_source, tasks)) as results:
            for done, (source, result) in enumerate(zip(prepared.sources, results, strict=True), start=1):
                for image_id, bodies in result.annotations:
                    writer.annotations(image_id, annotation_id, bodies)
                    annotation_id += len(bodies)
                for name, sha256, length in result.files:
                    sums.write(manifest.sum_line(sha256, f"{manifest.IMAGES}/{name}"))
                    size += length
                digests.add(source, result.sha256)
                counts.add(result.counts)
                progress("rendering", done, len(prepared.sources))
    return _Compiled(counts, size, digests.hex())


@contextmanager
def _closing(results: Iterator[SourceResult]) -> Iterator[Iterator[SourceResult]]:
    """Close the results of several processes when the block ends, also by Ctrl-C: no worker writes after that."""
    try:
        yield results
    finally:
        if isinstance(results, Generator):
            results.close()


def _info(prepared: Prepared) -> dict[str, Any]:
    recipe = prepared.recipe
    names = ", ".join(item.annotations.name for item in prepared.inputs.inputs)
    return {
        "description": f"{names}, compiled by scarcedet {__version__} with recipe {recipe.name}, seed {recipe.seed}",
        "version": __version__,
    }


def _numbered(
    planned: list[tuple[Source, list[Variant]]],
) -> Iterator[tuple[Source, list[Variant], list[Image]]]:
    """Every source with its variants and their image records, ids counting up from 1."""
    next_id = 1
    for source, variants in planned:
        file_format = examined(source).reading.format
        yield source, variants, image_records(variants, source.image, source.input, file_format, next_id)
        next_id += len(variants)
