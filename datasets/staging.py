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

    A file beside it, `OUTPUT.partial.lock`, says that the folder is ours: what a killed build left there is removed
    first. Raises DataError where another build is at work on it, or where the folder holds something else.
    """
    folder = output.with_name(f"{output.name}.partial")
    lock = folder.with_name(f"{folder.name}.lock")
    folder.parent.mkdir(parents=True, exist_ok=True)
    was_there = lock.exists()
    with lock.open("a", encoding="utf-8") as held:
        _hold(held, lock, output)
        ours = was_there or not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
        try:
            if not ours:
                raise DataError(f"{folder}: a build needs this name and found something else there; move it away")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
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
