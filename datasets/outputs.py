"""Validation of `--output`: never an input, never anything but a regular file."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from datasets.errors import DataError

# Suffix of the file that is written first, and renamed when complete.
TEMPORARY = ".tmp"
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}
_WAY_OUT = "name a file; an unwanted one can be removed afterwards"


def file_to_write(
    output: Path, inputs: Iterable[Path] = (), *, beside: Callable[[Path], Iterable[Path]] = lambda _: ()
) -> Path:
    """The file that `--output` names; for a symbolic link, its target, so that the link stays.

    `inputs` are files that the command reads, and folders of which it reads every file; they need not exist. `beside`
    gives the files that are written or removed together with the output. Raises DataError where one of these, or its
    temporary name, is an input (also under another name), or exists and is not a regular file.
    """
    target = _followed(output)
    read = {key: path for path in inputs if (key := _key(path)) is not None}
    for path in (written for name in (target, *beside(target)) for written in (name, temporary_of(name))):
        status = _status(path, output)
        if status is None:
            continue
        if not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
            raise DataError(_refused(output, path, target, f"expected the name of a file to write, found {kind}"))
        same = read.get((status.st_dev, status.st_ino)) or _in_a_folder(path, read)
        if same is not None:
            shown = "an input" if same == path else f"the input {same}"
            raise DataError(f"{_refused(output, path, target, f'would replace {shown}')}; give another --output")
    return target


def temporary_of(path: Path) -> Path:
    return path.with_name(f"{path.name}{TEMPORARY}")


def _followed(output: Path) -> Path:
    # Only links are resolved: errors and reports show paths as given.
    return Path(os.path.realpath(output)) if output.is_symlink() else output


def _status(path: Path, output: Path) -> os.stat_result | None:
    """None where nothing exists, or where writing will give the better error."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{output}: cannot be written: {getattr(error, 'strerror', None) or error}") from None


def _key(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _in_a_folder(path: Path, read: dict[tuple[int, int], Path]) -> Path | None:
    """The input folder that contains a file, at any depth."""
    parents = Path(os.path.realpath(path)).parents
    return next((read[key] for parent in parents if (key := _key(parent)) in read and key is not None), None)


def _refused(output: Path, path: Path, target: Path, why: str) -> str:
    if path == output:
        text = f"{output}: {why}"
    elif path == target:
        text = f"{output}: {why} where this link leads, {path}"
    else:
        text = f"{output}: it is written together with {path}: {why}"
    special = "expected the name" in why and not why.endswith("a folder")
    return f"{text}; {_WAY_OUT}" if special else text
