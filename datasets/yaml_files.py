"""YAML files by name, of those that ship with the project, or by path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from datasets.errors import DataError


def shipped(folder: Path, suffix: str = ".yaml") -> list[str]:
    """The names of the files in `folder`, in order."""
    return sorted(path.stem for path in folder.glob(f"*{suffix}"))


def find(
    name_or_path: str,
    folder: Path,
    *,
    option: str,
    names: Sequence[str] | None = None,
    suffix: str = ".yaml",
    also: str = "",
) -> Path:
    """The file in `folder` of one of `names` (all that ship, by default), or the path as it is.

    Raises DataError, naming the `option` that asked for it and all names, where there is neither; `also` says what
    else would do.
    """
    known = shipped(folder, suffix) if names is None else names
    path = folder / f"{name_or_path}{suffix}" if name_or_path in known else Path(name_or_path)
    if not path.is_file():
        expected = f"{also}a {'YAML' if suffix == '.yaml' else 'text'} file or one of {', '.join(known)}"
        found = "found none of these" if also else "found neither"
        raise DataError(f"{option} {name_or_path}: expected {expected}, {found}")
    return path


def read(path: Path) -> Any:
    """The content of a YAML file, in plain types. Raises DataError where it is no YAML."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable as YAML: {error}") from None


def parse(text: str, name: str) -> Any:
    """YAML as plain types; `name` names it in errors. Raises DataError."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: what looks like a date and is none.
        raise DataError(f"{name}: not readable as YAML: {error}") from None
