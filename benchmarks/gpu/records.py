"""What a part of the GPU check is given, and the rows that it writes: one a result, as soon as it is there."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from datasets.sources import Input


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`device` is "cuda" or "cpu"; on the CPU everything is small. `seconds` is what the part may take, and `ends` when
    that is over, by time.monotonic, which all processes of a machine share.

    Training data (`annotations`, `images`), validation data and `output` are paths.
    """

    device: str
    output: str
    annotations: str
    images: str
    val_annotations: str
    val_images: str
    seconds: float
    ends: float

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


class Rows:
    """Adds rows of one part to a file of JSON lines; a line is whole or the last one."""

    def __init__(self, path: Path, part: str) -> None:
        self._path = path
        self._part = part

    def add(self, check: str, ok: bool | None, text: str, **numbers: float) -> None:
        # JSON has no non-finite numbers; the text contains them.
        finite = {name: float(value) for name, value in numbers.items() if math.isfinite(value)}
        row = Row(part=self._part, check=check, ok=ok, text=text, numbers=finite)
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(row) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def attempt(self, check: str) -> Iterator[None]:
        """An error within becomes a failed row, and the part continues."""
        try:
            yield
        except Exception as error:
            self.add(check, False, f"{type(error).__name__}: {str(error).strip()[:400]}")


def read_rows(path: Path) -> list[Row]:
    """Those that are whole; none where there is no file yet."""
    if not path.is_file():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return [msgspec.json.decode(line, type=Row) for line in whole.splitlines()]


def first_of(data: Input, path: Path, count: int) -> Input:
    """The first images of `data`, by a file at `path` that lists them alone."""
    content = json.loads(data.annotations.read_bytes())
    content["images"] = content["images"][:count]
    ids = {image["id"] for image in content["images"]}
    content["annotations"] = [item for item in content["annotations"] if item["image_id"] in ids]
    path.write_text(json.dumps(content), encoding="utf-8")
    return Input(path, data.images)
