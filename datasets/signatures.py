"""File types other than JPEG and PNG by their magic bytes, and how to convert them."""

from __future__ import annotations

_CONVERT = "convert it under its name, e.g. `magick FILE[0] -depth 8 PNG:FILE`"
# (offset, bytes) -> name, pictures first.
_PICTURES = (
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (8, b"WEBP", "WebP"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"8BPS", "Photoshop (PSD)"),
    (0, b"\0\0\x01\0", "an icon (ICO)"),
    (128, b"DICM", "DICOM"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"%PDF", "PDF"),
)
_OTHERS = (
    (0, b"version https://git-lfs", "a Git LFS pointer", "fetch the image, `git lfs pull`"),
    (0, b"PK\x03\x04", "a ZIP archive", "unpack it"),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it"),
)
# Brands of ISO media files (`ftyp`, ISO/IEC 23008-12); mif1 and msf1 only say that it is one of them.
_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


def describe(data: bytes) -> str:
    """The type of a file and how to convert it to a readable image; empty for unknown bytes."""
    media = _iso_media(data)
    if media:
        return f"{media}; {_CONVERT}"
    for offset, mark, name in _PICTURES:
        if data[offset : offset + len(mark)] == mark and (name != "WebP" or data[:4] == b"RIFF"):
            return f"{name}; {_CONVERT}"
    for offset, mark, name, remedy in _OTHERS:
        if data[offset : offset + len(mark)] == mark:
            return f"{name}; {remedy}"
    start = data[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page; download the image again"
    if start.startswith(b"<svg") or (start.startswith(b"<?xml") and b"<svg" in data[:1024]):
        return f"SVG; {_CONVERT}"
    return ""


def _iso_media(data: bytes) -> str:
    if data[4:8] != b"ftyp":
        return ""
    length = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, length, 4))}
    if brands & _AVIF:
        return "AVIF"
    return "HEIC" if brands & _HEIC else ""
