"""Builds of the drawn dataset, made once a session, and short ways to make and to check others."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from augment import recipe
from augment.compiler.build import Built, build_dataset
from augment.compiler.inputs import Request
from augment.executors.local import executor
from augment.operations.parameters import Recipe
from augment.verify.dataset import Verified, verify
from datasets.errors import DataError
from datasets.parallel import Run
from datasets.sources import Input
from tests.augment.beyond import BEYOND
from tests.protocols import Edit, Make, Python


def quiet(what: str, done: int, of: int) -> None:
    """Progress that nobody sees."""


def make_build(
    inputs: Input | list[Input],
    output: Path,
    chosen: str | Recipe = "expanded",
    *,
    run: Run | None = None,
    progress: Callable[[str, int, int], None] = quiet,
    restart: bool = False,
    **more: Any,
) -> Built:
    loaded = recipe.load(chosen) if isinstance(chosen, str) else chosen
    request = Request(inputs if isinstance(inputs, list) else [inputs], loaded, **more)
    if run is not None:
        return build_dataset(request, output, run, progress, restart=restart)
    with executor("serial") as serial:
        return build_dataset(request, output, serial, progress, restart=restart)


@pytest.fixture(scope="session")
def make() -> Make:
    """make(input or inputs, output, recipe, run=, progress=, restart=, **request): build in this process."""
    return make_build


@pytest.fixture(scope="session")
def built(drawn: Input, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """built("expanded"): the folder of its build of the drawn dataset, made when first asked for. Read-only.

    `built("beyond")` is of the operations that the paper lacks.
    """
    folder = tmp_path_factory.mktemp("built")

    def build(name: str) -> Path:
        if not (folder / name).exists():
            make_build(drawn, folder / name, BEYOND if name == BEYOND.name else name)
        return folder / name

    return build


@pytest.fixture
def copied(built: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """copied("expanded"): a copy of that build which a test may spoil."""
    return lambda name: Path(shutil.copytree(built(name), tmp_path / name))


@pytest.fixture(scope="session")
def check() -> Callable[[Path], Verified]:
    """check(folder): verify it in this process."""

    def checked(folder: Path) -> Verified:
        with executor("serial") as run:
            return verify(folder, run, quiet)

    return checked


def sign_build(folder: Path) -> None:
    """Write SHA256SUMS anew, for what is there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    digests = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (folder / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()))


@pytest.fixture(scope="session")
def sign() -> Callable[[Path], None]:
    """sign(folder): give a spoiled build good digests, so that only its content is wrong."""
    return sign_build


def write_lines(path: Path, document: dict[str, Any]) -> None:
    """Write an annotation file as a build lays it out: a record a line, annotations in the order of their images."""
    order = {image["id"]: place for place, image in enumerate(document["images"])}
    annotations = sorted(document["annotations"], key=lambda item: order.get(item["image_id"], len(order)))
    head = {key: document[key] for key in ("info", "licenses", "categories")}
    lines = [",\n".join(map(json.dumps, records)) for records in (document["images"], annotations)]
    path.write_text(f'{json.dumps(head)[:-1]},\n"images":[\n{lines[0]}\n],"annotations":[\n{lines[1]}\n]}}\n')


@pytest.fixture(scope="session")
def edit() -> Edit:
    """edit(folder, change, file="annotations/instances.json"): change a JSON file of a build in place, and sign it."""

    def edited(folder: Path, change: Callable[[Any], Any], file: str = "annotations/instances.json") -> None:
        document = json.loads((folder / file).read_bytes())
        change(document)
        if file.endswith("instances.json"):
            write_lines(folder / file, document)
        else:
            (folder / file).write_text(json.dumps(document), encoding="utf-8")
        sign_build(folder)

    return edited


@pytest.fixture(scope="session")
def faults(check: Callable[[Path], Verified]) -> Callable[[Path], list[str]]:
    """faults(folder): what verify finds wrong with a build that is not good."""

    def found(folder: Path) -> list[str]:
        with pytest.raises(DataError) as caught:
            check(folder)
        assert str(folder) in caught.value.headline
        return caught.value.problems

    return found


@pytest.fixture(scope="session")
def read() -> Callable[[Path], dict[str, Any]]:
    """read(folder): a build's annotation file as plain JSON."""
    return lambda folder: dict(json.loads((folder / "annotations" / "instances.json").read_bytes()))


@pytest.fixture(scope="session")
def tree() -> Callable[[Path], dict[str, bytes]]:
    """tree(folder): what is there, as path -> bytes; a folder ends in a slash."""

    def listed(folder: Path) -> dict[str, bytes]:
        found = {}
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            found.update({f"{name}/": b""} if path.is_dir() else {name: path.read_bytes()})
        return found

    return listed


@pytest.fixture(scope="session")
def python() -> Python:
    """python("-c", "...", cwd=...): another process that finds the project from any folder."""
    root = str(Path(__file__).resolve().parents[2])

    def started(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": root}
        command = [sys.executable, "-W", "ignore", *arguments]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)

    return started
