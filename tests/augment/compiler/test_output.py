"""Where a build may be written: what is refused, before anything is."""

from __future__ import annotations

from pathlib import Path

import pytest

from augment.compiler.output import check_output
from datasets.errors import DataError
from datasets.sources import Input


@pytest.fixture
def source(tmp_path: Path) -> Input:
    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "data" / "annotations.json").write_text("{}")
    return Input(tmp_path / "data" / "annotations.json", tmp_path / "data" / "images")


@pytest.mark.parametrize("output", ["data/images", "data/images/out", "data/images/a/b"])
def test_an_output_inside_an_input_is_refused(source: Input, tmp_path: Path, output: str) -> None:
    with pytest.raises(DataError, match=r"expected an output outside the inputs.*data/images"):
        check_output(tmp_path / output, [source])


@pytest.mark.parametrize("output", ["data", "."])
def test_an_output_around_an_input_is_refused(source: Input, tmp_path: Path, output: str) -> None:
    with pytest.raises(DataError, match=r"expected an output without inputs in it, found .*data/"):
        check_output(tmp_path / output, [source])


def test_an_output_around_the_annotation_file_alone_is_refused(source: Input, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    moved = Input(tmp_path / "labels" / "annotations.json", source.images)
    source.annotations.rename(moved.annotations)
    with pytest.raises(DataError, match=r"found .*labels/annotations\.json"):
        check_output(tmp_path / "labels", [moved])


def test_every_input_is_looked_at_and_links_are_followed(source: Input, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data" / "images", target_is_directory=True)
    with pytest.raises(DataError, match="expected an output outside the inputs"):
        check_output(tmp_path / "link" / "out", [Input(source.annotations, tmp_path / "other"), source])
    with pytest.raises(DataError, match="expected an output outside the inputs"):
        check_output(tmp_path / "data" / "images" / "out", [Input(source.annotations, tmp_path / "link")])


def test_a_folder_beside_an_input_is_fine(source: Input, tmp_path: Path) -> None:
    for name in ("data/out", "data/images2", "out/new/er"):
        assert check_output(tmp_path / name, [source]) == tmp_path / name


def test_a_relative_output_is_made_absolute(source: Input, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert check_output(Path("out"), [source]) == tmp_path / "out"


def test_a_file_is_refused(source: Input, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(DataError, match="expected a folder or nothing, found a file"):
        check_output(tmp_path / "out", [source])


def test_other_content_is_refused_and_named(source: Input, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert check_output(tmp_path / "out", [source]) == tmp_path / "out"
    for letter in "gfedcba":
        (tmp_path / "out" / letter).touch()
    with pytest.raises(DataError, match="expected an empty folder or a finished build, found a, b, c, d, e and 2 more"):
        check_output(tmp_path / "out", [source])


def test_a_mount_point_is_refused(source: Input, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "out")
    with pytest.raises(DataError, match="mount point forbids"):
        check_output(tmp_path / "out", [source])
