"""The size at which a run predicts best: measured by `choose-size`, kept in the run's folder, used by `predict`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from datasets import percent, yaml_files
from datasets.errors import DataError
from datasets.outputs import temporary_of

FILE = "test_size.yaml"
# Tried by default, times the size of the configuration.
FACTORS = (0.6, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7)
# Sizes are multiples of this many pixels.
STEP = 8
KEYS = ("INPUT.MIN_SIZE_TEST", "INPUT.MAX_SIZE_TEST")


class TestSize(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of the file: sizes in px, AP from 0 to 1 by shorter side."""

    __test__ = False  # for pytest, which takes every class of such a name for tests

    shorter: int
    longest: int
    ap: dict[int, float]
    checkpoint: str
    """The file that was measured."""
    sha256: str
    """Of the file."""
    images: int
    seen: int
    """Of the images, those that the model was trained on."""

    @property
    def overrides(self) -> tuple[str, ...]:
        return (KEYS[0], str(self.shorter), KEYS[1], str(self.longest))

    def __str__(self) -> str:
        of = f"{self.images} images" + (f", {self.seen} of them seen in training" if self.seen else "")
        return f"{self.shorter} px, AP {percent.precision(self.ap.get(self.shorter))} on {of} with {self.checkpoint}"


def default_sizes(configured: int) -> list[int]:
    """Shorter sides to try, rising: `configured` itself, and multiples of STEP around it."""
    around = {max(STEP, round(configured * factor / STEP) * STEP) for factor in FACTORS if factor != 1}
    return sorted({*around, configured})


def sizes_of(text: str) -> list[int]:
    """Parses `128,160,192` into sorted, distinct sizes. Raises DataError for anything else."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) < 6 and 0 < int(part) <= 65_500 for part in parts):
        raise DataError(f"--sizes {text}: expected shorter sides in px, as in 128,160,192")
    return sorted({int(part) for part in parts})


def longest_for(shorter: int, cfg: Any) -> int:
    """INPUT.MAX_SIZE_TEST in proportion, so that pictures of the same shape are limited alike."""
    return int(max(shorter, round(cfg.INPUT.MAX_SIZE_TEST * shorter / cfg.INPUT.MIN_SIZE_TEST)))


def best(ap: Mapping[int, float], configured: int) -> int:
    """The size with the highest AP; of equals, the nearest to `configured`."""
    return min(ap, key=lambda size: (-ap[size], abs(size - configured), size))


def write(run: Path, found: TestSize) -> Path:
    """Write the file, whole or not at all. Raises DataError where it cannot be written."""
    path = run / FILE
    temporary = temporary_of(path)
    text = "# Written by `python -m train choose-size`; `predict` uses `shorter` and `longest`, in px.\n"
    try:
        temporary.write_text(text + yaml.safe_dump(msgspec.to_builtins(found), sort_keys=False), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read(run: Path) -> TestSize | None:
    """The size that was chosen for a run; None for none. Raises DataError for another content."""
    path = run / FILE
    if not path.is_file():
        return None
    try:
        found = msgspec.convert(yaml_files.read(path), TestSize)
    except (msgspec.ValidationError, RecursionError) as error:
        raise DataError(f"{path}: {error}; remove it, or run choose-size again") from None
    if not 0 < found.shorter <= found.longest:
        raise DataError(f"{path}: expected sizes above 0, found {found.shorter} and {found.longest}; remove it")
    return found
