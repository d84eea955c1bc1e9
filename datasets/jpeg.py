"""The segments of a JPEG's head (ITU-T T.81, annex B), read without decoding."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal

Chroma = Literal["444", "422", "420", "440", "411"]

_SOS, _DQT, _EOI = 0xDA, 0xDB, 0xD9
# Markers without a segment: TEM, RST0 to RST7, SOI.
_BARE = {0x01, *range(0xD0, 0xD9)}
# Frame headers are C0 to CF, except the markers of Huffman tables, extensions and arithmetic conditioning.
_SOF = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of the payload of each segment, up to the header of the first scan.

    Stray bytes between segments are skipped as libjpeg does (jdmarker.c, next_marker).
    """
    offset = _marker_from(data, 2)
    while 0 <= offset <= len(data) - 4:
        marker = data[offset + 1]
        if marker == _EOI:
            return
        if marker in _BARE:
            offset = _marker_from(data, offset + 2)
            continue
        (length,) = struct.unpack_from(">H", data, offset + 2)
        # The length includes its own two bytes; where it is less, libjpeg continues right behind it.
        end = offset + 2 + max(length, 2)
        yield marker, offset + 4, end
        if marker == _SOS:
            return
        offset = _marker_from(data, end)


def _marker_from(data: bytes, offset: int) -> int:
    """The index of the next marker: an FF before a byte that is neither 0 nor FF (a fill byte); -1 for none."""
    while (offset := data.find(b"\xff", offset)) >= 0 and offset + 1 < len(data):
        if data[offset + 1] not in (0x00, 0xFF):
            return offset
        offset += 1
    return -1


def without_stray_bytes(data: bytes) -> bytes:
    """The file without stray bytes in its head; `data` itself where there are none."""
    kept, offset, stray = [(0, 2)], 2, 0
    for _, start, end in segments(data):
        stray += start - 4 - offset
        kept.append((start - 4, end))
        offset = end
    if not stray:
        return data
    return b"".join([*(data[start:end] for start, end in kept), data[offset:]])


def scan_start(data: bytes) -> int:
    """The index of the first scan, behind all other segments of the head; -1 for none."""
    return next((start - 4 for marker, start, _ in segments(data) if marker == _SOS), -1)


def has_quantization_tables(data: bytes) -> bool:
    """Whether the head has the quantization tables that the first scan needs."""
    defined: set[int] = set()
    table_of: dict[int, int] = {}
    for marker, start, end in segments(data):
        payload = data[start:end]
        if marker == _DQT:
            defined.update(_tables(payload))
        elif marker in _SOF:
            table_of = {payload[at]: payload[at + 2] for at in range(6, len(payload) - 2, 3)}
        elif marker == _SOS:
            components = payload[1 : 1 + 2 * payload[0] : 2] if payload else b""
            return bool(components) and all(table_of.get(component) in defined for component in components)
    return False


# Sampling factors of luma over those of chroma, across and down.
_CHROMA: dict[tuple[int, int], Chroma] = {(1, 1): "444", (2, 1): "422", (2, 2): "420", (1, 2): "440", (4, 1): "411"}


def chroma(data: bytes) -> Chroma:
    """The chroma subsampling of a JPEG in the usual notation: 444, 422, 420, 440 or 411.

    444 for files without chroma, and for factors that this notation lacks: no other loses less.
    """
    for marker, start, end in segments(data):
        if marker in _SOF:
            payload = data[start:end]
            factors = [divmod(payload[at + 1], 16) for at in range(6, len(payload) - 2, 3)]
            if len(factors) != 3 or factors[1] != factors[2] or 0 in factors[1]:
                break
            (across, across_left), (down, down_left) = map(divmod, factors[0], factors[1])
            return "444" if across_left or down_left else _CHROMA.get((across, down), "444")
    return "444"


def _tables(payload: bytes) -> Iterator[int]:
    """The ids of the tables in a DQT segment: each has 64 values of 1 or 2 bytes."""
    offset = 0
    while offset < len(payload):
        yield payload[offset] & 15
        offset += 1 + 64 * (2 if payload[offset] >> 4 else 1)
