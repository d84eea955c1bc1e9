"""The same input, recipe and seed give the same bytes: for any workers, from any folder, beside any other images."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from augment import recipe
from augment.executors.local import executor
from augment.operations.parameters import Copy, Recipe
from datasets.sources import Input
from tests.augment.beyond import BEYOND
from tests.protocols import Draw, Make, Python

Read = Callable[[Path], dict[str, Any]]
Tree = Callable[[Path], dict[str, bytes]]

# The `everything` of the fixtures, without balance: that one decision looks at the whole dataset.
FIXED = msgspec.structs.replace(
    recipe.load("everything"),
    operations=tuple(
        Copy(target_boxes=10**6, max_copies=2) if isinstance(item, Copy) else item
        for item in recipe.load("everything").operations
    ),
)


@pytest.mark.parametrize(("name", "workers"), [("everything", 1), ("everything", 4), ("beyond", 3)])
def test_processes_write_the_bytes_of_a_serial_build(
    drawn: Input, built: Callable[[str], Path], make: Make, tree: Tree, tmp_path: Path, name: str, workers: int
) -> None:
    with executor("process", workers) as run:
        make(drawn, tmp_path / "out", BEYOND if name == "beyond" else name, run=run)
    assert tree(tmp_path / "out") == tree(built(name))


def test_what_is_drawn_for_an_image_depends_on_the_list_of_donors_and_on_nothing_else(
    drawn: Input, make: Make, read: Read, tmp_path: Path
) -> None:
    """Other operations before it, and another name, size or owner of the cache of donors, change nothing."""
    first = msgspec.structs.replace(BEYOND, operations=BEYOND.operations[:3])
    again = msgspec.structs.replace(BEYOND, operations=(*BEYOND.operations[:3], *BEYOND.operations[:1:-1]))
    again = msgspec.structs.replace(again, operations=again.operations[:-1])
    make(drawn, tmp_path / "first", first)
    make(drawn, tmp_path / "again", again)
    one, other = by_operation(tmp_path / "first", read), by_operation(tmp_path / "again", read)
    assert one
    assert one == {key: value for key, value in other.items() if key in one}


def test_the_command_writes_the_same_bytes_from_another_folder_with_relative_paths(
    drawn: Input, built: Callable[[str], Path], tree: Tree, python: Python, tmp_path: Path
) -> None:
    shutil.copytree(drawn.images, tmp_path / "moved" / "pictures")
    shutil.copy(drawn.annotations, tmp_path / "moved" / "annotations.json")
    (tmp_path / "moved" / "pictures" / "a stranger.jpg").touch()
    command = "-m augment build --annotations annotations.json --images pictures --recipe everything --output ../out"
    done = python(*command.split(), "--workers", "2", cwd=tmp_path / "moved")
    assert (done.returncode, done.stderr) == (0, "")
    assert tree(tmp_path / "out") == tree(built("everything"))


def by_operation(folder: Path, read: Read) -> dict[tuple[Any, ...], tuple[bytes, list[dict[str, Any]]]]:
    """(source, operation, how many of that operation came before) -> the file's bytes, and its labels without ids."""
    dataset = read(folder)
    found: dict[tuple[Any, ...], tuple[bytes, list[dict[str, Any]]]] = {}
    for image in dataset["images"]:
        number = 0
        while (key := (image["source_id"], image["operation"], number)) in found:
            number += 1
        labels = [
            {name: value for name, value in item.items() if name not in ("id", "image_id")}
            for item in dataset["annotations"]
            if item["image_id"] == image["id"]
        ]
        found[key] = (folder / "images" / image["file_name"]).read_bytes(), labels
    return found


def test_an_image_is_made_the_same_whatever_other_images_there_are(
    drawn: Input, draw: Draw, make: Make, read: Read, tmp_path: Path
) -> None:
    few = draw(tmp_path / "few", only=(12, 31, 40))
    other = draw(tmp_path / "other", only=(7,))
    make(drawn, tmp_path / "whole", FIXED)
    make(few, tmp_path / "subset", FIXED)
    make([other, few], tmp_path / "second", FIXED)
    whole = by_operation(tmp_path / "whole", read)
    subset = by_operation(tmp_path / "subset", read)
    assert len(subset) == 3 * (1 + 2 + 1 + 4)
    assert subset == {key: value for key, value in whole.items() if key[0] in (12, 31, 40)}
    second = by_operation(tmp_path / "second", read)
    assert subset == {key: value for key, value in second.items() if key[0] in (12, 31, 40)}


def test_a_limit_makes_the_first_images_as_the_whole_does(
    drawn: Input, built: Callable[[str], Path], make: Make, tree: Tree, tmp_path: Path
) -> None:
    make(drawn, tmp_path / "out", "everything", limit=3)
    whole = tree(built("everything"))
    files = {name: data for name, data in tree(tmp_path / "out").items() if name.startswith("images/")}
    assert files.items() <= whole.items()


def test_another_seed_makes_other_variants_and_the_same_originals(
    drawn: Input, built: Callable[[str], Path], make: Make, read: Read, tmp_path: Path
) -> None:
    seeded: Recipe = msgspec.structs.replace(recipe.load("everything"), seed=1)
    make(drawn, tmp_path / "out", seeded)
    first, second = by_operation(built("everything"), read), by_operation(tmp_path / "out", read)
    assert first.keys() == second.keys()
    same = {key for key in first if first[key][0] == second[key][0]}
    assert {key for key in first if key[1] == "original"} <= same
    # Of 8 * 5 + 4 derived images some are the same by chance: centre crops of small images have few sizes.
    assert len(same) - 8 < (8 * 5 + 4) / 4
