"""Files of a bundle besides wheels: the project's sources, datasets, and SHA256SUMS of everything."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets.cli import Progress
from datasets.digests import sha256_file
from datasets.errors import DataError, Problems

SUMS = "SHA256SUMS"
# Without git: our files in a checkout, where datasets/ also contains data, and benchmarks/ or docs/ may be missing.
FOLDERS = (
    "augment",
    "benchmarks",
    "datasets/pages",
    "datasets/specs",
    "docs",
    "ensemble",
    "scripts",
    "tests",
    "train",
)
FILES = ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "constraints.txt", "pyproject.toml")
CACHES = ("__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis")


class Item(NamedTuple):
    """A file to copy, and its path in the bundle."""

    source: Path
    path: str
    size: int


class Sources(NamedTuple):
    """The project's files; `commit` is None without git, `modified` means that they differ from the commit."""

    items: list[Item]
    commit: str | None
    modified: bool


def project_sources(root: Path) -> Sources:
    """The tracked files of the working tree; without git, the files that a checkout has."""
    # A copy without git may lie inside another checkout.
    if _git(root, "rev-parse", "--show-prefix") == "":
        paths = [Path(name) for name in (_git(root, "ls-files", "-z") or "").split("\0") if name]
        commit = (_git(root, "rev-parse", "--verify", "HEAD") or "").strip() or None
        modified = bool((_git(root, "status", "--porcelain", "--untracked-files=no") or "").strip())
    else:
        paths, commit, modified = list(_known_files(root)), None, False
    items = [
        Item(root / path, f"project/{path.as_posix()}", (root / path).stat().st_size)
        for path in sorted(paths)
        if (root / path).is_file()  # not tracked and deleted
    ]
    return Sources(items, commit, modified)


def _git(root: Path, *words: str) -> str | None:
    """git's output; None where it fails or is not installed."""
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return os.fsdecode(done.stdout).strip("\n") if done.returncode == 0 else None


def _known_files(root: Path) -> Iterator[Path]:
    yield from (Path(name) for name in (*FILES, "setup.cfg"))
    yield from (path.relative_to(root) for path in (root / "datasets").glob("*.py"))
    for folder in FOLDERS:
        for path in (root / folder).rglob("*"):
            if not set(CACHES) & set(path.parts) and path.is_file():
                yield path.relative_to(root)


def dataset_items(folders: Sequence[Path], output: Path) -> dict[str, list[Item]]:
    """The files of each dataset, by its name in the bundle. Raises DataError with everything that cannot be bundled."""
    problems = Problems()
    found: dict[str, list[Item]] = {}
    owners: dict[str, Path] = {}
    for folder in folders:
        name = folder.resolve().name
        if not folder.is_dir():
            problems.add(f"{folder}: expected a folder, found {'a file' if folder.exists() else 'nothing'}")
        elif not name or output.resolve().is_relative_to(folder.resolve()):
            problems.add(f"{folder}: the bundle would lie in it; name another --output")
        elif name in owners:
            problems.add(f"{folder}: another dataset is called {name!r} too: {owners[name]}; rename one of the folders")
        else:
            owners[name] = folder
            found[name] = list(_walk(folder, f"datasets/{name}", problems))
            if not found[name] and not problems.count:
                problems.add(f"{folder}: expected a dataset, found no file")
    problems.raise_if_any("datasets cannot be carried: {n} problems")
    return found


def _walk(folder: Path, target: str, problems: Problems) -> Iterator[Item]:
    inside = folder.resolve()

    def unreadable(error: OSError) -> None:
        problems.add(f"{error.filename}: cannot be read: {error.strerror}")

    for parent, folders, files in os.walk(folder, onerror=unreadable):
        folders.sort()
        for name in sorted([*folders, *files]):
            path = Path(parent) / name
            if problem := _problem(path, inside):
                problems.add(f"{path}: {problem}")
            elif name in files:
                yield Item(path, f"{target}/{path.relative_to(folder).as_posix()}", path.stat().st_size)


def _problem(path: Path, inside: Path) -> str | None:
    """Why a file or folder cannot be bundled."""
    if any(letter in path.name for letter in "\n\r\\"):
        return "expected a name without line ends and backslashes, which a list of checksums cannot hold as they are"
    if path.is_symlink():
        if not path.resolve().is_relative_to(inside):
            return f"a link that leads outside of the dataset, to {path.readlink()}; copy it with cp -rL first"
        if not path.is_file():
            return "a link that is not one to a file; copy the dataset with cp -rL first"
        return None
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return "expected a file or a folder, found a pipe, socket or device"
    return None


def copy(items: Sequence[Item], bundle: Path, progress: Progress) -> None:
    """Copy files with their permissions; links are replaced by what they point to."""
    for index, item in enumerate(items):
        progress("copying", index, len(items))
        path = bundle / item.path
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(item.source, path)


def write_sums(bundle: Path) -> None:
    """SHA256SUMS, for sha256sum -c: every file below `bundle` except itself, sorted by path."""
    paths = sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file())
    lines = [f"{sha256_file(bundle / path)}  {path}\n" for path in paths]
    (bundle / SUMS).write_text("".join(lines), encoding="utf-8")


def check_output(output: Path) -> None:
    """Raise DataError where something exists already."""
    if os.path.lexists(output):
        raise DataError(f"{output}: there is something already; remove it, or name another --output")
