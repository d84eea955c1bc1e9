"""Which images a model was trained on, and what is said of an AP that was measured on them.

An image is known by its id and file name together, since two datasets may give an id twice, and by the SHA-256 of its
file, since a dataset may give a known image another id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from datasets import coco
from datasets.errors import DataError
from datasets.images import path_inside
from datasets.origins import ORIGINS, read_origins
from datasets.records import Image
from datasets.terminal import Progress

BLOCK = 1 << 20


class _Plain(msgspec.Struct, forbid_unknown_fields=True):
    originals: list[tuple[int, str]]
    digests: list[str]
    complete: bool

    def images(self) -> SeenImages:
        return SeenImages(frozenset(self.originals), frozenset(self.digests), self.complete)


class SeenImages(NamedTuple):
    """The images of one or more trainings. `complete` is False where something was trained on that nobody wrote down.

    `originals` are (id, file name) as the images' own dataset has them, `digests` SHA-256 in hex.
    """

    originals: frozenset[tuple[int, str]] = frozenset()
    digests: frozenset[str] = frozenset()
    complete: bool = True

    def joined(self, other: SeenImages) -> SeenImages:
        """The images of either."""
        return SeenImages(
            self.originals | other.originals, self.digests | other.digests, self.complete and other.complete
        )

    def contains(self, id_: int, file_name: str, sha256: str | None = None) -> bool:
        return (id_, file_name) in self.originals or sha256 in self.digests

    def plain(self) -> dict[str, Any]:
        """As numbers, texts and lists, in an order that does not depend on anything."""
        return {
            "originals": [list(pair) for pair in sorted(self.originals)],
            "digests": sorted(self.digests),
            "complete": self.complete,
        }

    @classmethod
    def from_plain(cls, found: Any, origin: str) -> SeenImages:
        """What `plain` gave. None, of a file that does not say, is nothing known. Raises DataError for anything else.

        `origin` is the name of the file, for the error.
        """
        if found is None:
            return UNKNOWN
        try:
            return msgspec.convert(found, _Plain, strict=True).images()
        except msgspec.ValidationError as error:
            raise DataError(f"{origin}: what it says of the images it has seen cannot be read: {error}") from None


NOTHING = SeenImages()
UNKNOWN = SeenImages(complete=False)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file of any size."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def trained_on(places: Iterable[Path]) -> SeenImages:
    """The images of training data: of folders that `augment build` made, and of annotation files.

    Raises DataError for anything else.
    """
    seen = NOTHING
    for place in places:
        seen = seen.joined(_of_build(place) if place.is_dir() else _of_annotations(place))
    return seen


def _of_build(folder: Path) -> SeenImages:
    path = folder / ORIGINS
    if not path.is_file():
        raise DataError(f"{folder}: expected a dataset that `python -m augment build` made, found no {ORIGINS}")
    found = read_origins(path)
    return SeenImages(frozenset((item.id, item.file_name) for item in found), frozenset(item.sha256 for item in found))


def _of_annotations(path: Path) -> SeenImages:
    return SeenImages(frozenset((image.id, image.file_name) for image in coco.read_images(path).images))


def original(image: Image) -> tuple[int, str]:
    """(id, file name) of an image, or of the one that augment made it of, as its own dataset has them."""
    if image.source_id is None or image.source_file_name is None:
        return image.id, image.file_name
    return image.source_id, image.source_file_name


def ids_in(
    seen: SeenImages, images: Sequence[Image], folder: Path | None = None, progress: Progress | None = None
) -> frozenset[int]:
    """The ids of those `images` that are among the seen ones, by their files too where their `folder` is given."""
    found = set()
    reads = folder is not None and bool(seen.digests)
    for done, image in enumerate(images, start=1):
        digest = _digest(image, folder) if reads and folder is not None else None
        if seen.contains(*original(image), digest):
            found.add(image.id)
        if reads and progress is not None:
            progress("reading images", done, len(images))
    return frozenset(found)


def _digest(image: Image, folder: Path) -> str | None:
    path = path_inside(folder.absolute(), image.file_name)
    return sha256_file(path) if path.is_file() else None


def remark(seen: int, images: int) -> str:
    """What stands next to an AP that was measured on `images` images of which `seen` were trained on; "" for none."""
    if not seen:
        return ""
    return "seen in training" if seen == images else f"seen in training: {seen:,} of {images:,} images"
