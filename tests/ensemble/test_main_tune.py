"""The command line of tune: the recipe that it writes, what it prints, and that fuse finds the same with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from datasets import provenance
from datasets.digests import sha256_file
from datasets.provenance import Provenance
from ensemble import recipe, tune
from ensemble.recipe import Model, Recipe
from tests.command_line import Ended
from tests.ensemble.files import annotated, below_inputs, cli, oracle, predicted, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With val.json, and the results a.json and b.json."""
    write(tmp_path / "val.json", annotated())
    write(tmp_path / "a.json", predicted(1))
    write(tmp_path / "b.json", predicted(2, noise=6))
    return tmp_path


def tuned(folder: Path, output: Path, *options: object, names: tuple[str, ...] = ("a", "b")) -> Ended:
    given = [part for name in names for part in ("--results", folder / f"{name}.json")]
    return cli("tune", "--annotations", folder / "val.json", *given, "--output", output, "--trials", 12, *options)


def fused(folder: Path, chosen: Path, *options: object) -> Ended:
    output = folder / "out.json"
    return cli("fuse", "--annotations", folder / "val.json", "--recipe", chosen, "--output", output, *options)


def test_tune_writes_the_best_recipe_under_the_table_that_it_prints(folder: Path) -> None:
    output = folder / "mine.yaml"

    code, out, err = tuned(folder, output)

    assert (code, err) == (0, "")
    *table, unknown, last = below_inputs(out)
    assert unknown.startswith("seen in training or not is unknown (a.json: no a.provenance.json; b.json: ")
    assert last == f"{output}: the best of 12 recipes"
    assert [line.split()[0] for line in table[1:]] == [
        str(folder / "a.json"),
        "after",
        str(folder / "b.json"),
        "after",
        "fused",
    ]
    text = output.read_text()
    head = ["The best of 12 recipes, seed 0; on the validation data:", *table]
    assert text.startswith("".join(f"# {line}\n" for line in head))
    chosen = recipe.load(output)
    assert text.removeprefix("".join(f"# {line}\n" for line in head)) == recipe.dump(chosen)
    assert [model.results for model in chosen.models] == ["a.json", "b.json"]
    assert sorted(path.name for path in folder.iterdir()) == ["a.json", "b.json", "mine.yaml", "val.json"]


def test_the_table_s_numbers_are_those_of_fuse_and_of_pycocotools(folder: Path) -> None:
    output = folder / "mine.yaml"
    table = below_inputs(tuned(folder, output).out)[:-2]

    # The results are found by the recipe.
    code, out, err = fused(folder, output)

    assert (code, err) == (0, "")
    assert below_inputs(out)[: len(table)] == table
    ap, ap50 = oracle(folder / "val.json", folder / "out.json")
    assert table[-1].split()[2:] == [f"{100 * ap:.1f}", f"{100 * ap50:.1f}"]
    start, _ = oracle(folder / "val.json", fused_by_paper(folder))
    assert ap > start


def fused_by_paper(folder: Path) -> Path:
    output = folder / "by_paper.json"
    given = [part for name in ("a", "b") for part in ("--results", folder / f"{name}.json")]
    assert cli("fuse", "--annotations", folder / "val.json", *given, "--output", output).code == 0
    return output


def test_the_same_seed_writes_the_same_bytes(folder: Path) -> None:
    paths = [folder / f"{at}.yaml" for at in range(3)]
    for path, seed in zip(paths, (5, 5, 6), strict=True):
        assert tuned(folder, path, "--seed", seed).code == 0

    first, second, other = (path.read_bytes() for path in paths)

    assert first == second != other
    assert b"seed 5;" in first
    # Over an older one.
    write(paths[2], "older")
    assert tuned(folder, paths[2], "--seed", 5).code == 0
    assert paths[2].read_bytes() == first


def test_the_order_of_the_records_makes_no_difference_to_the_recipe(folder: Path) -> None:
    assert tuned(folder, folder / "mine.yaml").code == 0
    expected = (folder / "mine.yaml").read_bytes()
    write(folder / "a.json", predicted(1)[::-1])

    assert tuned(folder, folder / "mine.yaml").code == 0
    assert (folder / "mine.yaml").read_bytes() == expected


