"""Annotation files as streams: what the writer wrote comes back record by record, and anything else is named."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

import pytest

from datasets.errors import DataError
from datasets.records import Category, Image
from datasets.stream import DatasetWriter, located_records, read_head, records, records_from

IMAGES = [Image(id=n, file_name=f"größe {n}.jpg", width=10, height=20) for n in (1, 2)]


def write(path: Path, images: list[Image], annotations: int) -> None:
    with DatasetWriter(path, {"year": 2020}, [{"id": 1}], [Category(id=3, name="car")]) as writer:
        writer.images(images)
        for n in range(annotations):
            writer.annotations(1, n + 1, [b'"area":%d}' % n])


@pytest.mark.parametrize("images", [0, 2])
@pytest.mark.parametrize("annotations", [0, 3])
def test_what_was_written_comes_back(tmp_path: Path, images: int, annotations: int) -> None:
    path = tmp_path / "a.json"
    write(path, IMAGES[:images], annotations)
    head = read_head(path)
    assert (head.info, head.licenses, head.categories) == ({"year": 2020}, [{"id": 1}], [Category(id=3, name="car")])
    document = json.loads(path.read_bytes())
    assert [json.loads(record) for record in records(path, "images")] == document["images"]
    assert [json.loads(record) for record in records(path, "annotations")] == document["annotations"]
    assert len(document["images"]) == images
    assert len(document["annotations"]) == annotations


def test_the_writer_knows_the_digest_of_its_file(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "a.json", {}, [], []) as writer:
        writer.images(IMAGES)
        writer.annotations(1, 1, [b'"area":1}', b'"area":2}'])
    assert writer.sha256 == hashlib.sha256((tmp_path / "a.json").read_bytes()).hexdigest()


def test_a_section_is_read_no_further_than_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write(path, IMAGES, 2)
    path.write_bytes(path.read_bytes().replace(b'"area":1}\n]}\n', b"cut off"))
    assert len(list(records(path, "images"))) == 2
    found = records(path, "annotations")
    assert json.loads(next(found)) == {"id": 1, "image_id": 1, "area": 0}
    with pytest.raises(DataError, match=r"a\.json line 7: expected a whole line, found the end of the file"):
        next(found)


@pytest.mark.parametrize("section", ["images", "annotations"])
def test_records_are_read_from_any_of_them_to_the_end_of_their_section(
    tmp_path: Path, section: Literal["images", "annotations"]
) -> None:
    path = tmp_path / "a.json"
    write(path, IMAGES, 3)
    every = list(records(path, section))
    places = [offset for offset, _ in located_records(path, section)]
    assert [list(records_from(path, offset)) for offset in places] == [every[at:] for at in range(len(every))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "line 1: expected a whole line, found the end"),
        ('{"categories":[]}', "line 1: expected a whole line, found the end"),
        ("[]\n", "line 1: expected info, licenses and categories"),
        ('{"info":{}},\n', "line 1: expected info, licenses and categories: .*categories"),
        ('{"categories":[\xff],\n', "line 1: expected info, licenses and categories"),
    ],
)
def test_another_beginning_is_named(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=expected):
        read_head(path)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"images":[', '"pictures":[', 'line 2: expected \'"images":\\[\' or one record a line, found \'"pictures"'),
        ('\n],"annotations":[', ' ],"annotations":[', "line 5: expected '],\"annotations\":\\['"),
        ("},\n", "}\n", 'line 4: expected \'],"annotations":\\[\' or one record a line, found \'{"id":2'),
        ("\n]}\n", "\n\n]}\n", "line 8: expected ']}' or one record a line, found ''"),
        ("\n]}\n", "\n", "line 8: expected a whole line, found the end of the file"),
    ],
)
def test_another_layout_is_named_by_its_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    path = tmp_path / "a.json"
    write(path, IMAGES, 2)
    text = path.read_text()
    # The head's own line is not what is spoiled here.
    head, _, rest = text.partition("\n")
    path.write_text(f"{head}\n{rest.replace(old, new, 1)}")
    with pytest.raises(DataError, match=expected):
        list(records(path, "annotations"))


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: the annotation file cannot be read: No such file"):
        read_head(tmp_path / "none.json")
