"""Does sources.jsonl name what a dataset was made of? Against the image records, the manifest and the originals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from augment.compiler import manifest
from augment.operations.parameters import Copy, Original, Recipe
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


class _Said(msgspec.Struct):
    """What the manifest says of the sources."""

    inputs: list[_Input]
    sources_sha256: str
    repairs: dict[str, _Repair] = {}


class _Made(NamedTuple):
    """The images of one source: their place among all sources' images, the source's name, the names of originals."""

    place: int
    file_name: str | None
    originals: list[str]


def check_source_digests(
    folder: Path, document: dict[str, Any], recipe: Recipe, images: Iterable[Image], sums: dict[str, str]
) -> Problems:
    """The faults of sources.jsonl; `document` is the manifest, `sums` are the digests of SHA256SUMS.

    Raises DataError where the manifest says nothing of the sources that could be compared.
    """
    problems = Problems()
    said = _said(document, folder)
    if SOURCES in sums and sums[SOURCES] != said.sources_sha256:
        problems.add(
            f"{build_layout.MANIFEST} sources_sha256: expected {sums[SOURCES][:12]}..., which {build_layout.SUMS} has "
            f"of {SOURCES}, found {said.sources_sha256[:12]}..."
        )
    lines = _Lines(said, recipe, _by_source(images), sums, problems)
    unread = Problems()
    try:
        for number, origin in iterate_source_digests(folder / SOURCES, unread):
            lines.add(f"{SOURCES} line {number}", origin)
    except DataError as error:
        unread.add(error.headline.removeprefix(f"{folder}/"))
    problems.extend(unread)
    if not unread.count:
        lines.finish()
    return problems


def _said(document: dict[str, Any], folder: Path) -> _Said:
    try:
        return msgspec.convert(document, _Said)
    except msgspec.ValidationError as error:
        raise DataError(f"{folder / build_layout.MANIFEST}: expected what the build was made of: {error}") from None


def _by_source(images: Iterable[Image]) -> dict[tuple[int | None, int | None], _Made]:
    found: dict[tuple[int | None, int | None], _Made] = {}
    for image in images:
        key = image.source_input, image.source_id
        if key not in found:
            found[key] = _Made(len(found), image.source_file_name, [])
        if image.operation == Original.name:
            found[key].originals.append(f"{build_layout.IMAGES}/{image.file_name}")
    return found


class _Lines:
    """Lines, one after the other, against the images that were `made` of each source; those that had a line go."""

    def __init__(
        self,
        said: _Said,
        recipe: Recipe,
        made: dict[tuple[int | None, int | None], _Made],
        sums: dict[str, str],
        problems: Problems,
    ) -> None:
        self._said = said
        self._made = made
        self._sums = sums
        self._problems = problems
        # Balance copies alone leave most sources without an image.
        self._may_lack_images = all(isinstance(operation, Copy) for operation in recipe.operations)
        self._turned = frozenset(
            said.repairs[ORIENTATION_IGNORED].places if ORIENTATION_IGNORED in said.repairs else ()
        )
        self._names = told_apart([item.annotations for item in said.inputs])
        self._seen: set[tuple[int, int]] = set()
        self._last = (0, -1)
        self._digests = manifest.ImageDigests(len(said.inputs))
        self._lines: Counter[int] = Counter()
        # Whether lines are there or not, and in which order, decides the sums over them.
        self._wrong = False

    def add(self, place: str, origin: SourceDigest) -> None:
        what = f"source {origin.id} of input {origin.input}"
        key = origin.input, origin.id
        if origin.input >= len(self._said.inputs):
            self._fault(f"{place}.input: expected one of {len(self._said.inputs)} inputs, found {origin.input}")
        elif key in self._seen:
            self._fault(f"{place}: expected one line for each source, found another for {what}")
        else:
            self._seen.add(key)
            self._digests.add(origin)
            self._lines[origin.input] += 1
            self._compare(place, what, origin, self._made.pop(key, None))

    def _compare(self, place: str, what: str, origin: SourceDigest, made: _Made | None) -> None:
        if made is None and not self._may_lack_images:
            self._fault(f"{place}: expected a source of the images in {build_layout.INSTANCES}, found {what}")
            return
        here = origin.input, self._last[1] if made is None else made.place
        if here < self._last or (made is not None and made.place < self._last[1]):
            self._fault(f"{place}: expected the order of the images, found {what} behind a later one")
        self._last = here
        if made is None:
            return
        if origin.file_name != made.file_name:
            self._fault(f"{place}.file_name: expected {made.file_name!r} for {what}, found {origin.file_name!r}")
        elif f"{self._names[origin.input]} {origin.file_name}" not in self._turned:
            self._compare_originals(place, origin, made.originals)

    def _compare_originals(self, place: str, origin: SourceDigest, originals: list[str]) -> None:
        """An original is its source's file, byte for byte, but where an EXIF orientation was taken out of it."""
        for name in originals:
            found = self._sums.get(name)
            if found is not None and found != origin.sha256:
                self._problems.add(
                    f"{name}: expected its source's digest, {origin.sha256[:12]}... in {place}, found {found[:12]}..."
                )

    def finish(self) -> None:
        """What can be told when all lines were seen."""
        for (input_, id_), made in self._made.items():
            self._fault(
                f"{SOURCES}: expected a line for source {id_} of input {input_}, {made.file_name!r}, found none"
            )
        if self._wrong:
            return
        for index, (item, sha256) in enumerate(zip(self._said.inputs, self._digests.hex(), strict=True)):
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
