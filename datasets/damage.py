"""Damage that only decoding finds: libjpeg warns of it, and OpenCV decodes past it in silence.

The pixels decoded here are discarded.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import simplejpeg

from datasets.jpeg import without_stray_bytes

# What libjpeg says of a head that it nevertheless understands (jerror.h); warnings about pixels come later.
_HARMLESS = (
    "Unknown Adobe color transform code",
    "Warning: unknown JFIF revision number",
    "Invalid SOS parameters for sequential JPEG",
)
# Limits of TurboJPEG itself, such as rare chroma subsamplings, which are no fault of the file.
_NOT_LIBJPEG = "tj"
_CRITICAL = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
# Samples per pixel of PNG's colour types, and (x, y, dx, dy) of the passes of interlacing.
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE = 1 << 20


def check_pixels(data: bytes, file_format: str) -> None:
    """Decode all of a JPEG or PNG file with a valid head; raises ValueError, `expected ..., found ...`, for damage."""
    fault = _jpeg_fault(data) if file_format == "JPEG" else _png_fault(data)
    if fault:
        raise ValueError(f"expected a whole {file_format} image, found damaged pixel data ({fault})")


def _jpeg_fault(data: bytes) -> str:
    """libjpeg's last warning, or its error; empty for none."""
    try:
        # At an eighth of the size, everything is read, but little is computed and kept.
        simplejpeg.decode_jpeg(
            without_stray_bytes(data), colorspace="GRAY", fastdct=True, fastupsample=True, min_factor=8, strict=True
        )
    except ValueError as error:
        text = str(error)
        return "" if text.startswith((*_HARMLESS, _NOT_LIBJPEG)) else text
    return ""


def _png_fault(data: bytes) -> str:
    """A wrong checksum of pixel data, or too few bytes of it; empty for none."""
    stream = zlib.decompressobj()
    expected = found = 0
    try:
        for kind, payload, checksum in _chunks(data):
            if kind in _CRITICAL and zlib.crc32(payload, zlib.crc32(kind)) != checksum:
                return f"checksum of a chunk {kind.decode()} is wrong"
            if kind == b"IHDR":
                expected = _raw_bytes(payload)
            if kind == b"IDAT":
                found += _inflated(stream, payload)
    except zlib.error as error:
        return f"pixels cannot be decompressed: {error}"
    return "" if found >= expected else f"{found:,} of {expected:,} bytes of pixels are there"


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, int]]:
    """(type, payload, checksum) of each complete chunk."""
    view, offset = memoryview(data), 8
    while offset + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, offset)
        end = offset + 8 + length
        if end + 4 > len(data):
            return
        yield kind, view[offset + 8 : end], struct.unpack_from(">I", data, end)[0]
        if kind == b"IEND":
            return
        offset = end + 4


def _inflated(stream: zlib._Decompress, payload: memoryview) -> int:
    """How many more bytes a stream decompresses to; only one piece is held at a time."""
    count = len(stream.decompress(payload, _PIECE))
    while stream.unconsumed_tail:
        count += len(stream.decompress(stream.unconsumed_tail, _PIECE))
    return count


def _raw_bytes(head: memoryview) -> int:
    """The decompressed size in bytes that an IHDR announces: each row has one more byte, its filter type."""
    width, height, bits, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", head)
    per_pixel = bits * _SAMPLES.get(colour, 0)
    count = 0
    for x, y, dx, dy in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-max(0, width - x) // dx), -(-max(0, height - y) // dy)
        count += rows * (1 + (columns * per_pixel + 7) // 8) if columns else 0
    return count
