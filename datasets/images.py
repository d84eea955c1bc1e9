"""The one image decoder and the one encoder: JPEG and PNG files <-> (height, width, 3) uint8 RGB arrays.

The format is detected from the bytes, never from the name. `examine` reads headers only and is used by every check;
`decode` makes pixels of files that `examine` accepted.
"""

from __future__ import annotations

import io
import stat
import warnings
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import ExifTags, UnidentifiedImageError
from PIL import Image as PillowImage

from datasets.errors import DataError
from datasets.exif import set_upright
from datasets.jpeg import Chroma, has_quantization_tables, scan_start, segments, without_stray_bytes
from datasets.jpeg import chroma as jpeg_chroma
from datasets.signatures import describe

Pixels = npt.NDArray[np.uint8]  # (height, width, 3), RGB unless stated otherwise
Order = Literal["RGB", "BGR"]

MAX_PIXELS = 200_000_000
MAX_BYTES = 2**30
# libjpeg's longest side (JPEG_MAX_DIMENSION); crops of a longer PNG could not be encoded.
MAX_SIDE = 65_500
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png"}
# Pillow refuses images of more than twice this many pixels when it reads the head.
PillowImage.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
# Sequential frames, and the chroma subsamplings that every version of libjpeg-turbo decodes alike.
_SEQUENTIAL = {0xC0, 0xC1}
_SUBSAMPLINGS = {"444", "422", "420", "Gray"}
_SAMPLING: dict[Chroma, int] = {
    "444": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "422": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "420": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "440": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
    "411": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411,
}
_PNG_END = b"IEND\xaeB`\x82"
# PNG chunks that can carry an orientation: EXIF, EXIF in a text chunk, XMP.
_PNG_ORIENTATION_MARKS = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")


class Header(NamedTuple):
    """The head of an image file. `width` and `height` are as stored, before the EXIF `orientation` (1-8) is applied."""

    format: str
    width: int
    height: int
    orientation: int
    bits: int

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) with the EXIF orientation applied."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


class Reading(NamedTuple):
    """How to read a file's pixels so that they match its annotations."""

    format: str
    orientation: int
    """The EXIF orientation to apply; 1 for none."""
    strip_orientation: bool
    """The file has an orientation that its annotations do not follow; it has to be reset in copies."""


def path_inside(folder: Path, file_name: str) -> Path:
    """`folder / file_name`, without `.` and `..`; the file need not exist.

    Raises ValueError where the name is empty, absolute or leads out of the folder.
    """
    posix, windows = PurePosixPath(file_name), PureWindowsPath(file_name)
    if not posix.parts or "\0" in file_name:
        raise ValueError("is empty or holds a NUL character")
    if posix.is_absolute() or windows.drive or windows.root:
        raise ValueError("is absolute")
    _without_dots(windows.parts)
    parts = _without_dots(posix.parts)
    if not parts:
        raise ValueError("is the image folder itself")
    return folder.joinpath(*parts)


def _without_dots(parts: Iterable[str]) -> list[str]:
    """The parts of a path with each `..` resolved lexically, not by links. Raises ValueError where it leads out."""
    kept: list[str] = []
    for part in parts:
        if part != "..":
            kept.append(part)
        elif kept:
            kept.pop()
        else:
            raise ValueError("climbs out of the image folder")
    return kept


