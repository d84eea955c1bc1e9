"""Image files that cannot be used, and what is said of each: never a warning, never half a picture."""

from __future__ import annotations

import contextlib
import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from datasets import images
from datasets.images import Reading
from tests.protocols import Tiff

WIDTH, HEIGHT = 36, 24
PICTURE = PillowImage.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))


def encoded(picture: PillowImage.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, bits: int = 8, colour: int = 2, pixels: bytes = b"") -> bytes:
    """A PNG put together by hand; without `pixels` only its head says that it has any."""
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bits_are_refused_with_the_remedy(colour: int, channels: int) -> None:
    rows = b"".join(b"\0" + bytes(2 * channels * 5) for _ in range(4))

    with pytest.raises(ValueError, match=r"expected 8 bits a channel, found 16; .*mogrify -depth 8") as caught:
        images.examine(png(5, 4, bits=16, colour=colour, pixels=zlib.compress(rows)), 5, 4)
    assert "cut short" not in str(caught.value)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(WIDTH + 1, HEIGHT), (WIDTH, HEIGHT - 1), (HEIGHT, WIDTH), (0, 0)])
def test_a_size_that_contradicts_the_json_is_refused_with_both(file_format: str, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        images.examine(encoded(PICTURE, file_format), *size)

    assert str(caught.value) == f"expected {size[0]} x {size[1]} px as in the annotation file, found 36 x 24"


def test_a_size_that_is_neither_the_stored_nor_the_upright_one_is_refused_with_all_three(tiff: Tiff) -> None:
    with pytest.raises(ValueError, match=r"expected 50 x 50 px .*, found 36 x 24 \(upright 24 x 36\)"):
        images.examine(encoded(PICTURE, "JPEG", exif=b"Exif\0\0" + tiff(6)), 50, 50)


def whole_files(tiff: Tiff) -> dict[str, bytes]:
    exif = b"Exif\0\0" + tiff(6, thumbnail=encoded(PICTURE.resize((16, 12)), "JPEG"))
    return {
        "jpeg": encoded(PICTURE, "JPEG"),
        "progressive": encoded(PICTURE, "JPEG", progressive=True),
        "thumbnail": encoded(PICTURE, "JPEG", exif=exif),
        "progressive and thumbnail": encoded(PICTURE, "JPEG", exif=exif, progressive=True),
        "png": encoded(PICTURE, "PNG"),
        "png and exif": encoded(PICTURE, "PNG", exif=exif),
    }


@pytest.mark.parametrize("name", whole_files(lambda *_, **__: b""))
def test_a_file_cut_anywhere_is_refused_and_the_whole_one_is_not(name: str, tiff: Tiff) -> None:
    data = whole_files(tiff)[name]
    images.examine(data, WIDTH, HEIGHT)

    for length in [*range(0, len(data), 3), len(data) - 2, len(data) - 1]:
        with pytest.raises(ValueError, match=r"^expected a.*, found"):
            images.examine(data[:length], WIDTH, HEIGHT)


def test_a_file_cut_in_its_pixels_is_told_from_one_of_another_kind() -> None:
    data = encoded(PICTURE, "JPEG")[:-10]

    with pytest.raises(ValueError, match=f"expected a whole JPEG file, found one .*cut short at {len(data):,} bytes"):
        images.examine(data, WIDTH, HEIGHT)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"a text file that somebody renamed\n" * 20,
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        encoded(PICTURE, "GIF"),
        encoded(PICTURE, "BMP"),
        encoded(PICTURE, "TIFF"),
    ],
    ids=["empty", "NUL", "text", "JPEG's first bytes", "PNG's first bytes", "GIF", "BMP", "TIFF"],
)
def test_what_is_no_jpeg_or_png_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="expected a JPEG or PNG file, found") as caught:
        images.examine(data, WIDTH, HEIGHT)
    assert ("0 bytes" in str(caught.value)) == (not data)


def test_200_megapixels_are_the_most_that_is_read() -> None:
    assert images.examine(png(20_000, 10_000), 20_000, 10_000) == Reading("PNG", 1, False)

    for width, height in ((20_001, 10_000), (400_000, 501), (2**31 - 1, 2**31 - 1)):
        with pytest.raises(ValueError, match="expected at most 200,000,000 pixels, found more"):
            images.examine(png(width, height), width, height)


def test_a_jpeg_of_too_many_pixels_is_refused() -> None:
    head, size = b"\xff\xc0\0\x11\x08", struct.pack(">HH", 65_500, 65_500)
    data = re.sub(head + b"....", head + size, encoded(PICTURE, "JPEG"), flags=re.DOTALL)

    with pytest.raises(ValueError, match="expected at most 200,000,000 pixels"):
        images.examine(data, 65_500, 65_500)


def test_pixel_data_that_cannot_be_decoded_is_refused() -> None:
    data = png(WIDTH, HEIGHT, pixels=b"no zlib stream")
    reading = images.examine(data, WIDTH, HEIGHT)

    with pytest.raises(ValueError, match="expected a whole PNG image, found pixel data that cannot be decoded"):
        images.decode(data, reading)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=5))
@settings(max_examples=150, deadline=None)
def test_a_damaged_file_is_a_picture_of_the_right_size_or_a_value_error(
    file_format: str, changes: list[tuple[int, int]]
) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    data = bytearray(encoded(PICTURE, file_format, exif=exif.tobytes()))
    for place, value in changes:
        data[24 + place % (len(data) - 24)] = value  # A PNG's size stands before that.

    with contextlib.suppress(ValueError):
        assert images.decode(bytes(data), images.examine(bytes(data), HEIGHT, WIDTH)).shape == (WIDTH, HEIGHT, 3)


def test_what_is_no_file_of_a_plausible_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "large.png").write_bytes(bytes(101))
    monkeypatch.setattr(images, "MAX_BYTES", 100)

    for name, found in (("none.png", "none"), (".", "a folder or a device"), ("large.png", "101")):
        with pytest.raises(ValueError, match=f"expected an image file.*, found {found}"):
            images.read_file(tmp_path / name)
    with pytest.raises(ValueError, match="expected a readable image file, found: Not a directory"):
        images.read_file(tmp_path / "large.png" / "inside.png")
