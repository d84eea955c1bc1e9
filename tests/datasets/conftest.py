"""A small right COCO document to break in one place at a time, and a hand-made EXIF block."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from datasets import coco
from datasets.errors import DataError
from tests.protocols import Read, Refused, Tiff


@pytest.fixture
def document() -> dict[str, Any]:
    """Two images of 40 x 30 px, the second without annotations; a polygon, and a crowd as runs."""
    return {
        "info": {"description": "made by hand"},
        "licenses": [{"id": 4, "name": "CC BY 2.0"}],
        "categories": [{"id": 1, "name": "person", "supercategory": "person"}, {"id": 18, "name": "dog"}],
        "images": [
            {"id": 5, "file_name": "a.png", "width": 40, "height": 30, "license": 4},
            {"id": 9, "file_name": "sub/b.png", "width": 40, "height": 30},
        ],
        "annotations": [
            {
                "id": 100,
                "image_id": 5,
                "category_id": 18,
                "bbox": [10, 5, 20, 10],
                "area": 200,
                "iscrowd": 0,
                "segmentation": [[10, 5, 30, 5, 30, 15, 10, 15]],
            },
            {
                "id": 101,
                "image_id": 5,
                "category_id": 1,
                "bbox": [0, 0, 2, 30],
                "area": 60,
                "iscrowd": 1,
                "segmentation": {"size": [30, 40], "counts": [0, 60, 1140]},
            },
        ],
    }


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """read(document or bytes, strict=..., provenance=...): writes the file and reads it."""

    def read(content: Any, **options: Any) -> coco.ReadFile:
        path = tmp_path / "instances.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return coco.read(path, **options)

    return read


@pytest.fixture
def refused(read: Read) -> Refused:
    """Like `read`, for a file that must be refused: the error."""

    def refused(content: Any, **options: Any) -> DataError:
        with pytest.raises(DataError) as caught:
            read(content, **options)
        assert "instances.json: " in caught.value.headline
        return caught.value

    return refused


@pytest.fixture(scope="session")
def tiff() -> Tiff:
    """tiff(orientation, order="<" or ">", kind=3, thumbnail=b""): the TIFF block of an EXIF, without `Exif\\0\\0`."""

    def tiff(orientation: int, order: str = "<", kind: int = 3, thumbnail: bytes = b"") -> bytes:
        value = struct.pack(order + "HH", orientation, 0) if kind == 3 else struct.pack(order + "I", orientation)
        make = struct.pack(order + "HHI4s", 0x010F, 2, 4, b"abc\0")
        first = struct.pack(order + "H", 2) + make + struct.pack(order + "HHI", 0x0112, kind, 1) + value
        head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
        if not thumbnail:
            return head + first + bytes(4)
        second = 8 + len(first) + 4
        place = second + 2 + 2 * 12 + 4
        entries = struct.pack(order + "HHIIHHII", 0x0201, 4, 1, place, 0x0202, 4, 1, len(thumbnail))
        pointer = struct.pack(order + "I", second)
        return head + first + pointer + struct.pack(order + "H", 2) + entries + bytes(4) + thumbnail

    return tiff
