"""Verification of one source's part of a build: its files, its records, and its labels against the crop rule."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from augment.compiler import manifest
from augment.compiler.counts import Counts
from augment.operations.balance import Balance, count_boxes
from augment.operations.parameters import Copy, Original, Recipe
from augment.operations.plan import Dataset, SourceImage, Variant, image_records, variants
from augment.operations.variant_labels import Lender, Lent, VariantLabeller
from datasets import build_layout, images
from datasets.checks import Repairs, TracedAnnotationJson, check_annotation, check_image
from datasets.errors import Problems
from datasets.parsing import parse_records
from datasets.records import Annotation, Image
from datasets.stream import annotation_body


class OriginalPart(NamedTuple):
    """An original and its annotations, each with its index in the annotation file, as raw JSON."""

    image: Image
    annotations: list[tuple[int, bytes]]

    def as_source(self, categories: frozenset[int]) -> SourceImage:
        """The image and its annotations with their ids in the input. What is wrong with them is reported elsewhere."""
        objects = read_annotations(self.annotations, [self.image], categories, Problems())[self.image.id]
        return SourceImage(*_as_source(self.image, objects), self.image.source_input or 0)


class SourcePart(NamedTuple):
    """One source's part of a dataset.

    `images` and `annotations` have their places in the annotation file, the latter as raw JSON; `digests` are those of
    SHA256SUMS, None where missing. `balance` is None where the number of balance copies is unknown, `labels_verified`
    is False where there are no originals to label anew. `planned` are the variants where other pictures decide on them
    too, else None; `lent` are the originals that these take from.
    """

    folder: Path
    images: list[tuple[str, Image]]
    digests: list[str | None]
    annotations: list[tuple[int, bytes]]
    categories: frozenset[int]
    recipe: Recipe
    balance: Balance | None
    labels_verified: bool
    planned: list[Variant] | None = None
    lent: tuple[OriginalPart, ...] = ()


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
    annotations = read_annotations(part.annotations, records, part.categories, problems)
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


def read_annotations(
    annotations: list[tuple[int, bytes]], records: list[Image], categories: frozenset[int], problems: Problems
) -> dict[int, list[Annotation]]:
    """The annotations of each image id; anything that reading would repair is a fault here."""
    grouped: dict[int, list[Annotation]] = {image.id: [] for image in records}
    known = {image.id: image for image in records}
    repairs = Repairs()
    parsed = parse_records(
        (msgspec.Raw(record) for _, record in annotations),
        TracedAnnotationJson,
        "annotations",
        problems,
        set(),
        numbers=[number for number, _ in annotations],
    )
    for json_path, item in parsed:
        if item.category_id not in categories:
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
    source_input = original.source_input or 0
    planned = part.planned
    if planned is None:
        copies = copies_of(group, objects, part.balance)
        planned = variants(part.recipe, SourceImage(source, objects, source_input), Dataset(copies))
    _check_images(original, source, group, planned, problems)
    sources = [item.as_source(part.categories) for item in part.lent]
    lender = Lender({(item.input, item.image.id): Lent(item.image, list(item.annotations)) for item in sources})
    labeller = VariantLabeller(objects, source, part.recipe.labels, source_input, lender)
    for image, variant in zip(group, planned, strict=False):
        labels = labeller.show(variant)
        counts.add_variant(variant.operation, labels)
        for fault in _compare_labels(labels.annotations, annotations[image.id]):
            problems.add(f"{build_layout.IMAGES}/{image.file_name}: {fault}")


def copies_of(group: list[Image], objects: Sequence[Annotation], balance: Balance | None) -> Callable[[Copy], int]:
    """The number of balance copies of a source with these objects: as found in its `group` where `balance` is None."""
    return _as_found(group) if balance is None else balance.copies(objects)


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
    others = dict(_by_source(found))
    for key, wanted in _by_source(expected):
        other = others.pop(key, None)
        json_path = _named(key)
        if other is None:
            yield f"{json_path}: expected {'an ignored region' if wanted.iscrowd else 'a kept box'}, found none"
        elif annotation_body(wanted) != annotation_body(other):
            yield from (
                f"{json_path}: expected {name} {_short(getattr(wanted, name))}, found {_short(getattr(other, name))}"
                for name in ("category_id", "bbox", "area", "iscrowd", "segmentation")
                if _short(getattr(wanted, name)) != _short(getattr(other, name))
            )
    for key in others:
        yield f"{_named(key)}: expected it dropped, found it"


# The object's source: input and picture, None for those of its image, and id; counted, as a mosaic may show it twice.
_Key = tuple[int | None, int | None, int | None, int]


def _by_source(annotations: list[Annotation]) -> Iterator[tuple[_Key, Annotation]]:
    seen: Counter[tuple[int | None, int | None, int | None]] = Counter()
    for item in annotations:
        source = item.source_input, item.source_image_id, item.source_annotation_id
        yield (*source, seen[source]), item
        seen[source] += 1


def _named(key: _Key) -> str:
    source_input, image_id, id_, before = key
    name = f"object {id_}"
    if image_id is not None:
        name += f" of source {image_id} of input {source_input}"
    return f"{name} ({before + 1}.)" if before else name


def _short(value: Any) -> str:
    """A value for an error message; masks as a digest, enough to tell them apart."""
    if value is None or (isinstance(value, (int, float, tuple)) and not _has_arrays(value)):
        return str(value)
    encoded = msgspec.json.encode(value, enc_hook=lambda array: array.tolist())
    return f"mask {hashlib.sha256(encoded).hexdigest()[:8]}"


def _has_arrays(value: Any) -> bool:
    return isinstance(value, tuple) and any(hasattr(item, "tolist") for item in value)
