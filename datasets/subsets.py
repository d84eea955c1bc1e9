"""Seeded, nested subsets of a dataset, for measurements by the number of images."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import msgspec

from datasets.errors import DataError
from datasets.records import Dataset


def shuffled(ids: Collection[int], seed: int) -> list[int]:
    """The ids in an order determined by the seed alone: sorted by a digest of each."""
    return sorted(ids, key=lambda item: hashlib.sha256(f"{seed} {item}".encode()).digest())


def subset(dataset: Dataset, ids: Collection[int]) -> Dataset:
    """The images with these ids, in file order, and their annotations; all categories are kept."""
    kept = set(ids)
    return msgspec.structs.replace(
        dataset,
        images=[item for item in dataset.images if item.id in kept],
        annotations=[item for item in dataset.annotations if item.image_id in kept],
    )


def with_objects(dataset: Dataset) -> set[int]:
    """The ids of the images with at least one object that is not a crowd."""
    return {item.image_id for item in dataset.annotations if not item.iscrowd}


def first(
    dataset: Dataset, count: int, seed: int, *, name: str = "annotations", include_empty: bool = False
) -> Dataset:
    """The first `count` images in the order of `shuffled`: 25 of a seed are among the 50 of the same seed.

    Only images with an object that is not a crowd are drawn; with `include_empty`, all are. Raises DataError, which
    calls the dataset `name`, where there are fewer.
    """
    ids = {item.id for item in dataset.images} if include_empty else with_objects(dataset)
    if len(ids) < count:
        raise DataError(_too_few(dataset, count, len(ids), name, include_empty))
    return subset(dataset, shuffled(ids, seed)[:count])


def _too_few(dataset: Dataset, count: int, found: int, name: str, include_empty: bool) -> str:
    kind = "" if include_empty else " with an object that is not a crowd"
    text = f"{name}: expected at least {count:,} images{kind}, found {found:,}"
    if include_empty or len(dataset.images) < count:
        return f"{text}; a smaller --count can be drawn"
    return f"{text}; --include-empty draws from all {len(dataset.images):,}"
