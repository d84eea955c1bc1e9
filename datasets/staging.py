"""Folders and files that appear atomically under their name, and locks."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from datasets.errors import DataError

PARTIAL = ".partial"
# In OUT.partial: what tells that the folder is ours, the lock of the process at work, and what becomes OUT.
MARKER, LOCK, CONTENT = "build.json", "lock", "dataset"
# Of a folder that is made in one go, and is worth nothing to another process.
_IN_ONE_GO = {"resumes": False}


@contextmanager
def staging(output: Path) -> Iterator[Path]:
    """An empty folder that becomes `output` when the block succeeds, and is removed when it fails.

    It lies in OUT.partial (see `claimed`); what a killed process left there is removed first. Raises DataError where
    another process is at work, where OUT.partial is somebody else's or has an unfinished build, and where nothing can
    be written.
    """
    with claimed(output) as folder:
        if (folder / MARKER).exists() and not is_in_one_go(folder):
            raise DataError(f"{folder}: holds an unfinished build; finish it, remove it, or name another --output")
        clear(folder, keep_lock=True)
        try:
            write_durably(folder / MARKER, f"{json.dumps(_IN_ONE_GO)}\n")
            content = folder / CONTENT
            content.mkdir()
            yield content
            content.replace(output)
        finally:
            clear(folder)


def is_in_one_go(folder: Path) -> bool:
    """Whether OUT.partial was left by `staging`, so that nobody can go on with it."""
    try:
        return bool(json.loads((folder / MARKER).read_bytes()) == _IN_ONE_GO)
    except (OSError, ValueError):
        return False


def partial_of(output: Path) -> Path:
    """OUT.partial, where `output` is made."""
    return output.with_name(f"{output.name}{PARTIAL}")


@contextmanager
def claimed(output: Path) -> Iterator[Path]:
    """OUT.partial, locked for this process; made if it is missing.

    Raises DataError where another process is at work there, and where it is somebody else's.
    """
    folder = partial_of(output)
    check_ours(folder)
    with held(folder / LOCK, output):
        yield folder


def check_ours(folder: Path) -> None:
    """Raises DataError for a folder that only has the name of OUT.partial."""
    try:
        names = {path.name for path in folder.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise cannot_write(folder, error) from None
    if MARKER not in names and not names <= {LOCK, f"{MARKER}.tmp"}:
        raise DataError(f"{folder}: a build needs this name and found something else there; move it away")


def clear(folder: Path, *, keep_lock: bool = False) -> None:
    """Remove OUT.partial; its marker goes last, in case this is interrupted too."""
    last = {MARKER, LOCK}
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in last:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (folder / MARKER).unlink(missing_ok=True)
    if not keep_lock:
        (folder / LOCK).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()


def cannot_write(path: Path, error: OSError) -> DataError:
    return DataError(f"{error.filename or path}: cannot be written: {error.strerror or error}")


@contextmanager
def held(lock: Path, output: Path, *, work: str = "build", forks: bool = False) -> Iterator[IO[str]]:
    """The lock file, created with its parent folders, open for reading and appending, and locked for one `work`.

    With `forks`, children that this process forks do not share the lock, which they would otherwise hold for as long
    as they outlive it. Raises DataError about `output` where that fails.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        opened = lock.open("a+", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{output}: cannot be written: {error.strerror} ({error.filename})") from None
    with opened as file:
        _hold(file, lock, output, work, forks)
        file.seek(0)
        yield file


def _hold(file: IO[str], lock: Path, output: Path, work: str, forks: bool) -> None:
    """Lock the open file. Raises DataError where another process holds the lock."""
    # POSIX locks belong to a process, those of flock to the open file, which forked children share.
    take = fcntl.lockf if forks else fcntl.flock
    try:
        take(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The previous holder may have removed the file between open and lock.
        lost = os.fstat(file.fileno()).st_ino != lock.stat().st_ino
    except (BlockingIOError, PermissionError, FileNotFoundError):
        lost = True
    except OSError as error:
        raise DataError(f"{lock}: cannot be locked: {error.strerror}; its file system has to support flock") from None
    if lost:
        raise DataError(f"{output}: another {work} is writing it")


def write_durably(path: Path, text: str) -> None:
    """Write a small file atomically and durably: whole or absent, also after a power cut."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def write_file(path: str, data: bytes | memoryview) -> None:
    """Write a small file in three calls of the system, for files by the thousand; neither atomic nor durable."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk; not every file system supports it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def sync_file_system(folder: Path) -> None:
    """Flush everything written to the file system of `folder` to disk. Raises OSError where that fails.

    One call for many files, where an fsync of each would wait for the disk as often. Python lacks syncfs; where the
    system does too, all file systems are flushed.
    """
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)
