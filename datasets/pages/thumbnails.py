"""Thumbnails of the images that a page shows, or why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datasets import orientation
from datasets.file_names import locate
from datasets.image_files import Examined, ImageFile, decode, examine_files
from datasets.images import Reading, read_file
from datasets.pages.pictures import thumbnail
from datasets.records import Image

# A JPEG, or why there is none.
Thumbnail = bytes | str


def thumbnails(images: Sequence[Image], folder: Path | None, *, follow_links: bool = False) -> dict[int, Thumbnail]:
    """By image id. All follow one EXIF convention, as in training; links that lead out of the folder are not followed,
    unless `follow_links`.
    """
    if folder is None:
        return {image.id: "the folder of the images is not known" for image in images}
    files = [_file(image, folder.absolute()) for image in images]
    examined = [
        file if isinstance(file, str) else examine_files([file], follow_links=follow_links)[0] for file in files
    ]
    stored = orientation.weigh(
        (image.file_name, item.reading, image.width, image.height)
        for image, item in zip(images, examined, strict=True)
        if isinstance(item, Examined)
    ).on_stored_pixels
    made: dict[int, Thumbnail] = {}
    for image, file, item in zip(images, files, examined, strict=True):
        if isinstance(file, str) or isinstance(item, str):
            made[image.id] = str(item)
        else:
            size = image.width, image.height
            made[image.id] = _thumbnail(file, orientation.follow(item.reading, *size, on_stored_pixels=stored))
    return made


def _file(image: Image, folder: Path) -> ImageFile | str:
    try:
        return ImageFile(locate(folder, image.file_name).path, folder, image.width, image.height)
    except ValueError as error:
        return str(error)


def _thumbnail(file: ImageFile, reading: Reading) -> Thumbnail:
    try:
        return thumbnail(decode(read_file(file.path), reading))
    except (ValueError, OSError) as error:
        return str(error)
