"""Whatever models find, in whatever order: what `fuse` writes passes `check`, and is the same to the byte."""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble import recipe
from ensemble.recipe import Model, Recipe
from tests.ensemble.files import annotated, cli, masked, predicted, unannotated, write
from tests.ensemble.strategies import Masked, recipes, results

Ensemble = tuple[Recipe, list[list[Masked]]]


@st.composite
def ensembles(draw: st.DrawFn) -> Ensemble:
    """A recipe, and the detections of each of its models."""
    with_masks = draw(st.booleans())
    models = draw(st.lists(results(with_masks), min_size=1, max_size=3))
    weights = [draw(st.sampled_from([1.0, 1.0, 0.5, 3.0, 0.0])) for _ in models]
    if not any(weights):
        weights[0] = 1.0
    entries = tuple(Model(results=f"{at}.json", weight=weight) for at, weight in enumerate(weights))
    return draw(recipes(st.just(entries))), models


def fuse(folder: Path, content: Any, chosen: Recipe, models: list[list[Masked]], *options: object) -> bytes:
    """What `fuse` writes; the results are found by the recipe."""
    annotations = write(folder / "images.json", content)
    for at, found in enumerate(models):
        write(folder / f"{at}.json", masked([record for record, _ in found], [mask for _, mask in found]))
    recipe_file = write(folder / "mine.yaml", recipe.dump(chosen))
    output = folder / "out.json"
    ended = cli("fuse", "--annotations", annotations, "--recipe", recipe_file, "--output", output, "--trust", *options)
    assert (ended.code, ended.err) == (0, "")
    return output.read_bytes()


@given(ensembles(), st.booleans(), st.sampled_from(["coco", "vipriors"]))
@settings(max_examples=120, deadline=None)
def test_what_is_fused_passes_the_check(ensemble: Ensemble, with_objects: bool, how: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = fuse(folder, annotated() if with_objects else unannotated(), *ensemble, "--format", how)

        checked = cli("check", "--annotations", folder / "images.json", folder / "out.json", "--format", how)

        assert (checked.code, checked.err) == (0, "")
        of_each = Counter(item["image_id"] for item in json.loads(written))
        assert max(of_each.values(), default=0) <= ensemble[0].detections_per_image
        assert f"good; {written.count(b'image_id')} detections in 5 images" in checked.out


@given(ensembles(), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_the_order_of_records_and_of_images_makes_no_difference(ensemble: Ensemble, generator: random.Random) -> None:
    chosen, models = ensemble
    shuffled = [generator.sample(found, len(found)) for found in models]
    content = unannotated()
    other = {**content, "images": generator.sample(content["images"], len(content["images"]))}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        assert fuse(folder, other, chosen, shuffled) == fuse(folder, content, chosen, models)


def test_the_order_of_many_records_makes_no_difference_to_any_method(tmp_path: Path) -> None:
    models: list[list[Masked]] = [[(record, "") for record in predicted(seed, per_image=60)] for seed in (1, 2, 3)]
    reordered = [found[::-1] for found in models]
    files = tuple(Model(results=f"{at}.json") for at in range(3))
    written = set()
    for fusion in (recipe.Wbf(), recipe.Nmw(), recipe.FuseNms(), recipe.FuseSoftNms()):
        chosen = Recipe(models=files, fuse=fusion)

        found = fuse(tmp_path, unannotated(), chosen, models)

        assert fuse(tmp_path, unannotated(), chosen, reordered) == found
        written.add(found)
    assert len(written) == 4
