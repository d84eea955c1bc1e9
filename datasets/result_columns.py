"""Results files in the spelling that programs write, read as columns: numpy on whole blocks, no object per detection.

In such a file, all records have the same bytes between their digits as the first one, and all numbers are plain
decimals of few digits:
    {"image_id": 7, "category_id": 1, "bbox": [0.5, 1.25, 20.0, 10.0], "score": 0.75}

Blocks of text in which that is not so are decoded by msgspec; any other file is left to the caller.

n: records of a block, R: runs of digits in a record, 12
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from datasets.result_records import DetectionJson, as_results
from datasets.results import Results

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Columns = tuple[Indices, Indices, Floats, Floats]
"""(n,) image ids, (n,) category ids, (n, 4) boxes xywh, (n,) scores."""

DIGITS = b"0123456789"
SPACES = b" \t\n\r"
# The value of each key without its digits. Digits on both sides of a point are two runs.
SHAPES = {"image_id": "", "category_id": "", "bbox": "[.,.,.,.]", "score": "."}
RUNS = {"image_id": 1, "category_id": 1, "bbox": 8, "score": 2}
# Bytes of a block, whose tables then stay in the processor's cache.
BLOCK = 1 << 18
# The digits that are read at once, as the bytes of one word.
WORD = 8
POWERS = 10 ** np.arange(WORD + 1, dtype=np.uint64)
# Up to here whole numbers are exact as float64. So are the powers above, hence their quotient is rounded once, as a
# parser rounds it.
EXACT = 2**53


class Layout(NamedTuple):
    """What all records of a file have in common. A record reaches up to the next one."""

    text: bytes
    """The bytes that are no digits."""
    before: int
    """The number of bytes before the first run of digits."""
    gaps: Indices
    """(R,) number of bytes after each run; the last gap ends at the next record's first run."""
    separator: bytes
    """The bytes between two records."""
    begins: list[int]
    """The runs that begin a number; the others follow a point."""
    keys: tuple[str, ...]

    def runs(self, key: str) -> slice:
        """Which of a record's runs are the value of this key."""
        start = sum(RUNS[name] for name in self.keys[: self.keys.index(key)])
        return slice(start, start + RUNS[key])


