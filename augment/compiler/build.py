"""The build: checks the inputs, has workers compile every source, numbers the results and writes all metadata."""

from __future__ import annotations

import itertools
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from augment.compiler import manifest, metadata, workspace
from augment.compiler.counts import Counts
from augment.compiler.inputs import PlannedSource, Prepared, Request, examined, prepare
from augment.compiler.journal import Journal, JournalEntry
from augment.compiler.output import check_output
from augment.compiler.source_task import (
    CHANGED,
    DAMAGED,
    RenderedTask,
    SourceResult,
    SourceTask,
    check_rendered,
    compile_source,
    donors_sha256,
)
from augment.compiler.workspace import Workspace
from augment.operations.plan import Variant, image_records
from datasets import build_layout
from datasets.cli import Progress
from datasets.digests import sha256_file
from datasets.errors import DataError, Problems
from datasets.parallel import Run
from datasets.records import Image
from datasets.sources import Source


class Built(NamedTuple):
    """A finished build; `counts` is None where it existed already and nothing was done.

    `kept` is the number of sources that an earlier, interrupted build had rendered.
    """

    output: Path
    counts: Counts | None
    bytes: int
    kept: int
    prepared: Prepared


def build_dataset(request: Request, output: Path, run: Run, progress: Progress, *, restart: bool = False) -> Built:
    """Build the dataset at `output`, whole or not at all; an interrupted build is resumed (see `workspace`).

    `run` is a `map` (see `augment.executors.local`). Raises DataError for bad inputs; for an `output` inside an input,
    or with anything in it but this very build; and where OUT.partial holds an unfinished build of something else, which
    `restart` removes.
    """
    output = check_output(output, request.inputs)
    prepared = prepare(request, run, progress)
    if (output / build_layout.MANIFEST).exists():
        _check_same_build(output, prepared, request.limit, run)
        workspace.discard_finished(output)
        return Built(output, None, 0, 0, prepared)
    with (
        workspace.opened(output, manifest.identity(prepared, request.limit), restart=restart) as space,
        Journal(space.journal) as journal,
    ):
        compiled, rendered = _compile(prepared, request.link, space, journal, run, progress)
        identity = manifest.identity(prepared, request.limit, compiled.image_digests)
        counts = compiled.counts.as_json(prepared.inputs.categories)
        metadata.complete(space.dataset, identity, counts, prepared.inputs.repairs, compiled.annotations_sha256)
        _check_complete(space.dataset / build_layout.IMAGES, compiled.counts.images.total())
        space.finish()
    kept = sum(item.bytes is not None for item in rendered)
    return Built(output, compiled.counts, compiled.bytes, kept, prepared)


def _check_same_build(output: Path, prepared: Prepared, limit: int | None, run: Run) -> None:
    """Raises DataError, naming every difference, where `output` holds another build."""
    existing = manifest.read(output)
    digests = manifest.ImageDigests(len(prepared.inputs.inputs))
    paths = (source.path for source in prepared.sources)
    for source, sha256 in zip(prepared.sources, run(sha256_file, paths), strict=True):
        digests.add(metadata.source_digest(source, sha256))
    problems = manifest.differences(manifest.identity(prepared, limit, digests.hex()), existing)
    if problems:
        raise DataError(f"{output}: holds another build; name another folder, or delete this one", problems)


class _Numbered(NamedTuple):
    """A source with its variants and their image records, numbered from `first_id`."""

    source: Source
    variants: list[Variant]
    first_id: int
    records: list[Image]


class _Plan:
    """Every source with its variants: drawn as far as anybody has asked for it, and kept.

    Each iteration starts with the first source. Variants are kept as msgpack, a fifth of their size as objects.
    """

    def __init__(self, planned: Iterable[PlannedSource]) -> None:
        packed = ((source, msgspec.msgpack.encode(variants)) for source, variants in planned)
        (self._packed,) = itertools.tee(packed, 1)

    def __iter__(self) -> Iterator[PlannedSource]:
        for source, packed in copy(self._packed):
            yield PlannedSource(source, _decoder.decode(packed))


_decoder = msgspec.msgpack.Decoder(list[Variant])


def _numbered(planned: _Plan) -> Iterator[_Numbered]:
    next_id = 1
    for source, variants in planned:
        file_format = examined(source).reading.format
        records = image_records(variants, source.image, source.input, file_format, next_id)
        yield _Numbered(source, variants, next_id, records)
        next_id += len(variants)


class _Rendered(NamedTuple):
    """A source that an interrupted build has rendered, and the bytes of its images.

    `bytes` is None where an image is missing or damaged, so that all have to be rendered again.
    """

    entry: JournalEntry
    bytes: int | None


def _rendered(planned: _Plan, space: Workspace, journal: Journal, run: Run, progress: Progress) -> list[_Rendered]:
    """The sources in the journal, verified; the journal is truncated behind them.

    Raises DataError naming every source file among them that has changed.
    """
    entries = list(journal.entries((item.first_id, len(item.records)) for item in _numbered(planned)))
    images = space.dataset / build_layout.IMAGES
    tasks = (
        RenderedTask(item.source.path, entry, [images / image.file_name for image in item.records])
        for item, entry in zip(_numbered(planned), entries, strict=False)
    )
    problems = Problems()
    rendered_sources = []
    with _closing(run(check_rendered, tasks)) as results:
        for item, entry, result in zip(planned, entries, results, strict=False):
            if result == CHANGED:
                problems.add(f"{item.source.path}: changed since it was compiled")
            rendered_sources.append(_Rendered(entry, None if result == DAMAGED else result))
            progress("checking rendered images", len(rendered_sources), len(entries))
    problems.raise_if_any(
        f"{space.folder}: {{n}} source image(s) of this unfinished build are not what they were",
        advice="put these files back and give the same command again, or start over with them as they are: --restart",
    )
    journal.keep(len(rendered_sources))
    return rendered_sources


