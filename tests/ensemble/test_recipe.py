"""Recipes: the one that ships, a file of one's own, and what is refused with which words."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings

from datasets.errors import DataError
from ensemble import recipe
from ensemble.recipe import FuseNms, FuseSoftNms, Model, Nms, Nmw, NoSuppression, Recipe, SoftNms, Wbf
from tests.ensemble.strategies import recipes

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_two_recipes_ship_the_papers_and_the_same_by_category() -> None:
    assert recipe.shipped() == ["paper", "per-category"]
    assert recipe.load(recipe.find("paper")) == Recipe(
        models=(),
        # All boxes of an image compete, whatever their category; the decayed scores are the output.
        suppress=SoftNms(kind="gaussian", class_agnostic=True, sigma=0.5, score_threshold=0.001),
        fuse=Wbf(iou_threshold=0.55, skip_threshold=0.0, score="avg"),
        # As many as a submission may have.
        detections_per_image=100,
    )


def test_untuned_boxes_of_other_categories_do_not_compete() -> None:
    paper = recipe.load(recipe.find("paper"))
    suppress = SoftNms(kind="gaussian", class_agnostic=False, sigma=0.5, score_threshold=0.001)
    assert recipe.load(recipe.find("per-category")) == msgspec.structs.replace(paper, suppress=suppress)


def test_a_recipe_that_says_nothing_is_the_paper_s_too(write: Write) -> None:
    assert recipe.load(write("{}")) == Recipe() == recipe.load(recipe.find("paper"))


def test_every_method_is_known_by_its_name_and_has_the_stated_defaults(write: Write) -> None:
    def suppress(text: str) -> object:
        return recipe.load(write(f"suppress: {{method: {text}}}")).suppress

    def fuse(text: str) -> object:
        return recipe.load(write(f"fuse: {{method: {text}}}")).fuse

    assert suppress("soft_nms") == SoftNms(
        kind="gaussian", class_agnostic=True, sigma=0.5, iou_threshold=0.3, score_threshold=0.001
    )
    assert suppress("nms") == Nms(class_agnostic=True, iou_threshold=0.5)
    assert suppress("none") == NoSuppression()
    assert fuse("wbf") == Wbf(iou_threshold=0.55, skip_threshold=0, score="avg")
    assert fuse("nmw") == Nmw(iou_threshold=0.55, skip_threshold=0)
    # Between models boxes compete within their category, as recipe.md has it.
    assert fuse("nms") == FuseNms(class_agnostic=False, iou_threshold=0.5, skip_threshold=0)
    assert fuse("soft_nms") == FuseSoftNms(
        kind="gaussian", class_agnostic=False, sigma=0.5, iou_threshold=0.3, score_threshold=0.001, skip_threshold=0
    )


def test_a_recipe_may_be_a_file_that_names_the_results_and_their_weights(write: Write) -> None:
    path = write(
        "models: [{results: a.json, weight: 2}, {results: ../b.json}]\n"
        "suppress: {method: soft_nms, kind: linear, class_agnostic: false, iou_threshold: 0.25, score_threshold: 0}\n"
        "fuse: {method: wbf, iou_threshold: 1, skip_threshold: 0.125, score: absent_model_aware_avg}\n"
        "detections_per_image: 7\n"
    )

    assert recipe.find(str(path)) == path
    assert recipe.load(path) == Recipe(
        models=(Model(results="a.json", weight=2.0), Model(results="../b.json", weight=1.0)),
        suppress=SoftNms(kind="linear", class_agnostic=False, iou_threshold=0.25, score_threshold=0.0),
        fuse=Wbf(iou_threshold=1.0, skip_threshold=0.125, score="absent_model_aware_avg"),
        detections_per_image=7,
    )


@given(recipes())
@settings(max_examples=100, deadline=None)
def test_what_was_dumped_is_loaded_to_the_last_digit(chosen: Recipe) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.yaml"
        path.write_text(recipe.dump(chosen), encoding="utf-8")

        assert recipe.load(path) == chosen


def test_a_dumped_recipe_states_every_value() -> None:
    assert recipe.dump(Recipe(models=(Model(results="a.json", weight=0.5),), suppress=NoSuppression())) == (
        "models:\n- results: a.json\n  weight: 0.5\n  categories: ids\n"
        "suppress:\n  method: none\n"
        "fuse:\n  method: wbf\n  iou_threshold: 0.55\n  skip_threshold: 0.0\n  score: avg\n"
        "detections_per_image: 100\n"
        "format: 1\n"
    )


SOFT, WBF = "suppress: {method: soft_nms, %s}", "fuse: {method: wbf, %s}"

# What stands in the file, and what the error says of it: the key, and what was expected there.
WRONG = [
    ("model: [{results: a.json}]", "unknown field `model`"),
    ("models: [{results: a.json, wieght: 1}]", "unknown field `wieght` - at `$.models[0]`"),
    (SOFT % "iou: 1", "unknown field `iou` - at `$.suppress`"),
    (WBF % "sigma: 1", "unknown field `sigma` - at `$.fuse`"),
    ("fuse: {method: nms, score: avg}", "unknown field `score` - at `$.fuse`"),
    ("models: [{weight: 1}]", "missing required field `results` - at `$.models[0]`"),
    ("models: [a.json]", "Expected `object`, got `str` - at `$.models[0]`"),
    ("models: a.json", "Expected `array`, got `str` - at `$.models`"),
    ("models: [{results: 5}]", "Expected `str`, got `int` - at `$.models[0].results`"),
    ("models: [{results: a, weight: -1}]", "Expected `float` >= 0.0 - at `$.models[0].weight`"),
    ("models: [{results: a}, {results: b, weight: .nan}]", "- at `$.models[1].weight`"),
    ("models: [{results: a, weight: .inf}]", "Expected `float` <= 1000000.0 - at `$.models[0].weight`"),
    ("models: [{results: a, weight: true}]", "Expected `float`, got `bool` - at `$.models[0].weight`"),
    ("suppress: soft_nms", "Expected `object`, got `str` - at `$.suppress`"),
    ("suppress: {sigma: 1}", "missing required field `method` - at `$.suppress`"),
    ("suppress: {method: softnms}", "Invalid value 'softnms' - at `$.suppress.method`"),
    ("suppress: {method: wbf}", "Invalid value 'wbf' - at `$.suppress.method`"),
    (SOFT % "kind: cosine", "'cosine' - at `$.suppress.kind`"),
    (SOFT % "class_agnostic: 1", "Expected `bool`, got `int` - at `$.suppress.class_agnostic`"),
    (SOFT % "sigma: 0", "Expected `float` >= 1e-06 - at `$.suppress.sigma`"),
    (SOFT % "sigma: .inf", "Expected `float` <= 1000000.0 - at `$.suppress.sigma`"),
    (SOFT % "sigma: .nan", "- at `$.suppress.sigma`"),
    (SOFT % "sigma: half", "Expected `float`, got `str` - at `$.suppress.sigma`"),
    (SOFT % "iou_threshold: 1.5", "Expected `float` <= 1.0 - at `$.suppress.iou_threshold`"),
    (SOFT % "score_threshold: -0.5", "Expected `float` >= 0.0 - at `$.suppress.score_threshold`"),
    ("fuse: {method: none}", "Invalid value 'none' - at `$.fuse.method`"),
    (WBF % "iou_threshold: -1", "Expected `float` >= 0.0 - at `$.fuse.iou_threshold`"),
    (WBF % "iou_threshold: .nan", "- at `$.fuse.iou_threshold`"),
    (WBF % "skip_threshold: 2", "Expected `float` <= 1.0 - at `$.fuse.skip_threshold`"),
    (WBF % "score: mean", "'mean' - at `$.fuse.score`"),
    ("detections_per_image: 0", "Expected `int` >= 1 - at `$.detections_per_image`"),
    ("detections_per_image: 10001", "Expected `int` <= 10000 - at `$.detections_per_image`"),
    ("detections_per_image: 5.5", "Expected `int`, got `float` - at `$.detections_per_image`"),
    ("format: 2", "Invalid enum value 2 - at `$.format`"),
    ("", "Expected `object`, got `null`"),
    ("- models", "Expected `object`, got `array`"),
]


@pytest.mark.parametrize(("text", "what"), WRONG)
def test_an_unknown_key_or_a_bad_value_is_refused_by_its_place(text: str, what: str, write: Write) -> None:
    path = write(text)

    with pytest.raises(DataError) as caught:
        recipe.load(path)

    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert what in message
    assert message.endswith(recipe.ADVICE)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            "suppres: {method: nms}\nweights: [1, 2]",
            [
                "suppres: expected one of models, suppress, fuse, detections_per_image, format",
                "weights: expected one of models, suppress, fuse, detections_per_image, format",
            ],
        ),
        ("suppress: {method: softnms}", ["suppress.method: expected one of soft_nms, nms, none, found 'softnms'"]),
        ("fuse: {method: none}", ["fuse.method: expected one of wbf, nmw, nms, soft_nms, found 'none'"]),
        ("fuse: {iou_threshold: 0.5}", ["fuse.method: expected one of wbf, nmw, nms, soft_nms, found none"]),
        ("suppress: {method: none, sigma: 1}", ["suppress.sigma: expected no key beside method"]),
        (
            "suppress: {method: nms, sigma: 1}\nfuse: {method: nmw, score: avg}",
            [
                "suppress.sigma: expected one of class_agnostic, iou_threshold",
                "fuse.score: expected one of iou_threshold, skip_threshold",
            ],
        ),
        (
            "fuse: {method: wbf, score: mean}",
            [
                "fuse.score: expected one of avg, max, box_and_model_avg, absent_model_aware_avg, found 'mean'",
            ],
        ),
        (
            "models: [{results: a.json, categories: names, wight: 1}]",
            [
                "models[0].categories: expected one of ids, contiguous0, contiguous1, found 'names'",
                "models[0].wight: expected one of results, weight, categories",
            ],
        ),
    ],
)
def test_what_there_is_to_choose_from_is_listed_for_every_offender(
    text: str, problems: list[str], write: Write
) -> None:
    with pytest.raises(DataError) as caught:
        recipe.load(write(text))
    assert caught.value.problems == problems


@pytest.mark.parametrize(
    "content", [b"fuse: [", b"models: \xff", b"a: b: c", b"\0", b"{[a]: 1}", b"fuse: 2020-13-45", b"[" * 5000]
)
def test_what_is_no_yaml_is_refused_with_its_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)

    with pytest.raises(DataError, match=r"mine\.yaml: not readable as YAML"):
        recipe.load(path)


def test_neither_a_name_nor_a_file_is_refused_with_the_names(tmp_path: Path) -> None:
    for name in ("papers", str(tmp_path), str(tmp_path / "none.yaml")):
        with pytest.raises(DataError) as caught:
            recipe.find(name)
        assert (
            str(caught.value) == f"--recipe {name}: expected a YAML file or one of paper, per-category, found neither"
        )


def test_a_recipe_without_models_weighs_all_the_same() -> None:
    assert Recipe().weights(3) == [1, 1, 1]
    assert Recipe().weights(0) == []


def named(*weights: float) -> Recipe:
    return Recipe(models=tuple(Model(results=f"{at}.json", weight=weight) for at, weight in enumerate(weights)))


def test_the_weights_are_those_of_the_models_in_their_order() -> None:
    assert named(0.5, 0, 2).weights(3) == [0.5, 0, 2]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_results_is_refused_with_the_models(count: int) -> None:
    with pytest.raises(DataError) as caught:
        named(1, 1).weights(count, name="mine.yaml")

    assert str(caught.value) == (
        f"mine.yaml: expected a results file for each of the recipe's 2 models (0.json, 1.json), found {count}"
    )


def test_weights_of_0_only_are_refused() -> None:
    with pytest.raises(DataError, match=r"^mine\.yaml: expected a model with a weight above 0, found none$"):
        named(0, 0).weights(2, name="mine.yaml")
