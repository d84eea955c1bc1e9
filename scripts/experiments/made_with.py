"""What the numbers of a page were made with: machines, versions, commits. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from scripts.experiments.environment import Environment


class MadeWith(NamedTuple):
    """The distinct machines, versions, commits and numbers of parallel jobs among the shown numbers."""

    machines: list[str]
    versions: list[str]
    commits: list[str]
    jobs: list[int]


def different(environments: Iterable[Environment]) -> MadeWith:
    found = list(environments)
    versions = (", ".join(f"{name} {version}" for name, version in item.versions.items()) for item in found)
    return MadeWith(
        machines=sorted({item.machine for item in found}),
        versions=sorted(set(versions)),
        commits=sorted({item.commit or "none, no checkout" for item in found}),
        jobs=sorted({item.jobs for item in found}),
    )


def notes(made_with: MadeWith, command: str) -> list[str]:
    """Lines of Markdown."""
    return [
        f"Made with, each that differs among the numbers above: machine {_each(made_with.machines)}. Versions: "
        f"{_each(made_with.versions)}. Commit: {_each(made_with.commits)}. "
        f"Commands at a time: {_each(made_with.jobs)}.",
        "A change of code, of libraries or of the machine runs nothing again; where numbers above are of several, they "
        "may differ by that.",
        f"Command: `{command}`",
    ]


def _each(found: Sequence[object]) -> str:
    return "; ".join(map(str, found)) or "-"
