"""The plan: decides the variants of one image. Nothing is drawn at random after this.

Every draw comes from a generator keyed by the recipe's seed, the source image's id and file name, the operation's index
in the recipe and the copy's number, so it depends on nothing else: not on workers, order or other images.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from augment.operations import erase, mosaic, paste, tiles, turns
from augment.operations.crops import center_window, random_window
from augment.operations.donors import Chooser, Donors, to_paste
from augment.operations.labels import Labeller, clipped_box
from augment.operations.parameters import (
    AnyOperation,
    CenterCrop,
    Copy,
    Crop,
    Erase,
    Mosaic,
    Original,
    Paste,
    Pixel,
    Recipe,
    Tile,
    TurnOver,
)
from datasets.images import SUFFIXES
from datasets.records import Annotation, Donor, Grid, Image, Turn, Window


class Variant(msgspec.Struct, frozen=True):
    """One image to make: `window` for a crop or tile, `transform` and `seed` for a pixel transform, and so on; none of
    these for the original.
    """

    operation: str
    window: Window | None = None
    transform: str | None = None
    seed: int | None = None
    donors: tuple[Donor, ...] = ()
    """The pasted objects, or the quarters of a mosaic."""
    edge: int = 0
    """See `Paste.edge`."""
    turn: Turn | None = None
    erased: Grid | None = None

    @property
    def geometry(self) -> Variant:
        """What its labels depend on: variants with the same geometry have the same labels."""
        return msgspec.structs.replace(self, operation=self.operation if self.donors else "", transform=None, seed=None)

    @property
    def unchanged(self) -> bool:
        """Whether the image is the source's file, byte for byte."""
        return self == Variant(self.operation)


class SourceImage(NamedTuple):
    """An image of the input `input` (its index), with its annotations."""

    image: Image
    annotations: Sequence[Annotation] = ()
    input: int = 0


class Dataset(NamedTuple):
    """What the plan of an image takes from all others: the number of its balance copies, and what they may lend."""

    copies: Callable[[Copy], int]
    lending: Lending | None = None


class Lending:
    """The donors of a dataset, and how each operation of a recipe chooses among them."""

    def __init__(self, recipe: Recipe, donors: Donors) -> None:
        self.donors = donors
        self.choosers: dict[int, Chooser] = {}
        for index, operation in enumerate(recipe.operations):
            if isinstance(operation, Paste):
                self.choosers[index] = Chooser(to_paste(donors, operation), donors, operation.choose)
            elif isinstance(operation, Mosaic):
                everything = np.arange(len(donors.pictures))
                self.choosers[index] = Chooser(everything, donors, operation.choose)


def generator(seed: int, source_id: int, file_name: str, operation: int, copy: int) -> np.random.Generator:
    """The random generator of one variant; equal keys give equal streams in every process."""
    key = msgspec.json.encode([seed, source_id, file_name, operation, copy])
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(key).digest()[:16], "little")))


def variants(recipe: Recipe, source: SourceImage, dataset: Dataset) -> list[Variant]:
    """The variants of a source image, in the recipe's order.

    Operations that find nothing to do make no variant: paste and mosaic without donors, and tiles of a picture that is
    one tile where the recipe has the original too.
    """
    image = source.image
    planned: list[Variant] = []
    for index, operation in enumerate(recipe.operations):
        if isinstance(operation, Original):
            planned.append(Variant(operation.name))
        elif isinstance(operation, Tile):
            planned += _tiles(operation, recipe, source, planned)
        else:
            for copy in range(dataset.copies(operation) if isinstance(operation, Copy) else _count(operation)):
                rng = generator(recipe.seed, image.id, image.file_name, index, copy)
                if isinstance(operation, (Paste, Mosaic)):
                    planned += _with_donors(operation, index, source, dataset.lending, rng)
                elif isinstance(operation, TurnOver):
                    of_source = generator(recipe.seed, image.id, image.file_name, index, 0)
                    planned.append(Variant(operation.name, turn=turns.draw(operation, copy, of_source)))
                else:
                    planned.append(_draw(operation, image.width, image.height, rng))
    return planned


def _count(operation: AnyOperation) -> int:
    return getattr(operation, "count", 1)


