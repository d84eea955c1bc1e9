"""The changes that picture mutants are made of: to segments of a JPEG, to chunks of a PNG, to any bytes."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PNG_HEAD = b"\x89PNG\r\n\x1a\n"
START_OF_SCAN = 0xDA
# Markers without a length.
ALONE = {0xD8, 0xD9, 0x01, *range(0xD0, 0xD8)}
FRAMES = {0xC0, 0xC1, 0xC2}


class Change(NamedTuple):
    """`how` is a name in JPEG, PNG or ANY; `which` and `where`, from 0 to 1, select its target; `value` is a number to
    insert.
    """

    how: str
    which: float
    where: float
    value: int

    def __str__(self) -> str:
        return f"{self.how} (which {self.which:.3f}, where {self.where:.3f}, value {self.value})"


def segments(data: bytes) -> list[bytes]:
    """A JPEG's segments with their markers, up to the scan; the rest is the last. Joined they are `data`."""
    found, at = [], 0
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != START_OF_SCAN:
        length = 2 if data[at + 1] in ALONE else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        found.append(data[at : at + length])
        at += length
    return [*found, data[at:]]


def chunks(data: bytes) -> list[bytes]:
    """A PNG's signature and chunks; a rest that is no chunk is the last part. Joined they equal `data`."""
    found, at = [data[:8]], 8
    while at + 12 <= len(data):
        length = 12 + int.from_bytes(data[at : at + 4], "big")
        found.append(data[at : at + length])
        at += length
    return [*found, data[at:]] if at < len(data) else found


def _pick(items: list[Any], which: float) -> int:
    return min(int(which * len(items)), len(items) - 1)


def _of_parts(
    parts: Callable[[bytes], list[bytes]], change: Callable[[list[bytes], int, Change], None]
) -> Callable[[bytes, Change], bytes]:
    """A change to the list of segments or chunks, at the one that `which` chooses."""

    def changed(data: bytes, how: Change) -> bytes:
        found = parts(data)
        if found:
            change(found, _pick(found, how.which), how)
        return b"".join(found)

    return changed


def _drop(parts: list[bytes], at: int, _: Change) -> None:
    del parts[at]


def _twice(parts: list[bytes], at: int, _: Change) -> None:
    parts.insert(at, parts[at])


def _swap(parts: list[bytes], at: int, how: Change) -> None:
    other = _pick(parts, how.where)
    parts[at], parts[other] = parts[other], parts[at]


def _junk_before(parts: list[bytes], at: int, how: Change) -> None:
    parts.insert(at, _noise(how.value, 1 + how.value % 40))


def _segment_length(parts: list[bytes], at: int, how: Change) -> None:
    if len(parts[at]) >= 4:
        parts[at] = parts[at][:2] + (how.value & 0xFFFF).to_bytes(2, "big") + parts[at][4:]


def _segment_byte(parts: list[bytes], at: int, how: Change) -> None:
    """A byte of the head: a number of components, a table, a precision, a marker."""
    if parts[at]:
        parts[at] = _with_byte(parts[at], int(how.where * min(len(parts[at]), 64)), how.value)


def _frame_size(parts: list[bytes], _: int, how: Change) -> None:
    """Another height, width, or both."""
    for at, part in enumerate(parts):
        if len(part) >= 9 and part[1] in FRAMES:
            size = (how.value & 0xFFFF).to_bytes(2, "big")
            height = size if how.where < 0.66 else part[5:7]
            width = size if how.where > 0.33 else part[7:9]
            parts[at] = part[:5] + height + width + part[9:]


def _frame_kind(parts: list[bytes], _: int, how: Change) -> None:
    """Lossless, arithmetic, hierarchical: kinds of JPEG that hardly anything reads."""
    for at, part in enumerate(parts):
        if len(part) >= 2 and part[1] in FRAMES:
            parts[at] = bytes([0xFF, 0xC0 | how.value % 16]) + part[2:]


def _exif(parts: list[bytes], _: int, how: Change) -> None:
    """An EXIF segment that says anything: orientations from 0 to 9, offsets that lead nowhere, loops."""
    tag = b"\x12\x01\x03\x00\x01\x00\x00\x00" + bytes([how.value % 10, 0, 0, 0])
    tiff = b"II*\0" + (how.value if how.where > 0.7 else 8).to_bytes(4, "little") + b"\x01\0" + tag + b"\x08\0\0\0"
    body = b"Exif\0\0" + (tiff if how.where > 0.2 else tiff[: int(how.which * len(tiff))])
    parts.insert(1, b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body)


def _scan_zeros(parts: list[bytes], _: int, how: Change) -> None:
    parts[-1] = _over(parts[-1], how, bytes(1 + how.value % 4000))


def _scan_noise(parts: list[bytes], _: int, how: Change) -> None:
    parts[-1] = _over(parts[-1], how, _noise(how.value, 1 + how.value % 4000))