def read(file: BinaryIO) -> Results | None:
    """The detections of a results file, equal to those that msgspec decodes; None for a file of another spelling.

    Of the file, a block is in memory at a time.
    """
    text = file.read(BLOCK)
    begin = text.find(b"{")
    layout = _layout(text, begin) if text[: max(begin, 0)].strip(SPACES) == b"[" else None
    if layout is None:
        return None
    parts = []
    for block in _blocks(text[begin:], file, layout.separator):
        part = _columns(block, layout) or _decoded(block, layout.separator)
        if part is None:
            return None
        parts.append(part)
    return Results(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _blocks(text: bytes, file: BinaryIO, separator: bytes) -> Iterator[bytes]:
    """Records with a separator after each, in blocks that are cut where a brace opens; empty if that is nowhere."""
    while more := file.read(BLOCK):
        cut = text.rfind(b"{")
        yield text[:cut]
        text = text[cut:] + more
    end = text.rfind(b"}") + 1
    yield text[:end] + separator if text[end:].strip(SPACES) == b"]" else b""


def _layout(text: bytes, begin: int) -> Layout | None:
    """The layout of the first record; None if it is the only one, or has other keys or other numbers."""
    end, second = text.find(b"}", begin) + 1, text.find(b"{", begin + 1)
    record, separator = text[begin:end], text[end:second]
    if separator.strip(SPACES) != b",":
        return None
    try:
        msgspec.json.decode(record, type=DetectionJson)
        keys = tuple(msgspec.json.decode(record, type=dict[str, msgspec.Raw]))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    expected = ",".join(f'"{key}":{SHAPES.get(key)}' for key in keys)
    if set(keys) != set(SHAPES) or record.translate(None, DIGITS + SPACES) != f"{{{expected}}}".encode():
        return None
    before, *gaps = re.split(rb"\d+", record + separator)
    return Layout(
        text=b"".join([before, *gaps]),
        before=len(before),
        gaps=np.array([*map(len, gaps[:-1]), len(gaps[-1]) + len(before)]),
        separator=separator,
        begins=[run for run, gap in enumerate([before, *gaps[:-1]]) if gap != b"."],
        keys=keys,
    )


def _columns(block: bytes, layout: Layout) -> Columns | None:
    """The records of a block; None where one has another layout, more digits, or a value out of range."""
    text = np.frombuffer(block + bytes(WORD), dtype=np.uint8)
    runs = _runs(text, layout)
    if runs is None or block.translate(None, DIGITS) != layout.text * len(runs[0]):
        return None
    starts, lengths = runs
    if lengths.max() > WORD or _leading_zero(text, starts, lengths, layout):
        return None
    numbers = _numbers(text, starts, lengths)
    image_ids, category_ids = (
        numbers[:, layout.runs(key)].astype(np.int64)[:, 0] for key in ("image_id", "category_id")
    )
    boxes, scores = (_decimals(numbers[:, layout.runs(key)], lengths[:, layout.runs(key)]) for key in ("bbox", "score"))
    if boxes is None or scores is None or scores.max() > 1:
        return None
    return image_ids, category_ids, boxes, scores[:, 0]


def _runs(text: Bytes, layout: Layout) -> tuple[Indices, Indices] | None:
    """(n, R) starts and lengths of the runs of digits; None where they are not spaced as in the first record."""
    is_digit = text - ord("0") < len(DIGITS)
    edges = np.flatnonzero(is_digit[1:] != is_digit[:-1]) + 1
    count, rest = divmod(len(edges), 2 * len(layout.gaps))
    if rest or not count or edges[0] != layout.before:
        return None
    if (edges[2::2] - edges[1:-1:2] != np.tile(layout.gaps, count)[:-1]).any():
        return None
    starts, ends = edges.reshape(count, -1, 2).transpose(2, 0, 1)
    return starts, ends - starts


def _leading_zero(text: Bytes, starts: Indices, lengths: Indices, layout: Layout) -> bool:
    """Whether a number begins with a zero and another digit, which is no JSON."""
    found = (text[starts] == ord("0")) & (lengths > 1)
    return bool(found[:, layout.begins].any())


def _numbers(text: Bytes, starts: Indices, lengths: Indices) -> Words:
    """(n, R) runs of up to 8 digits -> (n, R) whole numbers.

    The eight digits of a word are added up in three steps: neighbours to four numbers below 100, these to two below
    10,000, these to one. Lemire, "Number parsing at a gigabyte per second", 2021.
    """
    words: Words = np.ndarray(len(text) - WORD + 1, dtype="<u8", buffer=text, strides=(1,))[starts]
    words ^= np.uint64(0x3030303030303030)
    # What follows the run is moved out at the top, and zeros come in as its first digits.
    words <<= (8 * (WORD - lengths)).astype(np.uint64)
    words *= np.uint64(10 * 2**8 + 1)
    words >>= np.uint64(8)
    words &= np.uint64(0x00FF00FF00FF00FF)
    words *= np.uint64(100 * 2**16 + 1)
    words >>= np.uint64(16)
    words &= np.uint64(0x0000FFFF0000FFFF)
    words *= np.uint64(10_000 * 2**32 + 1)
    words >>= np.uint64(32)
    return words


def _decimals(numbers: Words, lengths: Indices) -> Floats | None:
    """(n, 2 K) digits before and after the point -> (n, K) numbers; None where one has too many digits to be exact."""
    powers = POWERS[lengths[:, 1::2]]
    without_point = numbers[:, ::2] * powers + numbers[:, 1::2]
    return None if without_point.max() > EXACT else without_point / powers


def _decoded(block: bytes, separator: bytes) -> Columns | None:
    """The records of a block as msgspec decodes them; None where it cannot, and for records with a mask."""
    if not block.endswith(separator) or not block.isascii():
        return None
    try:
        records = msgspec.json.decode(b"[%s]" % block[: -len(separator)], type=list[DetectionJson])
    except (msgspec.MsgspecError, RecursionError):
        return None
    results = as_results(records)
    if results.segmentations is not None:
        return None
    return results.image_ids, results.category_ids, results.boxes_xywh, results.scores
