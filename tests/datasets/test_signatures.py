"""Files that are neither JPEG nor PNG are refused by the name of what they are, whatever they are called."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from datasets import images
from datasets.signatures import describe


def saved(file_format: str) -> bytes:
    buffer = io.BytesIO()
    PillowImage.new("RGB", (8, 6), "red").save(buffer, file_format)
    return buffer.getvalue()


def media(major: bytes, *compatible: bytes) -> bytes:
    """The first box of an ISO media file: its length, its type, the major brand, a version, other brands."""
    content = b"ftyp" + major + bytes(4) + b"".join(compatible)
    return (len(content) + 4).to_bytes(4, "big") + content + bytes(40)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (saved("WEBP"), "WebP"),
        (saved("BMP"), "BMP"),
        (saved("TIFF"), "TIFF"),
        (b"MM\0*" + bytes(20), "TIFF"),
        (saved("GIF"), "GIF"),
        (media(b"heic", b"mif1"), "HEIC"),
        (media(b"mif1", b"mif1", b"heic"), "HEIC"),
        (media(b"mif1", b"avif"), "AVIF"),
        (media(b"avif"), "AVIF"),
        (b"\xff\x0a" + bytes(20), "JPEG XL"),
        (saved("JPEG2000"), "JPEG 2000"),
        (bytes(128) + b"DICM" + bytes(20), "DICOM"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    ],
)
def test_a_format_is_named_with_the_conversion(data: bytes, name: str) -> None:
    with pytest.raises(ValueError, match="expected a JPEG or PNG file, found") as caught:
        images.examine(data, 8, 6)

    assert str(caught.value) == (
        f"expected a JPEG or PNG file, found {name}; convert it under its name, e.g. `magick FILE[0] -depth 8 PNG:FILE`"
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer; fetch the image"),
        (b"\n<!DOCTYPE html><html>not found</html>", "a web page; download the image again"),
        (b"RIFF\0\0\0\0WAVEfmt ", "something else or a damaged head"),
        (media(b"isom", b"mp42"), "something else or a damaged head"),
    ],
)
def test_what_no_conversion_helps_is_named_with_another_remedy_or_none(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match="expected a JPEG or PNG file, found ") as caught:
        images.examine(data, 8, 6)

    assert f"found {said}" in str(caught.value)
    assert "magick" not in str(caught.value)


@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail(noise: bytes) -> None:
    for data in (noise, b"\0\0\0\xffftyp" + noise, b"RIFF" + noise):
        assert isinstance(describe(data), str)
