"""The labels of a variant of any operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from augment.operations import erase, mosaic, paste, turns
from augment.operations.labels import Labeller, Labels
from augment.operations.parameters import LabelRule, Mosaic
from augment.operations.plan import Variant
from datasets.records import Annotation, Donor, Image

# Of masks that are kept for the pixels of the variants of one image; a byte each.
MOST_PIXELS = 50_000_000


class Lent(NamedTuple):
    """A picture that others take from, with its annotations, or those of them that are taken."""

    image: Image
    annotations: list[Annotation]


class Lender:
    """The pictures that the variants of an image take from, by (index of the input, id)."""

    def __init__(self, pictures: Mapping[tuple[int, int], Lent]) -> None:
        self._pictures = pictures
        # Labels and pixels of a variant need the same masks.
        self._objects: dict[Donor, tuple[Annotation, paste.Mask]] = {}
        self._pixels = 0

    def picture(self, donor: Donor) -> Lent:
        return self._pictures[donor.source_input, donor.source_id]

    def pasted(self, donor: Donor) -> tuple[Annotation, paste.Mask]:
        """A pasted object's annotation in its own picture, and its mask in the size that it is pasted in."""
        if donor in self._objects:
            return self._objects[donor]
        annotations = self.picture(donor).annotations
        annotation = next(item for item in annotations if item.id == donor.source_annotation_id)
        mask = paste.mask_of(donor, annotation)
        self._pixels += mask.size
        if self._pixels <= MOST_PIXELS:
            self._objects[donor] = annotation, mask
        return annotation, mask


NO_LENDER = Lender({})


class VariantLabeller:
    """Labels variants of one image; what several of them need is computed once."""

    def __init__(
        self,
        annotations: list[Annotation],
        image: Image,
        rule: LabelRule,
        source_input: int = 0,
        lender: Lender = NO_LENDER,
    ) -> None:
        """`lender` has the pictures that the variants' donors name; of the image itself, `annotations` count."""
        self._image = image
        self._rule = rule
        self._own = source_input, image.id
        self._lender = lender
        self._labellers = {self._own: Labeller(annotations, image, rule)}

    def show(self, variant: Variant) -> Labels:
        """The labels of a variant, in its coordinates.

        Every annotation names its source in `source_annotation_id`, and one of another picture that in
        `source_image_id` and `source_input`; `id` and `image_id` are 0.
        """
        labeller = self._labellers[self._own]
        width, height = self._image.width, self._image.height
        if variant.operation == Mosaic.name:
            return mosaic.labels(width, height, variant.donors, self._of_quarter, self._own)
        shown = labeller.show(variant.window)
        if variant.donors:
            pasted = [(donor, *self._lender.pasted(donor)) for donor in variant.donors]
            return paste.labels(shown, width, height, pasted, self._rule)
        if variant.turn is not None:
            return turns.labels(shown, width, height, variant.turn)
        if variant.erased is not None:
            return erase.labels(shown, width, height, variant.erased, self._rule)
        return shown

    def _of_quarter(self, quarter: Donor) -> Labels:
        key = quarter.source_input, quarter.source_id
        if key not in self._labellers:
            lent = self._lender.picture(quarter)
            self._labellers[key] = Labeller(lent.annotations, lent.image, self._rule)
        return self._labellers[key].show(quarter.window, rasterise=False)
