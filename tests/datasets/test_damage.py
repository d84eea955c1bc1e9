"""Damage that only decoding finds, in made pictures, and good files of every kind, which must pass."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from datasets import images
from datasets.damage import check_pixels
from datasets.image_files import decode
from tests.conftest import picture

WIDTH, HEIGHT = 217, 131
PICTURE = PillowImage.fromarray(picture(WIDTH, HEIGHT, seed=0))


def encoded(mode: str = "RGB", file_format: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    PICTURE.convert(mode).save(buffer, file_format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


JPEGS = {
    "baseline": encoded(),
    "progressive": encoded(progressive=True),
    "grey": encoded("L"),
    "grey and progressive": encoded("L", progressive=True),
    "CMYK": encoded("CMYK"),
    "4:4:4": encoded(subsampling=0, quality=100),
    "4:2:2": encoded(subsampling=1),
    "RGB, not YCbCr": encoded(keep_rgb=True),
    "restart markers": encoded(restart_marker_rows=1),
    "bytes behind the end": encoded() + b"appended by a camera" * 5,
    "stray bytes in the head": encoded().replace(b"\xff\xdb", b"\0abc\xff\xdb", 1),
    "fill bytes in the head": encoded().replace(b"\xff\xdb", b"\xff\xff\xff\xdb", 1),
    "unknown JFIF revision": encoded().replace(b"JFIF\0\x01\x01", b"JFIF\0\x03\x01", 1),
}
# What libjpeg warns of without harm, or decodes otherwise in other versions.
TWO_PASSES = {"progressive", "grey and progressive", "CMYK", "RGB, not YCbCr", "unknown JFIF revision"}
PNGS = {
    "RGB": encoded(file_format="PNG"),
    "grey": encoded("L", "PNG"),
    "1 bit": encoded("1", "PNG"),
    "palette": encoded("P", "PNG"),
    "alpha": encoded("RGBA", "PNG"),
    "grey and alpha": encoded("LA", "PNG"),
    "text behind the pixels": encoded(file_format="PNG").replace(chunk(b"IEND", b""), chunk(b"tEXt", b"a\0b"))
    + chunk(b"IEND", b""),
}


@pytest.mark.parametrize("name", JPEGS)
def test_good_jpegs_pass(name: str) -> None:
    check_pixels(JPEGS[name], "JPEG")
    assert decode(JPEGS[name], images.examine(JPEGS[name], WIDTH, HEIGHT)).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("name", JPEGS)
def test_one_pass_gives_the_pixels_of_checking_and_decoding_or_none(name: str) -> None:
    reading = images.examine(JPEGS[name], WIDTH, HEIGHT)
    found = images.decode_sound(JPEGS[name], reading)

    assert (found is None) == (name in TWO_PASSES)
    if found is not None:
        assert np.array_equal(found, decode(JPEGS[name], reading, "BGR"))
        assert found.flags.c_contiguous


@pytest.mark.parametrize("orientation", range(1, 9))
def test_one_pass_turns_as_decoding_does(orientation: int) -> None:
    reading = images.Reading("JPEG", orientation, False)

    found = images.decode_sound(JPEGS["baseline"], reading)

    assert found is not None
    assert np.array_equal(found, decode(JPEGS["baseline"], reading, "BGR"))


@given(
    size=st.tuples(st.integers(8, 70), st.integers(8, 70)),
    subsampling=st.sampled_from([0, 1, 2]),
    quality=st.integers(20, 100),
    mode=st.sampled_from(["RGB", "L"]),
)
@settings(max_examples=60, deadline=None)
def test_one_pass_gives_the_same_pixels_for_any_size_chroma_and_quality(
    size: tuple[int, int], subsampling: int, quality: int, mode: str
) -> None:
    buffer = io.BytesIO()
    PICTURE.crop((0, 0, *size)).convert(mode).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    reading = images.Reading("JPEG", 1, False)

    found = images.decode_sound(buffer.getvalue(), reading)
    assert found is not None
    assert np.array_equal(found, decode(buffer.getvalue(), reading, "BGR"))


@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=5))
@settings(max_examples=200, deadline=None)
def test_one_pass_never_accepts_what_two_refuse(changes: list[tuple[int, int]]) -> None:
    data = bytearray(JPEGS["4:2:2"])
    for place, value in changes:
        data[place % len(data)] = value
    try:
        reading = images.examine(bytes(data), WIDTH, HEIGHT)
    except ValueError:
        return
    found = images.decode_sound(bytes(data), reading)
    if found is not None:
        assert np.array_equal(found, decode(bytes(data), reading, "BGR"))


@pytest.mark.parametrize("name", PNGS)
def test_no_png_is_decoded_in_one_pass(name: str) -> None:
    assert images.decode_sound(PNGS[name], images.Reading("PNG", 1, False)) is None


@pytest.mark.parametrize("name", PNGS)
def test_good_pngs_pass(name: str) -> None:
    check_pixels(PNGS[name], "PNG")


@pytest.mark.parametrize("name", ["baseline", "progressive", "grey", "CMYK", "4:4:4", "restart markers"])
def test_a_jpeg_whose_middle_was_overwritten_is_found_though_opencv_decodes_it(name: str) -> None:
    data = bytearray(JPEGS[name])
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    reading = images.examine(bytes(data), WIDTH, HEIGHT)
    assert images.decode(bytes(data), reading).shape == (HEIGHT, WIDTH, 3)

    with pytest.raises(ValueError, match=r"expected a whole JPEG image, found damaged pixel data \(Corrupt JPEG data"):
        decode(bytes(data), reading)


def test_a_jpeg_that_ends_early_and_is_closed_again_is_found() -> None:
    data = JPEGS["baseline"]
    short = data[: len(data) * 2 // 3] + b"\xff\xd9"

    with pytest.raises(ValueError, match="premature end of data segment"):
        check_pixels(short, "JPEG")


def test_damage_is_found_behind_stray_bytes_too() -> None:
    data = bytearray(JPEGS["stray bytes in the head"])
    data[len(data) // 2 : len(data) // 2 + 400] = bytes(400)

    with pytest.raises(ValueError, match="Corrupt JPEG data"):
        check_pixels(bytes(data), "JPEG")


def png(rows: bytes, *, interlaced: bool = False, colour: int = 2, bits: int = 8) -> bytes:
    """A PNG of 5 x 4 px by hand."""
    head = struct.pack(">IIBBBBB", 5, 4, bits, colour, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# Bytes of the rows of 5 x 4 px, each with one for its filter.
@pytest.mark.parametrize(
    ("colour", "bits", "interlaced", "size"),
    [
        (2, 8, False, 4 * (1 + 3 * 5)),
        (0, 1, False, 4 * (1 + 1)),
        (3, 4, False, 4 * (1 + 3)),
        (6, 8, False, 4 * (1 + 4 * 5)),
        # Columns x rows of the seven passes: 1 x 1, 1 x 1, 2 x 0, 1 x 1, 3 x 1, 2 x 2, 5 x 2.
        (0, 8, True, (1 + 1) + (1 + 1) + 0 + (1 + 1) + (1 + 3) + 2 * (1 + 2) + 2 * (1 + 5)),
    ],
)
def test_a_png_needs_all_its_rows(colour: int, bits: int, interlaced: bool, size: int) -> None:
    check_pixels(png(bytes(size), colour=colour, bits=bits, interlaced=interlaced), "PNG")

    with pytest.raises(ValueError, match=f"found damaged pixel data \\({size - 1} of {size} bytes of pixels are there"):
        check_pixels(png(bytes(size - 1), colour=colour, bits=bits, interlaced=interlaced), "PNG")


def test_a_png_with_another_byte_is_found_by_its_checksum() -> None:
    data = bytearray(PNGS["RGB"])
    data[data.index(b"IDAT") + 100] ^= 1

    with pytest.raises(ValueError, match="checksum of a chunk IDAT is wrong"):
        check_pixels(bytes(data), "PNG")


def test_a_png_whose_stream_is_none_is_found() -> None:
    broken = b"\x89PNG\r\n\x1a\n" + PNGS["RGB"][8:33] + chunk(b"IDAT", b"no zlib stream") + chunk(b"IEND", b"")

    with pytest.raises(ValueError, match="pixels cannot be decompressed"):
        check_pixels(broken, "PNG")


@pytest.mark.parametrize(("file_format", "whole"), [("JPEG", JPEGS["progressive"]), ("PNG", PNGS["palette"])])
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_any_change_passes_or_is_a_value_error(file_format: str, whole: bytes, changes: list[tuple[int, int]]) -> None:
    data = bytearray(whole)
    for place, value in changes:
        data[place % len(data)] = value
    with contextlib.suppress(ValueError):
        check_pixels(bytes(data), file_format)


def test_what_passes_as_a_png_is_what_opencv_decodes_to_the_same_pixels() -> None:
    found = cv2.imdecode(np.frombuffer(PNGS["RGB"], np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.array_equal(np.asarray(found), np.asarray(PICTURE))
