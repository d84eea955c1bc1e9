"""Folders that appear under their name when they are whole, and not before."""

from __future__ import annotations

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
    """An empty folder beside `output` that becomes `output` when the block ends well, and is removed when not.

    A file beside it, `OUTPUT.partial.lock`, says which folder is ours: what a killed build left there is removed
    first. Raises DataError where another build is at work on it, where the folder is somebody else's, or where nothing
    can be written.
    """
    folder = output.with_name(f"{output.name}.partial")
    lock = folder.with_name(f"{folder.name}.lock")
    with _held(lock, output) as held:
        ours = not folder.exists() or held.read() == _identity(folder) or _is_empty(folder)
        try:
            if not ours:
                raise DataError(f"{folder}: a build needs this name and found something else there; move it away")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            held.truncate(0)
            held.write(_identity(folder))
            held.flush()
            yield folder
            folder.replace(output)
        except BaseException:
            if ours:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            # A folder of ours that could not be removed keeps its lock file, which says whose it is.
            if not (ours and folder.exists()):
                lock.unlink(missing_ok=True)


def _identity(folder: Path) -> str:
    """What tells a folder from another one of its name."""
    return str(folder.stat().st_ino)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


@contextmanager
def _held(lock: Path, output: Path) -> Iterator[IO[str]]:
    """The lock file, open for reading and appending and locked; DataError where that cannot be had."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        opened = lock.open("a+", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{output}: cannot be written: {error.strerror} ({error.filename})") from None
    with opened as held:
        _hold(held, lock, output)
        held.seek(0)
        yield held


def _hold(held: IO[str], lock: Path, output: Path) -> None:
    """Lock the open file, or raise DataError where another process has it."""
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The holder before may have removed the file between our opening and our locking it.
        lost = os.fstat(held.fileno()).st_ino != lock.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        lost = True
    if lost:
        raise DataError(f"{output}: another build is writing it")
