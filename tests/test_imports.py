"""The floors of the house: imports point down, stages do not know each other, and `--help` loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What each room may import of ours. A room is a package, or a subpackage that this names.
FLOORS = {
    "datasets.pages": {"datasets"},
    "datasets": {"datasets"},
    "augment.operations": {"datasets"},
    "augment.compiler": {"augment.operations", "datasets"},
    "augment.verify": {"augment.compiler", "augment.operations", "datasets"},
    "augment.report": {"augment.compiler", "augment.operations", "datasets", "datasets.pages"},
    "augment.executors": {"augment.compiler", "datasets"},
    "augment": {"augment", "datasets"},
    "train.processes": {"train", "datasets"},
    "train.model": {"train", "datasets"},
    "train.data": {"train", "train.model", "train.processes", "augment.operations", "datasets"},
    "train.checkpoints": {"train", "datasets"},
    "train.inference": {"train", "train.checkpoints", "train.data", "train.model", "augment.operations", "datasets"},
    "train.run": {
        "train",
        "train.checkpoints",
        "train.data",
        "train.inference",
        "train.model",
        "train.processes",
        "augment.operations",
        "datasets",
    },
    # Of the rooms, what is light: a page needs torch for lineage alone.
    "train.page": {"train", "train.checkpoints", "train.run", "datasets", "datasets.pages"},
    # Online augmentation draws from the operations, and tiles are cut by them; everything else of augment is a stage of
    # its own.
    "train": {"train", "augment.operations", "datasets"},
    "ensemble.report": {"ensemble", "datasets", "datasets.pages"},
    "ensemble": {"ensemble", "datasets"},
}
PACKAGES = [name for name in FLOORS if "." not in name]
OURS = {*PACKAGES, "scripts", "benchmarks", "tests"}
FORBIDDEN = {
    "datasets": {"torch", "torchvision", "detectron2", "albumentations"},
    "augment": {"torch", "torchvision", "detectron2"},
    "train": set[str](),
    "ensemble": {"torch", "torchvision", "detectron2", "albumentations"},
}
# Imported inside the branch that needs them only.
HEAVY = {"albumentations", "cv2", "hotcoco", "jinja2", "matplotlib", "numpy", "PIL", "pycocotools", "scipy", "torch"}


# Operations touch no file and no process; `os` and `sys` are for what albumentations does at its import.
IMPURE = {"io", "multiprocessing", "pathlib", "shutil", "socket", "subprocess", "tempfile", "threading"}


def imported(path: Path) -> Iterator[str]:
    """The full names of everything that a file imports, wherever it does so."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def top(name: str) -> str:
    return name.partition(".")[0]


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room.replace(".", "/")).rglob("*.py"))


def room_of(module: str) -> str:
    """The innermost room that a module lies in: `train.data` for train.data.read.Records, `train` for train.config."""
    parts = module.split(".")
    return next(name for end in range(len(parts), 0, -1) if (name := ".".join(parts[:end])) in FLOORS or end == 1)


def own(room: str) -> list[Path]:
    """The modules of a room that are in no room inside it."""
    return [path for path in modules(room) if room_of(".".join(path.relative_to(ROOT).with_suffix("").parts)) == room]


@pytest.mark.parametrize("room", FLOORS)
def test_imports_point_down(room: str) -> None:
    within = {name for name in FLOORS if name.startswith(f"{room}.")}
    for path in own(room):
        rooms = {room_of(name) for name in imported(path) if top(name) in OURS}
        assert rooms <= FLOORS[room] | within | {room}, f"{path.relative_to(ROOT)} reaches up or sideways"
        assert not {top(name) for name in imported(path)} & FORBIDDEN[top(room)], f"{path.name}: not on its floor"


def test_every_subpackage_is_a_room() -> None:
    found = {f"{package}.{path.parent.name}" for package in PACKAGES for path in (ROOT / package).glob("*/__init__.py")}
    assert found == {name for name in FLOORS if "." in name}


def test_no_room_knows_one_that_knows_it() -> None:
    """Modules of a package that lie in none of its rooms may know all of them, or none, as `config` does."""
    for room, known in FLOORS.items():
        assert not [other for other in known if other.count(".") and room in FLOORS[other]], room


def test_operations_are_pure() -> None:
    for path in modules("augment.operations"):
        assert not {top(name) for name in imported(path)} & IMPURE, path.name
        called = {
            node.func.id
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not called & {"open", "print", "exec", "eval"}, path.name


def test_there_is_something_to_check() -> None:
    assert len(modules("datasets")) > 5
    assert len(modules("augment")) > 5


def test_only_one_module_imports_albumentations() -> None:
    users = [path.name for path in modules("augment") if "albumentations" in {top(name) for name in imported(path)}]
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