@pytest.mark.parametrize(
    ("output", "name"),
    [
        ("mine.yaml", "{}.json"),
        ("new/deep/mine.yaml", "../../{}.json"),
        ("link/mine.yaml", "../{}.json"),
        ("../mine.yaml", "data/{}.json"),
    ],
)
def test_results_are_named_relative_to_the_recipe_wherever_it_is_written_from(
    output: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    for part, content in (("val", annotated()), ("a", predicted(1)), ("b", predicted(2))):
        write(folder / f"{part}.json", content)
    (folder / "sub").mkdir()
    (folder / "link").symlink_to(folder / "sub", target_is_directory=True)
    # From one folder to write, and from another one to read.
    monkeypatch.chdir(folder)
    given = ["--results", "a.json", "--results", "sub/../b.json"]
    assert cli("tune", "--annotations", "val.json", *given, "--output", output, "--trials", 3).code == 0
    written = folder / output
    assert [model.results for model in recipe.load(written).models] == [name.format("a"), name.format("b")]

    monkeypatch.chdir(tmp_path)
    found = fused(folder, Path(os.path.relpath(written)))

    assert (found.code, found.err) == (0, "")
    assert "48" in below_inputs(found.out)[1].split()


def test_a_start_from_another_folder_keeps_its_values_and_not_its_names(folder: Path) -> None:
    start = Recipe(models=(Model(results="x/b.json", weight=0.5), Model(results="x/a.json", weight=2.0)))
    path = write(folder / "elsewhere" / "start.yaml", recipe.dump(start))

    assert tuned(folder, folder / "mine.yaml", "--recipe", path, "--trials", 1).code == 0

    assert recipe.load(folder / "mine.yaml") == Recipe(
        models=(Model(results="a.json", weight=2.0), Model(results="b.json", weight=0.5))
    )
    assert fused(folder, folder / "mine.yaml").code == 0


def test_a_recipe_may_be_tuned_further_in_its_place(folder: Path) -> None:
    output = folder / "mine.yaml"
    assert tuned(folder, output).code == 0
    assert fused(folder, output).code == 0
    before, _ = oracle(folder / "val.json", folder / "out.json")

    assert tuned(folder, output, "--recipe", output, "--seed", 1, "--trials", 30).code == 0

    assert fused(folder, output).code == 0
    assert oracle(folder / "val.json", folder / "out.json")[0] >= before


def test_one_model_and_one_without_any_detection_are_tuned_too(folder: Path) -> None:
    write(folder / "b.json", [])

    for names in (("a",), ("a", "b")):
        assert tuned(folder, folder / "mine.yaml", names=names).code == 0
        assert len(recipe.load(folder / "mine.yaml").models) == len(names)
        assert fused(folder, folder / "mine.yaml").code == 0


def test_data_by_name_stands_for_its_annotation_file(folder: Path) -> None:
    (folder / "images").mkdir()
    val = {"annotations": "val.json", "images": "images"}
    spec = write(folder / "spec.yaml", yaml.safe_dump({"about": "made up", "train": val, "val": val}))
    assert tuned(folder, folder / "mine.yaml").code == 0
    expected = (folder / "mine.yaml").read_bytes()
    given = ["--results", folder / "a.json", "--results", folder / "b.json", "--output", folder / "mine.yaml"]

    ended = cli("tune", "--data", spec, *given, "--trials", 12)

    assert ended.code == 0
    assert ended.out.splitlines()[0] == f"images: split val of {spec}, {folder / 'val.json'}: 5, with objects"
    assert (folder / "mine.yaml").read_bytes() == expected
    code, out, err = cli("tune", "--data", spec, "--split", "test", *given)
    assert (code, out, err) == (1, "", f"error: {spec}: expected the split test, found none\n")


def test_any_number_of_workers_writes_the_same_recipe(folder: Path) -> None:
    written = []
    for workers in ([], ["--workers", 1], ["--workers", 3]):
        tuned(folder, folder / "mine.yaml", *workers)
        written.append((folder / "mine.yaml").read_bytes())

    assert written[0] == written[1] == written[2]


def test_an_error_in_the_search_keeps_the_older_recipe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = write(folder / "mine.yaml", "older")

    def stopped(*_: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(tune._Search, "ap_of", stopped)

    # In this process, where the search can be made to stop.
    code, out, err = tuned(folder, output, "--workers", 1)
    assert (code, err.strip()) == (130, "interrupted")
    assert below_inputs(out) == []
    assert output.read_text() == "older"
    assert sorted(path.name for path in folder.iterdir()) == ["a.json", "b.json", "mine.yaml", "val.json"]


def know(folder: Path, name: str, *seen: int) -> None:
    """Write beside the results of `name` that a model made them which was trained on these images."""
    results = folder / f"{name}.json"
    made = Provenance(results_sha256=sha256_file(results), models=(), images=5, seen_in_training=seen, complete=True)
    provenance.write(results, made)


def test_tune_refuses_images_that_were_trained_on(folder: Path) -> None:
    know(folder, "a", 3, 7)
    know(folder, "b")
    output = folder / "mine.yaml"

    code, out, err = tuned(folder, output)

    assert (code, below_inputs(out), err) == (
        1,
        [],
        f"error: {folder / 'val.json'}: expected images to tune on that no model was trained on, found some seen in "
        f"training\n  {folder / 'a.json'}: 2 of 5 images\nTune on other images, or say --if-seen tune to do it all the "
        "same, --if-seen keep to write the recipe to start from as it is.\n",
    )
    assert not output.exists()


def test_tune_on_seen_images_says_so_next_to_every_ap(folder: Path) -> None:
    know(folder, "a", 3, 7)
    know(folder, "b")
    output = folder / "mine.yaml"

    code, out, err = tuned(folder, output, "--if-seen", "tune")

    assert (code, err) == (0, "")
    _, first, second, third, fourth, last, said = below_inputs(out)
    for line in (first, second, last):
        assert line.endswith("   seen in training: 2 of 5 images")
    assert not any("seen in" in line for line in (third, fourth))
    assert said == f"{output}: the best of 12 recipes"
    assert output.read_text().count("seen in training: 2 of 5 images") == 3


def test_tune_may_keep_the_recipe_where_images_were_seen(folder: Path) -> None:
    for name in ("a", "b"):
        know(folder, name, 3, 7, 12, 20, 31)
    output = folder / "mine.yaml"

    code, out, err = tuned(folder, output, "--if-seen", "keep")

    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"{output}: the recipe per-category as it is"
    assert output.read_text().startswith("# The recipe per-category as it is; on the validation data:\n")
    chosen = recipe.load(output)
    assert [model.results for model in chosen.models] == ["a.json", "b.json"]
    begun = recipe.load(recipe.find("per-category"))
    assert (chosen.suppress, chosen.fuse) == (begun.suppress, begun.fuse)
    # On images that nobody was trained on, it searches.
    for name in ("a", "b"):
        know(folder, name)
    assert tuned(folder, output, "--if-seen", "keep").out.splitlines()[-1] == f"{output}: the best of 12 recipes"


def test_tune_is_told_what_was_trained_on(folder: Path) -> None:
    assert tuned(folder, folder / "mine.yaml", "--trained-on", folder / "val.json").code == 1
    write(folder / "other.json", {"images": [{"id": 7, "file_name": "other.jpg", "width": 9, "height": 9}]})
    ended = tuned(folder, folder / "mine.yaml", "--trained-on", folder / "other.json")
    assert ended.code == 0
    assert "unknown" not in ended.out


def test_what_is_fused_of_seen_and_unseen_is_seen(folder: Path) -> None:
    know(folder, "a", 3)
    know(folder, "b", 7)
    chosen = fused_by_paper(folder)
    assert provenance.read(chosen).seen == {3, 7}
    # Fused once more without anything known of it, nothing is claimed.
    provenance.remove(folder / "a.json")
    provenance.remove(folder / "b.json")
    assert provenance.read(fused_by_paper(folder)).recorded is None
