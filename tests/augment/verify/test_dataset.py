"""Verifying a build: every good one passes, and whatever is changed in one is found and named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from augment import recipe
from augment.operations.parameters import Original, Pixel, RandomCrop, Recipe
from augment.verify.dataset import Verified
from datasets.errors import DataError
from datasets.sources import Input
from tests.protocols import Draw, Edit, Make

Check = Callable[[Path], Verified]
Faults = Callable[[Path], list[str]]


@pytest.mark.parametrize("name", ["expanded", "balanced", "everything", "beyond"])
def test_a_build_is_good(built: Callable[[str], Path], check: Check, name: str) -> None:
    folder = built(name)
    dataset = json.loads((folder / "annotations" / "instances.json").read_bytes())
    images = len(dataset["images"])
    # Every image, the annotations, the sources and the manifest.
    assert check(folder) == Verified(images + 3, images, len(dataset["annotations"]), labels_verified=True)


def test_a_report_is_no_part_of_a_build(copied: Callable[[str], Path], check: Check, faults: Faults) -> None:
    folder = copied("expanded")
    (folder / "report.html").write_text("<p>")
    assert check(folder).labels_verified
    (folder / "images" / "report.html").write_text("<p>")
    assert faults(folder) == ["images/report.html: not in SHA256SUMS, so not part of this dataset"]


@pytest.mark.parametrize("more", [{"limit": 1}, {"limit": 7}, {"limit": 100}, {"link": True}])
def test_builds_with_options_are_good(
    draw: Draw, make: Make, check: Check, tmp_path: Path, more: dict[str, Any]
) -> None:
    make(draw(tmp_path / "data"), tmp_path / "out", "everything", **more)
    assert check(tmp_path / "out").labels_verified


def test_a_build_of_boxes_is_good(draw: Draw, make: Make, check: Check, tmp_path: Path) -> None:
    make(draw(tmp_path / "data", masks=False), tmp_path / "out", "everything")
    assert check(tmp_path / "out").labels_verified


def test_a_build_of_two_inputs_with_the_same_ids_is_good(draw: Draw, make: Make, check: Check, tmp_path: Path) -> None:
    make([draw(tmp_path / "a", only=(7, 31)), draw(tmp_path / "b", only=(7, 12))], tmp_path / "out", "everything")
    assert check(tmp_path / "out").labels_verified


def test_a_build_without_originals_is_checked_but_for_its_labels(
    drawn: Input, make: Make, check: Check, tmp_path: Path
) -> None:
    make(drawn, tmp_path / "out", Recipe(name="bare", operations=(Pixel(), RandomCrop(fraction=(0.3, 0.5)))))
    assert check(tmp_path / "out")._replace(annotations=0) == Verified(8 * 2 + 3, 8 * 2, 0, labels_verified=False)


@pytest.mark.parametrize(
    "bbox",
    [
        [10.12345, 5, 49.87655, 60],
        [10.12355, 5, 49.87645, 60],
        [100 / 3, 5, 60 - 100 / 3, 75],
        [0.00005, 0, 30, 79.99996],
    ],
)
def test_a_build_of_boxes_of_many_decimals_is_good(
    draw: Draw, make: Make, check: Check, tmp_path: Path, bbox: list[float]
) -> None:
    """Boxes that were computed, from fractions of an image or in other units, and that touch its border."""
    source = draw(tmp_path / "data", only=(7,), masks=False)
    document = json.loads(source.annotations.read_bytes())
    document["annotations"][0]["bbox"] = bbox
    source.annotations.write_text(json.dumps(document))
    for seed in range(10):
        out = tmp_path / str(seed)
        make(source, out, msgspec.structs.replace(recipe.load("expanded"), seed=seed))
        check(out)


def test_a_build_in_which_slivers_of_masks_are_left_is_good(
    draw: Draw, make: Make, check: Check, tmp_path: Path
) -> None:
    source = draw(tmp_path / "data", only=(7,))
    document = json.loads(source.annotations.read_bytes())
    first = document["annotations"][0]
    # Needles that end 0.003 px behind each column in which a crop may end, in a box that goes on.
    document["annotations"] = [
        {**first, "id": x, "bbox": [1, 1, 58, 78], "segmentation": [[1, 20, x + 0.003, 40, 1, 60]]}
        for x in range(12, 58)
    ] + [
        {**first, "id": 100 + x, "bbox": [1, 1, 58, 78], "segmentation": [[59, 20, x - 0.003, 40, 59, 60]]}
        for x in range(2, 48)
    ]
    source.annotations.write_text(json.dumps(document))
    make(source, tmp_path / "out")
    check(tmp_path / "out")


def test_a_flipped_byte_is_found(copied: Callable[[str], Path], faults: Faults) -> None:
    folder = copied("expanded")
    path = sorted((folder / "images").iterdir())[9]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (fault,) = faults(folder)
    assert fault.startswith(f"images/{path.name}: expected the digest ")


def test_a_missing_and_a_strange_image_are_found(
    copied: Callable[[str], Path], faults: Faults, sign: Callable[[Path], None]
) -> None:
    folder = copied("expanded")
    first, second = sorted((folder / "images").iterdir())[4:6]
    first.rename(folder / "images" / "stranger.jpg")
    (folder / "notes.txt").touch()
    assert faults(folder) == [
        "images/stranger.jpg: not in SHA256SUMS, so not part of this dataset",
        "notes.txt: not in SHA256SUMS, so not part of this dataset",
        f"images/{first.name}: expected an image file, found none",
    ]
    sign(folder)
    found = faults(folder)
    assert f"images/{first.name}: expected a digest in SHA256SUMS, found none" in found
    assert "images/stranger.jpg: expected an image record in annotations/instances.json, found none" in found
    assert not any(second.name in fault for fault in found)


def test_an_image_of_another_size_is_found_though_it_is_signed(
    copied: Callable[[str], Path], faults: Faults, sign: Callable[[Path], None]
) -> None:
    folder = copied("expanded")
    first, *_, last = sorted((folder / "images").iterdir())
    last.write_bytes(first.read_bytes())
    sign(folder)
    (fault,) = faults(folder)
    assert fault.startswith(f"images/{last.name}: expected ")
    assert fault.endswith("found 60 x 80")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "images/../../x", "C:\\x", "..\\x"])
def test_a_digest_outside_the_folder_is_refused_and_not_followed(
    copied: Callable[[str], Path], faults: Faults, name: str
) -> None:
    folder = copied("balanced")
    (folder.parent / "x").write_text("secret")
    with (folder / "SHA256SUMS").open("a") as sums:
        sums.write(f"{hashlib.sha256(b'secret').hexdigest()}  {name}\n")
    (fault,) = faults(folder)
    # 12 images, 3 files of metadata.
    assert fault.startswith("SHA256SUMS line 16: ")


def test_lines_that_are_no_digests_are_named(copied: Callable[[str], Path], faults: Faults) -> None:
    folder = copied("balanced")
    with (folder / "SHA256SUMS").open("a") as sums:
        sums.write("abc  images/x.jpg\n\n")
    assert [fault.partition(":")[0] for fault in faults(folder)] == ["SHA256SUMS line 16", "SHA256SUMS line 17"]


@pytest.mark.parametrize("file", ["SHA256SUMS", "manifest.json", "annotations/instances.json"])
def test_a_folder_without_its_papers_is_no_build(copied: Callable[[str], Path], check: Check, file: str) -> None:
    folder = copied("balanced")
    (folder / file).unlink()
    with pytest.raises(DataError, match=Path(file).name):
        check(folder)


def test_any_folder_is_no_build(check: Check, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError, match="expected the manifest of a finished build, found none"):
            check(folder)


def test_a_manifest_with_a_recipe_that_is_none_is_refused(
    copied: Callable[[str], Path], check: Check, edit: Edit
) -> None:
    folder = copied("balanced")
    edit(folder, lambda m: m["recipe"].update(colour=1), "manifest.json")
    with pytest.raises(DataError, match=r"manifest\.json: expected a recipe: .*colour"):
        check(folder)


def test_originals_alone_are_a_dataset(drawn: Input, make: Make, check: Check, tmp_path: Path) -> None:
    make(drawn, tmp_path / "out", Recipe(name="originals", operations=(Original(),)))
    assert check(tmp_path / "out") == Verified(8 + 3, 8, 27 + 2, labels_verified=True)
