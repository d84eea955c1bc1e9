"""What checks of several parts share: which parts are asked for, and their report on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from datasets.errors import DataError

JSON, TEXT = "report.json", "report.txt"


def chosen(only: str | None, names: Sequence[str]) -> list[str]:
    """The names of `--only a,b`, in the order of all; all where it is None. Raises DataError naming those there are."""
    if only is None:
        return list(names)
    asked = [name.strip() for name in only.split(",")]
    unknown = [name for name in asked if name not in names]
    if unknown:
        raise DataError(f"--only: expected some of {', '.join(names)}, found {', '.join(map(repr, unknown))}")
    return [name for name in names if name in asked]


def write(report: msgspec.Struct, text: str, folder: Path) -> None:
    """report.json and report.txt, each whole at any time."""
    for name, data in (
        (JSON, msgspec.json.format(msgspec.json.encode(report), indent=1)),
        # A command's output may contain lone surrogates.
        (TEXT, text.encode("utf-8", "backslashreplace")),
    ):
        temporary = folder / f"{name}.tmp"
        temporary.write_bytes(data)
        temporary.replace(folder / name)