def _draw(operation: AnyOperation, width: int, height: int, rng: np.random.Generator) -> Variant:
    if isinstance(operation, Crop):
        fraction = float(rng.uniform(*operation.fraction))
        if isinstance(operation, CenterCrop):
            return Variant(operation.name, window=center_window(fraction, width, height))
        return Variant(operation.name, window=random_window(fraction, width, height, rng))
    if isinstance(operation, Erase):
        return Variant(operation.name, erased=erase.draw(operation, width, height, rng))
    assert isinstance(operation, (Pixel, Copy)), operation
    transform = operation.transforms[int(rng.integers(len(operation.transforms)))]
    return Variant(operation.name, transform=transform, seed=int(rng.integers(2**31)))


def _with_donors(
    operation: Paste | Mosaic, index: int, source: SourceImage, lending: Lending | None, rng: np.random.Generator
) -> list[Variant]:
    """A variant that takes from other pictures; none where no other suits."""
    assert lending is not None, "a recipe that pastes needs the donors of its dataset"
    own = lending.donors.index_of(source.input, source.image.id)
    size = source.image.width, source.image.height
    if isinstance(operation, Paste):
        donors = paste.draw(operation, *size, own, lending.donors, lending.choosers[index], rng)
        return [Variant(operation.name, donors=donors, edge=operation.edge)] if donors else []
    donors = mosaic.draw(operation, *size, own, lending.donors, lending.choosers[index], rng)
    return [Variant(operation.name, donors=donors)] if donors else []


def _tiles(operation: Tile, recipe: Recipe, source: SourceImage, before: list[Variant]) -> list[Variant]:
    """All tiles of an image, and those around objects that no tile of the grid keeps.

    An image no larger than a tile is its own, once: not where the recipe has the original, or where it is among the
    variants `before`.
    """
    image = source.image
    if max(image.width, image.height) <= operation.size:
        has_it = any(isinstance(other, Original) for other in recipe.operations)
        has_it |= any(variant.unchanged for variant in before)
        return [] if has_it else [Variant(operation.name)]
    windows = tiles.grid(image.width, image.height, operation.size, operation.overlap)
    cut = _cut_everywhere(source, windows)
    labeller = Labeller(cut, image, recipe.labels)
    kept = {
        item.source_annotation_id
        for window in windows
        for item in labeller.show(window).annotations
        if not item.iscrowd
    }
    is_kept = [item.id in kept for item in cut]
    windows += tiles.around(labeller.boxes, is_kept, image.width, image.height, operation.size)
    return [Variant(operation.name, window=window) for window in windows]


def _cut_everywhere(source: SourceImage, windows: Sequence[Window]) -> list[Annotation]:
    """The objects that are whole in none of some windows."""
    cut = []
    for item in source.annotations:
        box = clipped_box(item, source.image.height, source.image.width)
        if not item.iscrowd and not any(tiles.holds(window, box) for window in windows):
            cut.append(item)
    return cut


def image_records(
    planned: list[Variant], source: Image, source_input: int, source_format: str, first_id: int
) -> list[Image]:
    """The image records of a source's variants, numbered from `first_id`; `file_name` is relative to images/."""
    records = []
    stem = _readable(source.file_name)
    for image_id, variant in enumerate(planned, start=first_id):
        width, height = size_of(variant, source.width, source.height)
        suffix = SUFFIXES[source_format if variant.unchanged else "JPEG"]
        records.append(
            Image(
                id=image_id,
                file_name=f"{image_id:09d}_{stem}_{variant.operation}{suffix}",
                width=width,
                height=height,
                license=source.license,
                coco_url=source.coco_url,
                flickr_url=source.flickr_url,
                date_captured=source.date_captured,
                source_input=source_input,
                source_id=source.id,
                source_file_name=source.file_name,
                operation=variant.operation,
                window=variant.window,
                transform=variant.transform,
                seed=variant.seed,
                donors=variant.donors,
                turn=variant.turn,
                erased=variant.erased,
            )
        )
    return records


def size_of(variant: Variant, width: int, height: int) -> tuple[int, int]:
    """(width, height) of a variant of a width x height source."""
    if variant.window is not None:
        x0, y0, x1, y1 = variant.window
        return x1 - x0, y1 - y0
    return (width, height) if variant.turn is None else turns.size(width, height, variant.turn)


def _readable(file_name: str) -> str:
    """The source's file stem, reduced to characters that every file system allows; the id makes names unique."""
    stem = file_name.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return re.sub(r"[^A-Za-z0-9-]+", "-", stem)[:40].strip("-") or "image"
