"""Zip files of other people: harmful members and damage that only their reading shows."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest

from datasets.errors import DataError
from scripts.downloading.archives import check_members, member_problem, opened
from tests.scripts.web import zipped

BODY = zipped({"folder/a": b"content"})


def read_all(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(body)
    with opened(path, "a.zip") as file:
        for member in file.infolist():
            file.read(member)


def test_sound_members_pass(tmp_path: Path) -> None:
    read_all(tmp_path, BODY)
    with zipfile.ZipFile(io.BytesIO(BODY)) as file:
        check_members(file.infolist(), "a.zip", "folder", limit=7)  # bytes of the content
        with pytest.raises(DataError, match=r"a\.zip: refused, expected 1 to 6 bytes once unpacked, found 7"):
            check_members(file.infolist(), "a.zip", "folder", limit=6)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 99])
def test_unusual_compression_is_refused(compression: int) -> None:
    member = zipfile.ZipInfo("folder/a")
    member.compress_type = compression
    assert member_problem(member, "folder") == (
        f"'folder/a': expected it stored or deflated, found compression {compression}"
    )


def test_a_name_that_is_no_text_is_damage(tmp_path: Path) -> None:
    body = zipped({"folder/\u00e9": b"content"})  # a flag says that the name is UTF-8, in which é has two bytes
    with pytest.raises(DataError, match=r"a\.zip: cannot be unpacked: 'utf-8' codec"):
        read_all(tmp_path, body.replace("\u00e9".encode(), b"\xff\xff"))


def test_a_position_before_the_file_is_damage(tmp_path: Path) -> None:
    # The last fields of the end record: the directory's position, two too far, so that members seem to begin at -2.
    end = BODY.rindex(b"PK\x05\x06")
    (at,) = struct.unpack_from("<L", BODY, end + 16)
    body = BODY[: end + 16] + struct.pack("<L", at + 2) + BODY[end + 20 :]
    with pytest.raises(DataError, match=r"a\.zip: cannot be unpacked: positions in it are wrong"):
        read_all(tmp_path, body)


def test_other_errors_of_the_system_are_not_taken_for_damage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), opened(tmp_path / "missing.zip", "missing.zip"):
        pass
