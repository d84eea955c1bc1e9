"""Which pictures are predicted on, and what is known of them before their files are opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import ExifTags
from PIL import Image as PillowImage

from datasets.errors import DataError
from tests.conftest import picture
from tests.train.made import quiet, write_list
from train.inference import pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """1.png to 3.png of 30 x 20 px."""
    folder = tmp_path / "images"
    folder.mkdir()
    for id_ in (1, 2, 3):
        PillowImage.fromarray(picture(30, 20, id_)).save(folder / f"{id_}.png")
    return folder


def test_a_folder_is_known_by_names_and_then_by_sizes(folder: Path) -> None:
    asked = pictures.ask(None, folder)
    assert (asked.names, asked.images, asked.categories) == (["1.png", "2.png", "3.png"], None, ())
    assert list(asked.paths()) == [folder / f"{id_}.png" for id_ in (1, 2, 3)]
    checked = pictures.check(asked, quiet)
    assert [(item.id, item.file_name) for item in checked.images] == [(1, "1.png"), (2, "2.png"), (3, "3.png")]
    assert [(item.image_id, item.width, item.height) for item in checked.records] == [(at, 30, 20) for at in (1, 2, 3)]


def test_pictures_of_a_folder_are_upright(folder: Path) -> None:
    exif = PillowImage.Exif()
    exif[ExifTags.Base.Orientation] = 6
    PillowImage.fromarray(picture(30, 20, 4)).save(folder / "4.jpg", exif=exif)
    # Square: no size tells that it is turned.
    PillowImage.fromarray(picture(20, 20, 5)).save(folder / "5.jpg", exif=exif)
    records = pictures.check(pictures.ask(None, folder), quiet).records
    assert [(item.width, item.height, item.on_stored_pixels) for item in records][3:] == [
        (20, 30, False),
        (20, 20, False),
    ]


def test_bad_files_of_a_list_are_refused_or_left_out(folder: Path, tmp_path: Path) -> None:
    listed = write_list(tmp_path / "list.json", {1: (20, 30), 2: (20, 30), 3: (30, 20)})
    (folder / "1.png").write_bytes(b"no picture")
    asked = pictures.ask(listed, folder)
    with pytest.raises(DataError) as caught:
        pictures.check(asked, quiet)
    assert caught.value.headline == f"{listed}: 2 problem(s) in the image files"
    assert caught.value.advice == "replace these files, or leave these images out: --skip-bad"
    checked = pictures.check(asked, quiet, skip_bad=True)
    assert [item.id for item in checked.images] == [item.image_id for item in checked.records] == [2]
    assert checked.skipped == caught.value.problems
    (folder / "2.png").unlink()
    with pytest.raises(DataError, match=r"list.json: 3 problem\(s\)") as caught:
        pictures.check(asked, quiet, skip_bad=True)
    assert caught.value.advice == "no image would be left"