class _Compiled(NamedTuple):
    counts: Counts
    bytes: int
    image_digests: list[str]
    annotations_sha256: str


def _compile(
    prepared: Prepared, link: bool, space: Workspace, journal: Journal, run: Run, progress: Progress
) -> tuple[_Compiled, list[_Rendered]]:
    """Write the images and all metadata but the manifest; rendered sources are only relabelled."""
    planned = _Plan(prepared.planned())
    rendered = _rendered(planned, space, journal, run, progress)
    _check_donors(planned, rendered, prepared, space, run)
    counts, size = Counts.empty(), 0
    records = (image for item in _numbered(planned) for image in item.records)
    tasks = _tasks(planned, rendered, prepared, space, link)
    with metadata.opened(space.dataset, prepared) as written, _closing(run(compile_source, tasks)) as results:
        # Workers are at work from here on, also while all records are drawn and written.
        first = list(itertools.islice(results, 1))
        written.images(records)
        pairs = zip(_numbered(planned), itertools.chain(first, results), strict=True)
        for at, (item, result) in enumerate(pairs):
            before = rendered[at] if at < len(rendered) else None
            entry = _settled(item, result, before, space)
            written.add(item.source, item.records, result.annotations, entry)
            counts.add(result.counts)
            size += result.bytes if result.entry is not None or before is None else before.bytes or 0
            if before is None:
                journal.add(item.first_id, entry)
            progress("rendering", at + 1, len(prepared.sources))
    return _Compiled(counts, size, written.digests.hex(), written.annotations_sha256), rendered


def _check_donors(planned: _Plan, rendered: list[_Rendered], prepared: Prepared, space: Workspace, run: Run) -> None:
    """Raises DataError where a picture that rendered images took from is not what it was.

    A rendered source's own file is verified already.
    """
    if prepared.donors is None:
        return
    taken = [
        (prepared.lenders(*item), before.entry.donors_sha256) for item, before in zip(planned, rendered, strict=False)
    ]
    to_read = sorted({at for lenders, _ in taken for at in lenders if at >= len(rendered)})
    read = run(sha256_file, (prepared.sources[at].path for at in to_read))
    sha256s = {at: before.entry.source_sha256 for at, before in enumerate(rendered)} | dict(
        zip(to_read, read, strict=True)
    )
    suspects: set[int] = set()
    good: set[int] = set(range(len(rendered)))
    for lenders, sha256 in taken:
        matches = donors_sha256(sha256s[at] for at in lenders) == sha256
        (good if matches else suspects).update(lenders)
    problems = Problems()
    for at in sorted(suspects - good or suspects):
        problems.add(f"{prepared.sources[at].path}: changed since images took from it")
    problems.raise_if_any(
        f"{space.folder}: {{n}} source image(s) of this unfinished build are not what they were",
        advice="put these files back and give the same command again, or start over with them as they are: --restart",
    )


def _tasks(
    planned: _Plan,
    rendered: list[_Rendered],
    prepared: Prepared,
    space: Workspace,
    link: bool,
) -> Iterator[SourceTask]:
    for at, item in enumerate(_numbered(planned)):
        yield SourceTask(
            item.source,
            item.variants,
            prepared.lent(item.source, item.variants),
            [image.file_name for image in item.records],
            prepared.recipe,
            space.dataset / build_layout.IMAGES,
            space.unfinished,
            link,
            labels_only=at < len(rendered) and rendered[at].bytes is not None,
        )


def _settled(item: _Numbered, result: SourceResult, before: _Rendered | None, space: Workspace) -> JournalEntry:
    """The digests of a source's images, rendered now or before. Raises DataError where a re-rendered source differs."""
    if result.entry is None:
        assert before is not None, "labels alone are asked for where a build before made the images"
        return before.entry
    if before is not None and result.entry != before.entry:
        raise DataError(
            f"{space.folder}: the images of {item.source.path}, rendered again, have other bytes than before: "
            "this machine computes otherwise than that one",
            advice="continue where the build was started, or start over here: --restart",
        )
    return result.entry


def _check_complete(images: Path, expected: int) -> None:
    """Raises DataError where files disappeared after they were written, or never arrived on this machine."""
    with os.scandir(images) as files:
        found = sum(1 for _ in files)
    if found != expected:
        raise DataError(
            f"{images}: expected {expected:,} files, found {found:,}; something else changed the folder",
            advice="the same command renders what is missing; where there are files too many, start over: --restart",
        )


@contextmanager
def _closing(results: Iterator[Any]) -> Iterator[Iterator[Any]]:
    """Close an iterator of results when the block ends, also on Ctrl-C: no worker writes after that."""
    try:
        yield results
    finally:
        if isinstance(results, Generator):
            results.close()
