"""What a benchmark found: figures with their goals, as JSON for `bench_all.py` and as rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """A measured number; its goal is `most` or `least`, or there is none. A `unit` of "x" is a ratio within one run."""

    what: str
    value: float
    unit: str = "x"
    most: float | None = None
    least: float | None = None

    @property
    def is_met(self) -> bool | None:
        """None without a goal."""
        if self.most is not None:
            return self.value <= self.most
        return None if self.least is None else self.value >= self.least

    @property
    def goal(self) -> str:
        if self.most is not None:
            return f"<= {self.most:g}"
        return "" if self.least is None else f">= {self.least:g}"

    @property
    def text(self) -> str:
        """Three digits that matter: 0.123 x, 12.3 ms, 1,234 MB."""
        decimals = 0 if abs(self.value) >= 100 else 1 if abs(self.value) >= 10 else 2
        return f"{self.value:,.{decimals}f} {self.unit}"


def option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --json."""
    return click.option(
        "--json", "json_path", type=click.Path(path_type=Path), help="Also write the figures, for bench_all.py."
    )(command)


def write(path: Path | None, figures: Sequence[Figure]) -> None:
    if path is not None:
        path.write_bytes(msgspec.json.encode(list(figures)))


def read(path: Path) -> list[Figure]:
    return msgspec.json.decode(path.read_bytes(), type=list[Figure])