def _scan_cut(parts: list[bytes], _: int, how: Change) -> None:
    parts[-1] = parts[-1][: int(how.where * len(parts[-1]))]


def _no_end(parts: list[bytes], _: int, __: Change) -> None:
    if parts[-1].endswith(b"\xff\xd9"):
        parts[-1] = parts[-1][:-2]


def _chunk_number(parts: list[bytes], _: int, how: Change) -> None:
    """A number of IHDR, with a checksum that is right: a side, the depth, the kind of colour, interlacing."""
    for place, part in enumerate(parts):
        if part[4:8] == b"IHDR" and len(part) == 25:
            body = bytearray(part[8:21])
            if how.where < 0.4:
                body[:4] = how.value.to_bytes(4, "big")
            elif how.where < 0.7:
                body[4:8] = how.value.to_bytes(4, "big")
            else:
                body[8 + how.value % 5] = how.value // 5 % 256
            parts[place] = chunk(b"IHDR", bytes(body))


def _chunk_body(parts: list[bytes], at: int, how: Change) -> None:
    """Noise in a chunk, with a checksum that is right."""
    part = parts[at]
    if len(part) > 12:
        parts[at] = chunk(part[4:8], _over(part[8:-4], how, _noise(how.value, 1 + how.value % 64)))


def _chunk_damage(parts: list[bytes], at: int, how: Change) -> None:
    """A byte of a chunk, with a checksum that is wrong."""
    if parts[at]:
        parts[at] = _with_byte(parts[at], int(how.where * len(parts[at])), how.value)


def _bomb(parts: list[bytes], _: int, how: Change) -> None:
    """Millions of pixels of one colour in a small file."""
    side = 30_000 if how.where > 0.5 else 8_000
    header = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    pixels = zlib.compress(bytes((side // 8 + 1) * side), 1)
    parts[1:] = [chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")]


def chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def _with_byte(data: bytes, at: int, value: int) -> bytes:
    at = min(at, len(data) - 1)
    return data[:at] + bytes([value & 0xFF]) + data[at + 1 :]


def _over(data: bytes, how: Change, what: bytes) -> bytes:
    """`what` over the data, from `where` on; the length does not change."""
    at = int(how.where * len(data))
    return (data[:at] + what + data[at + len(what) :])[: max(len(data), at)]


def _noise(seed: int, length: int) -> bytes:
    return np.random.default_rng(seed).bytes(length)


def _cut(data: bytes, how: Change) -> bytes:
    return data[: int(how.where * len(data))]


def _bits(data: bytes, how: Change) -> bytes:
    """A few bytes anywhere."""
    changed = bytearray(data)
    for at in np.random.default_rng(how.value).integers(0, max(len(data), 1), 1 + how.value % 8) if data else ():
        changed[at] ^= 1 << how.value % 8
    return bytes(changed)


JPEG: dict[str, Callable[[bytes, Change], bytes]] = {
    "segment dropped": _of_parts(segments, _drop),
    "segment twice": _of_parts(segments, _twice),
    "segments swapped": _of_parts(segments, _swap),
    "junk before a segment": _of_parts(segments, _junk_before),
    "length of a segment": _of_parts(segments, _segment_length),
    "byte of a segment": _of_parts(segments, _segment_byte),
    "size of the frame": _of_parts(segments, _frame_size),
    "kind of frame": _of_parts(segments, _frame_kind),
    "EXIF": _of_parts(segments, _exif),
    "zeros in the scan": _of_parts(segments, _scan_zeros),
    "noise in the scan": _of_parts(segments, _scan_noise),
    "scan cut": _of_parts(segments, _scan_cut),
    "no end": _of_parts(segments, _no_end),
}
PNG: dict[str, Callable[[bytes, Change], bytes]] = {
    "chunk dropped": _of_parts(chunks, _drop),
    "chunk twice": _of_parts(chunks, _twice),
    "chunks swapped": _of_parts(chunks, _swap),
    "junk before a chunk": _of_parts(chunks, _junk_before),
    "number of the header": _of_parts(chunks, _chunk_number),
    "body of a chunk": _of_parts(chunks, _chunk_body),
    "byte of a chunk": _of_parts(chunks, _chunk_damage),
    "many pixels": _of_parts(chunks, _bomb),
}
ANY: dict[str, Callable[[bytes, Change], bytes]] = {
    "cut": _cut,
    "bits flipped": _bits,
    "zeros appended": lambda data, how: data + bytes(how.value % 5000),
    "another picture appended": lambda data, _: data + data,
    "empty": lambda *_: b"",
    "text": lambda *_: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
}


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


# What may lie at a picture's name and is no file.
INSTEAD: dict[str, Callable[[Path], None]] = {
    "nothing": lambda *_: None,
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to itself": _loop,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link out of the folder": lambda path: path.symlink_to("/etc/hostname"),
    "a file that cannot be read": lambda path: path.touch(mode=0),
}
