"""The output folder: refused where it could harm anything, and only ever there when it is whole."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from augment.manifest import MANIFEST
from datasets.errors import DataError
from datasets.sources import Input

MARKER = "BUILDING"


def check_output(output: Path, inputs: list[Input]) -> Path:
    """The absolute path of an output that may be written: new, empty, or a finished build.

    Raises DataError for a folder inside an input, around one, with other content, or that is a mount point.
    """
    output = output.resolve()
    for item in inputs:
        folder = item.images.resolve()
        if output == folder or folder in output.parents:
            raise DataError(f"{output}: expected an output outside the inputs, found it in the image folder {folder}")
        for path in (folder, item.annotations.resolve()):
            if output in path.parents:
                raise DataError(f"{output}: expected an output without inputs in it, found {path}")
    if output.exists() and not output.is_dir():
        raise DataError(f"{output}: expected a folder or nothing, found a file")
    if output.is_mount():
        raise DataError(f"{output}: a build appears by renaming, which a mount point forbids; name a folder inside it")
    if output.is_dir() and not (output / MANIFEST).is_file():
        content = sorted(path.name for path in output.iterdir())
        if content:
            shown = ", ".join(content[:5]) + (f" and {len(content) - 5} more" if len(content) > 5 else "")
            raise DataError(f"{output}: expected an empty folder or a finished build, found {shown}")
    return output


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
