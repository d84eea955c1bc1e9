"""Verification of one source's part of a build: its files, its records, and its labels against the crop rule."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from augment.compiler import manifest
from augment.compiler.counts import Counts
from augment.operations.balance import Balance, count_boxes
from augment.operations.labels import Labeller
from augment.operations.parameters import Copy, Original, Recipe
from augment.operations.plan import Variant, image_records, variants
from datasets import build_layout, images
from datasets.checks import Repairs, TracedAnnotationJson, check_annotation, check_image
from datasets.errors import Problems
from datasets.parsing import parse_records
from datasets.records import Annotation, Image
from datasets.stream import annotation_body


class SourcePart(NamedTuple):
    """One source's part of a dataset.

    `images` and `annotations` have their places in the annotation file, the latter as raw JSON; `digests` are those of
    SHA256SUMS, None where missing. `balance` is None where the number of balance copies is unknown, `labels_verified`
    is False where there are no originals to label anew.
    """

    folder: Path
    images: list[tuple[str, Image]]
    digests: list[str | None]
    annotations: list[tuple[int, bytes]]
    categories: frozenset[int]
    recipe: Recipe
    balance: Balance | None
    labels_verified: bool


class VerifiedSource(NamedTuple):
    """The faults of a part and, where labels could be verified, its counts."""

    problems: Problems
    counts: Counts


def verify_source(part: SourcePart) -> VerifiedSource:
    """Verify one source's part of a dataset."""
    problems = Problems()
    records = []
    for (json_path, image), digest in zip(part.images, part.digests, strict=True):
        # A file with an invalid name is not opened.
        if check_image(image, json_path, problems):
            records.append(image)
            fault = _check_file(part.folder, image, digest)
            if fault is not None:
                problems.add(fault)
    counts = Counts.empty()
    annotations = _annotations(part, records, problems)
    if part.labels_verified and records:
        _check_rule(part, records, annotations, counts, problems)
    return VerifiedSource(problems, counts)


def _check_file(folder: Path, image: Image, digest: str | None) -> str | None:
    name = f"{build_layout.IMAGES}/{image.file_name}"
    if digest is None:
        # A missing digest is a fault of the whole, reported elsewhere.
        return None
    try:
        data = images.read_file(folder / name)
        images.examine(data, image.width, image.height)
    except ValueError as error:
        return f"{name}: {error}"
    found = hashlib.sha256(data).hexdigest()
    return None if found == digest else f"{name}: expected the digest {digest[:12]}..., found {found[:12]}..."


def _annotations(part: SourcePart, records: list[Image], problems: Problems) -> dict[int, list[Annotation]]:
    """The annotations of each image id; anything that reading would repair is a fault here."""
    grouped: dict[int, list[Annotation]] = {image.id: [] for image in records}
    known = {image.id: image for image in records}
    repairs = Repairs()
    parsed = parse_records(
        (msgspec.Raw(record) for _, record in part.annotations),
        TracedAnnotationJson,
        "annotations",
        problems,
        set(),
        numbers=[number for number, _ in part.annotations],
    )
    for json_path, item in parsed:
        if item.category_id not in part.categories:
            problems.add(f"{json_path}.category_id: expected the id of a category, found {item.category_id}")
        if item.image_id not in known:
            problems.add(f"{json_path}.image_id: expected the id of an image, found {item.image_id}")
            continue
        checked = check_annotation(item, json_path, known[item.image_id], repairs, problems)
        if checked is not None:
            grouped[item.image_id].append(checked)
    problems.extend(repairs.as_problems())
    return grouped


def _check_rule(
    part: SourcePart, group: list[Image], annotations: dict[int, list[Annotation]], counts: Counts, problems: Problems
) -> None:
    """Draw and label everything anew from the original, and compare."""
    original = next((image for image in group if image.operation == Original.name), None)
    if original is None:
        problems.add(f"{build_layout.IMAGES}/{group[0].file_name}: expected its original in the dataset, found none")
        return
    source, objects = _as_source(original, annotations[original.id])
    counts.before = count_boxes(objects)
    copies = _as_found(group) if part.balance is None else part.balance.copies(objects)
    planned = variants(part.recipe, source, copies)
    _check_images(original, source, group, planned, problems)
    labeller = Labeller(objects, source, part.recipe.labels)
    for image, variant in zip(group, planned, strict=False):
        labels = labeller.show(variant.window)
        counts.add_variant(variant.operation, labels)
        for fault in _compare_labels(labels.annotations, annotations[image.id]):
            problems.add(f"{build_layout.IMAGES}/{image.file_name}: {fault}")


def _as_found(group: list[Image]) -> Callable[[Copy], int]:
    copies = sum(image.operation == Copy.name for image in group)
    return lambda _: copies


def _as_source(original: Image, annotations: list[Annotation]) -> tuple[Image, list[Annotation]]:
    """An original and its annotations with their ids and file name in the input."""
    source = msgspec.structs.replace(
        original, id=original.source_id or 0, file_name=original.source_file_name or original.file_name
    )
    return source, [msgspec.structs.replace(item, id=item.source_annotation_id or 0) for item in annotations]


def _check_images(
    original: Image, source: Image, group: list[Image], planned: list[Variant], problems: Problems
) -> None:
    """Compare image records with those that the recipe draws."""
    file_format = "PNG" if original.file_name.endswith(images.SUFFIXES["PNG"]) else "JPEG"
    expected = image_records(planned, source, original.source_input or 0, file_format, group[0].id)
    if len(expected) != len(group):
        problems.add(
            f"{build_layout.IMAGES}/{original.file_name}: expected {len(expected)} images of this source, "
            f"found {len(group)}"
        )
    for wanted, found in zip(expected, group, strict=False):
        lines = manifest.differences(msgspec.structs.asdict(wanted), msgspec.structs.asdict(found))
        for line in lines:
            problems.add(f"{build_layout.IMAGES}/{found.file_name}: {line}")


def _compare_labels(expected: list[Annotation], found: list[Annotation]) -> Iterator[str]:
    """Compare labels object by object."""
    by_source = {item.source_annotation_id: item for item in found}
    if len(by_source) < len(found):
        yield "expected one annotation of each source object, found several"
    for wanted in expected:
        other = by_source.pop(wanted.source_annotation_id, None)
        json_path = f"object {wanted.source_annotation_id}"
        if other is None:
            yield f"{json_path}: expected {'an ignored region' if wanted.iscrowd else 'a kept box'}, found none"
        elif annotation_body(wanted) != annotation_body(other):
            yield from (
                f"{json_path}: expected {name} {_short(getattr(wanted, name))}, found {_short(getattr(other, name))}"
                for name in ("category_id", "bbox", "area", "iscrowd", "segmentation")
                if _short(getattr(wanted, name)) != _short(getattr(other, name))
            )
    for source_id in by_source:
        yield f"object {source_id}: expected it dropped, found it"


def _short(value: Any) -> str:
    """A value for an error message; masks as a digest, enough to tell them apart."""
    if value is None or (isinstance(value, (int, float, tuple)) and not _has_arrays(value)):
        return str(value)
    encoded = msgspec.json.encode(value, enc_hook=lambda array: array.tolist())
    return f"mask {hashlib.sha256(encoded).hexdigest()[:8]}"


def _has_arrays(value: Any) -> bool:
    return isinstance(value, tuple) and any(hasattr(item, "tolist") for item in value)