def read_file(path: Path) -> bytes:
    """The bytes of a regular file. Raises ValueError where there is none, or its size is implausible."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("expected an image file, found a folder or a device")
        if status.st_size > MAX_BYTES:
            raise ValueError(f"expected an image file of at most {MAX_BYTES:,} bytes, found {status.st_size:,}")
        return path.read_bytes()
    except FileNotFoundError:
        raise ValueError("expected an image file, found none") from None
    except OSError as error:
        raise ValueError(f"expected a readable image file, found: {error.strerror}") from None


def examine(data: bytes, width: int, height: int, *, on_stored_pixels: bool = False) -> Reading:
    """Check an image file against the size in its record, and decide how to read it.

    The EXIF orientation is applied where the upright size is the given one (as Detectron2 does), ignored where only the
    stored size is; where both are, `on_stored_pixels` decides (see `datasets.orientation`). Raises ValueError,
    `expected ..., found ...`, for empty, truncated, foreign, 16-bit and oversized files, and for another size.
    """
    header = _read_header(data)
    if header.bits > 8:
        raise ValueError(
            f"expected 8 bits a channel, found {header.bits}; convert it first, e.g. `mogrify -depth 8 FILE`"
        )
    if max(header.width, header.height) > MAX_SIDE:
        raise ValueError(
            f"expected sides of at most {MAX_SIDE:,} px, the most that a JPEG can have, found {header.width:,} x "
            f"{header.height:,}; cut or shrink the image, and its annotations with it"
        )
    _check_whole(data, header.format)
    is_upright = header.upright_size == (width, height)
    is_stored = (header.width, header.height) == (width, height)
    if is_upright and not (is_stored and on_stored_pixels and header.orientation != 1):
        return Reading(header.format, header.orientation, False)
    if is_stored:
        return Reading(header.format, 1, True)
    upright = "" if header.orientation == 1 else f" (upright {header.upright_size[0]} x {header.upright_size[1]})"
    raise ValueError(
        f"expected {width} x {height} px as in the annotation file, found {header.width} x {header.height}{upright}"
    )


def upright_size(data: bytes) -> tuple[int, int]:
    """(width, height) from an image file's head, with its EXIF orientation applied. Raises ValueError."""
    return _read_header(data).upright_size


def decode(data: bytes, reading: Reading, order: Order = "RGB") -> Pixels:
    """(height, width, 3) pixels in `order`.

    Grey, palette, CMYK and alpha images are converted; alpha is dropped, not blended. Raises ValueError for pixel data
    that cannot be decoded.
    """
    buffer = np.frombuffer(_as_decoders_want(data), dtype=np.uint8)
    color = cv2.IMREAD_COLOR_RGB if order == "RGB" else cv2.IMREAD_COLOR
    pixels = cv2.imdecode(buffer, color | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise ValueError(f"expected a whole {reading.format} image, found pixel data that cannot be decoded")
    return _turn(np.asarray(pixels, dtype=np.uint8), reading.orientation)


def decode_sound(data: bytes, reading: Reading) -> Pixels | None:
    """(height, width, 3) BGR pixels of a common JPEG without damage, decoded and checked in one pass.

    The pixels are those of `decode`. None for all other files, about which only `decode` and `damage.check_pixels`
    know more: PNG, progressive and CMYK files, and whatever libjpeg warns of.
    """
    if reading.format != "JPEG":
        return None
    whole = without_stray_bytes(data)
    if not any(marker in _SEQUENTIAL for marker, _, _ in segments(whole)):
        return None
    try:
        *_, space, subsampling = simplejpeg.decode_jpeg_header(whole)
        if space not in ("YCbCr", "Gray") or subsampling not in _SUBSAMPLINGS:
            return None
        pixels = simplejpeg.decode_jpeg(whole, colorspace="BGR", strict=True)
    except ValueError:
        return None
    return _turn(pixels, reading.orientation)


def swapped(pixels: Pixels) -> Pixels:
    """RGB -> BGR, and back."""
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), dtype=np.uint8)


def chroma_of(data: bytes, reading: Reading) -> Chroma:
    """The chroma subsampling of an image file; 444 for PNG, which has none."""
    return jpeg_chroma(data) if reading.format == "JPEG" else "444"


def encode_jpeg(pixels: Pixels, quality: int, order: Order = "RGB", chroma: Chroma = "420") -> memoryview:
    """(height, width, 3) pixels in `order` -> a baseline JPEG. At the same quality, 444 loses an eighth of what 420
    does.
    """
    bgr = swapped(pixels) if order == "RGB" else pixels
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _SAMPLING[chroma]]
    done, buffer = cv2.imencode(".jpg", bgr, settings)
    if not done:
        raise DataError(f"an image of {pixels.shape[1]} x {pixels.shape[0]} px cannot be encoded as JPEG")
    return buffer.data


