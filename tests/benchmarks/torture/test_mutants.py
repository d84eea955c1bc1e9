"""Broken files: each change does what its name says, and whatever is drawn can be written."""

from __future__ import annotations

import copy
import gzip
import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from benchmarks.torture import json_changes, json_mutants, picture_changes, picture_mutants
from benchmarks.torture.json_changes import Raw
from benchmarks.torture.json_mutants import Change, Mutant

DOCUMENT: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": [8, 9, 24, 20], "iscrowd": 0, "segmentation": [[8, 9, 30]]}
    ],
}


def changed(path: json_mutants.Path, how: str, value: Any = None) -> Any:
    return json.loads(json_mutants.applied(DOCUMENT, Mutant((Change(path, how, value),))))


OBJECT = ("annotations", 0)


@pytest.mark.parametrize(
    ("path", "how", "value", "expected"),
    [
        ((*OBJECT, "bbox"), "put", None, None),
        ((*OBJECT, "bbox", 2), "put", "24", [8, 9, "24", 20]),
        ((*OBJECT, "bbox", 2), "put", Raw("1e999"), [8, 9, float("inf"), 20]),
        ((*OBJECT, "bbox", 0), "remove", None, [9, 24, 20]),
        ((*OBJECT, "bbox", 0), "twice", None, [8, 8, 9, 24, 20]),
        ((*OBJECT, "bbox"), "reverse", None, [20, 24, 9, 8]),
        ((*OBJECT, "bbox"), "shorten", None, [8, 9]),
        ((*OBJECT, "bbox"), "negative", None, [-8, -9, -24, -20]),
        ((*OBJECT, "bbox"), "as text", None, "[8, 9, 24, 20]"),
        ((*OBJECT, "bbox"), "in a list", None, [[8, 9, 24, 20]]),
        ((*OBJECT, "bbox", 1), "1,000 times", None, [8, 9000, 24, 20]),
        (("annotations",), "all boxes as corners", None, [8, 9, 32, 29]),
        (("annotations",), "all boxes from their centre", None, [20, 19, 24, 20]),
        (("annotations",), "all boxes rows first", None, [9, 8, 20, 24]),
        (("annotations",), "all boxes 1 px further out", None, [7, 8, 26, 22]),
    ],
)
def test_a_change_does_what_its_name_says(path: json_mutants.Path, how: str, value: Any, expected: Any) -> None:
    before = copy.deepcopy(DOCUMENT)
    assert changed(path, how, value)["annotations"][0]["bbox"] == expected
    assert before == DOCUMENT


def test_a_key_may_stand_twice_and_in_capitals() -> None:
    twice = json_mutants.applied(DOCUMENT, Mutant((Change(("images", 0, "width"), "twice"),)))
    assert b'"width": 0, "width": 64' in twice
    assert changed(("images", 0, "width"), "key in capitals")["images"][0]["WIDTH"] == 64


def test_a_change_to_what_an_earlier_one_took_away_is_none() -> None:
    changes = (Change(("images",), "remove"), Change(("images", 0, "id"), "put", 7), Change(("images", 0), "remove"))
    assert json.loads(json_mutants.applied(DOCUMENT, Mutant(changes))) == {"annotations": DOCUMENT["annotations"]}


def test_places_are_drawn_by_their_kind() -> None:
    kinds = json_mutants.kinds({"images": [{"id": 1}, {"id": 2}]})
    assert kinds["$.images[*].id"] == [("images", 0, "id"), ("images", 1, "id")]
    assert set(kinds) == {"$", "$.images", "$.images[*]", "$.images[*].id"}


@pytest.mark.parametrize("damage", sorted(json_changes.DAMAGES))
def test_bytes_are_damaged_at_a_place_of_every_length(damage: str) -> None:
    for data in (b"", b"{}", b'{"a": 1}' * 50):
        for where in (0.0, 0.5, 1.0):
            assert isinstance(json_changes.DAMAGES[damage](data, where), bytes)


def test_the_gzip_that_grows_is_small_and_whole() -> None:
    data = json_changes.DAMAGES["gzip of 2 GB"](b"[]", 0.0)
    assert len(data) < 5_000_000
    # Its first member is the document; each of the others unpacks to 64 MB of what JSON takes for nothing.
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        assert file.read(6) == b"[]    "


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_is_drawn_can_be_written_and_described(data: st.DataObject) -> None:
    results = [{"image_id": 1, "category_id": 3, "bbox": [8, 9, 24, 20], "score": 0.5}]
    document = data.draw(st.sampled_from([DOCUMENT, results]))
    before = copy.deepcopy(document)
    mutant = data.draw(json_mutants.mutants(document))
    assert isinstance(json_mutants.applied(document, mutant), bytes)
    assert str(mutant).isprintable()
    assert document == before


PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
BASES = picture_mutants.bases(PICTURE)


@pytest.mark.parametrize("name", sorted(BASES))
def test_good_pictures_are_what_they_are_called(name: str) -> None:
    with PillowImage.open(io.BytesIO(BASES[name])) as image:
        image.load()
        assert image.size == (32, 24)
    data = BASES[name]
    if data.startswith(b"\xff\xd8"):
        parts = picture_changes.segments(data)
        assert b"".join(parts) == data
        # The last part is the scan, from its own head on.
        assert parts[-1][:2] == b"\xff\xda"
    elif data.startswith(picture_changes.PNG_HEAD):
        parts = picture_changes.chunks(data)
        assert b"".join(parts) == data
        assert [part[4:8] for part in parts[1:]][-1] == b"IEND"


def test_a_changed_header_has_a_checksum_that_is_right() -> None:
    how = picture_changes.Change("number of the header", 0.0, 0.0, 65_501)
    header = picture_changes.chunks(picture_changes.PNG["number of the header"](BASES["png"], how))[1]
    assert int.from_bytes(header[8:12], "big") == 65_501
    assert int.from_bytes(header[-4:], "big") == zlib.crc32(header[4:-4])


def test_a_frame_may_say_another_size() -> None:
    how = picture_changes.Change("size of the frame", 0.0, 0.5, 7)
    with PillowImage.open(io.BytesIO(picture_changes.JPEG["size of the frame"](BASES["baseline"], how))) as image:
        assert image.size == (7, 7)


@settings(max_examples=200, deadline=None)
@given(picture_mutants.mutants(BASES))
def test_whatever_is_drawn_of_a_picture_can_be_written(mutant: picture_mutants.Mutant) -> None:
    assert isinstance(picture_mutants.applied(BASES, mutant), bytes)
    assert str(mutant).isprintable()


@pytest.mark.parametrize("name", sorted(picture_changes.INSTEAD))
def test_something_else_may_lie_at_a_picture_s_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture_mutants.write(path, BASES, picture_mutants.Mutant("png", (), name))
    assert path.is_symlink() or path.exists() or name == "nothing"
