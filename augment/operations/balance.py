"""How many: the copies that bring rare categories up. The one decision that looks at the whole dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import NamedTuple

from augment.operations.parameters import Copy
from datasets.records import Annotation


def count_boxes(annotations: Iterable[Annotation]) -> Counter[int]:
    """Boxes per category id; crowds do not count."""
    return Counter(annotation.category_id for annotation in annotations if not annotation.iscrowd)


class Balance(NamedTuple):
    """The whole dataset as balance sees it: boxes per category id, and the number of images."""

    boxes: Counter[int]
    images: int

    def copies(self, annotations: Iterable[Annotation]) -> Callable[[Copy], int]:
        """How many copies an operation makes of the image that has these annotations."""
        present = count_boxes(annotations)
        return lambda operation: copies(operation, present, self.boxes, self.images)


def target_boxes(operation: Copy, images: int) -> Fraction:
    """The number of boxes that a category should have: as given, or a fraction of the number of source images.

    Exact: as floats, 0.29 of 100 images would be 28.999999999999996 and its floor one too few.
    """
    if operation.target_boxes is not None:
        return Fraction(operation.target_boxes)
    return Fraction(str(operation.target_fraction)) * images


def copies(operation: Copy, present: Iterable[int], boxes: Counter[int], images: int) -> int:
    """Copies of an image that shows the categories `present`, where the dataset has `boxes` of each.

    min(max_copies, floor(target / boxes of the rarest category in the image)); 0 for an image without boxes.
    """
    rarest = min((boxes[category] for category in present), default=0)
    if rarest == 0:
        return 0
    return min(operation.max_copies, int(target_boxes(operation, images) // rarest))
