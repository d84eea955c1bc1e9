"""From the bytes of a results file to its raw records: a JSON list or JSON lines, either optionally gzipped."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

import msgspec

from datasets.errors import DataError
from datasets.parsing import decode, read_bytes

GZIP = b"\x1f\x8b"
# Larger files must be unpacked by the user: a few kilobytes may unpack to more than any memory.
MOST_UNPACKED = 1 << 30
_PART = 1 << 20


def read_unpacked(path: Path) -> bytes:
    """The bytes of a results file, unpacked if gzipped. Raises DataError where that fails."""
    data = read_bytes(path, "results file")
    if data[: len(GZIP)] != GZIP:
        return data
    try:
        # Counted before anything is kept.
        too_large = _unpacked_length(data) > MOST_UNPACKED
        unpacked = b"" if too_large else gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: expected a results file compressed by gzip, found a damaged one: {error}") from None
    if too_large:
        raise DataError(
            f"{path}: expected a results file of at most {MOST_UNPACKED:,} bytes, found a larger one once it is "
            "unpacked; if that is right, unpack it first: gunzip FILE"
        )
    return unpacked


def _unpacked_length(data: bytes) -> int:
    """The size of the unpacked data, counted up to MOST_UNPACKED."""
    length = 0
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        while length <= MOST_UNPACKED and (part := file.read1(_PART)):
            length += len(part)
    return length


def split(data: bytes, path: Path) -> list[msgspec.Raw]:
    """The raw records, in order. Raises DataError for anything but a list of records."""
    if _begins_with_object(data):
        lines = _lines(data)
        if lines is not None:
            return lines
    try:
        return decode(data, list[msgspec.Raw], path)
    except msgspec.ValidationError as error:
        keys = _keys(data, path)
        raise DataError(f"{path}: expected COCO results, a JSON list of detections: {error}{keys}") from None


def _begins_with_object(data: bytes) -> bool:
    return data[:4096].lstrip()[:1] == b"{"


def _lines(data: bytes) -> list[msgspec.Raw] | None:
    """The detections of a JSON-lines file; None for any other file, such as an annotation file."""
    try:
        data.decode("utf-8")
        lines = msgspec.json.Decoder(msgspec.Raw).decode_lines(data)
        first = msgspec.json.decode(lines[0], type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, ValueError, RecursionError, IndexError):
        return None
    return lines if "image_id" in first else None


def _keys(data: bytes, path: Path) -> str:
    """The first keys of a JSON object, which tell what it is instead of results; empty for anything else."""
    try:
        keys = list(decode(data, dict[str, msgspec.Raw], path))
    except msgspec.ValidationError:
        return ""
    shown = ", ".join(map(repr, keys[:5])) + (", ..." if len(keys) > 5 else "")
    hint = ", as annotation files have" if {"images", "annotations"} & set(keys) else ""
    return f" with {f'the keys {shown}' if keys else 'no key'}{hint}"
