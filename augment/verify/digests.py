"""Verification of sources.jsonl against the image records, the manifest and the originals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from augment.compiler import manifest
from augment.operations.parameters import Copy, Mosaic, Original, Paste, Recipe, Tile, takes_from_others
from datasets import build_layout
from datasets.build_layout import SOURCES
from datasets.checks import ORIENTATION_IGNORED
from datasets.errors import DataError, Problems
from datasets.records import Image
from datasets.source_digests import SourceDigest, iterate_source_digests
from datasets.sources import told_apart


class _Input(msgspec.Struct):
    annotations: str
    images: int
    images_sha256: str


class _Repair(msgspec.Struct):
    places: list[str]


class _ManifestSources(msgspec.Struct):
    """The manifest's keys about the sources."""

    inputs: list[_Input]
    sources_sha256: str
    limit: int | None = None
    donors_sha256: str | None = None
    repairs: dict[str, _Repair] = {}


class _SourceImages(NamedTuple):
    """The images of one source: the source's rank, its name, and the names of its originals."""

    rank: int
    file_name: str | None
    originals: list[str]


def check_source_digests(
    folder: Path, document: dict[str, Any], recipe: Recipe, images: Iterable[Image], sums: dict[str, str]
) -> Problems:
    """The faults of sources.jsonl; `document` is the manifest, `sums` the digests of SHA256SUMS.

    Raises DataError where the manifest lacks the keys to compare.
    """
    problems = Problems()
    recorded = _recorded(document, folder)
    if SOURCES in sums and sums[SOURCES] != recorded.sources_sha256:
        problems.add(
            f"{build_layout.MANIFEST} sources_sha256: expected {sums[SOURCES][:12]}..., which {build_layout.SUMS} has "
            f"of {SOURCES}, found {recorded.sources_sha256[:12]}..."
        )
    if recorded.donors_sha256 is not None and not takes_from_others(recipe):
        problems.add(f"{build_layout.MANIFEST} donors_sha256: expected none, as the recipe takes from no other image")
    lines = _Lines(recorded, recipe, _by_source(images), sums, problems)
    unread = Problems()
    try:
        for number, line in iterate_source_digests(folder / SOURCES, unread):
            lines.add(f"{SOURCES} line {number}", line)
    except DataError as error:
        unread.add(error.headline.removeprefix(f"{folder}/"))
    problems.extend(unread)
    if not unread.count:
        lines.finish()
    return problems


def _recorded(document: dict[str, Any], folder: Path) -> _ManifestSources:
    try:
        return msgspec.convert(document, _ManifestSources)
    except msgspec.ValidationError as error:
        raise DataError(f"{folder / build_layout.MANIFEST}: expected what the build was made of: {error}") from None


def _by_source(images: Iterable[Image]) -> dict[tuple[int | None, int | None], _SourceImages]:
    by_source: dict[tuple[int | None, int | None], _SourceImages] = {}
    for image in images:
        key = image.source_input, image.source_id
        if key not in by_source:
            by_source[key] = _SourceImages(len(by_source), image.source_file_name, [])
        if _is_unchanged(image):
            by_source[key].originals.append(f"{build_layout.IMAGES}/{image.file_name}")
    return by_source


def _is_unchanged(image: Image) -> bool:
    """Whether an image is its source's file: the original, or a picture that is one tile."""
    return image.operation == Original.name or (image.operation == Tile.name and image.window is None)


class _Lines:
    """Compares lines one by one with the images `of_source` of each source; matched sources are removed from these."""

    def __init__(
        self,
        recorded: _ManifestSources,
        recipe: Recipe,
        of_source: dict[tuple[int | None, int | None], _SourceImages],
        sums: dict[str, str],
        problems: Problems,
    ) -> None:
        self._recorded = recorded
        self._made = of_source
        self._sums = sums
        self._problems = problems
        # Balance copies alone leave most sources without an image, and so may what takes from others.
        self._may_lack_images = all(isinstance(operation, (Copy, Paste, Mosaic)) for operation in recipe.operations)
        self._turned = frozenset(
            recorded.repairs[ORIENTATION_IGNORED].places if ORIENTATION_IGNORED in recorded.repairs else ()
        )
        self._names = told_apart([item.annotations for item in recorded.inputs])
        self._seen: set[tuple[int, int]] = set()
        self._last = (0, -1)
        self._digests = manifest.ImageDigests(len(recorded.inputs))
        self._lines: Counter[int] = Counter()
        # Wrong lines make the sums over all lines wrong too, which is then not reported.
        self._wrong = False

    def add(self, where: str, line: SourceDigest) -> None:
        what = f"source {line.id} of input {line.input}"
        key = line.input, line.id
        if line.input >= len(self._recorded.inputs):
            self._fault(f"{where}.input: expected one of {len(self._recorded.inputs)} inputs, found {line.input}")
        elif key in self._seen:
            self._fault(f"{where}: expected one line for each source, found another for {what}")
        else:
            self._seen.add(key)
            self._digests.add(line)
            self._lines[line.input] += 1
            self._compare(where, what, line, self._made.pop(key, None))

    def _compare(self, where: str, what: str, line: SourceDigest, of_source: _SourceImages | None) -> None:
        if of_source is None and not self._may_lack_images:
            self._fault(f"{where}: expected a source of the images in {build_layout.INSTANCES}, found {what}")
            return
        here = line.input, self._last[1] if of_source is None else of_source.rank
        if here < self._last or (of_source is not None and of_source.rank < self._last[1]):
            self._fault(f"{where}: expected the order of the images, found {what} behind a later one")
        self._last = here
        if of_source is None:
            return
        if line.file_name != of_source.file_name:
            self._fault(f"{where}.file_name: expected {of_source.file_name!r} for {what}, found {line.file_name!r}")
        elif f"{self._names[line.input]} {line.file_name}" not in self._turned:
            self._compare_originals(where, line, of_source.originals)

    def _compare_originals(self, where: str, line: SourceDigest, originals: list[str]) -> None:
        """An original equals its source's file, unless an EXIF orientation was removed."""
        for name in originals:
            found = self._sums.get(name)
            if found is not None and found != line.source_sha256:
                self._problems.add(
                    f"{name}: expected its source's digest, {line.source_sha256[:12]}... in {where}, found "
                    f"{found[:12]}..."
                )

    def finish(self) -> None:
        """Report what only the whole file tells."""
        for (input_, id_), of_source in self._made.items():
            self._fault(
                f"{SOURCES}: expected a line for source {id_} of input {input_}, {of_source.file_name!r}, found none"
            )
        if self._wrong:
            return
        for index, (item, sha256) in enumerate(zip(self._recorded.inputs, self._digests.hex(), strict=True)):
            where = f"{build_layout.MANIFEST} inputs[{index}]"
            if item.images != self._lines[index]:
                self._problems.add(
                    f"{where}.images: expected {self._lines[index]}, the lines of {SOURCES}, found {item.images}"
                )
            if item.images_sha256 != sha256:
                self._problems.add(
                    f"{where}.images_sha256: expected {sha256[:12]}..., which follows from {SOURCES}, found "
                    f"{item.images_sha256[:12]}..."
                )

    def _fault(self, problem: str) -> None:
        self._problems.add(problem)
        self._wrong = True
