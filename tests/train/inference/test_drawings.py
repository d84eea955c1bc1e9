"""The folder of drawings: where it may be, what its files are called, and that it appears whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from datasets.errors import DataError
from datasets.results import Results
from tests.conftest import picture
from tests.train.made import quiet, write_list
from train.data.records import Categories
from train.inference import drawings, pictures

CATEGORIES = Categories.from_pairs([(1, "disc")])
SIDE = 400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    for id_, name in enumerate(("a.png", "b.jpg", "sub/a.png")):
        PillowImage.fromarray(picture(SIDE, SIDE, id_)).save(folder / name)
    return folder


def found(image_id: int, *scores: float) -> Results:
    return Results(
        np.full(len(scores), image_id, dtype=np.int64),
        np.ones(len(scores), dtype=np.int64),
        np.array([(200 * at, 100, 40, 40) for at in range(len(scores))], dtype=np.float64).reshape(-1, 4),
        np.array(scores),
    )


def planned(folder: Path, score: float = 0.5) -> drawings.Plan:
    checked = pictures.check(pictures.ask(None, folder), quiet)
    return drawings.plan(folder.parent / "drawn", folder, checked.records, CATEGORIES, score)


def pixels(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(PillowImage.open(path).convert("RGB"))


def test_every_picture_has_a_drawing_under_its_own_name(folder: Path) -> None:
    with drawings.staged(planned(folder)) as draw:
        assert draw is not None
        for image_id, scores in ((1, (0.75, 0.25)), (2, ()), (3, (0.25,))):
            draw(image_id, found(image_id, *scores))
        assert not (folder.parent / "drawn").exists()
    drawn = folder.parent / "drawn"
    assert sorted(str(path.relative_to(drawn)) for path in drawn.rglob("*") if path.is_file()) == [
        "a.png",
        "b.jpg",
        "sub/a.png",
    ]
    # Only scores from 0.5 on; a PNG without any is as it was.
    assert (pixels(drawn / "a.png") != pixels(folder / "a.png"))[:, :48].any()
    assert (pixels(drawn / "a.png") == pixels(folder / "a.png"))[:, 150:].all()
    assert (pixels(drawn / "sub" / "a.png") == pixels(folder / "sub" / "a.png")).all()
    assert [(drawn / name).read_bytes()[1:4] for name in ("a.png", "b.jpg")] == [b"PNG", b"\xd8\xff\xe0"]
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith("drawn")] == ["drawn"]


def test_nothing_is_left_where_it_fails(folder: Path) -> None:
    def fail() -> None:
        with drawings.staged(planned(folder)) as draw:
            assert draw is not None
            draw(1, found(1, 0.75))
            raise DataError("in the middle")

    with pytest.raises(DataError, match="in the middle"):
        fail()
    assert [path.name for path in folder.parent.iterdir()] == ["images"]


def test_nothing_is_drawn_unasked() -> None:
    with drawings.staged(None) as draw:
        assert draw is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("images", "expected a folder outside the images, found it in "),
        ("images/drawn", "expected a folder outside the images, found it in "),
        ("link/drawn", "expected a folder outside the images, found it in "),
        ("a file", "expected a folder or nothing, found a file"),
        ("full", "expected a new or empty folder, found something in it"),
        ("out", "expected a folder for drawings alone, found --output"),
        ("out/results.json", "expected a folder for drawings alone, found --output"),
    ],
)
def test_where_drawings_may_not_be(name: str, expected: str, folder: Path) -> None:
    (folder.parent / "link").symlink_to(folder)
    (folder.parent / "a file").write_text("text")
    (folder.parent / "full" / "sub").mkdir(parents=True)
    with pytest.raises(DataError) as caught:
        drawings.check_folder(folder.parent / name, folder, folder.parent / "out" / "results.json")
    assert str(caught.value).startswith(f"--draw {folder.parent / name}: {expected}")


def test_a_new_or_empty_folder_is_right(folder: Path) -> None:
    (folder.parent / "empty").mkdir()
    for name in ("empty", "new", "deep/er"):
        drawings.check_folder(folder.parent / name, folder, folder.parent / "results.json")


def test_images_of_one_file_would_have_one_drawing(folder: Path, tmp_path: Path) -> None:
    listed = write_list(tmp_path / "list.json", {})
    records = {"images": [{"id": id_, "file_name": "a.png", "height": SIDE, "width": SIDE} for id_ in (1, 2)]}
    listed.write_text(str(records).replace("'", '"'))
    checked = pictures.check(pictures.ask(listed, folder), quiet)
    with pytest.raises(DataError) as caught:
        drawings.plan(tmp_path / "drawn", folder, checked.records, CATEGORIES, 0.5)
    assert caught.value.problems == ["a.png: 2 images"]


def test_jpegs_keep_thin_lines() -> None:
    """A blue line of one pixel on white: with less than full chroma, it would be half as blue."""
    white = np.full((32, 32, 3), 255, dtype=np.uint8)
    white[:, 15] = (0, 0x72, 0xB2)
    decoded = np.asarray(PillowImage.open(io.BytesIO(drawings.encoded(white, "a.jpg"))))
    assert np.abs(decoded[:, 15].astype(int) - (0, 0x72, 0xB2)).max() < 20


def test_what_draws_need_not_be_installed_where_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawings.check_installed()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"--draw: expected the package supervision, .*; pip install supervision"):
        drawings.check_installed()
