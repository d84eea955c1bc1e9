"""Builds of paste, mosaic, tile, turn and erase on data at the edges: what is made, what is refused, what is said."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image as PillowImage

from augment.compiler.build import Built
from augment.compiler.counts import Counts, warnings
from augment.operations.parameters import Original, Paste, Recipe, Tile
from augment.verify.dataset import Verified
from datasets.errors import DataError
from datasets.sources import Input
from tests.augment.beyond import BEYOND
from tests.protocols import Draw, Make

Check = Callable[[Path], Verified]


def dataset(
    folder: Path, sizes: list[tuple[int, int]], objects: list[list[dict[str, Any]]], mode: str = "RGB"
) -> Input:
    """JPEGs of these sizes and their objects, all of category 1."""
    (folder / "images").mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, ((width, height), listed) in enumerate(zip(sizes, objects, strict=True)):
        name = f"{number}.jpg"
        PillowImage.effect_noise((width, height), 60).convert(mode).save(folder / "images" / name, quality=95)
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for item in listed:
            annotations.append({"id": len(annotations), "image_id": number, "category_id": 1, "iscrowd": 0, **item})
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    (folder / "annotations.json").write_text(json.dumps(document))
    return Input(folder / "annotations.json", folder / "images")


def square(x: int, y: int, side: int, mask: bool = True) -> dict[str, Any]:
    x1, y1 = x + side, y + side
    outline = {"segmentation": [[x, y, x1, y, x1, y1, x, y1]]} if mask else {}
    return {"bbox": [x, y, side, side], "area": side * side, **outline}


def counts_of(made: Built) -> Counts:
    assert made.counts is not None
    return made.counts


def operations(made: Built) -> Counter[str]:
    return +counts_of(made).images


def test_data_of_one_picture_has_what_needs_no_other(make: Make, check: Check, tmp_path: Path) -> None:
    source = dataset(tmp_path / "data", [(60, 50)], [[square(10, 10, 20)]])

    built = make(source, tmp_path / "out", BEYOND)

    assert set(operations(built)) == {"original", "tile", "turn", "erase"}
    assert check(tmp_path / "out").labels_verified
    prepared = built.prepared
    said = warnings(counts_of(built), BEYOND, prepared.balance(), 1)
    assert [line.partition(":")[0] for line in said] == [
        "the recipe beyond makes 0 of 2 images by paste",
        "the recipe beyond makes 0 of 1 images by mosaic",
    ]


def test_pictures_of_one_pixel_and_grey_ones_are_built_and_good(make: Make, check: Check, tmp_path: Path) -> None:
    sizes = [(1, 1), (1, 70), (90, 1), (60, 50), (50, 60)]
    objects = [
        [{"bbox": [0, 0, 1, 1], "area": 1}],
        [{"bbox": [0, 10, 1, 50], "area": 50}],
        [{"bbox": [20, 0, 50, 1], "area": 50}],
        [square(10, 10, 20)],
        [square(20, 20, 20)],
    ]
    source = dataset(tmp_path / "data", sizes, objects, mode="L")

    built = make(source, tmp_path / "out", BEYOND)

    assert operations(built)["turn"] == 5 * 3
    assert operations(built)["mosaic"] == 2
    # Sides above 40 px: 70 x 1 has two tiles, 90 x 1 three, the last two four each; but for tiles around objects.
    assert operations(built)["tile"] >= 2 + 3 + 4 + 4
    assert check(tmp_path / "out").labels_verified


@pytest.mark.parametrize("boxes", [False, True])
def test_boxes_are_pasted_only_where_that_is_asked_for(make: Make, tmp_path: Path, boxes: bool) -> None:
    source = dataset(tmp_path / "data", [(60, 50)] * 2, [[square(10, 10, 20, mask=False)]] * 2)
    recipe = Recipe(name="mine", operations=(Original(), Paste(boxes=boxes)))

    if boxes:
        assert operations(make(source, tmp_path / "out", recipe))["paste"] == 2
        return
    with pytest.raises(DataError, match="found none among 2 objects") as caught:
        make(source, tmp_path / "out", recipe)
    assert "`boxes: true`" in caught.value.advice
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_objects_that_are_all_too_small_or_at_the_border_are_said(make: Make, tmp_path: Path) -> None:
    source = dataset(tmp_path / "data", [(60, 50)] * 2, [[square(10, 10, 5), square(0, 0, 40)]] * 2)
    recipe = Recipe(name="mine", operations=(Original(), Paste()))

    built = make(source, tmp_path / "out", recipe)

    assert operations(built) == {"original": 2}
    (said,) = warnings(counts_of(built), recipe, built.prepared.balance(), 2)
    assert "makes 0 of 2 images by paste: " in said
    assert "scale, min_size, boxes" in said


def test_what_would_become_thousands_of_tiles_is_refused_at_once(make: Make, tmp_path: Path) -> None:
    sizes = [(2000, 1700), (60, 50), (1900, 1800)]
    source = dataset(tmp_path / "data", sizes, [[square(10, 10, 20)]] * 3)
    recipe = Recipe(name="mine", operations=(Tile(size=16),))

    with pytest.raises(DataError, match=r"2 image\(s\) too large for the tiles of recipe mine") as caught:
        make(source, tmp_path / "out", recipe)
    # Steps of 12 px: (1984 / 12 + 1) x (1684 / 12 + 1), rounded up.
    assert f"found {167 * 142:,} of 16 px in 2,000 x 1,700 px" in caught.value.problems[0]
    assert not (tmp_path / "out").exists()


def test_a_picture_that_is_one_tile_passes_through_byte_for_byte(make: Make, check: Check, tmp_path: Path) -> None:
    source = dataset(tmp_path / "data", [(60, 50), (100, 50)], [[square(10, 10, 20)]] * 2)
    recipe = Recipe(name="mine", operations=(Tile(size=64, overlap=0.0),))

    make(source, tmp_path / "out", recipe)

    written = sorted((tmp_path / "out" / "images").iterdir())
    assert len(written) == 1 + 2
    assert written[0].read_bytes() == (source.images / "0.jpg").read_bytes()
    assert not check(tmp_path / "out").labels_verified


@pytest.mark.parametrize("chroma", ["source", 444, 422, 420])
@pytest.mark.parametrize("of_source", [0, 1, 2])
def test_jpegs_have_the_chroma_of_their_source_or_of_the_recipe(
    make: Make, tmp_path: Path, chroma: Any, of_source: int
) -> None:
    """Pillow's 0, 1, 2 are 4:4:4, 4:2:2 and 4:2:0."""
    source = dataset(tmp_path / "data", [(60, 50)] * 2, [[square(10, 10, 20)]] * 2)
    for path in source.images.iterdir():
        with PillowImage.open(path) as picture:
            picture.copy().save(path, quality=95, subsampling=of_source)
    recipe = msgspec.structs.replace(BEYOND, chroma=chroma)

    make(source, tmp_path / "out", recipe)

    factors = {0: (1, 1), 1: (2, 1), 2: (2, 2), 444: (1, 1), 422: (2, 1), 420: (2, 2)}
    expected = factors[of_source if chroma == "source" else chroma]
    for path in (tmp_path / "out" / "images").iterdir():
        with PillowImage.open(path) as picture:
            # The sampling factors of luma.
            found: Any = picture.layer[0]  # type: ignore[attr-defined]
            assert (found[1], found[2]) == (factors[of_source] if "_original" in path.name else expected)


