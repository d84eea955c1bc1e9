"""Which results file is whose model's."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets.errors import DataError
from ensemble.matching import Given, numberings, ordered, parse
from ensemble.recipe import Model, Recipe

RECIPE = Path("/project/mine.yaml")


def weights(names: list[str], files: list[str]) -> list[float]:
    """The weight of each file, where the recipe's are 1, 2, 3, ... in its order."""
    models = tuple(Model(results=name, weight=float(at)) for at, name in enumerate(names, start=1))
    found = ordered(Recipe(models=models), RECIPE, [parse(file) for file in files])
    return [model.weight for model in found.models]


@pytest.mark.parametrize(
    ("names", "files", "expected"),
    [
        (["a_val.json", "b_val.json"], ["b_test.json", "a_test.json"], [2, 1]),
        (["a_val.json", "b_val.json"], ["/x/test_a.json", "/x/TEST-b.json"], [1, 2]),
        (["r50_val2017.json", "r101_val2017.json"], ["r101_test2017.json", "r50_test2017.json"], [2, 1]),
        (["runs/r50/val.json", "runs/r101/val.json"], ["runs/r101/test.json", "runs/r50/test.json"], [2, 1]),
        (
            ["runs/a/val/results.json", "runs/b/val/results.json"],
            ["x/b/test/results.json", "x/a/test/results.json"],
            [2, 1],
        ),
        # The same files in another order.
        (["x.json", "../y.json"], ["/y.json", "/project/x.json"], [2, 1]),
        (["a_val.json.gz", "b_val.json"], ["b_test.json.gz", "a_test.json"], [2, 1]),
        (["a.json", "b.json", "c.json"], ["c=1.json", "a=2.json", "b.json=3.json"], [3, 1, 2]),
    ],
)
def test_weights_go_with_names(names: list[str], files: list[str], expected: list[float]) -> None:
    assert weights(names, files) == expected


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["a_val.json", "b_val.json"], ["a_test.json", "c_test.json"]),
        (["r50_val.json", "r101_val.json"], ["first_test.json", "second_test.json"]),
        (["val.json", "a/val.json"], ["b/test.json", "c/test.json"]),
    ],
)
def test_names_that_do_not_tell_are_refused_with_how_to_tell(names: list[str], files: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        weights(names, files)
    assert caught.value.problems == [f"the recipe's: {', '.join(names)}", f"given: {', '.join(files)}"]
    assert caught.value.advice == f"Say which is which: --results {Path(names[0]).stem}={files[0]}"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["a=1.json", "a=2.json"], "found 'a', a model that another file has"),
        (["a=1.json", "x=2.json"], "found 'x', no models of that name"),
        (["a=1.json", "2.json"], "found '', no models of that name"),
    ],
)
def test_names_that_are_given_must_be_the_recipe_s(files: list[str], said: str) -> None:
    with pytest.raises(DataError) as caught:
        weights(["a.json", "b.json"], files)
    assert said in caught.value.problems[0]


def test_equal_weights_need_no_names() -> None:
    models = (Model(results="a.json", weight=0.5), Model(results="b.json", weight=0.5))
    chosen = Recipe(models=models)
    assert ordered(chosen, RECIPE, [Given(Path("x.json")), Given(Path("y.json"))]) == chosen


def test_a_recipe_without_models_takes_any_files_and_no_names() -> None:
    assert ordered(Recipe(), RECIPE, [Given(Path("x.json"))]) == Recipe()
    with pytest.raises(DataError, match="expected a recipe that names its models, found none for 'r50'"):
        ordered(Recipe(), RECIPE, [parse("r50=x.json")])


def test_a_file_whose_name_has_an_equals_sign_is_that_file(tmp_path: Path) -> None:
    path = tmp_path / "lr=0.1.json"
    path.write_text("[]")
    assert parse(str(path)) == Given(path)


def test_the_last_numbering_that_is_given_for_a_file_counts() -> None:
    paths = [Path("a.json"), Path("b.json")]
    chosen = Recipe(models=(Model(results="a.json", categories="contiguous1"), Model(results="b.json")))
    assert numberings([], paths, chosen) == ["contiguous1", "ids"]
    assert numberings(["b.json=contiguous0"], paths, chosen) == ["contiguous1", "contiguous0"]
    assert numberings(["contiguous0", "b=ids"], paths, chosen) == ["contiguous0", "ids"]
    assert numberings(["contiguous0"], paths, Recipe()) == ["contiguous0", "contiguous0"]


@pytest.mark.parametrize("text", ["names", "c.json=ids", "a.json=", ""])
def test_a_numbering_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(DataError) as caught:
        numberings([text], [Path("a.json")], Recipe())
    assert caught.value.problems == [
        f"{text}: expected HOW or FILE=HOW, of a results file and ids, contiguous0, contiguous1"
    ]
