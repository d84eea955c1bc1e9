"""Variants drawn in the loader are those of a build: the same draws, labels and pixels."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from augment.operations.parameters import CenterCrop, Copy, Mosaic, Paste, Pixel, RandomCrop, Recipe, Tile
from datasets import images
from datasets.errors import DataError
from datasets.jpeg import Chroma
from datasets.sources import Input
from tests.augment.beyond import BEYOND
from tests.augment.conftest import make_build
from tests.protocols import Draw
from tests.train.conftest import small_config
from train.data import online
from train.data.mapper import RecordMapper, TrainingMapper
from train.data.online import OnlineData, OnlineDraws
from train.data.online_mapper import OnlineMapper, mapper_of
from train.data.read import TrainingData, read_training
from train.data.sampler import Key

# All operations but balance copies; and without the many tiles of each image.
EVERYTHING = (*BEYOND.operations, Pixel(), RandomCrop(fraction=(0.5, 0.8)), CenterCrop(fraction=(0.8, 0.9)))
RECIPE = Recipe(name="online", operations=tuple(item for item in EVERYTHING if not isinstance(item, Tile)))
NEVER = 1e9


def data(source: Input, recipe: Recipe = RECIPE, *, keep_empty: bool = True) -> TrainingData:
    return read_training(source, keep_empty=keep_empty, masks=None, progress=None, online=recipe)


def online_of(read: TrainingData) -> OnlineData:
    assert read.online is not None
    return read.online


def test_an_epoch_draws_from_the_build_of_a_seed(drawn: Input, tmp_path: Path) -> None:
    """Every variant that an epoch may draw, with its labels and its pixels, against the files of the build."""
    recipe = Recipe(name="everything", operations=EVERYTHING)
    found = online_of(data(drawn, recipe))
    draws = OnlineDraws(found, seed=4, donors_end=NEVER)
    mapper = OnlineMapper(found, draws, TrainingMapper(small_config(), masks=True, seed=4))
    seeded = msgspec.structs.replace(recipe, seed=draws.recipe_seed(3))
    make_build(drawn, tmp_path / "build", seeded)
    document = json.loads((tmp_path / "build/annotations/instances.json").read_text(encoding="utf-8"))
    labels: dict[int, list[Any]] = {}
    for item in document["annotations"]:
        labels.setdefault(item["image_id"], []).append(comparable(item))
    built = iter(document["images"])
    compared = Counter[str]()
    for source in found.sources:
        for variant in draws.variants(source, 3):
            record = next(built)
            drawn_variant = draws._labelled(source, variant)
            ours = [comparable(json.loads(msgspec.json.encode(plain(item)))) for item in drawn_variant.annotations]
            assert ours == labels.get(record["id"], []), record["file_name"]
            file = (tmp_path / "build/images" / record["file_name"]).read_bytes()
            if not variant.unchanged:
                pixels = mapper._render(drawn_variant, "BGR")
                assert bytes(images.encode_jpeg(pixels, 95, "BGR", chroma_of(source.path))) == file
            compared[variant.operation] += 1
    assert next(built, None) is None
    assert compared.keys() == {operation.name for operation in EVERYTHING}


def plain(item: Any) -> dict[str, Any]:
    """An annotation as JSON writes it; arrays as lists."""
    fields = {key: getattr(item, key) for key in item.__struct_fields__}
    if isinstance(item.segmentation, tuple):
        fields["segmentation"] = [polygon.tolist() for polygon in item.segmentation]
    elif item.segmentation is not None:
        counts = item.segmentation.counts
        counts = counts if isinstance(counts, str) else counts.tolist()
        fields["segmentation"] = {"size": list(item.segmentation.size), "counts": counts}
    return {key: value for key, value in fields.items() if value is not None}


def comparable(item: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key not in ("id", "image_id")}


def chroma_of(path: Path) -> Chroma:
    header = images.read_file(path)
    width, height = images.upright_size(header)
    return images.chroma_of(header, images.examine(header, width, height))


def test_seed_epoch_and_image_decide_what_is_drawn(drawn: Input) -> None:
    found = online_of(data(drawn))
    one, again, other = (OnlineDraws(found, seed=seed, donors_end=NEVER) for seed in (1, 1, 2))
    keys = [Key(epoch, image) for epoch in range(6) for image in range(8)]
    drawn_variants = [one.draw(key).variant for key in keys]
    assert [again.draw(key).variant for key in reversed(keys)] == drawn_variants[::-1]
    assert [other.draw(key).variant for key in keys] != drawn_variants
    # Another epoch is another variant, or another draw of the same operation.
    of_first = [variant for key, variant in zip(keys, drawn_variants, strict=True) if key.image == 0]
    assert len(set(of_first)) > 4  # of 6


def test_all_variants_are_drawn_alike(drawn: Input) -> None:
    recipe = Recipe(name="two", operations=(Pixel(), Paste(count=3, min_size=1)))
    draws = OnlineDraws(online_of(data(drawn, recipe)), seed=0, donors_end=NEVER)
    counts = Counter(draws.draw(Key(epoch, 0)).variant.operation for epoch in range(400))
    assert 250 < counts["paste"] < 350  # 3 of 4: 300, standard deviation 8.7
    assert counts["paste"] + counts["pixel"] == 400


def test_what_takes_from_others_ends_before_the_end(drawn: Input) -> None:
    draws = OnlineDraws(online_of(data(drawn)), seed=0, donors_end=5.0)
    before = {draws.draw(Key(epoch, image)).variant.operation for epoch in range(5) for image in range(8)}
    after = {draws.draw(Key(epoch, image)).variant.operation for epoch in range(5, 10) for image in range(8)}
    assert {"paste", "mosaic"} <= before
    assert not {"paste", "mosaic"} & after
    assert after


def test_with_nothing_else_to_draw_the_image_itself_is_trained_on(drawn: Input) -> None:
    recipe = Recipe(name="paste", operations=(Paste(min_size=1),))
    draws = OnlineDraws(online_of(data(drawn, recipe)), seed=0, donors_end=0.0)
    assert {draws.draw(Key(0, image)).variant for image in range(8)} == {online.ORIGINAL}


def test_variants_without_a_kept_object_are_drawn_where_such_images_are_trained_on_only(
    draw: Draw, tmp_path: Path
) -> None:
    # Small crops beside the objects, or inside of them, keep none: less than half of an object is to be seen.
    source = draw(tmp_path, only=(20, 31))
    recipe = Recipe(name="crops", operations=(RandomCrop(fraction=(0.1, 0.2)), CenterCrop(fraction=(0.99, 0.99))))
    strict = OnlineDraws(online_of(data(source, recipe, keep_empty=False)), seed=0, donors_end=NEVER)
    lenient = OnlineDraws(online_of(data(source, recipe, keep_empty=True)), seed=0, donors_end=NEVER)
    keys = [Key(epoch, image) for epoch in range(30) for image in range(2)]

    def kept(draws: OnlineDraws) -> set[bool]:
        return {any(not item.iscrowd for item in draws.draw(key).annotations) for key in keys}

    assert kept(strict) == {True}
    assert kept(lenient) == {True, False}


def test_a_model_is_given_what_the_build_would_give_it(drawn: Input) -> None:
    read = data(drawn)
    mapper = mapper_of(small_config(), read)
    assert isinstance(mapper, OnlineMapper)
    mapped = [mapper(Key(epoch, image)) for epoch in range(3) for image in range(8)]
    assert [item["image_id"] for item in mapped[:8]] == [7, 3, 12, 20, 21, 30, 31, 40]
    ignored = sum(int(item["instances"].ignored.sum()) for item in mapped)
    kept = sum(int((~item["instances"].ignored).sum()) for item in mapped)
    assert ignored > 0
    assert kept > 50  # of 27 in each of 3 epochs, without what crops and mosaics leave out, with what is pasted
    for item in mapped:
        assert item["instances"].image_size == tuple(item["image"].shape[1:])
        assert len(item["instances"].gt_masks) == len(item["instances"])


def test_donors_are_decoded_once(drawn: Input, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(name="mosaic", operations=(Mosaic(),))
    read = data(drawn, recipe)
    found = online_of(read)
    mapper = OnlineMapper(
        found, OnlineDraws(found, seed=0, donors_end=NEVER), TrainingMapper(small_config(), masks=True, seed=0)
    )
    decoded: list[Path] = []

    def read_picture(path: Path, width: int, height: int, *_: Any, **__: Any) -> images.Pixels:
        decoded.append(path)
        return np.zeros((height, width, 3), np.uint8)

    monkeypatch.setattr("train.data.online_mapper.read_picture", read_picture)
    for epoch in range(5):
        mapper(Key(epoch, 1))
    # The image itself each time, every donor at its first.
    assert max(count for path, count in Counter(decoded).items() if path.name != "wide.jpg") == 1


def test_records_need_no_recipe(drawn: Input) -> None:
    read = read_training(drawn, keep_empty=True, masks=None, progress=None)
    assert read.online is None
    assert isinstance(mapper_of(small_config(), read), RecordMapper)
    assert read.identity["online"] is None


def test_another_recipe_is_other_data(drawn: Input) -> None:
    one, other = (
        data(drawn).identity["online"],
        data(drawn, Recipe(name="one", operations=(Pixel(),))).identity["online"],
    )
    assert one != other
    assert online.name_of(one).startswith("online (parameters ")
    assert online.name_of(None) == "none"


@pytest.mark.parametrize("name", ["scarce", "expanded"])
def test_recipes_of_augment_by_name(name: str) -> None:
    assert online.load_recipe(name).name == name


def test_a_recipe_with_nothing_to_draw_is_refused() -> None:
    with pytest.raises(
        DataError, match="--online balanced: expected a recipe with operations to draw from, found none"
    ):
        online.load_recipe("balanced")
    with pytest.raises(DataError, match="--online nothing: expected a YAML file or one of "):
        online.load_recipe("nothing")


def test_a_recipe_that_pastes_by_masks_is_refused_for_boxes(draw: Draw, tmp_path: Path) -> None:
    boxes = draw(tmp_path, masks=False)
    with pytest.raises(DataError, match=r"annotations\.json: expected objects with a segmentation, by which"):
        data(boxes, Recipe(name="mine", operations=(Pixel(), Paste())))
    for paste in (Paste(boxes=True), Paste(optional=True)):
        assert data(boxes, Recipe(name="mine", operations=(Pixel(), paste))).online


def test_an_image_of_thousands_of_tiles_is_refused(drawn: Input, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("augment.operations.suitable.MOST_TILES", 10)
    with pytest.raises(DataError, match="too large for the tiles of recipe mine") as caught:
        data(drawn, Recipe(name="mine", operations=(Tile(size=40),)))
    assert any("many.jpg: expected at most 10 tiles, found 16" in problem for problem in caught.value.problems)


def test_the_plan_says_what_is_drawn() -> None:
    recipe = Recipe(name="mine", operations=(Copy(), Pixel(), Paste()))
    assert online.describe(recipe, 2.5) == [
        "online: each epoch draws each image anew by the recipe mine: pixel, paste",
        "  balance copies are not drawn: an epoch has each image once",
        "  paste until 2.5 epochs before the end (INPUT.ONLINE_OFF_EPOCHS)",
    ]
    assert online.describe(recipe, 0)[-1] == "  paste to the end (INPUT.ONLINE_OFF_EPOCHS)"
