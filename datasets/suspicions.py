"""Warnings about data that is valid and almost always a mistake. Nothing is refused or changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from datasets.checks import meets_mask
from datasets.records import Annotation, Category

# A box whose numbers are all at most this is more likely in fractions of the image.
FRACTION = 1.0
# Masks are compared with boxes for a sample of this many objects, which takes a second.
MOST_MASKS = 20_000
# Below this share, masks that miss their boxes may be odd objects.
SHARE = 0.01
NAMES_SHOWN = 5


def find(annotations: Sequence[Annotation], categories: Sequence[Category]) -> list[str]:
    """A sentence for each suspicion, in a fixed order."""
    return [
        *_nothing(annotations),
        *_crowds(annotations),
        *_fractions(annotations),
        *_masks(annotations),
        *_duplicates(annotations),
        *_unused(annotations, categories),
    ]


def _nothing(annotations: Sequence[Annotation]) -> Iterator[str]:
    if not annotations:
        yield "no annotation that can be used; images without an object serve as background beside others"


def _crowds(annotations: Sequence[Annotation]) -> Iterator[str]:
    if annotations and all(item.iscrowd for item in annotations):
        yield (
            f"all {len(annotations):,} annotations are crowds (iscrowd 1), of which nothing is learnt; some tools "
            "write that for every mask that is run-length encoded"
        )


def _fractions(annotations: Sequence[Annotation]) -> Iterator[str]:
    count = sum(max(item.bbox) <= FRACTION for item in annotations)
    if count > SHARE * len(annotations):
        yield (
            f"{count:,} of {len(annotations):,} boxes have no number above {FRACTION:g}; they look like fractions of "
            "the image, where pixels are expected"
        )


def _masks(annotations: Sequence[Annotation]) -> Iterator[str]:
    masked = [item for item in annotations if item.segmentation is not None and not item.iscrowd]
    looked_at = list(islice(masked, 0, None, -(-len(masked) // MOST_MASKS) or 1))
    beside = [item for item in looked_at if not meets_mask(item.bbox, item.segmentation)]
    if len(beside) > SHARE * len(looked_at):
        ids = ", ".join(str(item.id) for item in beside[:NAMES_SHOWN])
        yield (
            f"{len(beside):,} of {len(looked_at):,} masks that were compared do not fit their boxes (IoU below 0.5 of "
            f"the box and the box around the mask), such as those of the annotations {ids}"
        )


def _duplicates(annotations: Sequence[Annotation]) -> Iterator[str]:
    kinds = {(item.image_id, item.category_id, item.bbox, item.iscrowd) for item in annotations}
    count = len(annotations) - len(kinds)
    if count:
        yield f"{count:,} annotations have the image, category and box of another one"


def _unused(annotations: Sequence[Annotation], categories: Sequence[Category]) -> Iterator[str]:
    used = {item.category_id for item in annotations}
    unused = [item.name for item in categories if item.id not in used]
    if unused and annotations:
        more = f" and {len(unused) - NAMES_SHOWN:,} more" if len(unused) > NAMES_SHOWN else ""
        yield (
            f"{len(unused):,} of {len(categories):,} categories have no object: {', '.join(unused[:NAMES_SHOWN])}{more}"
        )
