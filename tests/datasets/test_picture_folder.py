"""The pictures of a folder: which files they are, what they are called, and what is left out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags
from PIL import Image as PillowImage

from datasets import coco, picture_folder
from datasets.errors import DataError
from datasets.records import Category
from tests.conftest import picture

HIGH, WIDE = 20, 30


def save(path: Path, file_format: str = "PNG", **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(picture(WIDE, HIGH, 1)).save(path, file_format, **options)


def quiet(_what: str, _done: int, _of: int) -> None:
    pass


def test_all_pictures_below_it_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.jpg", "a/z.png", "a.PNG", "10.jpeg", "9.jpg", "größe.png"):
        save(tmp_path / name, "JPEG" if "jp" in name else "PNG")
    found = picture_folder.find(tmp_path)
    assert found.names == ["10.jpeg", "9.jpg", "a.PNG", "a/z.png", "b.jpg", "größe.png"]
    assert found.note() == ""


def test_other_files_and_hidden_ones_are_counted(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "named wrongly.dat", "JPEG")
    save(tmp_path / "moving.gif", "GIF")
    save(tmp_path / "._a.png")
    save(tmp_path / ".thumbnails" / "b.png")
    for name in ("notes.txt", "more.TXT", "README"):
        (tmp_path / name).write_text("text")
    os.mkfifo(tmp_path / "pipe")
    found = picture_folder.find(tmp_path)
    assert found.names == ["a.png", "named wrongly.dat"]
    assert found.note() == (
        "left out: 5 files that are no JPEG or PNG (2 without a suffix, 2 .txt, 1 .gif) and 2 hidden"
    )


def test_links_are_followed_and_each_folder_is_read_once(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "x.png")
    save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "out again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "circle").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "file.png").symlink_to(tmp_path / "elsewhere" / "x.png")
    assert picture_folder.find(tmp_path / "in").names == ["a.png", "file.png", "out/x.png"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([], "expected JPEG or PNG files, found none"),
        (
            ["a.txt", ".b.png"],
            "expected JPEG or PNG files, found none; left out: 1 files that are no JPEG or PNG (1 .txt)",
        ),
    ],
)
def test_a_folder_without_pictures(content: list[str], expected: str, tmp_path: Path) -> None:
    for name in content:
        (tmp_path / name).write_text("text")
    with pytest.raises(DataError) as caught:
        picture_folder.find(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: {expected}")


def test_no_folder(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    for name, found in (("none", "none"), ("a.png", "a file; for one picture, name its folder")):
        with pytest.raises(DataError) as caught:
            picture_folder.find(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: expected the folder of the images, found {found}"


def test_sizes_are_those_of_upright_pictures(tmp_path: Path) -> None:
    exif = PillowImage.Exif()
    exif[ExifTags.Base.Orientation] = 6
    save(tmp_path / "turned.jpg", "JPEG", exif=exif)
    save(tmp_path / "plain.jpg", "JPEG")
    read = picture_folder.read(tmp_path, ["plain.jpg", "turned.jpg"], quiet)
    assert [(item.id, item.file_name, item.width, item.height) for item in read.images] == [
        (1, "plain.jpg", WIDE, HIGH),
        (2, "turned.jpg", HIGH, WIDE),
    ]


def test_all_that_cannot_be_read_are_named_or_left_out(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png", "d.png"):
        save(tmp_path / name)
    save(tmp_path / "gif.png", "GIF")
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:-20])
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    names = picture_folder.find(tmp_path).names
    with pytest.raises(DataError) as caught:
        picture_folder.read(tmp_path, names, quiet)
    assert caught.value.headline == f"{tmp_path}: 4 problem(s) in the image files"
    assert [line.partition(": ")[0] for line in caught.value.problems] == [
        str(tmp_path / name) for name in ("a.png", "b.png", "gif.png", "gone.png")
    ]
    assert caught.value.advice == "replace these files, or leave these images out: --skip-bad"

    read = picture_folder.read(tmp_path, names, quiet, skip_bad=True)

    assert [(item.id, item.file_name) for item in read.images] == [(1, "c.png"), (2, "d.png")]
    assert read.skipped == caught.value.problems
    with pytest.raises(DataError) as caught:
        picture_folder.read(tmp_path, ["a.png"], quiet, skip_bad=True)
    assert caught.value.advice == "no image would be left"


def test_skipping_finds_damage_that_only_decoding_shows(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "b.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    at = data.index(b"IDAT") + 4
    data[at : at + 40] = bytes(40)
    (tmp_path / "a.png").write_bytes(data)
    names = ["a.png", "b.png"]
    assert len(picture_folder.read(tmp_path, names, quiet).images) == 2
    assert [item.file_name for item in picture_folder.read(tmp_path, names, quiet, skip_bad=True).images] == ["b.png"]


def test_a_name_that_json_cannot_hold(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    save(tmp_path / name)
    with pytest.raises(DataError, match="expected a name in UTF-8, found another encoding"):
        picture_folder.read(tmp_path, picture_folder.find(tmp_path).names, quiet)


def test_the_list_is_an_annotation_file_without_annotations(tmp_path: Path) -> None:
    save(tmp_path / "in" / "größe.png")
    read = picture_folder.read(tmp_path / "in", ["größe.png"], quiet)
    path = picture_folder.list_path(tmp_path / "results.json")
    picture_folder.write_list(tmp_path / "results.json", read.images, [Category(id=7, name="disc")])
    assert path == tmp_path / "results.images.json"
    dataset = coco.read(path).dataset
    assert (dataset.images, dataset.categories, dataset.annotations) == (read.images, [Category(id=7, name="disc")], [])
    assert np.asarray(PillowImage.open(tmp_path / "in" / dataset.images[0].file_name)).shape == (HIGH, WIDE, 3)


@pytest.mark.parametrize("name", ["C:x.png", "\\\\x.png", "a\\..\\..\\x.png"])
def test_names_that_are_paths_elsewhere_are_errors_or_left_out(tmp_path: Path, name: str) -> None:
    for file in ("good.png", name):
        PillowImage.new("RGB", (4, 3)).save(tmp_path / file)
    names = picture_folder.find(tmp_path).names
    with pytest.raises(DataError, match=r"1 problem\(s\) in the image files"):
        picture_folder.read(tmp_path, names, quiet)
    read = picture_folder.read(tmp_path, names, quiet, skip_bad=True)
    assert [item.file_name for item in read.images] == ["good.png"]
