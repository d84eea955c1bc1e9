"""pip: its settings, which apply here too, and the runs that download wheels."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from datasets.errors import DataError
from scripts.bundling.resolve import Ask, Release
from scripts.bundling.target import Target

FIXED_TIME = "315532800"  # 1980, the earliest year of a zip file: a wheel built twice has the same bytes


def pip_settings() -> dict[str, str]:
    """The settings of pip's files and PIP_ variables, by option. Raises DataError without pip."""
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"pip cannot be run: {_last_words(done.stderr.splitlines())}; make setup installs it")
    return read_settings(done.stdout)


def read_settings(listing: str) -> dict[str, str]:
    """The output of `pip config list`, each option once, as pip download would resolve it.

    Settings of `pip install` apply too where nothing else is set, since indexes are often set there.
    """
    sections = ("install", "global", "download", ":env:")
    found: dict[str, dict[str, str]] = {section: {} for section in sections}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")
        if section in found:
            found[section][option] = str(ast.literal_eval(value))
    return {option: value for section in sections for option, value in found[section].items() if value}


def read_constraints(path: Path) -> list[Ask]:
    """A file in pip's constraint format; its lines that name a version of a package. Raises DataError."""
    asks = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.partition(" #")[0].strip()
        if not text or text.startswith(("#", "-")):
            continue
        try:
            asks.append(Ask(Requirement(text), f"{path.name}, line {number}"))
        except InvalidRequirement:
            raise DataError(f"{path}, line {number}: expected a requirement like name==1.0, found {text!r}") from None
    return asks


class Pip:
    """Runs of pip that fetch wheels for `target`, with its user's `settings`."""

    def __init__(self, settings: Mapping[str, str], target: Target) -> None:
        self.settings, self.target = settings, target

    def download(self, releases: Sequence[Release], folder: Path, on_begun: Callable[[int], None]) -> None:
        """Download wheels into `folder`; `on_begun` is called with the number started. Raises DataError with pip's
        words.
        """
        if not releases:
            return
        words = ["download", "--only-binary=:all:", "--python-version", self.target.version]
        words += ["--implementation", "cp", "--abi", self.target.abi]
        words += [word for platform in self.target.platforms() for word in ("--platform", platform)]
        words += ["--dest", str(folder), *(f"{release.name}=={release.version}" for release in releases)]
        with self._run(words, "cannot be downloaded") as lines:
            begun = 0
            for line in lines:
                begun += line.startswith("Collecting ")
                on_begun(max(begun - 1, 0))

    def build_wheel(self, release: Release, folder: Path) -> None:
        """Build a wheel from source into `folder`. Raises DataError."""
        # pip's cache may have one built at another time, with other bytes.
        words = ["wheel", "--no-cache-dir", "--no-binary", release.name, "--wheel-dir", str(folder)]
        with self._run([*words, f"{release.name}=={release.version}"], f"{release.title} cannot be built") as lines:
            for _ in lines:
                pass

    @contextmanager
    def _run(self, words: Sequence[str], failure: str) -> Iterator[Iterator[str]]:
        """The lines that pip prints. Raises DataError with the last of them where it fails."""
        command = [sys.executable, "-m", "pip", *words[:1], "--no-deps", "--progress-bar", "off", *words[1:]]
        variables = {f"PIP_{option.upper().replace('-', '_')}": value for option, value in self.settings.items()}
        environment = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "SOURCE_DATE_EPOCH": FIXED_TIME}
        # Settings that pip download itself would not read: an index set for pip install.
        for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
            if name in variables:
                environment[name] = variables[name]
        said: list[str] = []

        def heard() -> Iterator[str]:
            assert pip.stdout is not None  # it is a pipe
            for line in pip.stdout:
                said.append(line.rstrip())
                yield line

        with subprocess.Popen(
            command,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as pip:
            try:
                yield heard()
            except BaseException:
                pip.terminate()
                raise
        if pip.returncode:
            raise DataError(f"{failure}: {_last_words(said)}")


def _last_words(lines: Sequence[str]) -> str:
    """The last error among the lines that pip printed, else the last line."""
    said = [line for line in lines if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")]
    return (errors or said or ["it said nothing"])[-1].strip()
