"""The one decoder and the one encoder: the pixels of every kind of file (test_images_refused.py: the other files)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageOps

from datasets import images
from datasets.images import Pixels, Reading
from tests.protocols import Tiff

WIDTH, HEIGHT = 36, 24


def smooth(width: int = WIDTH, height: int = HEIGHT) -> Pixels:
    """Every corner has another colour, and JPEG keeps it nearly as it is."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 128 // (width + height)], axis=2).astype(np.uint8)


PICTURE = PillowImage.fromarray(smooth())


def encoded(picture: PillowImage.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **({"quality": 95, "subsampling": 0} if file_format == "JPEG" else {}), **options)
    return buffer.getvalue()


def read(data: bytes, width: int = WIDTH, height: int = HEIGHT) -> Pixels:
    return images.decode(data, images.examine(data, width, height))


def far(found: Pixels, expected: Any) -> int:
    """The largest difference of a channel."""
    other = np.asarray(expected, dtype=np.int64)
    assert found.shape == other.shape
    return int(np.abs(found - other).max())


@pytest.mark.parametrize(("file_format", "tolerance"), [("PNG", 0), ("JPEG", 8)])
def test_a_plain_file_gives_its_pixels_in_the_order_red_green_blue(file_format: str, tolerance: int) -> None:
    pixels = read(encoded(PICTURE, file_format))

    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert far(pixels, smooth()) <= tolerance


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA"])
def test_every_mode_of_png_becomes_rgb(mode: str) -> None:
    converted = PICTURE.convert(mode)

    assert far(read(encoded(converted, "PNG")), converted.convert("RGB")) == 0


def test_a_palette_with_a_transparent_colour_keeps_that_colour() -> None:
    converted = PICTURE.convert("P")

    assert far(read(encoded(converted, "PNG", transparency=5)), converted.convert("RGB")) == 0


def test_alpha_is_dropped_and_not_blended() -> None:
    invisible = PICTURE.convert("RGBA")
    invisible.putalpha(0)

    assert far(read(encoded(invisible, "PNG")), smooth()) == 0


@pytest.mark.parametrize("mode", ["L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_every_mode_of_jpeg_becomes_rgb(mode: str, options: dict[str, bool]) -> None:
    data = encoded(PICTURE.convert(mode), "JPEG", **options)

    assert far(read(data), PillowImage.open(io.BytesIO(data)).convert("RGB")) <= 3


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("file_format", "tolerance"), [("PNG", 0), ("JPEG", 3)])
def test_an_orientation_is_applied_where_the_upright_size_is_the_jsons(
    file_format: str, tolerance: int, orientation: int, order: str, tiff: Tiff
) -> None:
    data = encoded(PICTURE, file_format, exif=b"Exif\0\0" + tiff(orientation, order))
    upright = ImageOps.exif_transpose(PillowImage.open(io.BytesIO(data)))
    assert upright.size == ((HEIGHT, WIDTH) if orientation >= 5 else (WIDTH, HEIGHT))

    reading = images.examine(data, *upright.size)

    assert reading == Reading(file_format, orientation, False)
    pixels = images.decode(data, reading)
    assert pixels.flags.c_contiguous
    assert far(pixels, upright) <= tolerance


@pytest.mark.parametrize("orientation", range(5, 9))
@pytest.mark.parametrize(("file_format", "tolerance"), [("PNG", 0), ("JPEG", 8)])
def test_an_orientation_is_ignored_where_only_the_stored_size_is_the_jsons(
    file_format: str, tolerance: int, orientation: int, tiff: Tiff
) -> None:
    data = encoded(PICTURE, file_format, exif=b"Exif\0\0" + tiff(orientation))

    reading = images.examine(data, WIDTH, HEIGHT)

    assert reading == Reading(file_format, 1, True)
    assert far(images.decode(data, reading), smooth()) <= tolerance


@pytest.mark.parametrize("orientation", range(2, 9))
def test_an_orientation_is_applied_to_a_square(orientation: int, tiff: Tiff) -> None:
    square = PillowImage.fromarray(smooth(20, 20))
    data = encoded(square, "PNG", exif=tiff(orientation))

    assert images.examine(data, 20, 20) == Reading("PNG", orientation, False)
    assert far(read(data, 20, 20), ImageOps.exif_transpose(PillowImage.open(io.BytesIO(data)))) == 0


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_exif_does_not_know_is_none(orientation: int, tiff: Tiff) -> None:
    data = encoded(PICTURE, "JPEG", exif=b"Exif\0\0" + tiff(orientation))

    assert images.examine(data, WIDTH, HEIGHT) == Reading("JPEG", 1, False)


@pytest.mark.parametrize("exif", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"nonsense", b"MM\0*\0\0\0\x08\xff\xff" * 2])
def test_damaged_exif_is_no_matter(exif: bytes) -> None:
    assert images.examine(encoded(PICTURE, "JPEG", exif=b"Exif\0\0" + exif), WIDTH, HEIGHT).orientation == 1


@pytest.mark.parametrize("more", [b"\0" * 8, b"\xff\xda and more", b"MotionPhoto_Data \xff\xda\xff\xd8"])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_what_a_camera_appends_to_a_whole_file_is_no_matter(file_format: str, more: bytes) -> None:
    data = encoded(PICTURE, file_format)

    assert np.array_equal(read(data + more), read(data))


@pytest.mark.parametrize("quality", [50, 95])
def test_the_encoder_writes_a_jpeg_that_the_decoder_reads(quality: int) -> None:
    data = bytes(images.encode_jpeg(smooth(), quality))
    found = PillowImage.open(io.BytesIO(data))

    assert (found.format, found.size, found.mode) == ("JPEG", (WIDTH, HEIGHT), "RGB")
    assert far(read(data), smooth()) <= 30
    assert len(images.encode_jpeg(smooth(), 50)) < len(images.encode_jpeg(smooth(), 95))


def test_a_file_is_read_from_a_folder_and_judged_by_its_bytes(tmp_path: Path) -> None:
    path = images.path_inside(tmp_path, "sub/picture.jpg")
    path.parent.mkdir()
    path.write_bytes(encoded(PICTURE, "PNG"))

    assert far(read(images.read_file(path)), smooth()) == 0
