"""The sizes of the pictures that compiled images are parts of, for INPUT.SCALE source."""

from __future__ import annotations

from collections.abc import Iterable

from datasets.records import Image
from train.data.geometry import Size


def source_sizes(images: Iterable[Image]) -> dict[int, Size | None]:
    """Image id -> the size of the picture that it is a window of, or else its own; None where that is not known.

    A build's JSON has windows but no sizes of sources: these are those of other images of the same source.
    """
    listed = list(images)
    whole = {(image.source_input, image.source_id): _own(image) for image in listed if image.window is None}
    return {
        image.id: _own(image) if image.window is None else whole.get((image.source_input, image.source_id))
        for image in listed
    }


def _own(image: Image) -> Size:
    return Size(image.height, image.width)
