"""scripts/repeat_dataset.py: as many images as asked for, under new ids, as links, and nothing half-written."""

from __future__ import annotations

import json
import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from datasets.errors import DataError
from datasets.sources import Input, read_checked
from tests.protocols import Draw

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "repeat_dataset.py"))


def repeat(inputs: list[Input], output: Path, count: int, *more: str) -> str:
    options = [part for item in inputs for part in ("--annotations", item.annotations, "--images", item.images)]
    arguments = [*map(str, options), "--count", str(count), "--output", str(output), *more]
    result = CliRunner().invoke(SCRIPT["main"], arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def read(output: Path) -> dict[str, Any]:
    return dict(json.loads((output / "annotations" / "instances.json").read_bytes()))


@pytest.mark.parametrize("count", [1, 8, 21])
def test_a_dataset_is_repeated_to_any_number(drawn: Input, tmp_path: Path, count: int) -> None:
    printed = repeat([drawn], tmp_path / "out", count)
    document = read(tmp_path / "out")
    assert [image["id"] for image in document["images"]] == list(range(1, count + 1))
    assert [item["id"] for item in document["annotations"]] == list(range(1, len(document["annotations"]) + 1))
    assert f"{count} images of 8 different ones, {len(document['annotations'])} annotations" in printed
    # Good as every stage reads it, files included.
    inputs = read_checked(
        [Input(tmp_path / "out" / "annotations" / "instances.json", tmp_path / "out" / "images")],
        strict=False,
        progress=lambda *_: None,
    )
    assert len(inputs.sources) == count


def test_every_image_comes_before_any_comes_again(drawn: Input, tmp_path: Path) -> None:
    repeat([drawn], tmp_path / "out", 20)
    urls = Counter(image["flickr_url"] for image in read(tmp_path / "out")["images"])
    assert sorted(urls.values()) == [2] * 4 + [3] * 4
    originals = {image["flickr_url"]: image for image in json.loads(drawn.annotations.read_bytes())["images"]}
    objects = Counter(item["image_id"] for item in json.loads(drawn.annotations.read_bytes())["annotations"])
    found = Counter(item["image_id"] for item in read(tmp_path / "out")["annotations"])
    for image in read(tmp_path / "out")["images"]:
        original = originals[image["flickr_url"]]
        path = tmp_path / "out" / "images" / image["file_name"]
        assert path.samefile(drawn.images / original["file_name"])
        assert found[image["id"]] == objects[original["id"]]


def test_copies_are_files_of_their_own(drawn: Input, tmp_path: Path) -> None:
    repeat([drawn], tmp_path / "out", 3, "--copy")
    path = tmp_path / "out" / "images" / "000000000001.jpg"
    assert path.read_bytes() == (drawn.images / "tall.jpg").read_bytes()
    assert not path.samefile(drawn.images / "tall.jpg")


def test_several_datasets_become_one(draw: Draw, tmp_path: Path) -> None:
    repeat([draw(tmp_path / "a", only=(7,)), draw(tmp_path / "b", only=(12,))], tmp_path / "out", 5)
    assert [image["width"] for image in read(tmp_path / "out")["images"]] == [60, 90, 60, 90, 60]


def test_an_output_with_something_in_it_is_refused(drawn: Input, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(DataError, match="expected a new or empty folder"):
        repeat([drawn], tmp_path, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_that_cannot_be_linked_is_named_and_nothing_is_left(draw: Draw, tmp_path: Path) -> None:
    source = draw(tmp_path / "data", only=(7, 12))
    (source.images / "grey.jpg").unlink()
    with pytest.raises(DataError, match=r"grey\.jpg: cannot be placed as .*: No such file.*; .* need --copy"):
        repeat([source], tmp_path / "out", 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
