"""Taking an orientation out of a copy: nothing but its bytes change, and no reader sees it any more."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, PngImagePlugin
from PIL import Image as PillowImage

from datasets import images
from datasets.exif import set_upright
from datasets.images import Reading
from tests.protocols import Tiff

WIDTH, HEIGHT = 30, 20
PICTURE = PillowImage.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="{0}"/></rdf:RDF></x:xmpmeta>',
    "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF><tiff:Orientation>{0}</tiff:Orientation></rdf:RDF></x:xmpmeta>",
)


def encoded(file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    PICTURE.save(buffer, file_format, **options)
    return buffer.getvalue()


def with_xmp(file_format: str, xmp: str, *, compressed: bool = False) -> bytes:
    if file_format == "JPEG":
        return encoded("JPEG", xmp=xmp.encode())
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp, zip=compressed)
    return encoded("PNG", pnginfo=info)


def orientation_of(data: bytes) -> object:
    """What Pillow says; None without any."""
    with PillowImage.open(io.BytesIO(data)) as picture:
        return picture.getexif().get(ExifTags.Base.Orientation)


def ignored(data: bytes) -> Reading:
    """The reading of a file whose orientation its annotations do not follow."""
    reading = images.examine(data, WIDTH, HEIGHT)
    assert reading.strip_orientation
    return reading


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """(kind, data) of a PNG's chunks, each with a right checksum."""
    found = []
    place = 8
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        assert struct.unpack_from(">I", data, place + 8 + length) == (zlib.crc32(kind + content),)
        found.append((kind, content))
        place += 12 + length
    return found


def places_changed(before: bytes, after: bytes) -> list[int]:
    assert len(before) == len(after)
    return [place for place, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", range(5, 9))
def test_a_jpeg_loses_its_orientation_and_one_byte_changes(orientation: int, order: str, tiff: Tiff) -> None:
    data = encoded("JPEG", exif=b"Exif\0\0" + tiff(orientation, order))

    copy = images.without_orientation(data, ignored(data))

    (place,) = places_changed(data, copy)
    assert (data[place], copy[place]) == (orientation, 1)
    assert place < data.index(b"\xff\xda")
    assert orientation_of(data) == orientation
    assert orientation_of(copy) == 1


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", range(5, 9))
def test_a_png_loses_its_orientation_and_only_that_chunk_changes(orientation: int, order: str, tiff: Tiff) -> None:
    data = encoded("PNG", exif=tiff(orientation, order))

    copy = images.without_orientation(data, ignored(data))

    assert len(copy) == len(data)
    before, after = chunks(data), chunks(copy)
    assert [kind for kind, content in before if (kind, content) not in after] == [b"eXIf"]
    assert dict(after)[b"eXIf"] == tiff(1, order)
    assert orientation_of(copy) == 1


@pytest.mark.parametrize("xmp", XMP)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_xmp_loses_its_orientation_too(file_format: str, xmp: str) -> None:
    data = with_xmp(file_format, xmp.format(8))
    assert orientation_of(data) == 8

    copy = images.without_orientation(data, ignored(data))

    assert orientation_of(copy) == 1
    assert copy == with_xmp(file_format, xmp.format(1))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_exif_and_xmp_in_one_file_both_lose_it(file_format: str, tiff: Tiff) -> None:
    exif, xmp = tiff(6, ">"), XMP[0].format(6)
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp)
    more = {"pnginfo": info} if file_format == "PNG" else {"xmp": xmp.encode()}
    data = encoded(file_format, exif=b"Exif\0\0" + exif, **more)

    copy = images.without_orientation(data, ignored(data))

    assert orientation_of(copy) == 1
    assert b'tiff:Orientation="1"' in copy
    assert b'tiff:Orientation="6"' not in copy


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_the_pixels_of_the_copy_are_the_stored_ones(file_format: str, tiff: Tiff) -> None:
    data = encoded(file_format, exif=b"Exif\0\0" + tiff(6, thumbnail=encoded("JPEG")))
    reading = ignored(data)

    copy = images.without_orientation(data, reading)

    assert images.examine(copy, WIDTH, HEIGHT) == Reading(file_format, 1, False)
    assert np.array_equal(images.decode(copy, reading), np.asarray(PillowImage.open(io.BytesIO(data)).convert("RGB")))


def test_fill_bytes_and_other_segments_before_the_exif_are_passed_over(tiff: Tiff) -> None:
    data = encoded("JPEG", exif=b"Exif\0\0" + tiff(6), comment=b"before")
    exif = data.index(b"\xff\xe1")
    data = data[:exif] + b"\xff\xff\xff" + data[exif:]

    assert orientation_of(images.without_orientation(data, ignored(data))) == 1


def test_other_tags_and_the_thumbnail_stay(tiff: Tiff) -> None:
    thumbnail = encoded("JPEG")

    copy = set_upright(encoded("JPEG", exif=b"Exif\0\0" + tiff(6, thumbnail=thumbnail)), "JPEG")

    assert PillowImage.open(io.BytesIO(copy)).getexif()[ExifTags.Base.Make] == "abc"
    assert thumbnail in copy


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_a_file_without_orientation_stays_as_it_is(file_format: str, tiff: Tiff) -> None:
    for data in (encoded(file_format), encoded(file_format, exif=b"Exif\0\0" + tiff(1))):
        assert set_upright(data, file_format) == data


def test_an_orientation_that_cannot_be_taken_out_is_an_error(tiff: Tiff) -> None:
    data = encoded("JPEG", exif=b"Exif\0\0" + tiff(6, kind=4))
    assert orientation_of(data) == 6

    with pytest.raises(ValueError, match="expected an EXIF orientation that can be taken out"):
        images.without_orientation(data, ignored(data))


def raw_profile(tiff: Tiff) -> bytes:
    """EXIF as ImageMagick wrote it into PNG before there was a chunk for it."""
    exif = b"Exif\0\0" + tiff(6)
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{exif.hex()}\n", zip=True)
    return encoded("PNG", pnginfo=info)


@pytest.mark.parametrize("hidden", ["compressed XMP", "raw profile"])
def test_an_orientation_packed_into_a_png_is_seen_like_any_other(hidden: str, tiff: Tiff) -> None:
    data = raw_profile(tiff) if hidden == "raw profile" else with_xmp("PNG", XMP[0].format(6), compressed=True)
    assert orientation_of(data) == 6

    assert images.examine(data, HEIGHT, WIDTH) == Reading("PNG", 6, False)
    with contextlib.suppress(ValueError):  # It may be one that cannot be taken out.
        assert orientation_of(images.without_orientation(data, ignored(data))) in (1, None)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@given(st.binary(max_size=200), st.integers(0, 2**32 - 1), st.data())
@settings(max_examples=200, deadline=None)
def test_nothing_that_a_file_holds_breaks_the_patch(
    file_format: str, noise: bytes, offset: int, data: st.DataObject
) -> None:
    order = data.draw(st.sampled_from([b"II*\0", b"MM\0*"]))
    exif = order + struct.pack("<I", offset) + noise
    length = len(exif) + data.draw(st.integers(-10, 10))
    heads = [b"\xff\xd8\xff\xe1" + struct.pack(">H", max(0, 2 + 6 + length)) + b"Exif\0\0" + exif]
    heads += [b"\x89PNG\r\n\x1a\n" + struct.pack(">I", max(0, length)) + b"eXIf" + exif + bytes(4), noise, exif]

    for head in heads:
        assert len(set_upright(head, file_format)) == len(head)
