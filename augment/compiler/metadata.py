"""The files beside the images: annotations, sources.jsonl, SHA256SUMS, written source by source; last the manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from augment.compiler import manifest
from augment.compiler.inputs import Prepared
from augment.compiler.journal import JournalEntry
from datasets import __version__, build_layout
from datasets.build_layout import SOURCES
from datasets.checks import Repairs
from datasets.digests import sha256_file
from datasets.records import Image
from datasets.source_digests import SourceDigest, json_line
from datasets.sources import Source
from datasets.stream import DatasetWriter


class MetadataWriter:
    """Writes annotations, sources.jsonl and SHA256SUMS; `digests` cover the sources added so far."""

    def __init__(self, writer: DatasetWriter, sums: TextIO, sources: BinaryIO, inputs: int) -> None:
        self.digests = manifest.ImageDigests(inputs)
        self._writer = writer
        self._sums = sums
        self._sources = sources
        self._next_id = 1

    @property
    def annotations_sha256(self) -> str:
        """The digest of the annotation file, once this is closed: it is the largest file, and is not read again."""
        return self._writer.sha256

    def images(self, records: Iterable[Image]) -> None:
        """All image records, to be called once, before the first source is added."""
        self._writer.images(records)

    def add(self, source: Source, records: list[Image], annotations: list[list[bytes]], entry: JournalEntry) -> None:
        """Add the next source: its image records, the JSON bodies of each image's annotations, and the digests."""
        for image, bodies in zip(records, annotations, strict=True):
            self._writer.annotations(image.id, self._next_id, bodies)
            self._next_id += len(bodies)
        for image, sha256 in zip(records, entry.image_sha256s, strict=True):
            self._sums.write(manifest.sum_line(sha256, f"{build_layout.IMAGES}/{image.file_name}"))
        line = source_digest(source, entry.source_sha256)
        self._sources.write(json_line(line))
        self.digests.add(line)


@contextmanager
def opened(folder: Path, prepared: Prepared) -> Iterator[MetadataWriter]:
    """Open a writer for a dataset in `folder`; existing files are overwritten."""
    inputs = prepared.inputs
    with (
        DatasetWriter(folder / build_layout.INSTANCES, _info(prepared), inputs.licenses, inputs.categories) as writer,
        (folder / build_layout.SUMS).open("w", encoding="utf-8") as sums,
        (folder / SOURCES).open("wb") as sources,
    ):
        yield MetadataWriter(writer, sums, sources, len(inputs.inputs))


def complete(
    folder: Path, identity: dict[str, Any], counts: dict[str, Any], repairs: Repairs, annotations_sha256: str
) -> None:
    """Finish the metadata once the writer is closed: the manifest, and the metadata's own lines of SHA256SUMS."""
    sources_sha256 = sha256_file(folder / SOURCES)
    manifest.write(folder, manifest.complete(identity, sources_sha256, counts, repairs))
    digests = {
        build_layout.INSTANCES: annotations_sha256,
        SOURCES: sources_sha256,
        build_layout.MANIFEST: sha256_file(folder / build_layout.MANIFEST),
    }
    with (folder / build_layout.SUMS).open("a", encoding="utf-8") as sums:
        for name in build_layout.METADATA:
            sums.write(manifest.sum_line(digests[name], name))


def source_digest(source: Source, source_sha256: str) -> SourceDigest:
    """The line of sources.jsonl for a source whose file has this digest."""
    return SourceDigest(
        input=source.input, id=source.image.id, file_name=source.image.file_name, source_sha256=source_sha256
    )


def _info(prepared: Prepared) -> dict[str, Any]:
    recipe = prepared.recipe
    names = ", ".join(item.annotations.name for item in prepared.inputs.inputs)
    return {
        "description": f"{names}, compiled by scarcedet {__version__} with recipe {recipe.name}, seed {recipe.seed}",
        "version": __version__,
    }
