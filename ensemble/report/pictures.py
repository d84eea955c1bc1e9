"""Pictures of the page: an image with the outlines of what was found and missed, and of a submission's detections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from datasets.evaluated_masks import parsed
from datasets.pages import pictures
from datasets.pages.pictures import Shape
from datasets.pages.thumbnails import Thumbnail, thumbnails
from datasets.records import BoxXYWH, Category, Dataset, Image, Rle
from datasets.results import Results
from ensemble.report.images import Change, Judged

if TYPE_CHECKING:
    from markupsafe import Markup

# What the shapes of compared pictures mean.
LEGEND = (
    ("truth", "annotated object that was found"),
    ("missed", "annotated object that was missed"),
    ("predicted", "right detection"),
    ("wrong", "wrong detection"),
)


class Drawn(NamedTuple):
    """A picture with the line below it."""

    picture: Markup
    about: str


class Item(NamedTuple):
    """An item of a gallery: an image by name with one or more pictures.

    `words` are those that filters compare; `missing` says why the image file is not shown.
    """

    name: str
    pictures: list[Drawn]
    words: dict[str, str]
    missing: str


class Names(NamedTuple):
    """Categories by id: how each is shown, the word that filters know it by, and the kind of its shapes."""

    shown: dict[int, str]
    kinds: dict[int, str]

    @classmethod
    def of(cls, categories: Sequence[Category]) -> Names:
        """Colours are given in the order of the ids."""
        shown = {item.id: item.name for item in categories}
        kinds = {id_: pictures.category_kind(place) for place, id_ in enumerate(sorted(shown))}
        return cls(shown, kinds)

    def name(self, category_id: int) -> str:
        return self.shown.get(category_id, f"#{category_id}")

    def kind(self, category_id: int) -> str:
        return self.kinds.get(category_id, pictures.category_kind(category_id))


def word(category_id: int) -> str:
    """What filters know a category by, since names may have spaces."""
    return f"category{category_id}"


def words(category_ids: Iterable[int]) -> str:
    return " ".join(word(id_) for id_ in sorted(set(category_ids)))


def compared(
    truth: Dataset, changes: Sequence[Change], before: Judged, after: Judged, called: Sequence[str], folder: Path
) -> list[Item]:
    """Each changed image twice, with what the best single model found and with what the fusion found."""
    names = Names.of(truth.categories)
    rows: dict[int, list[int]] = {image.id: [] for image in truth.images}
    for row, item in enumerate(truth.annotations):
        rows[item.image_id].append(row)
    items = []
    made = thumbnails([truth.images[change.image] for change in changes], folder)
    for change in changes:
        image = truth.images[change.image]
        jpeg, missing = _parted(made[image.id])
        drawn, seen = [], {truth.annotations[row].category_id for row in rows[image.id]}
        for name, judged, f1 in zip(called, (before, after), (change.before, change.after), strict=True):
            shapes = [*truth_shapes(truth, rows[image.id], judged, names), *detection_shapes(image, judged, names)]
            drawn.append(_drawn(image, jpeg, shapes, f"{name}: F1 {f1:.2f}; {counted(shapes)}"))
            seen |= set(judged.results.category_ids[of(judged, image)].tolist())
        effect = "helped" if change.helped else "hurt"
        items.append(Item(called_by(image), drawn, {"effect": effect, "category": words(seen)}, missing))
    return items


def of(judged: Judged, image: Image) -> npt.NDArray[np.int64]:
    """Rows of an image's detections."""
    return np.flatnonzero(judged.results.image_ids == image.id)


def called_by(image: Image) -> str:
    return image.file_name or f"image {image.id}"


def _parted(made: Thumbnail) -> tuple[bytes, str]:
    """A JPEG, and why there is none."""
    return (b"", made) if isinstance(made, str) else (made, "")


def _drawn(image: Image, jpeg: bytes, shapes: Sequence[Shape], about: str) -> Drawn:
    return Drawn(pictures.picture(jpeg, image.height, image.width, shapes, f"{called_by(image)}: {about}"), about)


def counted(shapes: Sequence[Shape]) -> str:
    """`3 right, 1 wrong, 2 missed`"""
    kinds = {"predicted": "right", "wrong": "wrong", "missed": "missed"}
    return ", ".join(f"{sum(shape.kind == kind for shape in shapes)} {what}" for kind, what in kinds.items())


def truth_shapes(truth: Dataset, rows: Sequence[int], judged: Judged, names: Names) -> list[Shape]:
    """The objects of an image, found or missed; a crowd is an ignored region."""
    shapes = []
    for row in rows:
        item = truth.annotations[row]
        kind = "ignored" if item.iscrowd else "truth" if judged.verdicts.found[row] else "missed"
        what = {"ignored": "ignored region", "truth": "annotated", "missed": "missed"}[kind]
        shapes.append(Shape(kind, item.bbox, f"{names.name(item.category_id)}, {what}"))
    return shapes


def detection_shapes(image: Image, judged: Judged, names: Names) -> list[Shape]:
    """An image's detections, right or wrong; those in ignored regions are neither, and left out."""
    shapes = []
    for row in of(judged, image).tolist():
        if not judged.verdicts.ignored[row]:
            kind = "predicted" if judged.verdicts.hits[row] else "wrong"
            shapes.append(Shape(kind, _box(judged.results, row), _label(judged.results, row, names)))
    return shapes


def submitted(images: Sequence[Image], results: Results, categories: Sequence[Category], folder: Path) -> list[Item]:
    """Images with these detections, in the colours of their categories."""
    names = Names.of(categories)
    items = []
    made = thumbnails(images, folder)
    for image in images:
        rows = np.flatnonzero(results.image_ids == image.id)
        # The surest have their labels first.
        rows = rows[np.argsort(-results.scores[rows], kind="stable")]
        jpeg, missing = _parted(made[image.id])
        # The size of an image whose file cannot be read is not to be trusted with a mask.
        shapes = [submitted_shape(results, row, image, names, masks=not missing) for row in rows.tolist()]
        ids = results.category_ids[rows].tolist()
        about = ", ".join(f"{count} {names.name(id_)}" for id_, count in Counter(ids).most_common()) or "nothing found"
        drawn = _drawn(image, jpeg, shapes, about)
        items.append(Item(called_by(image), [drawn], {"category": words(ids)}, missing))
    return items


def submitted_shape(results: Results, row: int, image: Image, names: Names, *, masks: bool) -> Shape:
    """With its category and score in it, if there is room, or its score alone."""
    box, label = _box(results, row), _label(results, row, names)
    is_room = pictures.label_width(label, pictures.letters_of(image.width)) <= box[2]
    short = label if is_room else f"{results.scores[row]:.2f}"
    outlines = _outlines(results, row, image) if masks else []
    return Shape(names.kind(int(results.category_ids[row])), box, label, outlines, short)


def _outlines(results: Results, row: int, image: Image) -> list[npt.NDArray[np.float64]]:
    """None for a mask of another size than its image."""
    mask = parsed(results.segmentations[row]) if results.segmentations is not None else None
    is_other = isinstance(mask, Rle) and tuple(mask.size) != (image.height, image.width)
    return [] if is_other else pictures.outlines_of_mask(mask)


def _box(results: Results, row: int) -> BoxXYWH:
    x, y, width, height = results.boxes_xywh[row].tolist()
    return x, y, width, height


def _label(results: Results, row: int, names: Names) -> str:
    return f"{names.name(int(results.category_ids[row]))} {results.scores[row]:.2f}"
