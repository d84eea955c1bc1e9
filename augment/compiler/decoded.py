"""Source files read and decoded in a worker, with a bounded cache for the pictures that others take from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from cachetools import LRUCache

from augment.compiler.inputs import examined
from datasets import images
from datasets.errors import DataError
from datasets.image_files import Examined, decode
from datasets.images import Pixels, Reading
from datasets.sources import Source

# Bytes of pixels that a worker keeps: 290 pictures of 640 x 480 px.
MOST_BYTES = 256 * 2**20

DAMAGED_ADVICE = "replace the file and give the same command again, or leave it out: --restart --skip-bad"


class Decoded(NamedTuple):
    """(height, width, 3) BGR pixels, which nobody may write to, and the SHA-256 of the file."""

    pixels: Pixels
    sha256: str


class DonorCache:
    """The pictures used last, up to MOST_BYTES; one that is larger than that is decoded each time."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        # By all that is known of a file: a process may make several builds, between which files change, and two inputs
        # may share a file and read it in two ways.
        self._kept: LRUCache[tuple[Path, Examined], Decoded] = LRUCache(most_bytes, lambda item: item.pixels.nbytes)

    def get(self, source: Source) -> Decoded:
        """A source's picture. Raises DataError where the file changed since the check, or cannot be decoded."""
        file = examined(source)
        key = source.path, file
        found = self._kept.get(key)
        if found is not None:
            return found
        data = read_unchanged(source.path, file)
        try:
            pixels = decode_bgr(data, file.reading)
        except ValueError as error:
            raise DataError(f"{source.path}: {error}", advice=DAMAGED_ADVICE) from None
        decoded = Decoded(pixels, hashlib.sha256(data).hexdigest())
        if pixels.nbytes <= self._kept.maxsize:
            self._kept[key] = decoded
        return decoded


def decode_bgr(data: bytes, reading: Reading) -> Pixels:
    """The pixels of a file in OpenCV's native order, so that crops need no conversion. Raises ValueError for damage."""
    pixels = images.decode_sound(data, reading)
    return decode(data, reading, "BGR") if pixels is None else pixels


def read_unchanged(path: Path, file: Examined) -> bytes:
    """The file's bytes. Raises DataError where it changed since the check."""
    try:
        data = images.read_file(path)
        changed = len(data) != file.size or path.stat().st_mtime_ns != file.mtime_ns
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: changed while the build ran: {error}") from None
    if changed:
        raise DataError(f"{path}: changed while the build ran; give the same command again")
    return data
