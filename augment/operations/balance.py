"""Balance: the number of copies per image that bring rare categories up; the only decision on the whole dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import NamedTuple

from augment.operations.parameters import Copy
from datasets.records import Annotation


def count_boxes(annotations: Iterable[Annotation]) -> Counter[int]:
    """Boxes per category id, without crowds."""
    return Counter(annotation.category_id for annotation in annotations if not annotation.iscrowd)


class Balance(NamedTuple):
    """The dataset's statistics: boxes per category id, and the number of images."""

    boxes: Counter[int]
    images: int

    def copies(self, annotations: Iterable[Annotation]) -> Callable[[Copy], int]:
        """The number of balance copies per image, as a function of the operation, for an image with these
        annotations.
        """
        present = count_boxes(annotations)
        return lambda operation: copies(operation, present, self.boxes, self.images)


def target_boxes(operation: Copy, images: int, boxes: Counter[int]) -> Fraction:
    """The number of boxes that a category should reach: as given, the median of the categories' `boxes`, or a fraction
    of the number of source images.

    Exact: in floats, 0.29 of 100 images is 28.999999999999996, whose floor is one too low.
    """
    if operation.target_boxes is not None:
        return Fraction(operation.target_boxes)
    if operation.target == "median":
        return median_boxes(boxes)
    return Fraction(str(operation.target_fraction)) * images


def median_boxes(boxes: Counter[int]) -> Fraction:
    """The median over the categories that have boxes; 0 for none."""
    counts = sorted(count for count in boxes.values() if count)
    middle = len(counts) // 2
    if len(counts) % 2:
        return Fraction(counts[middle])
    return Fraction(counts[middle - 1] + counts[middle], 2) if counts else Fraction(0)


def copies(operation: Copy, present: Iterable[int], boxes: Counter[int], images: int) -> int:
    """The number of balance copies of an image with the categories `present`, given the dataset's `boxes` of each.

    min(max_copies, floor(target / boxes of the rarest category in the image)); 0 for an image without boxes.
    """
    rarest = min((boxes[category] for category in present), default=0)
    if rarest == 0:
        return 0
    return min(operation.max_copies, int(target_boxes(operation, images, boxes) // rarest))
