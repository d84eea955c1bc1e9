"""Is a built dataset what its manifest says? Files against digests, records against files, labels against the rule."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from augment import manifest
from augment.balance import Balance, count_boxes
from augment.counts import Counts
from augment.labels import Labeller
from augment.plan import Variant, image_records, variants
from augment.recipe import Copy, Original, Recipe
from datasets import coco, images
from datasets.errors import DataError, Problems
from datasets.records import Annotation, Dataset, Image
from datasets.sources import FILES_PER_TASK, Run, chunks
from datasets.stream import annotation_body
from datasets.terminal import Progress

_SUM_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


class Verified(NamedTuple):
    """What was checked. `ruled` is False where the dataset has no originals to check the labels against."""

    files: int
    images: int
    annotations: int
    ruled: bool


def verify(folder: Path, run: Run, progress: Progress) -> Verified:
    """Check a finished build; see the module's first line. Raises DataError with every fault, file by file."""
    document = manifest.read(folder)
    recipe = _recipe(document, folder)
    problems = Problems()
    sums = _read_sums(folder, problems)
    read = coco.read(folder / manifest.INSTANCES, provenance=True)
    dataset = read.dataset
    for kind, places in read.repairs.places.items():
        for place in places:
            problems.add(f"{manifest.INSTANCES} {place}: {kind}")
    _check_orphans(folder, sums, dataset, problems)
    records = {f"{manifest.IMAGES}/{image.file_name}": image for image in dataset.images}
    names = sorted(sums)
    tasks = (
        [(folder, name, sums[name], records.get(name)) for name in chunk] for chunk in chunks(names, FILES_PER_TASK)
    )
    done = 0
    for faults in run(check_files, tasks):
        for fault in faults:
            if fault is not None:
                problems.add(fault)
        done += len(faults)
        progress("verifying", done, len(names))
    ruled = _check_recipe(dataset, recipe, document, problems)
    problems.raise_if_any(f"{folder}: {{n}} problem(s)")
    return Verified(len(names), len(dataset.images), len(dataset.annotations), ruled)


def _recipe(document: dict[str, Any], folder: Path) -> Recipe:
    try:
        return msgspec.convert(document.get("recipe"), Recipe)
    except msgspec.ValidationError as error:
        raise DataError(f"{folder / manifest.MANIFEST}: expected a recipe: {error}") from None


def _read_sums(folder: Path, problems: Problems) -> dict[str, str]:
    """SHA256SUMS as name -> digest. A name that leaves the folder is a fault and is not followed."""
    path = folder / manifest.SUMS
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
            problems.add(f"{manifest.SUMS} line {number}: {line[:80]!r} {error}")
            continue
        sums[match[2]] = match[1]
    return sums


def _check_orphans(folder: Path, sums: dict[str, str], dataset: Dataset, problems: Problems) -> None:
    """Every file has a digest, every image a record and every record a file."""
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    recorded = {f"{manifest.IMAGES}/{image.file_name}" for image in dataset.images}
    needed = {manifest.INSTANCES, manifest.MANIFEST}
    for name in sorted(present - sums.keys() - {manifest.SUMS}):
        problems.add(f"{name}: not in {manifest.SUMS}, so not part of this dataset")
    for name in sorted((recorded | needed) - sums.keys()):
        problems.add(f"{name}: expected a digest in {manifest.SUMS}, found none")
    for name in sorted(sums.keys() - recorded - needed):
        problems.add(f"{name}: expected an image record in {manifest.INSTANCES}, found none")
    for name, records in groupby(sorted(image.file_name for image in dataset.images)):
        if len(list(records)) > 1:
            problems.add(f"{manifest.IMAGES}/{name}: expected one image record, found several")


def check_files(files: list[tuple[Path, str, str, Image | None]]) -> list[str | None]:
    """Compare files with their digests, and images with their records; None for each that is right."""
    return [_check_file(*file) for file in files]


def _check_file(folder: Path, name: str, digest: str, record: Image | None) -> str | None:
    path = folder / name
    try:
        if record is None:
            found = manifest.sha256_file(path)
        else:
            data = images.read_file(path)
            found = hashlib.sha256(data).hexdigest()
            images.examine(data, record.width, record.height)
    except (ValueError, OSError) as error:
        return f"{name}: {error}"
    return None if found == digest else f"{name}: expected the digest {digest[:12]}..., found {found[:12]}..."


