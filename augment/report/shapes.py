"""The shapes over a variant's picture: what is kept, ignored, pasted and dropped, and what a caption says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from augment.operations.labels import CROWD, DROP, IGNORE, KEEP, PASTED
from augment.operations.parameters import Mosaic
from augment.report.finished import Key
from augment.report.views import DroppedObject, dropped, picture_of
from datasets.pages.pictures import Shape, outlines_of
from datasets.records import Annotation, BoxXYWH, Image

# Of a picture, the largest; and of an object's outlines.
MOST_SHAPES, MOST_OUTLINES = 60, 12
# Categories that a caption names.
MOST_NAMED = 6


class Drawn(NamedTuple):
    """What is drawn over a variant, the number of objects of each of CASES, and the categories of all of them.

    `unseen` is the number of dropped objects that lie wholly outside, `left_out` that of smaller ones beyond the limit.
    """

    shapes: list[Shape]
    cases: Counter[str]
    categories: Counter[int]
    unseen: int
    left_out: int


def drawn(
    image: Image,
    annotations: Sequence[Annotation],
    originals: Mapping[Key, Sequence[Annotation]],
    names: Mapping[int, str],
) -> Drawn:
    """`originals` are the annotations of the sources that a variant shows, as far as the build has their originals."""
    crowds = {(key, item.source_annotation_id) for key, found in originals.items() for item in found if item.iscrowd}
    cases = [_case(item, image, crowds) for item in annotations]
    lost = list(dropped(image, annotations, originals))
    seen = [(item, item.box_xywh) for item in lost if item.box_xywh is not None]
    makers = [(box, partial(_lost_shape, item, box, names)) for item, box in seen]
    makers += [
        (item.bbox, partial(_shape, item, case, image, names)) for item, case in zip(annotations, cases, strict=True)
    ]
    # The smallest on top.
    makers.sort(key=lambda maker: -maker[0][2] * maker[0][3])
    return Drawn(
        [make() for _, make in makers[:MOST_SHAPES]],
        Counter(cases) + Counter({DROP: len(lost)}),
        Counter(item.category_id for item in [*annotations, *(item.annotation for item in lost)]),
        len(lost) - len(seen),
        max(0, len(makers) - MOST_SHAPES),
    )


def counts_text(found: Drawn) -> str:
    """`3 kept, 1 ignored, 2 dropped (1 wholly outside)`."""
    outside = f" ({found.unseen:,} wholly outside)" if found.unseen else ""
    parts = [f"{found.cases[case]:,} {text}" for case, text in _CASE_NAMES.items() if found.cases[case]]
    return f"{', '.join(parts)}{outside}" if parts else "no object"


def categories_text(found: Drawn, names: Mapping[int, str]) -> str:
    """`person 3, dog`: the categories of a picture's objects, the commonest first."""
    parts = [f"{names[id_]} {count:,}" if count > 1 else names[id_] for id_, count in found.categories.most_common()]
    return ", ".join([*parts[:MOST_NAMED], f"and {len(parts) - MOST_NAMED} more"] if len(parts) > MOST_NAMED else parts)


# In the order of a caption, in which dropped ones come last.
_CASE_NAMES = {KEEP: "kept", PASTED: "kept of other images", IGNORE: "ignored", CROWD: "crowd", DROP: "dropped"}


def _case(item: Annotation, image: Image, crowds: set[tuple[Key, int | None]]) -> str:
    if item.iscrowd:
        return CROWD if (picture_of(item, image), item.source_annotation_id) in crowds else IGNORE
    return KEEP if item.source_image_id is None else PASTED


def _shape(item: Annotation, case: str, image: Image, names: Mapping[int, str]) -> Shape:
    origin = f", {_origin(item, image)}" if item.source_image_id is not None else ""
    outlines = sorted(outlines_of(item), key=len, reverse=True)[:MOST_OUTLINES]
    kind = IGNORE if case == CROWD else case
    shown = KEEP if case == PASTED else case
    return Shape(kind, item.bbox, f"{names[item.category_id]}: {shown}{origin}", outlines)


def _origin(item: Annotation, image: Image) -> str:
    verb = "shown" if image.operation == Mosaic.name else "pasted"
    return f"{verb} from image {item.source_image_id}, its object {item.source_annotation_id}"


def _lost_shape(item: DroppedObject, box_xywh: BoxXYWH, names: Mapping[int, str]) -> Shape:
    annotation = item.annotation
    return Shape(DROP, box_xywh, f"{names[annotation.category_id]}: dropped (object {annotation.source_annotation_id})")