def encode_png(pixels: Pixels, order: Order = "RGB") -> memoryview:
    """(height, width, 3) pixels in `order` -> a PNG."""
    done, buffer = cv2.imencode(".png", swapped(pixels) if order == "RGB" else pixels)
    if not done:
        raise DataError(f"an image of {pixels.shape[1]} x {pixels.shape[0]} px cannot be encoded as PNG")
    return buffer.data


def without_orientation(data: bytes, reading: Reading) -> bytes:
    """The same file with its EXIF orientation reset to upright, pixel data unchanged. Raises ValueError if that
    fails.
    """
    patched = set_upright(data, reading.format)
    if _read_header(patched).orientation != 1:
        raise ValueError("expected an EXIF orientation that can be taken out, found one that cannot")
    return patched


def _read_header(data: bytes) -> Header:
    if not data:
        raise ValueError("expected a JPEG or PNG file, found 0 bytes")
    is_png = data[:4] == b"\x89PNG"
    try:
        with warnings.catch_warnings():
            # Pillow warns from half of that on.
            warnings.simplefilter("ignore")
            with PillowImage.open(io.BytesIO(_as_decoders_want(data)), formats=("JPEG", "PNG")) as picture:
                width, height = picture.size
                orientation = _orientation(picture, data)
    except PillowImage.DecompressionBombError as error:
        raise ValueError(f"expected at most {MAX_PIXELS:,} pixels, found more ({error})") from None
    except UnidentifiedImageError:
        found = describe(data) or "something else or a damaged head"
        raise ValueError(f"expected a JPEG or PNG file, found {found}") from None
    except Exception as error:  # Pillow's parsers raise whatever a damaged file makes them run into.
        raise ValueError(f"expected a JPEG or PNG file, found a damaged head ({error})") from None
    # Pillow opens 16-bit RGB as 8-bit, hence the check of the byte in PNG's IHDR; it refuses 12-bit JPEG itself.
    bits = data[24] if is_png else 8
    if not isinstance(orientation, int) or not 1 <= orientation <= 8:
        orientation = 1
    return Header("PNG" if is_png else "JPEG", width, height, orientation, bits)


def _as_decoders_want(data: bytes) -> bytes:
    """A JPEG without stray bytes in its head: libjpeg skips them, but Pillow and OpenCV do not."""
    return without_stray_bytes(data) if data.startswith(b"\xff\xd8") else data


def _orientation(picture: PillowImage.Image, data: bytes) -> object:
    # Pillow decodes a whole PNG to answer this, so it is asked only where such a chunk exists.
    if picture.format == "PNG" and not any(mark in data for mark in _PNG_ORIENTATION_MARKS):
        return 1
    return picture.getexif().get(ExifTags.Base.Orientation, 1)


def _check_whole(data: bytes, file_format: str) -> None:
    """Raise ValueError for a file that is truncated, or lacks the tables to decode it.

    Decoders silently fill missing pixels with grey.
    """
    if file_format == "PNG":
        whole = _PNG_END in data
    else:
        # In a JPEG's pixel data FF is escaped, so an end marker there is real; that of a thumbnail comes before it.
        # Cameras append data, so it need not end the file.
        start = scan_start(data)
        whole = start >= 0 and (data.endswith(b"\xff\xd9") or data.find(b"\xff\xd9", start) >= 0)
    if not whole:
        raise ValueError(f"expected a whole {file_format} file, found one that was cut short at {len(data):,} bytes")
    if file_format == "JPEG" and not has_quantization_tables(data):
        raise ValueError("expected a JPEG file with its quantization tables, found one without")


def _turn(pixels: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation (EXIF 2.32, table of tag 0x0112)."""
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    flips = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}.get(orientation, ())
    return np.ascontiguousarray(np.flip(pixels, flips))
