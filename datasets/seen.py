"""Images seen in training: which images a model was trained on, and the note on an AP measured on them.

An image is identified by the SHA-256 of its file; where that is unknown, by id and file name together, since two
datasets may share ids. A compiled image is identified by its source image.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from datasets import coco
from datasets.build_layout import SOURCES, build_of
from datasets.cli import Progress
from datasets.digests import sha256_file
from datasets.errors import DataError
from datasets.file_names import locate
from datasets.records import Image
from datasets.source_digests import read_source_digests

# (id, file name, SHA-256 of the file or None) as in the image's own dataset.
SeenImage = tuple[int, str, str | None]


class _Plain(msgspec.Struct, forbid_unknown_fields=True):
    images: list[SeenImage]
    complete: bool


class SeenImages:
    """The images of one or more trainings; `complete` is False where part of the training data is not on record."""

    def __init__(self, images: Iterable[SeenImage] = (), *, complete: bool = True) -> None:
        self.images = frozenset(images)
        self.complete = complete
        self.digests = frozenset(digest for _, _, digest in self.images if digest is not None)
        self._digests_of: dict[tuple[int, str], set[str | None]] = defaultdict(set)
        for id_, file_name, digest in self.images:
            self._digests_of[id_, file_name].add(digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SeenImages) and (self.images, self.complete) == (other.images, other.complete)

    def __hash__(self) -> int:
        return hash((self.images, self.complete))

    def __repr__(self) -> str:
        return f"SeenImages({sorted(self.images, key=_in_order)!r}, complete={self.complete})"

    def joined(self, other: SeenImages) -> SeenImages:
        """The union of both."""
        return SeenImages(self.images | other.images, complete=self.complete and other.complete)

    def contains(self, id_: int, file_name: str, sha256: str | None = None) -> bool:
        """Whether an image was seen: by digest where both are known, else by id and file name."""
        if sha256 in self.digests:
            return True
        known = self._digests_of.get((id_, file_name), set())
        return bool(known) and (sha256 is None or None in known)

    def plain(self) -> dict[str, Any]:
        """As plain lists, numbers and strings, in a canonical order."""
        return {"images": [list(image) for image in sorted(self.images, key=_in_order)], "complete": self.complete}

    @classmethod
    def from_plain(cls, content: Any, origin: str) -> SeenImages:
        """The inverse of `plain`; None, from a file that lacks it, gives UNKNOWN.

        `origin` is the name of the file, for the DataError raised for anything else.
        """
        if content is None:
            return UNKNOWN
        try:
            read = msgspec.convert(content, _Plain, strict=True)
        except msgspec.ValidationError as error:
            raise DataError(f"{origin}: what it says of the images it has seen cannot be read: {error}") from None
        return cls(read.images, complete=read.complete)


def _in_order(image: SeenImage) -> tuple[int, str, str]:
    id_, file_name, digest = image
    return id_, file_name, digest or ""


NOTHING = SeenImages()
UNKNOWN = SeenImages(complete=False)


def of_build(folder: Path) -> SeenImages:
    """The source images of a build's folder. Raises DataError where it lacks sources.jsonl."""
    path = folder / SOURCES
    if not path.is_file():
        raise DataError(f"{folder}: expected a dataset that `python -m augment build` made, found no {SOURCES}")
    return SeenImages((item.id, item.file_name, item.source_sha256) for item in read_source_digests(path))


def trained_on(paths: Iterable[Path]) -> SeenImages:
    """The images of training data: folders of builds, and annotation files.

    Raises DataError for anything else.
    """
    seen = NOTHING
    for path in paths:
        folder = path if path.is_dir() else build_of(path)
        seen = seen.joined(_of_annotations(path) if folder is None else of_build(folder))
    return seen


def _of_annotations(path: Path) -> SeenImages:
    return SeenImages((image.id, image.file_name, None) for image in coco.read_images(path).images)


def original(image: Image) -> tuple[int, str]:
    """(id, file name) of an image, or of its source image where augment made it."""
    if image.source_id is None or image.source_file_name is None:
        return image.id, image.file_name
    return image.source_id, image.source_file_name


def ids_in(
    seen: SeenImages, images: Sequence[Image], folder: Path | None = None, progress: Progress | None = None
) -> frozenset[int]:
    """The ids of those `images` that were seen, compared by file content too where their `folder` is given.

    Raises DataError for a missing folder.
    """
    if folder is not None and not folder.is_dir():
        raise DataError(f"{folder}: expected the folder of the images, found none")
    seen_ids = set()
    reads = folder is not None and bool(seen.digests)
    for done, image in enumerate(images, start=1):
        digest = _digest(image, folder) if reads and folder is not None else None
        if seen.contains(*original(image), digest):
            seen_ids.add(image.id)
        if reads and progress is not None:
            progress("reading images", done, len(images))
    return frozenset(seen_ids)


def _digest(image: Image, folder: Path) -> str | None:
    """None for a compiled image, whose file differs from its source's."""
    path = locate(folder.absolute(), image.file_name).path
    return sha256_file(path) if image.source_id is None and path.is_file() else None


def seen_note(seen: int, images: int) -> str:
    """The note for an AP measured on `images` images, `seen` of which were trained on; "" for none."""
    if not seen:
        return ""
    return "seen in training" if seen == images else f"seen in training: {seen:,} of {images:,} images"
