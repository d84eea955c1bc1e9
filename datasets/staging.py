"""Folders and files that appear atomically under their name, and locks."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from datasets.errors import DataError


@contextmanager
def staging(output: Path) -> Iterator[Path]:
    """An empty folder beside `output`, renamed to `output` when the block succeeds, and removed when it fails.

    A lock file beside it, `OUTPUT.partial.lock`, identifies the folder as ours: what a killed process left is removed
    first. Raises DataError where another process holds the lock, where the folder is somebody else's, or where nothing
    can be written.
    """
    folder = output.with_name(f"{output.name}.partial")
    lock = folder.with_name(f"{folder.name}.lock")
    with held(lock, output) as file:
        ours = not folder.exists() or file.read() == _identity(folder) or _is_empty(folder)
        try:
            if not ours:
                raise DataError(f"{folder}: a build needs this name and found something else there; move it away")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            file.truncate(0)
            file.write(_identity(folder))
            file.flush()
            yield folder
            folder.replace(output)
        except BaseException:
            if ours:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            # Where our folder could not be removed, the lock file stays to identify it.
            if not (ours and folder.exists()):
                lock.unlink(missing_ok=True)


def _identity(folder: Path) -> str:
    """Distinguishes a folder from another one of the same name."""
    return str(folder.stat().st_ino)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


@contextmanager
def held(lock: Path, output: Path) -> Iterator[IO[str]]:
    """The lock file, created with its parent folders, open for reading and appending, and locked.

    Raises DataError about `output` where that fails.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        opened = lock.open("a+", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{output}: cannot be written: {error.strerror} ({error.filename})") from None
    with opened as file:
        _hold(file, lock, output)
        file.seek(0)
        yield file


def _hold(file: IO[str], lock: Path, output: Path) -> None:
    """Lock the open file. Raises DataError where another process holds the lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The previous holder may have removed the file between open and lock.
        lost = os.fstat(file.fileno()).st_ino != lock.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        lost = True
    except OSError as error:
        raise DataError(f"{lock}: cannot be locked: {error.strerror}; its file system has to support flock") from None
    if lost:
        raise DataError(f"{output}: another build is writing it")


def write_durably(path: Path, text: str) -> None:
    """Write a small file atomically and durably: whole or absent, also after a power cut."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


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
