"""What became of every object of a build, counted from its annotations: by operation and category, and by size."""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from augment.operations.labels import CROWD, DROP, IGNORE, KEEP, PASTED
from augment.operations.parameters import Mosaic, Original, Paste
from augment.report.finished import Key, key_of
from augment.report.views import views
from datasets.records import BoxXYWH, Id, Image, Index

CategoryCase = tuple[str, int, str]
"""(operation, category id, one of `labels.CASES`)"""


class AnnotationHead(msgspec.Struct):
    """The keys of an annotation that are counted; its mask is not parsed."""

    image_id: Id
    category_id: Id
    bbox: BoxXYWH
    iscrowd: int = 0
    source_annotation_id: Id | None = None
    source_image_id: Id | None = None
    source_input: Index | None = None


class Sizes(NamedTuple):
    """sqrt(width x height) in px, and width / height, of boxes with an area."""

    roots: array[float]
    ratios: array[float]

    def add(self, width: float, height: float) -> None:
        if width > 0 and height > 0:
            self.roots.append(math.sqrt(width * height))
            self.ratios.append(width / height)


class _Object(NamedTuple):
    """An annotation of an original."""

    category_id: int
    is_crowd: bool


class Counted:
    """Statistics of a build, to which annotations are added in any order; crowds and ignored boxes have no size."""

    def __init__(self, images: Mapping[int, Image]) -> None:
        self.before, self.after = (Sizes(array("d"), array("d")) for _ in range(2))
        self.categories_of: defaultdict[Key, set[int]] = defaultdict(set)
        """The categories of a source's own objects in any of its images."""
        self._images = images
        self._shown: Counter[CategoryCase] = Counter()
        # Which of these are crowds, only the originals tell, and those may come later.
        self._ignored: list[tuple[str, int, Key, int | None]] = []
        self._originals: defaultdict[Key, dict[int | None, _Object]] = defaultdict(dict)

    def add(self, head: AnnotationHead) -> None:
        image = self._images[head.image_id]
        operation, own = image.operation or "", key_of(image)
        if head.source_image_id is None:
            picture = own
            self.categories_of[own].add(head.category_id)
        else:
            picture = head.source_input or 0, head.source_image_id
        if operation == Original.name:
            self._originals[own][head.source_annotation_id] = _Object(head.category_id, bool(head.iscrowd))
        if head.iscrowd:
            self._ignored.append((operation, head.category_id, picture, head.source_annotation_id))
            return
        is_pasted = operation == Paste.name and picture != own
        self._shown[operation, head.category_id, PASTED if is_pasted else KEEP] += 1
        self.after.add(*head.bbox[2:])
        if operation == Original.name:
            self.before.add(*head.bbox[2:])

    def cases(self) -> Counter[CategoryCase]:
        """The number of objects of each case. Without originals none is known as dropped, nor as a crowd."""
        cases = Counter(self._shown)
        for operation, category, picture, id_ in self._ignored:
            original = self._originals.get(picture, {}).get(id_)
            cases[operation, category, CROWD if original is not None and original.is_crowd else IGNORE] += 1
        there: Counter[tuple[str, int]] = Counter()
        for (operation, category, _), count in cases.items():
            there[operation, category] += count
        for (operation, category), count in self._expected().items():
            if count > there[operation, category]:
                cases[operation, category, DROP] = count - there[operation, category]
        return cases

    def _expected(self) -> Counter[tuple[str, int]]:
        """The objects of the pictures that each operation shows, by (operation, category id)."""
        expected: Counter[tuple[str, int]] = Counter()
        of_picture = {
            key: Counter(item.category_id for item in found.values()) for key, found in self._originals.items()
        }
        for (operation, picture), times in _whole_pictures(self._images.values()).items():
            for category, count in of_picture.get(picture, Counter[int]()).items():
                expected[operation, category] += times * count
        for image in self._images.values():
            for donor in image.donors if image.operation == Paste.name else ():
                found = self._originals.get((donor.source_input, donor.source_id), {}).get(donor.source_annotation_id)
                if found is not None:
                    expected[image.operation or "", found.category_id] += 1
        return expected


def by_operation(cases: Mapping[CategoryCase, int]) -> Counter[tuple[str, str]]:
    """Sums over the categories, by (operation, case)."""
    sums: Counter[tuple[str, str]] = Counter()
    for (operation, _, case), count in cases.items():
        sums[operation, case] += count
    return sums


def by_category(cases: Mapping[CategoryCase, int]) -> Counter[tuple[int, str]]:
    """Sums over all images but the originals, by (category id, case)."""
    sums: Counter[tuple[int, str]] = Counter()
    for (operation, category, case), count in cases.items():
        if operation != Original.name:
            sums[category, case] += count
    return sums


def _whole_pictures(images: Iterable[Image]) -> Counter[tuple[str, Key]]:
    """How often each operation starts from all objects of a picture."""
    times: Counter[tuple[str, Key]] = Counter()
    for image in images:
        shown = [view.picture for view in views(image)] if image.operation == Mosaic.name else [key_of(image)]
        times.update((image.operation or "", picture) for picture in shown)
    return times
