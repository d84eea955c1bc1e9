"""Verification of a whole build: files against digests, records against files, labels against the crop rule.

The annotation file is read as a stream; each source's part is verified on its own, in a worker.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from augment.compiler import manifest
from augment.compiler.counts import Counts
from augment.operations.balance import Balance
from augment.operations.parameters import Copy, Original, Recipe, takes_from_others
from augment.verify.digests import check_source_digests
from augment.verify.heads import AnnotationHead, read_head_of
from augment.verify.originals import Originals
from augment.verify.source import SourcePart, verify_source
from datasets import build_layout, images
from datasets.cli import Progress
from datasets.digests import sha256_file
from datasets.errors import DataError, Problems
from datasets.parallel import Run
from datasets.parsing import parse_records
from datasets.records import Image
from datasets.stream import read_head, records

_SUM_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


class Verified(NamedTuple):
    """What was verified. `labels_verified` is False where the dataset has no originals to label anew."""

    files: int
    images: int
    annotations: int
    labels_verified: bool


def verify(folder: Path, run: Run, progress: Progress) -> Verified:
    """Verify a finished build. Raises DataError with every fault, file by file."""
    document = manifest.read(folder)
    recipe = _recipe(document, folder)
    path = folder / build_layout.INSTANCES
    head = read_head(path)
    problems = Problems()
    sums = _read_sums(folder, problems)
    raws = (msgspec.Raw(record) for record in records(path, "images"))
    images_found = _of_possible_size(parse_records(raws, Image, "images", problems, set()), problems)
    _check_orphans(folder, sums, [image.file_name for _, image in images_found], problems)
    _check_papers(folder, sums, problems)
    problems.extend(check_source_digests(folder, document, recipe, (image for _, image in images_found), sums))
    labels_verified = any(isinstance(operation, Original) for operation in recipe.operations)
    balance = _balance(path, [image for _, image in images_found], recipe, document)
    annotations = _Annotations(path, problems)
    counts = Counts.empty()
    categories = frozenset(category.id for category in head.categories)
    originals: Originals | None = None
    if labels_verified and takes_from_others(recipe):
        originals = Originals(path, [image for _, image in images_found], categories, recipe)
        labels_verified = originals.check(document, problems)
    parts = (
        SourcePart(
            folder,
            group,
            [sums.get(f"{build_layout.IMAGES}/{image.file_name}") for _, image in group],
            annotations.of([image.id for _, image in group]),
            categories,
            recipe,
            balance,
            labels_verified,
            *(originals.planned([image for _, image in group], balance) if originals and labels_verified else ()),
        )
        for group in _by_source(images_found)
    )
    done = 0
    for group, verified_part in zip(_by_source(images_found), run(verify_source, parts), strict=True):
        problems.extend(verified_part.problems)
        counts.add(verified_part.counts)
        done += len(group)
        progress("verifying", done, len(images_found))
    annotations.expect_none_left()
    if labels_verified:
        for line in manifest.differences(counts.as_json(head.categories), document.get("counts") or {}):
            problems.add(f"{build_layout.MANIFEST} counts.{line}")
    problems.raise_if_any(f"{folder}: {{n}} problem(s)")
    return Verified(len(sums), len(images_found), annotations.read, labels_verified)


def _of_possible_size(found: Iterable[tuple[str, Image]], problems: Problems) -> list[tuple[str, Image]]:
    """The records of a size that an image can have; others would take any amount of memory to draw again."""
    kept = []
    for json_path, image in found:
        if min(image.width, image.height) >= 1 and max(image.width, image.height) <= images.MAX_SIDE:
            kept.append((json_path, image))
        else:
            problems.add(
                f"{json_path}: expected a width and height of 1 to {images.MAX_SIDE:,} px, found {image.width} x "
                f"{image.height}"
            )
    return kept


def _recipe(document: dict[str, Any], folder: Path) -> Recipe:
    try:
        return msgspec.convert(document.get("recipe"), Recipe)
    except msgspec.ValidationError as error:
        raise DataError(f"{folder / build_layout.MANIFEST}: expected a recipe: {error}") from None


def _read_sums(folder: Path, problems: Problems) -> dict[str, str]:
    """SHA256SUMS as name -> digest. A name that leaves the folder is a fault, and not opened."""
    path = folder / build_layout.SUMS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected the digests of a finished build: {error}") from None
    sums = {}
    for number, line in enumerate(lines, start=1):
        match = _SUM_LINE.fullmatch(line)
        try:
            if match is None:
                raise ValueError("is no digest and name")
            images.path_inside(folder, match[2])
        except ValueError as error:
            problems.add(f"{build_layout.SUMS} line {number}: {line[:80]!r} {error}")
            continue
        sums[match[2]] = match[1]
    return sums


def _check_orphans(folder: Path, sums: dict[str, str], file_names: list[str], problems: Problems) -> None:
    """Every file has a digest, every image a record and every record a file."""
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    recorded = {f"{build_layout.IMAGES}/{name}" for name in file_names}
    needed = {*build_layout.METADATA}
    for name in sorted(present - sums.keys() - {build_layout.SUMS, build_layout.REPORT}):
        problems.add(f"{name}: not in {build_layout.SUMS}, so not part of this dataset")
    for name in sorted((recorded | needed) - sums.keys()):
        problems.add(f"{name}: expected a digest in {build_layout.SUMS}, found none")
    for name in sorted(sums.keys() - recorded - needed):
        problems.add(f"{name}: expected an image record in {build_layout.INSTANCES}, found none")
    if len(recorded) < len(file_names):
        for name, several in groupby(sorted(file_names)):
            if len(list(several)) > 1:
                problems.add(f"{build_layout.IMAGES}/{name}: expected one image record, found several")


def _check_papers(folder: Path, sums: dict[str, str], problems: Problems) -> None:
    """Compare the digests of the metadata files."""
    for name in build_layout.METADATA:
        # Missing files are reported by their readers.
        if name in sums and (folder / name).is_file():
            found = sha256_file(folder / name)
            if found != sums[name]:
                problems.add(f"{name}: expected the digest {sums[name][:12]}..., found {found[:12]}...")


def _by_source(images: list[tuple[str, Image]]) -> Iterator[list[tuple[str, Image]]]:
    """Adjacent image records of the same source, with their places."""
    for _, group in groupby(images, key=lambda item: (item[1].source_input, item[1].source_id)):
        yield list(group)


def _balance(path: Path, found_images: list[Image], recipe: Recipe, document: dict[str, Any]) -> Balance | None:
    """The statistics that balance used. None without balance copies, or where a limit left out sources."""
    if document.get("limit") is not None or not any(isinstance(item, Copy) for item in recipe.operations):
        return None
    originals = {image.id for image in found_images if image.operation == Original.name}
    balance = Balance(Counter(), len(originals))
    for head in map(read_head_of, records(path, "annotations")):
        if head is not None and head.image_id in originals and not head.iscrowd:
            balance.boxes[head.category_id] += 1
    return balance


class _Annotations:
    """The annotations of a file, in order, image by image."""

    def __init__(self, path: Path, problems: Problems) -> None:
        self.read = 0
        self._problems = problems
        self._last_id = 0
        self._records = enumerate(records(path, "annotations"))
        self._next: tuple[int, bytes, AnnotationHead | None] | None = None
        self._advance()

    def of(self, image_ids: list[int]) -> list[tuple[int, bytes]]:
        """The next annotations of these images, each with its index in the file."""
        taken = []
        first, last = min(image_ids), max(image_ids)
        while self._next is not None:
            number, record, head = self._next
            if head is not None and head.image_id > last:
                break
            if head is None or head.image_id >= first:
                taken.append((number, record))
            else:
                self._misplaced(number, head)
            self._advance()
        return taken

    def expect_none_left(self) -> None:
        while self._next is not None:
            number, _, head = self._next
            if head is not None:
                self._misplaced(number, head)
            self._advance()

    def _misplaced(self, number: int, head: AnnotationHead) -> None:
        self._problems.add(
            f"$.annotations[{number}].image_id: expected annotations in the order of the images, found one of image "
            f"{head.image_id} behind others"
        )

    def _advance(self) -> None:
        number, record = next(self._records, (0, None))
        self._next = None
        if record is None:
            return
        head = read_head_of(record)
        self._next = number, record, head
        self.read += 1
        if head is not None:
            if head.id <= self._last_id:
                self._problems.add(f"$.annotations[{number}].id: expected one above {self._last_id}, found {head.id}")
            self._last_id = head.id
