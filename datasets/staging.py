"""Folders that appear under their name when they are whole, and not before."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasets.errors import DataError

MARKER = "BUILDING"


@contextmanager
def staging(output: Path) -> Iterator[Path]:
    """An empty folder beside `output` that becomes `output` when the block ends well, and is removed when not.

    What a killed build left there is removed first. Raises DataError where another build is at work on it, or where
    the folder holds something else.
    """
    folder = output.with_name(f"{output.name}.partial")
    marker = folder / MARKER
    if folder.exists() and not marker.is_file() and any(folder.iterdir()):
        raise DataError(f"{folder}: a build needs this name and found something else there; move it away")
    folder.mkdir(parents=True, exist_ok=True)
    with marker.open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{output}: another build is writing it") from None
        lock.write("A build is at work here, or was cut short; the same command starts it again.\n")
        lock.flush()
        try:
            _clear(folder, keep=marker)
            yield folder
            marker.unlink()
            folder.replace(output)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _clear(folder: Path, keep: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path != keep:
            path.unlink()
