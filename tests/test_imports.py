"""The floors of the house: imports point down, stages do not know each other, and `--help` loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What each package may import of ours, and what it must not import at all.
FLOORS = {
    "datasets": {"datasets"},
    "augment": {"augment", "datasets"},
    "train": {"train", "datasets"},
    "ensemble": {"ensemble", "datasets"},
}
OURS = {*FLOORS, "scripts", "benchmarks", "tests"}
FORBIDDEN = {
    "datasets": {"torch", "torchvision", "detectron2", "albumentations"},
    "augment": {"torch", "torchvision", "detectron2"},
    "train": set[str](),
    "ensemble": {"torch", "torchvision", "detectron2", "albumentations"},
}
# Imported inside the branch that needs them only.
HEAVY = {"albumentations", "cv2", "hotcoco", "numpy", "PIL", "pycocotools", "scipy", "torch"}


def imported(path: Path) -> Iterator[str]:
    """The top-level names of everything that a file imports, wherever it does so."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield (node.module or "").partition(".")[0]


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", FLOORS)
def test_imports_point_down(package: str) -> None:
    for path in modules(package):
        names = set(imported(path))
        assert names & OURS <= FLOORS[package], f"{path.name} reaches up or sideways"
        assert not names & FORBIDDEN[package], f"{path.name} imports what its floor must not"


def test_there_is_something_to_check() -> None:
    assert len(modules("datasets")) > 5
    assert len(modules("augment")) > 5


def test_only_one_module_imports_albumentations() -> None:
    users = [path.name for path in modules("augment") if "albumentations" in set(imported(path))]
    assert users == ["pixel.py"]


@pytest.mark.parametrize("module", ["augment", "datasets", "train", "ensemble"])
def test_help_loads_nothing_heavy(module: str) -> None:
    code = (
        f"import sys, runpy; sys.argv = [{module!r}, '--help']\n"
        f"try: runpy.run_module({module!r}, run_name='__main__')\n"
        "except SystemExit as stop: assert stop.code in (0, None), stop.code\n"
        "print(*sorted(name for name in sys.modules if '.' not in name), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Example:" in done.stdout
    assert not HEAVY & set(done.stderr.split())


def test_a_checkout_wins_over_an_installed_package_named_datasets() -> None:
    code = "import datasets, pathlib; print(pathlib.Path(datasets.__file__).parent)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == ROOT / "datasets"
