"""The pages show commands that exist: every one is parsed by the command's own parser, and targets are make's."""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))
VARIABLES = {*re.findall(r"^([A-Z_]+) \?=", MAKEFILE, flags=re.MULTILINE), "PYTHON"}
# What the ARGS of a target are handed to.
ARGS_OF = {
    "dataset": "augment build",
    "train": "train fit",
    "submit": "train fit",
    "ladder": "scripts.ladder",
    "evidence": "scripts.evidence",
    "gpu-check": "benchmarks.gpu_check",
    "torture": "benchmarks.torture",
    "bench": "benchmarks/bench_augment.py run",
    "bench-scale": "benchmarks/bench_scale.py",
    "bench-ensemble": "benchmarks/bench_ensemble.py run",
}
OTHERS = {"cd", "git", "sh", "scp", "source"}


class Shown(NamedTuple):
    """A command of a page; `whole` where it is one to copy, and not a mention in a sentence."""

    page: str
    words: list[str]
    whole: bool

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


def blocks(text: str) -> Iterator[str]:
    """The lines of code blocks, indented or fenced by ``` without a language, with continued lines joined."""
    fenced = False
    lines = []
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = line == "```" and not fenced
        elif fenced or line.startswith("    "):
            lines.append(line.strip())
    yield from re.sub(r"\\\n", " ", "\n".join(lines)).splitlines()


def shown(page: Path) -> Iterator[Shown]:
    text = page.read_text(encoding="utf-8")
    candidates = [(line.removeprefix("$ "), True) for line in blocks(text)]
    candidates += [(" ".join(code.split()), False) for code in re.findall(r"`([^`]+)`", text)]
    for line, whole in candidates:
        if re.match(r"(\.venv/bin/)?python3? |make( |$)", line) and "TARGET" not in line:
            yield Shown(page.name, shlex.split(line, comments=True), whole)


SHOWN = [item for page in PAGES for item in shown(page)]


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The click command of `augment build ...` or `scripts/x.py ...`, and its arguments."""
    name, *arguments = words
    found: Any
    if name.endswith(".py"):
        found = runpy.run_path(str(ROOT / name), run_name="imported")["main"]
    else:
        module = f"{name}.__main__" if (ROOT / name.replace(".", "/")).is_dir() else name
        found = importlib.import_module(module).main
    while isinstance(found, click.Group) and arguments and not arguments[0].startswith("-"):
        sub, *arguments = arguments
        assert sub in found.commands, f"no command {sub}; there are {', '.join(found.commands)}"
        found = found.commands[sub]
    assert isinstance(found, click.Command)
    return found, arguments


def check(words: list[str], *, whole: bool) -> None:
    command, arguments = command_of(words)
    if whole and not isinstance(command, click.Group):
        # click keeps the names of --help from the first context that it sees; a group would hand them on.
        command.make_context("shown", list(arguments), help_option_names=["-h", "--help"]).close()
        return
    known = {name for item in command.params for name in item.opts} | {"--help", "-h", "--version"}
    for word in arguments:
        if word.startswith("-") and not re.fullmatch(r"-?\d+(\.\d+)?|-n", word):
            assert word.partition("=")[0] in known, f"{word}: unknown; known are {', '.join(sorted(known))}"


def test_there_is_something_to_check() -> None:
    assert sum(item.whole and item.words[0].endswith("python") for item in SHOWN) > 20
    assert sum(item.whole and item.words[0] == "make" for item in SHOWN) > 15
    assert sum(not item.whole for item in SHOWN) > 10


@pytest.mark.parametrize("item", SHOWN, ids=str)
def test_a_shown_command_is_a_real_one(item: Shown) -> None:
    program, *words = item.words
    if program == "make":
        for word in words:
            variable, is_set, value = word.partition("=")
            if is_set:
                assert variable in VARIABLES | {"HOST_PYTHON"}, f"make has no variable {variable}"
            else:
                assert word in TARGETS, f"make has no target {word}"
            target = next((name for name in words if name in ARGS_OF), None)
            if variable == "ARGS" and target is not None and not re.match(r"[A-Z_.]+ ", value):
                check([*ARGS_OF[target].split(), *shlex.split(value)], whole=False)
        return
    if words[:1] == ["-m"]:
        if words[1] not in ("pip", "venv", "pytest"):
            check(words[1:], whole=item.whole)
    else:
        check(words, whole=item.whole)


def test_the_map_names_every_module_and_none_that_is_not_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+\.py)`", page.split("## Walk 1")[0]))
    there = {path.name for package in ("augment", "train", "ensemble", "datasets") for path in modules(package)}
    elsewhere = {path.name for folder in ("scripts", "benchmarks", "tests") for path in (ROOT / folder).rglob("*.py")}
    assert there - named - {"__init__.py"} == set()
    assert named - there - elsewhere == set()


def test_the_glossary_names_files_that_are_there() -> None:
    page = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "---" not in line]
    assert len(rows) > 40
    for path in re.findall(r"`((?:augment|train|ensemble|datasets|scripts)/[^`]*)`", page):
        assert (ROOT / path).exists() or path == "datasets/specs/NAME.yaml", path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_of_the_code_are_there(page: Path) -> None:
    packages = "augment|train|ensemble|datasets|scripts|benchmarks|tests"
    named = re.findall(rf"`((?:{packages})/[\w./-]*\.(?:py|yaml|sh))`", page.read_text(encoding="utf-8"))
    assert [path for path in named if not (ROOT / path).exists() and "name." not in path.lower()] == []
