"""From a record's `file_name` to the image file, or, where it is missing, to the file that was probably meant."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from datasets.images import path_inside


class Located(NamedTuple):
    """Where an image file is or should be; `backslashes`: those of its name were taken as path separators."""

    path: Path
    backslashes: bool = False


def locate(folder: Path, file_name: str) -> Located:
    """The file of a record. Raises ValueError as `path_inside` does.

    Where no file has a name with backslashes, these are taken as path separators, if that leads to a file; the first
    folder may be the image folder itself, as Label Studio writes it on Windows.
    """
    path = path_inside(folder, file_name)
    if "\\" not in file_name or not is_missing(path):
        return Located(path)
    parts = file_name.replace("\\", "/").split("/")
    for taken in (parts, parts[1:] if parts[0] == folder.name else []):
        if taken:
            found = path_inside(folder, "/".join(taken))
            if not is_missing(found):
                return Located(found, backslashes=True)
    return Located(path)


def is_missing(path: Path) -> bool:
    """Whether nothing is there; False where that cannot be determined, as for names that are too long."""
    try:
        return not path.exists()
    except OSError:
        return False


def leads_out(folder: Path, path: Path) -> bool:
    """Whether a path in the image folder leads out of it by a symbolic link; `folder` itself may be one."""
    real, root = os.path.realpath(path), os.path.realpath(folder)
    return os.path.commonpath([real, root]) != root


class Lookup:
    """Finds files whose names are spelled differently; each folder is listed once."""

    def __init__(self) -> None:
        self._listed: dict[Path, dict[str, str]] = {}

    def remedy(self, folder: Path, path: Path) -> str:
        """Advice for a missing file: the name that was probably meant; empty where none is similar."""
        parts = path.relative_to(folder).parts
        if len(parts) > 1 and parts[0] == folder.name and folder.joinpath(*parts[1:]).is_file():
            return f"it is there without its first folder, so --images {folder.parent} would find it"
        name = "/".join(parts)
        found = self._similar(folder, parts) or self._similar(folder, tuple(unquote(name).split("/")))
        if found is None:
            return ""
        # Two Unicode normal forms of a name look the same.
        shown = repr(found) if found.isascii() else f"{found!r} ({found!a}, not {name!a})"
        return f"there is {shown}, which differs in {_difference(name, found)}: rename the file, or change file_name"

    def _similar(self, folder: Path, parts: tuple[str, ...]) -> str | None:
        """The path in `folder` whose name matches `parts` up to spelling; None for none."""
        here = folder
        for part in parts:
            exact = part not in ("", ".", "..") and not is_missing(here / part)
            match = part if exact else self._names(here).get(_key(part))
            if match is None:
                return None
            here /= match
        return here.relative_to(folder).as_posix() if here.is_file() else None

    def _names(self, folder: Path) -> dict[str, str]:
        if folder not in self._listed:
            try:
                names = sorted((path.name for path in folder.iterdir()), reverse=True)
            except OSError:
                names = []
            self._listed[folder] = {_key(name): name for name in names}
        return self._listed[folder]


def _key(name: str) -> str:
    """A key that all spellings of a name share."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", unquote(name)).casefold())


def _difference(name: str, found: str) -> str:
    """In what two spellings of a name differ."""

    def normal(text: str) -> str:
        return unicodedata.normalize("NFC", text)

    if normal(name) == normal(found):
        return "its Unicode normal form"
    if normal(name).casefold() == normal(found).casefold():
        return "upper and lower case"
    if normal(unquote(name)) == normal(unquote(found)):
        return "%-escapes"
    return "its spelling (Unicode normal form, %-escapes, upper and lower case)"
