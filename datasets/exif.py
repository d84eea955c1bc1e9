"""Resetting the EXIF orientation of a JPEG or PNG file in place: no pixel is decoded, no length changes."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

from datasets.jpeg import segments

_ORIENTATION_TAG = 0x0112
_EXIF_HEAD = b"Exif\0\0"
# XMP repeats the orientation, as an attribute or an element.
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)[2-8]")


def set_upright(data: bytes, file_format: str) -> bytes:
    """`data` with every orientation tag set to 1 (upright); what does not parse is left unchanged."""
    patched = bytearray(data)
    blocks = list(_jpeg_segments(data) if file_format == "JPEG" else _png_chunks(data))
    for kind, start, end in blocks:
        if kind == "exif":
            _patch_tiff(patched, start, end)
        else:
            patched[start:end] = _XMP_ORIENTATION.sub(rb"\g<1>1", data[start:end])
        if file_format == "PNG":
            # A chunk's checksum covers its type, the four bytes before the data.
            patched[end : end + 4] = struct.pack(">I", zlib.crc32(patched[start - 4 : end]))
    return bytes(patched)


def _jpeg_segments(data: bytes) -> Iterator[tuple[str, int, int]]:
    """(kind, start, end) of the payload of each EXIF and XMP segment before the pixel data."""
    for marker, start, end in segments(data):
        if marker == 0xE1 and end <= len(data):
            if data[start : start + 6] == _EXIF_HEAD:
                yield "exif", start + 6, end
            else:
                yield "xmp", start, end


def _png_chunks(data: bytes) -> Iterator[tuple[str, int, int]]:
    """(kind, start, end) of the data of each eXIf and iTXt chunk."""
    offset = 8
    while offset + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, offset)
        kind, start, end = data[offset + 4 : offset + 8], offset + 8, offset + 8 + length
        if end + 4 > len(data):
            return
        if kind == b"eXIf":
            yield "exif", start, end
        elif kind == b"iTXt":
            yield "xmp", start, end
        offset = end + 4


def _patch_tiff(data: bytearray, start: int, end: int) -> None:
    """Set the orientation in the first directory of the TIFF block `data[start:end]` to 1."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[start : start + 2]))
    if order is None or start + 8 > end:
        return
    directory = start + struct.unpack_from(f"{order}I", data, start + 4)[0]
    if directory + 2 > end:
        return
    (entries,) = struct.unpack_from(f"{order}H", data, directory)
    for index in range(entries):
        entry = directory + 2 + 12 * index
        if entry + 12 > end:
            return
        tag, kind, count = struct.unpack_from(f"{order}HHI", data, entry)
        if tag == _ORIENTATION_TAG and kind == 3 and count == 1:
            struct.pack_into(f"{order}H", data, entry + 8, 1)
