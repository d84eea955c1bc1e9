"""The plan: counts exactly those of the build, bytes about those of the build, and nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from augment import recipe
from augment.compiler import estimate
from augment.compiler.inputs import Request, prepare
from augment.executors.local import executor
from augment.operations.parameters import Copy, LabelRule, Original, Recipe
from augment.operations.plan import Variant
from datasets.records import Image
from datasets.sources import Input, Source
from tests.protocols import Draw, Make

RECIPES = ["expanded", "balanced", "everything"]


def quiet(what: str, done: int, of: int) -> None:
    """Progress that nobody sees."""


def planned(inputs: Input, chosen: Recipe, **more: Any) -> tuple[estimate.Plan, dict[str, Any]]:
    """The plan, and its counts as `plan --json` prints them."""
    with executor("serial") as run:
        prepared = prepare(Request([inputs], chosen, **more), run, quiet)
        plan = estimate.plan(prepared, run, quiet)
    return plan, plan.counts.as_json(prepared.inputs.categories)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", RECIPES)
def test_counts_are_those_of_the_build(drawn: Input, built: Callable[[str], Path], name: str) -> None:
    counts = planned(drawn, recipe.load(name))[1]
    assert counts == json.loads((built(name) / "manifest.json").read_bytes())["counts"]


def test_counts_with_a_limit_are_those_of_the_build(drawn: Input, make: Make, tmp_path: Path) -> None:
    make(drawn, tmp_path / "out", "everything", limit=3)
    counts = planned(drawn, recipe.load("everything"), limit=3)[1]
    assert counts == json.loads((tmp_path / "out" / "manifest.json").read_bytes())["counts"]


def test_other_thresholds_make_other_counts(drawn: Input) -> None:
    strict = msgspec.structs.replace(recipe.load("expanded"), labels=LabelRule(min_visible=1.0))
    ignored = [
        planned(drawn, chosen)[1]["operations"]["random_crop"]["ignored"]
        for chosen in (strict, recipe.load("expanded"))
    ]
    assert ignored[0] > ignored[1]


@pytest.mark.parametrize("name", RECIPES)
def test_bytes_are_within_a_factor_of_two(drawn: Input, built: Callable[[str], Path], name: str) -> None:
    # Without the manifest: it is a few kB whatever the data, which on eight small images shows.
    folder = built(name)
    whole = size(folder) - (folder / "manifest.json").stat().st_size
    assert whole / 2 < planned(drawn, recipe.load(name))[0].bytes < whole * 2


def test_bytes_of_originals_alone_are_within_a_factor_of_two(drawn: Input, make: Make, tmp_path: Path) -> None:
    only = Recipe(name="originals", operations=(Original(),))
    make(drawn, tmp_path / "out", only)
    whole = size(tmp_path / "out") - (tmp_path / "out" / "manifest.json").stat().st_size
    assert whole / 2 < planned(drawn, only)[0].bytes < whole * 2


def test_bytes_of_sources_without_images_are_those_of_their_lines(draw: Draw, make: Make, tmp_path: Path) -> None:
    """Nothing is rare among two images, so nothing is copied."""
    source = draw(tmp_path / "data", only=(7, 12))
    only = Recipe(name="copies", operations=(Copy(),))
    assert make(source, tmp_path / "out", only).bytes == 0
    assert planned(source, only)[0].bytes == (tmp_path / "out" / "sources.jsonl").stat().st_size


def test_bytes_hold_where_only_images_between_the_samples_are_copied(draw: Draw, make: Make, tmp_path: Path) -> None:
    """Rare images are what balance copies, and few of them are among the sampled ones."""
    # 7 has a person and a car; 31 has the only toothbrush. 60 sources, the rare one last.
    source = draw(tmp_path / "data", only=(7, 31))
    document = json.loads(source.annotations.read_bytes())
    common, rare = document["images"]
    objects = [item for item in document["annotations"] if item["image_id"] == 7]
    for number in range(1000, 1058):
        document["images"].insert(0, {**common, "id": number})
        document["annotations"] += [
            {**item, "id": number * 100 + index, "image_id": number} for index, item in enumerate(objects)
        ]
    assert document["images"][-1] == rare
    source.annotations.write_text(json.dumps(document))
    balanced = Recipe(name="balanced", operations=(Original(), Copy(target_boxes=20)))
    built = make(source, tmp_path / "out", balanced)
    assert built.counts is not None
    assert built.counts.images["copy"] == 20
    whole = size(tmp_path / "out") - (tmp_path / "out" / "manifest.json").stat().st_size
    assert whole / 2 < planned(source, balanced)[0].bytes < whole * 2


def test_a_plan_writes_nothing(draw: Draw, tree: Callable[[Path], dict[str, bytes]], tmp_path: Path) -> None:
    source = draw(tmp_path / "data", only=(7, 12))
    before = tree(tmp_path)
    plan, _ = planned(source, recipe.load("everything"))
    assert plan.seconds > 0
    assert tree(tmp_path) == before


def test_what_is_rendered_decides_the_cost(tmp_path: Path) -> None:
    source = Source(0, Image(id=1, file_name="a.jpg", width=60, height=40), [], tmp_path / "a.jpg")
    variants = [
        Variant("original"),
        Variant("pixel", transform="Blur", seed=1),
        Variant("center_crop", window=(10, 5, 50, 35)),
    ]
    assert estimate.derived_pixels(source, variants) == 60 * 40 + (50 - 10) * (35 - 5)
    assert estimate.derived_pixels(source, variants[:1]) == 0
