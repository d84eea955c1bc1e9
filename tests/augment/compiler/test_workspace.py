"""The folder of a build at work: whose it is, what stays in it, and how it becomes the dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from augment.compiler import workspace
from datasets.errors import DataError

WANTED: dict[str, Any] = {"format": 2, "recipe": {"seed": 0}}


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def begin(output: Path, error: BaseException, sources: int = 1) -> None:
    """A build that finishes so many sources and then fails."""
    with workspace.opened(output, WANTED, restart=False) as space:
        (space.dataset / "images" / "a.jpg").touch()
        (space.unfinished / "b.jpg").touch()
        space.journal.write_text("line\n" * sources)
        raise error


def test_a_finished_build_appears_and_nothing_else_is_left(tmp_path: Path) -> None:
    output = tmp_path / "far" / "away"
    with workspace.opened(output, WANTED, restart=False) as space:
        (space.dataset / "images" / "a.jpg").touch()
        assert json.loads((space.folder / "build.json").read_bytes()) == WANTED
        assert not output.exists()
        space.finish()
    assert names(tmp_path) == ["far", "far/away", "far/away/annotations", "far/away/images", "far/away/images/a.jpg"]


@pytest.mark.parametrize("error", [DataError("bad"), KeyboardInterrupt(), OSError(28, "No space left"), MemoryError()])
def test_what_is_finished_stays_when_a_build_fails(tmp_path: Path, error: BaseException) -> None:
    kind = DataError if isinstance(error, OSError) else type(error)
    with pytest.raises(kind) as caught:
        begin(tmp_path / "out", error)
    if not isinstance(error, MemoryError):
        advice = f"1 source image is rendered and kept in {tmp_path / 'out.partial'}; give the same command again"
        assert advice in str(caught.value)
    assert (tmp_path / "out.partial" / "dataset" / "images" / "a.jpg").exists()
    with workspace.opened(tmp_path / "out", WANTED, restart=False) as space:
        assert (space.dataset / "images" / "a.jpg").exists()
        # What was unfinished is gone, and what still writes it has lost its folder.
        assert [path.name for path in space.folder.glob("unfinished-*")] == [space.unfinished.name]
        assert list(space.unfinished.iterdir()) == []


@pytest.mark.parametrize("error", [DataError("bad"), KeyboardInterrupt(), OSError(28, "No space left")])
def test_a_build_that_finished_nothing_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises((DataError, KeyboardInterrupt)) as caught:
        begin(tmp_path / "out", error, sources=0)
    assert "give the same command" not in str(caught.value)
    assert names(tmp_path) == []


def test_a_build_of_something_else_is_refused_and_restart_removes_it(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path / "out", KeyboardInterrupt())
    other = {**WANTED, "recipe": {"seed": 1}}
    before = names(tmp_path)
    with (
        pytest.raises(DataError, match="--restart starts over") as caught,
        workspace.opened(tmp_path / "out", other, restart=False),
    ):
        pytest.fail("another build went on")
    assert caught.value.problems == ["recipe.seed: expected 1, found 0"]
    assert names(tmp_path) == before
    with workspace.opened(tmp_path / "out", other, restart=True) as space:
        assert list((space.dataset / "images").iterdir()) == []
        assert json.loads((space.folder / "build.json").read_bytes()) == other


def test_a_build_that_another_version_began_is_refused_and_restart_removes_it(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path / "out", KeyboardInterrupt())
    newer = {**WANTED, "format": 3}
    before = names(tmp_path)
    with (
        pytest.raises(DataError, match=r"another version began \(format 2, expected 3\); --restart starts over"),
        workspace.opened(tmp_path / "out", newer, restart=False),
    ):
        pytest.fail("the build of another version went on")
    assert names(tmp_path) == before
    with workspace.opened(tmp_path / "out", newer, restart=True) as space:
        assert json.loads((space.folder / "build.json").read_bytes()) == newer


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_description_that_is_none_is_an_error_and_restart_helps(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "build.json").write_bytes(content)
    with (
        pytest.raises(DataError, match=r"build\.json: .*; --restart starts over"),
        workspace.opened(tmp_path / "out", WANTED, restart=False),
    ):
        pytest.fail("went on with nobody knows what")
    with workspace.opened(tmp_path / "out", WANTED, restart=True) as space:
        space.finish()


@pytest.mark.parametrize("restart", [False, True])
def test_a_folder_that_only_has_the_name_is_left_alone(tmp_path: Path, restart: bool) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "thesis.tex").write_text("mine")
    with (
        pytest.raises(DataError, match=r"out\.partial: .*move it away"),
        workspace.opened(tmp_path / "out", WANTED, restart=restart),
    ):
        pytest.fail("somebody's files taken for a build's")
    assert names(tmp_path) == ["out.partial", "out.partial/thesis.tex"]


def test_a_file_of_the_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out.partial").write_text("mine")
    with (
        pytest.raises(DataError, match="cannot be written: File exists"),
        workspace.opened(tmp_path / "out", WANTED, restart=False),
    ):
        pytest.fail("somebody's file taken for a build's")
    assert (tmp_path / "out.partial").read_text() == "mine"


@pytest.mark.parametrize("restart", [False, True])
def test_a_second_build_at_once_is_refused_and_harms_nothing(tmp_path: Path, restart: bool) -> None:
    with workspace.opened(tmp_path / "out", WANTED, restart=False) as space:
        (space.dataset / "images" / "a.jpg").touch()
        with (
            pytest.raises(DataError, match="another build is writing it"),
            workspace.opened(tmp_path / "out", WANTED, restart=restart),
        ):
            pytest.fail("two builds at work")
        assert (space.dataset / "images" / "a.jpg").exists()
        space.finish()


def test_what_a_finished_build_left_is_cleared_away(tmp_path: Path) -> None:
    """As after a kill between the dataset's appearance and the end."""
    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path / "out", KeyboardInterrupt())
    workspace.discard_finished(tmp_path / "out")
    assert (tmp_path / "out.partial" / "dataset").exists()
    (tmp_path / "out.partial" / "dataset").rename(tmp_path / "out")
    workspace.discard_finished(tmp_path / "out")
    assert names(tmp_path)[0] == "out"
    assert not (tmp_path / "out.partial").exists()
