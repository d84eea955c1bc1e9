"""Zip files of other people: what in them must not be unpacked, and damage as an error that says so."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from datasets.errors import DataError, Problems

if TYPE_CHECKING:  # imported where they are used, to keep --help fast
    from zipfile import ZipFile, ZipInfo

COMPRESSIONS = (0, 8)  # zipfile's ZIP_STORED and ZIP_DEFLATED


def member_problem(member: ZipInfo, folder: str) -> str | None:
    """Why a member must not be unpacked: a path outside `folder`, neither a file nor a directory, or a compression that
    no zip tool uses unasked.
    """
    path = PurePosixPath(member.filename)
    kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the archiver recorded none
    inside = path.parts[:1] == (folder,) and ".." not in path.parts and (len(path.parts) > 1 or member.is_dir())
    if not inside or "\\" in member.filename:
        return f"{member.filename!r}: expected a path in {folder}/"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return f"{member.filename!r}: expected a file or a directory, found {'a link' if stat.S_ISLNK(kind) else kind}"
    if member.compress_type not in COMPRESSIONS:
        return f"{member.filename!r}: expected it stored or deflated, found compression {member.compress_type}"
    return None


def check_members(members: Sequence[ZipInfo], name: str, folder: str, limit: int) -> None:
    """Raise DataError for members of the archive `name` that must not be unpacked, and for more bytes than `limit` once
    unpacked (a zip bomb).
    """
    problems = Problems()
    for member in members:
        if problem := member_problem(member, folder):
            problems.add(problem)
    problems.raise_if_any(f"{name}: refused, for {{n}} of its members")
    total = sum(member.file_size for member in members)
    if not 0 < total <= limit:
        raise DataError(f"{name}: refused, expected 1 to {limit} bytes once unpacked, found {total}")


@contextmanager
def opened(path: Path, name: str) -> Iterator[ZipFile]:
    """The zip file, open for reading. Raises DataError about `name` for damage in it, also for a wrong CRC that shows
    within the block.
    """
    import zipfile
    import zlib

    # RuntimeError: encrypted, or packed in a way that is unknown. UnicodeDecodeError: in a name.
    damage = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, UnicodeDecodeError)
    try:
        with zipfile.ZipFile(path) as file:
            yield file
    except damage as error:
        raise DataError(f"{name}: cannot be unpacked: {error}") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # of a seek to where no file has bytes
            raise
        raise DataError(f"{name}: cannot be unpacked: positions in it are wrong") from error
