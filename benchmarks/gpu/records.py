"""What a part of the GPU check is given, and the rows that it writes: one a result, as soon as it is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from datasets.sources import Input


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`device` is "cuda" or "cpu"; on the CPU everything is small. `seconds` is what the part may take.

    Training data (`annotations`, `images`), validation data and `output` are paths.
    """

    device: str
    output: str
    annotations: str
    images: str
    val_annotations: str
    val_images: str
    seconds: float

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"

    @property
    def folder(self) -> Path:
        return Path(self.output)

    @property
    def training(self) -> Input:
        return Input(Path(self.annotations), Path(self.images))

    @property
    def validation(self) -> Input:
        return Input(Path(self.val_annotations), Path(self.val_images))


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A result. `ok` is None for a figure that nothing is asked of."""

    part: str
    check: str
    ok: bool | None
    text: str
    numbers: dict[str, float] = {}


Add = Callable[..., None]


class Rows:
    """Adds rows of one part to a file of JSON lines; a line is whole or the last one."""

    def __init__(self, path: Path, part: str) -> None:
        self._path = path
        self._part = part

    def add(self, check: str, ok: bool | None, text: str, **numbers: float) -> None:
        row = Row(part=self._part, check=check, ok=ok, text=text, numbers=numbers)
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(row) + b"\n")
            file.flush()
            os.fsync(file.fileno())


def read_rows(path: Path) -> list[Row]:
    """Those that are whole; none where there is no file yet."""
    if not path.is_file():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return [msgspec.json.decode(line, type=Row) for line in whole.splitlines()]
