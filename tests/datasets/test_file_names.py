"""From `file_name` to a file: dots, backslashes, other spellings, and links that lead out of the folder."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from datasets import checks, images
from datasets.errors import DataError
from datasets.file_names import Located, Lookup, leads_out, locate
from datasets.image_files import Examined, ImageFile, examine_files
from datasets.sources import Input, read_checked


def draw(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.new("RGB", (40, 30), "red").save(path, "PNG")
    return path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", "a.jpg"),
        ("./a.jpg", "a.jpg"),
        ("x/../a.jpg", "a.jpg"),
        ("x/y/../../z/./a.jpg", "z/a.jpg"),
        ("x//a.jpg", "x/a.jpg"),
    ],
)
def test_a_path_that_stays_inside_is_read(tmp_path: Path, name: str, expected: str) -> None:
    assert images.path_inside(tmp_path, name) == tmp_path / expected


@pytest.mark.parametrize("name", ["..", "../a.jpg", "x/../../a.jpg", "x\\..\\..\\a.jpg", "x/..\\../a.jpg/../.."])
def test_a_path_that_leaves_on_its_way_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="climbs out of the image folder"):
        images.path_inside(tmp_path, name)


def test_a_path_that_is_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is the image folder itself"):
        images.path_inside(tmp_path, "x/..")


@given(st.lists(st.sampled_from(["..", ".", "a", "b", "\\", "..\\", "c\\d"]), min_size=1, max_size=8))
def test_no_path_leads_out(parts: list[str]) -> None:
    folder = Path("/data/images")
    try:
        path = images.path_inside(folder, "/".join(parts))
    except ValueError:
        return
    assert path.is_relative_to(folder)
    assert ".." not in path.parts


def test_backslashes_are_folders_where_that_file_is(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    path = draw(folder / "sub" / "a.png")
    literal = draw(folder / "sub\\b.png")
    draw(folder / "sub" / "b.png")

    assert locate(folder, "sub\\a.png") == Located(path, backslashes=True)
    # Label Studio on Windows: the first folder is the image folder.
    assert locate(folder, "images\\sub\\a.png") == Located(path, backslashes=True)
    assert locate(folder, "sub\\b.png") == Located(literal)
    assert locate(folder, "sub\\none.png") == Located(folder / "sub\\none.png")
    assert locate(folder, "sub/a.png") == Located(path)


def remedy(folder: Path, name: str) -> str:
    return Lookup().remedy(folder, folder / name)


COMPOSED = "café.png"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


@pytest.mark.parametrize(
    ("there", "wanted", "difference"),
    [
        (DECOMPOSED, COMPOSED, "its Unicode normal form"),
        (COMPOSED, DECOMPOSED, "its Unicode normal form"),
        ("my cat#1.png", "my%20cat%231.png", "%-escapes"),
        ("my%20cat.png", "my cat.png", "%-escapes"),
        ("a.PNG", "a.png", "upper and lower case"),
        ("Train/a.png", "train/A.png", "upper and lower case"),
        ("sub/a.png", "sub%2Fa.png", "%-escapes"),
        (
            f"Sub/{DECOMPOSED}",
            "sub/caf%C3%A9.png",
            "its spelling (Unicode normal form, %-escapes, upper and lower case)",
        ),
    ],
)
def test_the_file_that_was_meant_is_named_with_the_difference(
    tmp_path: Path, there: str, wanted: str, difference: str
) -> None:
    draw(tmp_path / there)

    found = remedy(tmp_path, wanted)

    assert found.startswith(f"there is {there!r}")
    assert found.endswith(f", which differs in {difference}: rename the file, or change file_name")
    assert there.isascii() or f"({there!a}, not {wanted!a})" in found


def test_nothing_is_named_where_nothing_is_like_it(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    (tmp_path / "b.png").mkdir()

    assert [remedy(tmp_path, name) for name in ("c.png", "B.png", "sub/a.png", "%2e%2e/a.png")] == [""] * 4


def test_a_folder_too_low_is_told(tmp_path: Path) -> None:
    draw(tmp_path / "images" / "a.png")

    assert remedy(tmp_path / "images", "images/a.png") == (
        f"it is there without its first folder, so --images {tmp_path} would find it"
    )


def document(*names: str) -> dict[str, Any]:
    records = [{"id": id_, "file_name": name, "width": 40, "height": 30} for id_, name in enumerate(names)]
    box = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 1, 5, 5], "area": 25, "iscrowd": 0}
    return {"images": records, "categories": [{"id": 1, "name": "cat"}], "annotations": [box]}


def test_backslashes_are_a_repair_with_the_name_and_an_error_when_strict(tmp_path: Path) -> None:
    draw(tmp_path / "images" / "sub" / "a.png")
    item = Input(tmp_path / "data.json", tmp_path / "images")
    item.annotations.write_text(json.dumps(document("sub\\a.png")))

    found = read_checked([item], strict=False, progress=lambda *_: None)

    assert found.repairs.places == {checks.BACKSLASHES: ["data.json sub\\a.png"]}
    with pytest.raises(DataError, match=r"1 problem\(s\) that --strict does not repair"):
        read_checked([item], strict=True, progress=lambda *_: None)


def test_all_that_is_missing_is_listed_with_what_was_meant(tmp_path: Path) -> None:
    draw(tmp_path / "images" / "a.PNG")
    item = Input(tmp_path / "data.json", tmp_path / "images")
    item.annotations.write_text(json.dumps(document("a.png", "b.png")))

    with pytest.raises(DataError, match=r"2 problem\(s\) in the image files") as caught:
        read_checked([item], strict=False, progress=lambda *_: None)

    assert caught.value.problems == [
        f"{item.images / 'a.png'}: expected an image file, found none; there is 'a.PNG', which differs in upper and "
        "lower case: rename the file, or change file_name",
        f"{item.images / 'b.png'}: expected an image file, found none",
    ]
    assert caught.value.advice == "replace these files, or leave these images out: --skip-bad"


def test_a_name_that_no_file_can_have_is_no_crash(tmp_path: Path) -> None:
    for name in ("a" * 300, "a\\" + "b" * 300, "a\\" * 2000):
        path, _ = locate(tmp_path, name)
        (found,) = examine_files([ImageFile(path, tmp_path, 40, 30)], follow_links=False)
        assert found == "expected a readable image file, found: File name too long"


def test_a_link_that_leads_out_is_refused_unless_links_are_followed(tmp_path: Path) -> None:
    outside = draw(tmp_path / "elsewhere" / "a.png")
    inside = draw(tmp_path / "images" / "b.png")
    folder = tmp_path / "images"
    (folder / "out.png").symlink_to(outside)
    (folder / "in.png").symlink_to("b.png")
    (folder / "sub").symlink_to(outside.parent, target_is_directory=True)
    linked = tmp_path / "linked"
    linked.symlink_to(folder, target_is_directory=True)
    files = [ImageFile(place / name, place, 40, 30) for place in (folder, linked) for name in ("b.png", "in.png")]
    leaving = [ImageFile(folder / name, folder, 40, 30) for name in ("out.png", "sub/a.png")]

    assert all(isinstance(item, Examined) for item in examine_files(files, follow_links=False))
    assert (
        examine_files(leaving, follow_links=False)
        == ["expected a file in the image folder, found a symbolic link that leads out of it; --follow-links reads it"]
        * 2
    )
    assert all(isinstance(item, Examined) for item in examine_files(leaving, follow_links=True))
    assert not leads_out(folder, inside)
