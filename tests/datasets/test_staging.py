"""A build appears whole or not at all, and nothing that a build leaves behind stands in the next one's way."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datasets.errors import DataError
from datasets.staging import held, staging, sync_file_system, sync_folder, write_durably, write_file

ROOT = Path(__file__).parents[2]


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def write_build(folder: Path, marks: str = "new") -> None:
    (folder / "images").mkdir()
    (folder / "images" / "a.jpg").write_text(marks)
    (folder / "manifest.json").write_text(marks)


def leave_behind(copy: Path, output: Path) -> None:
    """Put a copy of OUT.partial where a killed process would have left it."""
    copy.rename(output.with_name(f"{output.name}.partial"))


def cut_short(output: Path, act: Callable[[Path], None], error: BaseException | None = None) -> None:
    """A build that writes something, and then ends with an error: Ctrl-C, or the one given."""
    with staging(output) as folder:
        write_build(folder, "old")
        act(folder)
        raise error or KeyboardInterrupt


@pytest.mark.parametrize("before", ["nothing", "an empty folder", "folders above it missing"])
def test_a_finished_build_appears_under_its_name(tmp_path: Path, before: str) -> None:
    output = tmp_path / "far" / "away" / "out" if before.startswith("folders") else tmp_path / "out"
    if before == "an empty folder":
        output.mkdir()
    with staging(output) as folder:
        write_build(folder)
        assert not (output / "images").exists()
    assert names(output) == ["images", "images/a.jpg", "manifest.json"]
    assert names(output.parent) == ["out", *(f"out/{name}" for name in names(output))]


@pytest.mark.parametrize("error", [DataError("bad"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_build_that_fails_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        cut_short(tmp_path / "out", lambda _: None, error)
    assert names(tmp_path) == []


def test_what_a_killed_build_left_is_taken_over(tmp_path: Path) -> None:
    # A killed process closes its files and does nothing else.
    def keep(folder: Path) -> None:
        (folder / "images" / "old.jpg").touch()
        (folder / "link").symlink_to(tmp_path)
        shutil.copytree(folder.parent, tmp_path / "kept", symlinks=True)

    with pytest.raises(KeyboardInterrupt):
        cut_short(tmp_path / "out", keep)
    leave_behind(tmp_path / "kept", tmp_path / "out")
    with staging(tmp_path / "out") as folder:
        write_build(folder)
    assert names(tmp_path / "out") == ["images", "images/a.jpg", "manifest.json"]
    assert (tmp_path / "out" / "manifest.json").read_text() == "new"


def test_a_build_killed_just_before_the_last_renaming_does_not_block_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        shutil.copytree(tmp_path / "out.partial", tmp_path / "kept")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        for name in ("rename", "replace"):
            patched.setattr(os, name, killed)
            patched.setattr(Path, name, killed)
        with pytest.raises(KeyboardInterrupt), staging(tmp_path / "out") as folder:
            write_build(folder)
    leave_behind(tmp_path / "kept", tmp_path / "out")
    with staging(tmp_path / "out") as folder:
        write_build(folder)
    assert names(tmp_path / "out") == ["images", "images/a.jpg", "manifest.json"]


@pytest.mark.parametrize("removals", range(5))
def test_a_second_ctrl_c_while_cleaning_up_does_not_block_the_next_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removals: int
) -> None:
    left = removals

    def impatient(real: Callable[..., None]) -> Callable[..., None]:
        def remove(*args: Any, **more: Any) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            real(*args, **more)

        return remove

    with monkeypatch.context() as patched:

        def patch(_: Path) -> None:
            for name in ("unlink", "rmdir", "remove"):
                patched.setattr(os, name, impatient(getattr(os, name)))

        with pytest.raises(KeyboardInterrupt):
            cut_short(tmp_path / "out", patch)
    with staging(tmp_path / "out") as folder:
        write_build(folder)
    assert names(tmp_path / "out") == ["images", "images/a.jpg", "manifest.json"]


def test_a_second_build_at_once_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    with staging(tmp_path / "out") as folder:
        write_build(folder)
        with pytest.raises(DataError, match="another build is writing it"), staging(tmp_path / "out"):
            pytest.fail("two builds at work")
        assert (folder / "images" / "a.jpg").exists()
    assert names(tmp_path / "out") == ["images", "images/a.jpg", "manifest.json"]


def test_a_folder_that_only_has_the_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "thesis.tex").write_text("mine")
    with pytest.raises(DataError, match=r"out\.partial: .*move it away"), staging(tmp_path / "out"):
        pytest.fail("somebody's files taken for a build's")
    assert names(tmp_path) == ["out.partial", "out.partial/thesis.tex"]
    with pytest.raises(DataError, match="move it away"), staging(tmp_path / "out"):
        pytest.fail("somebody's files taken for a build's at the second try")


def test_an_unfinished_build_is_not_thrown_away(tmp_path: Path) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "build.json").write_text('{"format": 2}')
    with pytest.raises(DataError, match="holds an unfinished build"), staging(tmp_path / "out"):
        pytest.fail("hours of work thrown away")
    assert (tmp_path / "out.partial" / "build.json").exists()


def test_what_forks_do_not_share_is_held_all_the_same(tmp_path: Path) -> None:
    """A POSIX lock does not keep out its own process; another one it does."""
    code = (
        "import sys, pathlib; from datasets.staging import held\n"
        "with held(pathlib.Path(sys.argv[1]), pathlib.Path('out'), work='training', forks=True): pass"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "lock")]
    with held(tmp_path / "lock", tmp_path / "out", work="training", forks=True):
        refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "DataError: out: another training is writing it" in refused.stderr
    subprocess.run(command, cwd=ROOT, check=True)


def test_where_nothing_can_be_written_the_error_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"file/out: cannot be written: .*"), staging(tmp_path / "file" / "out"):
        pytest.fail("a folder in a file")


def test_a_small_file_is_written_whole(tmp_path: Path) -> None:
    write_durably(tmp_path / "a.json", "one")
    write_durably(tmp_path / "a.json", "größe")
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == "größe"
    assert names(tmp_path) == ["a.json"]


def test_syncing_is_harmless_and_tells_what_cannot_be_synced(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    sync_folder(tmp_path)
    sync_file_system(tmp_path)
    assert (tmp_path / "a").read_text() == "a"
    with pytest.raises(FileNotFoundError):
        sync_file_system(tmp_path / "none")


def test_a_file_system_without_its_own_call_is_synced_with_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())
    monkeypatch.setattr(os, "sync", lambda: calls.append("all"))
    sync_file_system(tmp_path)
    assert calls == ["all"]


def test_a_disk_that_fails_to_sync_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        @staticmethod
        def syncfs(_: int) -> int:
            return -1

    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: Failing)
    monkeypatch.setattr("ctypes.get_errno", lambda: errno.EIO)
    with pytest.raises(OSError, match="Input/output error") as caught:
        sync_file_system(tmp_path)
    assert caught.value.filename == str(tmp_path)


def test_a_file_system_without_locks_is_an_error_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    with pytest.raises(DataError, match=r"cannot be locked: No locks available; .* flock"), staging(tmp_path / "out"):
        pytest.fail("worked without a lock")


def test_a_file_is_written_whole_though_the_system_takes_a_piece_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, data = tmp_path / "picture.jpg", bytes(range(256)) * 40
    path.write_bytes(b"x" * 20_000)
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, rest: write(file, rest[:1000]))

    write_file(str(path), memoryview(data))
    assert path.read_bytes() == data
