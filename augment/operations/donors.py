"""Donors: the objects and images of a dataset that paste and mosaic may take, and how one of them is chosen."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from augment.operations.labels import corners
from augment.operations.parameters import Choice, Paste
from datasets.masks import mask_bounds
from datasets.records import Annotation, Image, Window

Indices = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
# (n,) indices of objects -> (n,) whether each suits.
Suits = Callable[[Indices], Booleans]
# Draws before all objects are looked at.
TRIES = 8


class Picture(NamedTuple):
    """An image of the dataset, by the index of its input and its id there."""

    input: int
    id: int
    width: int
    height: int


class Donors:
    """All pictures of a dataset, and their objects without crowds, in the order of the dataset.

    Parallel arrays of the objects: `pictures` (n,) indices into `listed`, `annotations` (n,) ids, `categories` (n,)
    ids, `windows` (n, 4) half-open pixel ranges that hold the mask (or the box), `masked` (n,) whether there is a mask.
    Of the pictures, `same` is the first one of the same file name and size: the same file, where two inputs share it.
    """

    def __init__(self, sources: Iterable[tuple[int, Image, Sequence[Annotation]]]) -> None:
        """`sources`: (index of the input, image, its annotations) of each image that may be a donor."""
        self.listed: list[Picture] = []
        self._index: dict[tuple[int, int], int] = {}
        first: dict[tuple[str, int, int], int] = {}
        same = []
        names = hashlib.sha256()
        rows: list[tuple[int, int, int, bool]] = []
        windows: list[Window] = []
        for input_, image, objects in sources:
            at = len(self.listed)
            self._index[input_, image.id] = at
            same.append(first.setdefault((image.file_name, image.width, image.height), at))
            self.listed.append(Picture(input_, image.id, image.width, image.height))
            names.update(f"{image.file_name}\n".encode("utf-8", "surrogatepass"))
            for item in objects:
                if not item.iscrowd:
                    rows.append((at, item.id, item.category_id, item.segmentation is not None))
                    windows.append(extent(item, image))
        self._names = names.digest()
        self.same: Indices = np.array(same, dtype=np.int64)
        table = np.array(rows, dtype=np.int64).reshape(-1, 4)
        self.pictures, self.annotations, self.categories = (np.ascontiguousarray(column) for column in table.T[:3])
        self.masked = table[:, 3].astype(np.bool_)
        self.windows: Indices = np.array(windows, dtype=np.int64).reshape(-1, 4)

    def index_of(self, input_: int, image_id: int) -> int:
        """The index of an image in `listed`; -1 for one that is not there."""
        return self._index.get((input_, image_id), -1)

    def differ(self, own: int, pictures: Indices) -> Booleans:
        """Which of some pictures are not the picture `own`, nor the same file in another input."""
        return np.asarray(self.same[pictures] != self.same[own])

    def whole(self) -> Booleans:
        """(n,) Whether an object does not touch its picture's border, where it may go on."""
        sizes = np.array([(item.width, item.height) for item in self.listed], dtype=np.int64).reshape(-1, 2)
        inside = (self.windows[:, :2] >= 1) & (self.windows[:, 2:] <= sizes[self.pictures] - 1)
        return np.asarray(inside.all(axis=1))

    def sha256(self) -> str:
        """The digest of the list: a picture more or less changes what is drawn for others."""
        digest = hashlib.sha256(self._names)
        pictures = np.column_stack((np.array(self.listed, dtype=np.int64).reshape(-1, 4), self.same))
        for column in (pictures, self.pictures, self.annotations, self.categories, self.windows, self.masked):
            digest.update(np.ascontiguousarray(column).astype("<i8").tobytes())
        return digest.hexdigest()


def extent(item: Annotation, image: Image) -> Window:
    """The pixels of an image that an object's mask, or else its box, lies in; without area where it has none."""
    x0, y0, x1, y1 = mask_bounds(item.segmentation) if item.segmentation else corners(item.bbox)
    return (
        max(0, math.floor(x0)),
        max(0, math.floor(y0)),
        min(image.width, math.ceil(x1)),
        min(image.height, math.ceil(y1)),
    )


def to_paste(donors: Donors, operation: Paste) -> Indices:
    """The objects that `operation` may paste: with a mask (or any, with `boxes`), whole, and not too small."""
    sides = (donors.windows[:, 2:] - donors.windows[:, :2]).min(axis=1, initial=1 << 40)
    suitable = donors.whole() & (sides > 0) & (sides * operation.scale[1] >= operation.min_size)
    if not operation.boxes:
        suitable &= donors.masked
    return np.flatnonzero(suitable)


class Chooser:
    """Draws one of `items` by its category: rare first, or all alike."""

    def __init__(self, items: Indices, donors: Donors, choose: Choice) -> None:
        self._items = items
        self._donors = donors
        self._choose = choose
        self._groups: list[Indices] = [items]
        self._ends = np.ones(1)
        if choose == "rare" and len(items):
            categories = donors.categories[items]
            # How rare a category is, all its objects tell, not only those that can be taken.
            everything, objects = np.unique(donors.categories, return_counts=True)
            present = np.isin(everything, categories)
            weights = 1 / np.sqrt(objects[present])
            self._groups = [items[categories == category] for category in everything[present]]
            self._ends = np.cumsum(weights / weights.sum())

    def __call__(self, rng: np.random.Generator, suits: Suits) -> int | None:
        """An index into the arrays of the donors, of an object that suits; None where none does.

        Most objects suit most images, so a few draws are tried before all are looked at.
        """
        if not len(self._items):
            return None
        for _ in range(TRIES):
            drawn = self._draw(rng)
            if suits(drawn)[0]:
                return int(drawn[0])
        suitable = self._items[suits(self._items)]
        if not len(suitable):
            return None
        return int(Chooser(suitable, self._donors, self._choose)._draw(rng)[0])

    def _draw(self, rng: np.random.Generator) -> Indices:
        """(1,)"""
        # Rounding may leave the last end a little below 1.
        group = self._groups[min(int(np.searchsorted(self._ends, rng.random(), "right")), len(self._groups) - 1)]
        at = int(rng.integers(len(group)))
        return group[at : at + 1]