def test_pasted_pixels_are_those_of_the_donor(make: Make, tmp_path: Path) -> None:
    """A white square from a white picture on a black one; without an edge, and nearly without loss."""
    source = dataset(tmp_path / "data", [(64, 64)] * 2, [[], [square(16, 16, 32)]])
    for name, value in (("0.jpg", 0), ("1.jpg", 255)):
        PillowImage.new("RGB", (64, 64), (value, value, value)).save(source.images / name, quality=100)
    operation = Paste(objects=(1, 1), scale=(1.0, 1.0), flip=0, edge=0)

    make(source, tmp_path / "out", Recipe(name="mine", operations=(Original(), operation)))

    document = json.loads((tmp_path / "out" / "annotations" / "instances.json").read_bytes())
    (image,) = [item for item in document["images"] if item["operation"] == "paste"]
    (label,) = [item for item in document["annotations"] if item["image_id"] == image["id"]]
    x, y, width, height = (int(value) for value in label["bbox"])
    assert (width, height, label["area"]) == (32, 32, 1024)
    assert image["donors"][0]["region"] == [x, y, x + 32, y + 32]
    with PillowImage.open(tmp_path / "out" / "images" / image["file_name"]) as picture:
        pixels = np.asarray(picture.convert("L")).astype(int)
    inside = np.zeros((64, 64), dtype=bool)
    inside[y : y + 32, x : x + 32] = True
    assert pixels[inside].min() > 230
    assert pixels[~inside].max() < 25


def test_a_damaged_donor_is_named(draw: Draw, make: Make, tmp_path: Path) -> None:
    """It is met as a donor of the first picture, before it is compiled itself."""
    source = draw(tmp_path / "data", only=(7, 12))
    path = source.images / json.loads(source.annotations.read_bytes())["images"][1]["file_name"]
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 60] = b"\xff\xd9" * 30
    path.write_bytes(data)

    with pytest.raises(DataError, match=path.name):
        make(source, tmp_path / "out", BEYOND)


@pytest.mark.parametrize("objects", [[[square(10, 10, 20)], [], []], [[], [], []]])
def test_pasting_alone_leaves_sources_without_an_image(
    make: Make, check: Check, tmp_path: Path, objects: list[list[dict[str, Any]]]
) -> None:
    """The owner of the only object has no donor; with a small one beside it, nobody has."""
    objects = [[*listed, square(30, 30, 5)] for listed in objects]
    source = dataset(tmp_path / "data", [(60, 50)] * 3, objects)

    built = make(source, tmp_path / "out", Recipe(name="mine", operations=(Paste(),)))

    assert operations(built)["paste"] == (2 if len(objects[0]) == 2 else 0)
    assert not check(tmp_path / "out").labels_verified