def _check_recipe(dataset: Dataset, recipe: Recipe, document: dict[str, Any], problems: Problems) -> bool:
    """Draw and label everything anew from the originals, and compare; False where the recipe has no originals."""
    if not any(isinstance(operation, Original) for operation in recipe.operations):
        return False
    annotations = dataset.annotations_by_image()
    groups = [
        (next((image for image in group if image.operation == Original.name), group[0]), group)
        for group in (list(images) for _, images in groupby(dataset.images, _source_key))
    ]
    balance = Balance(count_boxes(item for original, _ in groups for item in annotations[original.id]), len(groups))
    counts = Counts.empty()
    counts.before = balance.boxes
    # A build with a limit balanced by sources that are not in it; the number of its copies is taken as it is.
    limited = document.get("limit") is not None
    for original, group in groups:
        if original.operation != Original.name:
            problems.add(f"{manifest.IMAGES}/{original.file_name}: expected its original in the dataset, found none")
            continue
        source, objects = _as_source(original, annotations[original.id])
        planned = variants(recipe, source, _as_found(group) if limited else balance.copies(objects))
        _check_images(original, source, group, planned, problems)
        labeller = Labeller(objects, source, recipe.labels)
        for image, variant in zip(group, planned, strict=False):
            labels = labeller.show(variant.window)
            counts.add_variant(variant.operation, labels)
            for fault in _compare_labels(labels.annotations, annotations[image.id]):
                problems.add(f"{manifest.IMAGES}/{image.file_name}: {fault}")
    for line in manifest.differences(counts.as_json(dataset.categories), document.get("counts") or {}):
        problems.add(f"{manifest.MANIFEST} counts.{line}")
    return True


def _as_found(group: list[Image]) -> Callable[[Copy], int]:
    found = sum(image.operation == Copy.name for image in group)
    return lambda _: found


def _source_key(image: Image) -> tuple[int | None, int | None]:
    return image.source_input, image.source_id


def _as_source(original: Image, annotations: list[Annotation]) -> tuple[Image, list[Annotation]]:
    """An original and its annotations under the ids and the name that they had in the input."""
    source = msgspec.structs.replace(
        original, id=original.source_id or 0, file_name=original.source_file_name or original.file_name
    )
    return source, [msgspec.structs.replace(item, id=item.source_annotation_id or 0) for item in annotations]


def _check_images(
    original: Image, source: Image, group: list[Image], planned: list[Variant], problems: Problems
) -> None:
    """The image records of one source against those that the recipe draws."""
    file_format = "PNG" if original.file_name.endswith(images.SUFFIXES["PNG"]) else "JPEG"
    expected = image_records(planned, source, original.source_input or 0, file_format, group[0].id)
    if len(expected) != len(group):
        problems.add(
            f"{manifest.IMAGES}/{original.file_name}: expected {len(expected)} images of this source, "
            f"found {len(group)}"
        )
    for wanted, found in zip(expected, group, strict=False):
        lines = manifest.differences(msgspec.structs.asdict(wanted), msgspec.structs.asdict(found))
        for line in lines:
            problems.add(f"{manifest.IMAGES}/{found.file_name}: {line}")


def _compare_labels(expected: list[Annotation], found: list[Annotation]) -> Iterator[str]:
    """What the rule gives against what the dataset has, object by object."""
    by_source = {item.source_annotation_id: item for item in found}
    if len(by_source) < len(found):
        yield "expected one annotation of each source object, found several"
    for wanted in expected:
        other = by_source.pop(wanted.source_annotation_id, None)
        place = f"object {wanted.source_annotation_id}"
        if other is None:
            yield f"{place}: expected {'an ignored region' if wanted.iscrowd else 'a kept box'}, found none"
        elif annotation_body(wanted) != annotation_body(other):
            yield from (
                f"{place}: expected {name} {_short(getattr(wanted, name))}, found {_short(getattr(other, name))}"
                for name in ("category_id", "bbox", "area", "iscrowd", "segmentation")
                if _short(getattr(wanted, name)) != _short(getattr(other, name))
            )
    for source_id in by_source:
        yield f"object {source_id}: expected it dropped, found it"


def _short(value: Any) -> str:
    """A value for an error message; masks only as their digest, which is enough to tell that they differ."""
    if value is None or (isinstance(value, (int, float, tuple)) and not _has_arrays(value)):
        return str(value)
    encoded = msgspec.json.encode(value, enc_hook=lambda array: array.tolist())
    return f"mask {hashlib.sha256(encoded).hexdigest()[:8]}"


def _has_arrays(value: Any) -> bool:
    return isinstance(value, tuple) and any(hasattr(item, "tolist") for item in value)
