"""Where an `--output` may be written: no input and no device is ever lost, and a link stays a link."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from datasets.errors import DataError
from datasets.outputs import file_to_write, temporary_of

WAY_OUT = "name a file; an unwanted one can be removed afterwards"


def refusal(output: Path, *inputs: Path, beside: tuple[Path, ...] = ()) -> str:
    with pytest.raises(DataError) as caught:
        file_to_write(output, inputs, beside=lambda _: beside)
    return str(caught.value)


@pytest.fixture
def given(tmp_path: Path) -> Path:
    path = tmp_path / "val.json"
    path.write_text("input")
    return path


def test_a_new_name_and_an_older_file_are_written_as_they_are_named(given: Path, tmp_path: Path) -> None:
    older = tmp_path / "out.json"
    older.write_text("older")

    for output in (older, tmp_path / "new.json", tmp_path / "new" / "deep" / "out.json", Path("out.json")):
        assert file_to_write(output, [given, tmp_path / "none"]) == output


def test_an_input_is_never_replaced_by_whatever_name(
    given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hard, link, folder = tmp_path / "hard.json", tmp_path / "link.json", tmp_path / "folder"
    os.link(given, hard)
    link.symlink_to(given)
    folder.symlink_to(tmp_path, target_is_directory=True)
    monkeypatch.chdir(tmp_path)

    assert refusal(given, given) == f"{given}: would replace an input; give another --output"
    assert refusal(hard, given) == f"{hard}: would replace the input {given}; give another --output"
    assert refusal(link, given) == (
        f"{link}: would replace an input where this link leads, {given}; give another --output"
    )
    for output in (folder / "val.json", folder / "hard.json", Path("val.json"), folder / ".." / folder / "link.json"):
        assert "would replace" in refusal(output, tmp_path / "none", given)
    # An input that is a link itself.
    assert "would replace" in refusal(given, link)


def test_a_file_of_an_input_folder_is_not_replaced(tmp_path: Path) -> None:
    build = tmp_path / "build"
    (build / "images").mkdir(parents=True)
    (build / "images" / "1.png").write_text("input")

    assert "would replace" in refusal(build / "images" / "1.png", build)
    # Nothing is lost by a new file.
    assert file_to_write(build / "new.json", [build]) == build / "new.json"


def test_the_name_before_it_is_whole_and_what_is_written_with_it_are_no_inputs_either(tmp_path: Path) -> None:
    output, other = tmp_path / "out.json", tmp_path / "out.provenance.json"
    for path in (temporary_of(output), other, temporary_of(other)):
        path.write_text("input")

        assert refusal(output, path, beside=(other,)) == (
            f"{output}: it is written together with {path}: would replace an input; give another --output"
        )
        # Of an older run, it may go.
        assert file_to_write(output, beside=lambda _: [other]) == output


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    pipe, bound, dangling = tmp_path / "pipe", tmp_path / "socket", tmp_path / "link"
    os.mkfifo(pipe)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(bound))
        for path, kind in ((Path(os.devnull), "a device"), (pipe, "a pipe"), (bound, "a socket")):
            assert refusal(path) == f"{path}: expected the name of a file to write, found {kind}; {WAY_OUT}"
    assert refusal(tmp_path) == f"{tmp_path}: expected the name of a file to write, found a folder"
    dangling.symlink_to(os.devnull)
    found = f"found a device where this link leads, {os.devnull}; {WAY_OUT}"
    assert refusal(dangling) == f"{dangling}: expected the name of a file to write, {found}"
    os.mkfifo(tmp_path / "a.json.tmp")
    assert "a pipe" in refusal(tmp_path / "a.json")


def test_a_link_is_followed_also_where_nothing_stands_yet(tmp_path: Path) -> None:
    target, link = tmp_path / "deep" / "real.json", tmp_path / "link.json"
    link.symlink_to(Path("deep") / "real.json")

    assert file_to_write(link) == Path(os.path.realpath(target))
    target.parent.mkdir()
    target.write_text("older")
    assert file_to_write(link) == Path(os.path.realpath(target))


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    assert refusal(tmp_path / "a").startswith(f"{tmp_path / 'a'}: cannot be written: ")
