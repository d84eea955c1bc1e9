"""BCCD's repository as COCO data: its images by split, its boxes, and what must come of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from datasets import coco
from datasets.digests import sha256_file
from datasets.errors import DataError, Problems
from datasets.images import examine, upright_size
from datasets.records import Dataset
from scripts.downloading.archives import check_members
from scripts.downloading.voc import Marked, as_categories, names_listed, read_marked, to_coco

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

CATEGORIES = {"RBC": 1, "WBC": 2, "Platelets": 3}
INFO = {
    "description": "BCCD: photographs of blood smears under a microscope, with boxes. Converted from Pascal VOC's XML;"
    " boxes are clipped to their picture, and those without area left out.",
    "url": "https://github.com/Shenggan/BCCD_Dataset",
    "year": 2017,
}
LICENSES = [{"id": 1, "name": "MIT License, Copyright (c) 2017 shenggan", "url": "https://opensource.org/license/mit"}]

# The most that files may have, in bytes; the real ones have a tenth of it.
UNPACKED = 128_000_000
LIST, XML, JPEG, LICENSE = 100_000, 1_000_000, 4_000_000, 100_000


class Split(NamedTuple):
    """What a split must be. The digests are SHA-256 of what `image_lines` and `object_lines` give."""

    images: int
    objects: int
    image_digest: str
    object_digest: str


SPLITS = {
    "train": Split(
        images=205,
        objects=2804,
        image_digest="f60832f4c0a1dcc733717d4ac26939b3a26087d0d1a4c5b5082e42dfd461eb95",
        object_digest="1819eb0f826f997800239fc10d1c84506e897ae254a785042ed11e5b29b31a1b",
    ),
    "val": Split(
        images=87,
        objects=1137,
        image_digest="dfbcc2ee0a8bcd4e7d2f0605f79e4b30ec6812dcd6064087dff7967aada86578",
        object_digest="542a09cf5e858a13ca3a5c872d623e9fdc1a4a7c4dfe2585e5a53cbfb6be12bf",
    ),
    "test": Split(
        images=72,
        objects=945,
        image_digest="ffd6a636a2b3f01cf0e15dccdf87a4f62bf7b0aa21cdb8b6637291520861990b",
        object_digest="c669a6b9c1fef15f380996a7b9d1ea30c91872138fa2e64bebcb6bad016dc920",
    ),
}
# Their names in messages.
_FIELDS = {
    "images": "images",
    "objects": "objects",
    "image_digest": "as the digest of its images",
    "object_digest": "as the digest of its objects",
}


class Repository:
    """The files of an archive, by their path in the repository; GitHub puts all of them into one folder.

    Raises DataError for an archive that would do harm.
    """

    def __init__(self, archive: ZipFile, name: str) -> None:
        members = archive.infolist()
        root = members[0].filename.partition("/")[0] if members else ""
        check_members(members, name, root, UNPACKED)
        self.name = name
        self._archive = archive
        self._members: dict[str, ZipInfo] = {member.filename.removeprefix(f"{root}/"): member for member in members}

    def read(self, path: str, limit: int) -> bytes:
        """The bytes of a file. Raises ValueError where there is none or it has more than `limit`."""
        member = self._members.get(path)
        if member is None:
            raise ValueError(f"{path}: expected a file, found none")
        if member.file_size > limit:
            raise ValueError(f"{path}: expected at most {limit:,} bytes, found {member.file_size:,}")
        return self._archive.read(member)


def write(repository: Repository, folder: Path, splits: Iterable[str]) -> int:
    """Write FOLDER/annotations/instances_SPLIT.json, FOLDER/SPLIT/*.jpg and FOLDER/LICENSE.

    Returns the number of objects that were left out since they have no area. Raises DataError with all files that
    cannot be used.
    """
    left_out, problems = 0, Problems()
    (folder / "annotations").mkdir()
    for split, names in _listed(repository, splits).items():
        (folder / split).mkdir()
        pictures = list(_pictures(repository, names, folder / split, problems))
        dataset = as_dataset(pictures)
        coco.write(folder / "annotations" / f"instances_{split}.json", dataset)
        left_out += sum(len(picture.objects) for picture in pictures) - len(dataset.annotations)
    _write_license(repository, folder / "LICENSE", problems)
    problems.raise_if_any(f"{repository.name}: {{n}} file(s) cannot be used")
    return left_out


def _listed(repository: Repository, splits: Iterable[str]) -> dict[str, list[str]]:
    """The names of the images of each split. Raises DataError, also for an image in two of them."""
    listed: dict[str, list[str]] = {}
    problems = Problems()
    for split in splits:
        path = f"BCCD/ImageSets/Main/{split}.txt"
        try:
            text = repository.read(path, LIST).decode(errors="replace")
        except ValueError as error:
            raise DataError(f"{repository.name}: {error}") from None
        listed[split] = names_listed(text, f"{repository.name}: {path}")
        for other in listed.keys() - {split}:
            for name in sorted({*listed[split]} & {*listed[other]}):
                problems.add(f"{name}: expected in one split, found in {other} and {split}")
    problems.raise_if_any(f"{repository.name}: {{n}} image(s) in two splits")
    return listed


def _pictures(repository: Repository, names: Iterable[str], folder: Path, problems: Problems) -> Iterator[Marked]:
    """The annotated pictures of a split, whose files are written to `folder`."""
    for name in names:
        xml, jpeg = f"BCCD/Annotations/{name}.xml", f"BCCD/JPEGImages/{name}.jpg"
        try:
            data = repository.read(jpeg, JPEG)
            marked = _marked(repository.read(xml, XML), xml, f"{name}.jpg", _jpeg_size(data, jpeg))
        except ValueError as error:
            problems.add(str(error))
        else:
            (folder / marked.file_name).write_bytes(data)
            yield marked


def _jpeg_size(data: bytes, path: str) -> tuple[int, int]:
    """(width, height) of a whole JPEG. Raises ValueError."""
    try:
        size = upright_size(data)
        reading = examine(data, *size)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if reading.format != "JPEG":
        raise ValueError(f"{path}: expected a JPEG, found a {reading.format}")
    return size


def _marked(data: bytes, path: str, file_name: str, size: tuple[int, int]) -> Marked:
    try:
        return read_marked(data, file_name, size, list(CATEGORIES))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def as_dataset(pictures: list[Marked]) -> Dataset:
    images, annotations = to_coco(pictures, CATEGORIES)
    return Dataset(
        info=INFO, licenses=LICENSES, categories=as_categories(CATEGORIES), images=images, annotations=annotations
    )


def _write_license(repository: Repository, path: Path, problems: Problems) -> None:
    try:
        path.write_bytes(repository.read("LICENSE", LICENSE))
    except ValueError as error:
        problems.add(str(error))


def image_lines(folder: Path) -> Iterator[str]:
    """What `LC_ALL=C sha256sum *` prints in a folder of images."""
    for path in sorted(folder.iterdir()):
        yield f"{sha256_file(path)}  {path.name}\n"


def object_lines(dataset: Dataset) -> Iterator[str]:
    """Categories, images and annotations, one a line, without what no result depends on."""
    for category in dataset.categories:
        yield f"category {category.id} {category.name}\n"
    for image in dataset.images:
        yield f"image {image.id} {image.file_name} {image.width} {image.height}\n"
    for item in dataset.annotations:
        yield f"object {item.id} {item.image_id} {item.category_id} {item.iscrowd} {[float(x) for x in item.bbox]}\n"


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode())
    return digest.hexdigest()


def measure(folder: Path, split: str) -> Split:
    """What the split in a folder written by `write` is. Raises DataError or OSError where it is something else."""
    dataset = coco.read(folder / "annotations" / f"instances_{split}.json").dataset
    pictures = list(image_lines(folder / split))
    return Split(len(pictures), len(dataset.annotations), _digest(pictures), _digest(object_lines(dataset)))


def differences(folder: Path, splits: Mapping[str, Split]) -> list[str]:
    """How the splits in a folder differ from what they must be; none where they do not."""
    return [
        f"{name}: expected {expected} {_FIELDS[field]}, found {found}"
        for name, split in splits.items()
        for field, expected, found in zip(split._fields, split, measure(folder, name), strict=True)
        if found != expected
    ]
