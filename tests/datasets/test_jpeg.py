"""The head of a JPEG: its segments, where its pixels start, and whether it has the tables to decode them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from datasets import images
from datasets.jpeg import has_quantization_tables, scan_start, segments, without_stray_bytes

SOI, EOI = b"\xff\xd8", b"\xff\xd9"


def segment(marker: int, payload: bytes) -> bytes:
    # The length counts its own two bytes.
    return bytes([0xFF, marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


def tables(*numbers: int, wide: bool = False) -> bytes:
    """A DQT segment; `wide` tables have two bytes a value."""
    return segment(
        0xDB, b"".join(bytes([number | (16 if wide else 0)]) + bytes(128 if wide else 64) for number in numbers)
    )


def frame(*components: tuple[int, int], marker: int = 0xC0) -> bytes:
    """A frame header of (component, table) each: 8 bits, 2 x 2 px."""
    listed = b"".join(bytes([component, 0x11, table]) for component, table in components)
    return segment(marker, bytes([8, 0, 2, 0, 2, len(components)]) + listed)


def scan(*components: int) -> bytes:
    listed = b"".join(bytes([component, 0]) for component in components)
    return segment(0xDA, bytes([len(components)]) + listed + bytes([0, 63, 0]))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "quality": 100}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_pictures_as_pillow_writes_them_have_their_tables(mode: str, options: dict[str, int]) -> None:
    file = io.BytesIO()
    PillowImage.fromarray(np.zeros((9, 9, 3), np.uint8)).convert(mode).save(file, "JPEG", **options)
    data = file.getvalue()
    assert has_quantization_tables(data)
    assert data[scan_start(data) :].startswith(b"\xff\xda")
    assert not has_quantization_tables(data.replace(b"\xff\xdb", b"\xff\xfe"))


@pytest.mark.parametrize(
    ("head", "has"),
    [
        (tables(0) + frame((1, 0)) + scan(1), True),
        (frame((1, 0)) + tables(0) + scan(1), True),
        (tables(0, 1) + frame((1, 0), (2, 1)) + scan(1, 2), True),
        (tables(0, 1, wide=True) + frame((1, 0), (2, 1)) + scan(1, 2), True),
        (tables(0) + frame((1, 0), (2, 1)) + scan(1, 2), False),
        # What another scan needs may come before that one.
        (tables(0) + frame((1, 0), (2, 1), marker=0xC2) + scan(1), True),
        (tables(0) + frame((1, 0)) + scan(2), False),
        (tables(0) + scan(1), False),
        (tables(0) + frame((1, 0)), False),
        (tables(0) + frame((1, 0)) + scan(), False),
        # A Huffman table is no frame header.
        (tables(0) + frame((1, 0), marker=0xC4) + scan(1), False),
        (b"\xff" + tables(0) + frame((1, 0)) + scan(1), True),
    ],
)
def test_the_first_scan_needs_the_tables_of_its_components(head: bytes, has: bool) -> None:
    assert has_quantization_tables(SOI + head + EOI) is has


def test_segments_are_listed_up_to_the_first_scan() -> None:
    data = SOI + tables(0) + frame((1, 0)) + scan(1) + b"pixels" + tables(1) + EOI
    assert [marker for marker, _, _ in segments(data)] == [0xDB, 0xC0, 0xDA]
    assert scan_start(data) == data.index(b"\xff\xda")
    assert scan_start(SOI + EOI) == -1


STRAY = [b"\0", b"abc", b"\xff\xff", b"\xff\0", b"a\xff\xff\0\xff", b"\xff\xd0", b"\xff\x01\0"]


@pytest.mark.parametrize("stray", STRAY)
def test_what_stands_between_segments_is_skipped(stray: bytes) -> None:
    """Other bytes, fill bytes, escaped FFs, and markers without a segment (RST0, TEM)."""
    parts = [tables(0), frame((1, 0)), scan(1)]
    data = SOI + stray + stray.join(parts) + b"pixels" + EOI

    assert [marker for marker, _, _ in segments(data)] == [0xDB, 0xC0, 0xDA]
    assert [data[start - 4 : end] for _, start, end in segments(data)] == parts
    assert has_quantization_tables(data)
    assert without_stray_bytes(data) == SOI + b"".join(parts) + b"pixels" + EOI


def test_a_file_without_stray_bytes_is_given_back_itself() -> None:
    data = SOI + tables(0) + frame((1, 0)) + scan(1) + b"pixels" + EOI
    assert without_stray_bytes(data) is data


@pytest.mark.parametrize("stray", STRAY)
def test_pictures_with_stray_bytes_are_read_as_libjpeg_reads_them(stray: bytes) -> None:
    file = io.BytesIO()
    PillowImage.fromarray(np.arange(9 * 9 * 3, dtype=np.uint8).reshape(9, 9, 3)).save(file, "JPEG")
    whole = file.getvalue()
    # Also at the very beginning, where Pillow and OpenCV look for a third byte of FF.
    data = SOI + stray + whole[2:].replace(b"\xff\xdb", stray + b"\xff\xdb")

    reading = images.examine(data, 9, 9)

    assert np.array_equal(images.decode(data, reading), images.decode(whole, reading))


def test_nothing_is_looked_for_behind_the_end_of_the_picture() -> None:
    assert list(segments(SOI + EOI + tables(0) + scan(1))) == []


@given(st.lists(st.sampled_from([b"\xff", b"\0", b"\xd8", b"\xda", b"\xdb", b"\xe1", b"\0\2", b"a"]), max_size=80))
def test_segments_go_forward_and_stay_apart_in_any_bytes(pieces: list[bytes]) -> None:
    data = SOI + b"".join(pieces)
    last = 2
    for _, start, end in segments(data):
        assert last <= start - 4 < start - 2 <= end
        last = end
    assert len(without_stray_bytes(data)) <= max(len(data), last)


@given(st.binary(max_size=60))
def test_no_bytes_make_it_fail(noise: bytes) -> None:
    for data in (noise, SOI + noise, SOI + b"\xff\xdb" + noise, SOI + tables(0) + b"\xff\xc0" + noise + scan(1)):
        assert has_quantization_tables(data) in (True, False)
