"""`plan`: counts what a build would make, and estimates its cost from a few sources rendered in memory."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from typing import NamedTuple

from augment.compiler.counts import Counts
from augment.compiler.inputs import Prepared, examined
from augment.compiler.metadata import source_digest
from augment.compiler.source_task import DonorPictures, encode_variants, lender_of
from augment.operations.balance import count_boxes
from augment.operations.parameters import Recipe
from augment.operations.plan import Variant, size_of
from augment.operations.variant_labels import VariantLabeller
from datasets import images
from datasets.cli import Progress
from datasets.errors import DataError
from datasets.parallel import Run, chunks
from datasets.source_digests import json_line
from datasets.sources import Source
from datasets.stream import annotation_body

SAMPLED = 24
SOURCES_PER_TASK = 8
# Bytes of an image besides its annotations' bodies: its record, their ids, its line in SHA256SUMS. Measured on 1,200
# images of COCO photographs with 6.5 annotations each.
RECORD_BYTES = 700


class Plan(NamedTuple):
    """`bytes` and `seconds` (one worker, this machine) are estimates."""

    counts: Counts
    bytes: int
    seconds: float


class Cost(NamedTuple):
    seconds: float
    bytes: int
    pixels: int


def plan(prepared: Prepared, run: Run, progress: Progress) -> Plan:
    """Draw and label every variant as a build would; writes nothing."""
    counts = Counts.empty()
    rendered: list[int] = []
    pixels = total_bytes = done = 0
    recipe = prepared.recipe
    everything = ((*planned, prepared.lent(*planned)) for planned in prepared.planned())
    tasks = ((chunk, recipe) for chunk in chunks(everything, SOURCES_PER_TASK))
    for counted in run(count, tasks):
        counts.add(counted.counts)
        total_bytes += counted.bytes
        pixels += sum(counted.pixels)
        rendered += [done + index for index, size in enumerate(counted.pixels) if size]
        done += len(counted.pixels)
        progress("planning", done, len(prepared.sources))
    # Evenly spaced among the sources that are rendered, which balance copies may make few.
    chosen = set(rendered[:: max(1, len(rendered) // SAMPLED)])
    sampled = ((*planned, prepared.lent(*planned), recipe) for planned in prepared.planned(chosen))
    costs = list(run(measure, sampled))
    share = pixels / max(1, sum(cost.pixels for cost in costs))
    total_bytes += round(share * sum(cost.bytes for cost in costs))
    return Plan(counts, total_bytes, share * sum(cost.seconds for cost in costs))


class Counted(NamedTuple):
    """For some sources: counts of all variants, rendered pixels of each source, bytes of what is not rendered."""

    counts: Counts
    pixels: list[int]
    bytes: int


def count(task: tuple[list[tuple[Source, list[Variant], list[Source]]], Recipe]) -> Counted:
    """Label all variants of some sources."""
    planned, recipe = task
    counts = Counts.empty()
    pixels = []
    size = 0
    for source, variants, lent in planned:
        counts.before.update(count_boxes(source.annotations))
        labeller = VariantLabeller(source.annotations, source.image, recipe.labels, source.input, lender_of(lent))
        for variant in variants:
            counts.add_variant(variant.operation, labeller.show(variant))
        pixels.append(derived_pixels(source, variants))
        size += sum(examined(source).size for variant in variants if variant.unchanged)
        size += 0 if pixels[-1] else RECORD_BYTES * len(variants)
        size += len(json_line(source_digest(source, "0" * 64)))
    return Counted(counts, pixels, size)


def derived_pixels(source: Source, planned: list[Variant]) -> int:
    """Pixels of a source's variants that are rendered, not copied; a build's cost is proportional to them."""
    return sum(_sizes(source, planned))


def _sizes(source: Source, planned: list[Variant]) -> Iterator[int]:
    for variant in planned:
        if not variant.unchanged:
            width, height = size_of(variant, source.image.width, source.image.height)
            yield width * height


def measure(task: tuple[Source, list[Variant], list[Source], Recipe]) -> Cost:
    """Compile one source in memory: CPU seconds, bytes of rendered images and JSON, rendered pixels."""
    source, planned, lent, recipe = task
    import augment.operations.pixel  # noqa: F401  (a build imports albumentations once; its second does not count here)

    start = time.process_time()
    data = images.read_file(source.path)
    donors = DonorPictures(source, lent)
    size = 0
    try:
        for encoded in encode_variants(data, examined(source).reading, planned, recipe, donors):
            if encoded is not None:
                hashlib.sha256(encoded)
                size += len(encoded)
    except ValueError as error:
        raise DataError(f"{source.path}: {error}", advice="replace the file, or leave it out: --skip-bad") from None
    labeller = VariantLabeller(source.annotations, source.image, recipe.labels, source.input, donors.lender)
    for variant in planned:
        labels = labeller.show(variant)
        size += RECORD_BYTES + sum(len(annotation_body(item)) for item in labels.annotations)
    return Cost(time.process_time() - start, size, derived_pixels(source, planned))
