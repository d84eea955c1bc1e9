"""The command line of fuse and check: what they print and write, and with which code they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from ensemble.__main__ import main
from tests.command_line import Ended
from tests.ensemble.files import (
    EMPTY,
    Record,
    annotated,
    below_inputs,
    categories,
    cli,
    listing,
    oracle,
    predicted,
    unannotated,
    write,
)

BOX = [10.0, 20.0, 30.0, 40.0]
UNKNOWN = (
    "seen in training or not is unknown (a.json: no a.provenance.json; b.json: no b.provenance.json); --trained-on "
    "names the data"
)


def detection(score: float, box: list[float] = BOX) -> Record:
    return {"image_id": 7, "category_id": 1, "bbox": box, "score": score}


def one_object() -> dict[str, Any]:
    annotation = {"id": 1, "image_id": 7, "category_id": 1, "bbox": BOX, "area": 30 * 40, "iscrowd": 0}
    return listing(categories=categories(), annotations=[annotation])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With val.json, test.json, and the results a.json and b.json."""
    write(tmp_path / "val.json", annotated())
    write(tmp_path / "test.json", unannotated())
    write(tmp_path / "a.json", predicted(1))
    write(tmp_path / "b.json", predicted(2))
    return tmp_path


def fuse(folder: Path, split: str, *options: object, names: tuple[str, ...] = ("a", "b")) -> Ended:
    """fuse a.json and b.json into out.json"""
    given = [part for name in names for part in ("--results", folder / f"{name}.json")]
    return cli("fuse", "--annotations", folder / f"{split}.json", *given, "--output", folder / "out.json", *options)


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("command", [[], ["fuse"], ["tune"], ["check"], ["report"]])
def test_help_has_an_example(command: list[str], flag: str) -> None:
    ended = CliRunner().invoke(main, [*command, flag])
    assert ended.exit_code == 0
    _, example = ended.output.split("Example:")
    assert " ".join(["python -m ensemble", *command]) in example


FUSE = ["fuse", "--annotations", "a", "--output", "o", "--results", "r"]
TUNE = ["tune", "--annotations", "a", "--output", "o", "--results", "r"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["fuse", "--annotations", "a", "--results", "r"], "--output"),
        (["fuse", "--output", "o", "--results", "r"], "give either --annotations or --data"),
        ([*FUSE, "--data", "sample"], "give either --annotations or --data"),
        ([*FUSE, "--split", "vals"], "--split"),
        ([*FUSE, "--format", "voc"], "--format"),
        ([*FUSE, "b.json"], "b.json"),
        (["tune", "--annotations", "a", "--output", "o"], "--results"),
        (["tune", "--annotations", "a", "--results", "r"], "--output"),
        (["tune", "--output", "o", "--results", "r"], "give either --annotations or --data"),
        ([*TUNE, "--data", "sample"], "give either --annotations or --data"),
        ([*TUNE, "--trials", "0"], "--trials"),
        ([*TUNE, "--trials", "many"], "--trials"),
        ([*TUNE, "--seed", "-1"], "--seed"),
        (["check", "--annotations", "a"], "SUBMISSION"),
        (["check", "s"], "give either --annotations or --data"),
        (["check", "s", "--annotations", "a", "--data", "sample"], "give either --annotations or --data"),
        (["check", "s", "--annotations", "a", "--format", "voc"], "--format"),
        (["fusion"], "fusion"),
    ],
)
def test_wrong_usage_ends_with_2(
    arguments: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert expected in " ".join(err.split())
    assert list(tmp_path.iterdir()) == []


def test_fuse_writes_the_results_and_prints_the_ap_of_each_step(tmp_path: Path) -> None:
    write(tmp_path / "val.json", one_object())
    # Two boxes on one object, the second far from it; the other model sees the object only.
    write(tmp_path / "a.json", [detection(0.9), detection(0.8, [0.0, 60.0, 5.0, 5.0])])
    write(tmp_path / "b.json", [detection(0.5)])
    a, b, output = (tmp_path / f"{name}.json" for name in ("a", "b", "out"))

    code, out, err = fuse(tmp_path, "val")

    assert (code, err) == (0, "")
    wide = len(str(a))
    assert below_inputs(out) == [
        f"{'':{wide}}  detections     AP   AP50",
        f"{a}           2  100.0  100.0",
        f"{'  after suppression':{wide}}           2  100.0  100.0",
        f"{b}           1  100.0  100.0",
        f"{'  after suppression':{wide}}           1  100.0  100.0",
        f"{'fused':{wide}}           2  100.0  100.0",
        UNKNOWN,
        "4 of 5 images without a detection",
        f"{output}: 2 detections",
    ]
    # The mean of both scores; of the other box only half, since one of two models sees it.
    assert json.loads(output.read_bytes()) == [detection((0.9 + 0.5) / 2), detection(0.8 / 2, [0.0, 60.0, 5.0, 5.0])]


def test_fuse_prints_no_ap_for_a_test_file(folder: Path) -> None:
    code, out, err = fuse(folder, "test")

    assert (code, err) == (0, "")
    table = below_inputs(out)
    assert table[0].split() == ["detections"]
    assert table[1].split() == [str(folder / "a.json"), "48"]
    assert table[5].split()[0] == "fused"
    assert "1 of 5 images without a detection" in table


@pytest.mark.parametrize("content", [listing(), listing(annotations=[]), unannotated() | {"annotations": []}])
def test_fuse_takes_test_files_of_every_kind(content: Any, folder: Path) -> None:
    assert fuse(folder, "test").code == 0
    expected = (folder / "out.json").read_bytes()
    write(folder / "other.json", content)

    assert fuse(folder, "other").code == 0
    assert (folder / "out.json").read_bytes() == expected


def test_fuse_prints_one_json_object_on_request(folder: Path) -> None:
    code, out, err = fuse(folder, "val", "--json")

    assert (code, err) == (0, "")
    printed = json.loads(out)
    assert set(printed) == {"images", "inputs", "steps", "notes"}
    assert printed["images"] == {"annotations": str(folder / "val.json"), "split": None}
    assert [(row["name"], row["boxes"]) for row in printed["inputs"]] == [
        (str(folder / "a.json"), 48),
        (str(folder / "b.json"), 48),
    ]
    assert printed["notes"] == [UNKNOWN, "1 of 5 images without a detection"]
    names = [str(folder / "a.json"), "  after suppression", str(folder / "b.json"), "  after suppression", "fused"]
    assert [step["name"] for step in printed["steps"]] == names
    for at, name in ((0, "a"), (2, "b"), (4, "out")):
        step = printed["steps"][at]
        assert step["detections"] == len(json.loads((folder / f"{name}.json").read_bytes()))
        expected = oracle(folder / "val.json", folder / f"{name}.json")
        assert (step["ap"], step["ap50"]) == pytest.approx(expected, abs=1e-12)


def test_fuse_prints_json_without_ap_for_a_test_file(folder: Path) -> None:
    printed = json.loads(fuse(folder, "test", "--json").out)

    assert {(step["ap"], step["ap50"]) for step in printed["steps"]} == {(None, None)}


def test_an_empty_results_file_is_allowed_and_reported(folder: Path) -> None:
    write(folder / "a.json", [])

    code, out, err = fuse(folder, "val")

    assert (code, err) == (0, "")
    assert f"{folder / 'a.json'}: no detection at all" in out.splitlines()
    assert below_inputs(out)[1].split() == [str(folder / "a.json"), "0", "0.0", "0.0"]
    assert cli("check", "--annotations", folder / "val.json", folder / "out.json").code == 0


def test_fuse_replaces_an_older_output_and_makes_its_folder(folder: Path) -> None:
    assert fuse(folder, "test").code == 0
    expected = (folder / "out.json").read_bytes()
    before = sorted(path.name for path in folder.iterdir())
    (folder / "out.json").write_text("older")

    assert fuse(folder, "test").code == 0
    assert (folder / "out.json").read_bytes() == expected
    assert sorted(path.name for path in folder.iterdir()) == before
    new = folder / "new" / "deep" / "o.json"
    assert fuse(folder, "test", "--output", new).code == 0
    assert new.read_bytes() == expected
    assert list(new.parent.iterdir()) == [new]


def test_the_recipe_s_results_are_taken_beside_it_where_none_are_given(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A recipe that says nothing of suppression and fusion has the paper's.
    assert fuse(folder, "test", "--recipe", "paper").code == 0
    expected = (folder / "out.json").read_bytes()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    for where in (folder, folder / "sub"):
        up = "" if where == folder else "../"
        recipe = write(where / "mine.yaml", f"models: [{{results: {up}a.json}}, {{results: {folder}/b.json}}]")

        code, out, _ = fuse(folder, "test", "--recipe", recipe, names=())

        assert code == 0
        assert below_inputs(out)[1].split() == [str(where / f"{up}a.json"), "48"]
        assert (folder / "out.json").read_bytes() == expected


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_the_weights_of_a_recipe_belong_to_the_names_of_its_files(order: str, folder: Path) -> None:
    """It was tuned on val, and is used on test; the order of the files given decides nothing."""
    models = "models: [{results: old/a_val.json, weight: 0}, {results: old/b_val.json, weight: 0.5}]"
    recipe = write(folder / "mine.yaml", models)
    for name in "ab":
        (folder / f"{name}_test.json").write_bytes((folder / f"{name}.json").read_bytes())

    code, out, err = fuse(folder, "test", "--recipe", recipe, names=tuple(f"{name}_test" for name in order))

    assert (code, err) == (0, "")
    assert f"{folder / 'a_test.json'}: weight 0, left out" in out.splitlines()
    alone = (folder / "out.json").read_bytes()
    assert fuse(folder, "test", "--recipe", "paper", names=("b",)).code == 0
    assert (folder / "out.json").read_bytes() == alone


def test_files_of_other_names_are_refused_until_they_are_given_theirs(folder: Path) -> None:
    models = "models: [{results: r50.json, weight: 0}, {results: r101.json, weight: 0.5}]"
    recipe = write(folder / "mine.yaml", models)

    code, out, err = fuse(folder, "test", "--recipe", recipe)

    assert (code, out) == (1, "")
    assert "the recipe's: r50.json, r101.json" in err
    assert f"Say which is which: --results r50={folder / 'a.json'}" in err
    given = ["--results", f"r101={folder / 'a.json'}", "--results", f"r50={folder / 'b.json'}"]
    code, out, err = fuse(folder, "test", "--recipe", recipe, *given, names=())
    assert (code, err) == (0, "")
    assert f"{folder / 'b.json'}: weight 0, left out" in out.splitlines()


def test_check_counts_what_is_good(folder: Path) -> None:
    a = folder / "a.json"

    assert cli("check", "--annotations", folder / "test.json", a) == (
        0,
        f"{a}: good; 48 detections in 5 images, 1 without any\n",
        "",
    )


def test_check_of_a_bad_submission_ends_with_1_and_writes_nothing(folder: Path) -> None:
    bad = write(folder / "bad.json", [detection(0.5), detection(0.5, [50.0, 0.0, 30.0, 5.0]), detection(0.5, [0] * 4)])
    before = {path: path.read_bytes() for path in folder.iterdir()}

    assert cli("check", bad, "--annotations", folder / "test.json") == (
        1,
        "",
        f"error: {bad}: 2 problem(s) in the submission\n"
        "  $[2].bbox: expected a width and a height above 0, found [0.0, 0.0]\n"
        "  $[1].bbox: expected a box inside 60 x 80 px, found [50.0, 0.0, 30.0, 5.0]\n",
    )
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_vipriors_writes_file_names_that_check_takes_back(folder: Path) -> None:
    output, annotations = folder / "out.json", folder / "test.json"
    assert fuse(folder, "test").code == 0
    by_id = json.loads(output.read_bytes())

    assert fuse(folder, "test", "--format", "vipriors").code == 0

    by_name = json.loads(output.read_bytes())
    assert by_name == [{**item, "image_id": f"{item['image_id']}.jpg"} for item in by_id]
    checked = cli("check", "--annotations", annotations, output, "--format", "vipriors")
    assert checked == (0, f"{output}: good; {len(by_id)} detections in 5 images, 1 without any\n", "")
    wrong = cli("check", "--annotations", annotations, output)
    assert wrong.code == 1
    assert 'Expected `int`, got `str`, found "' in wrong.err


def test_data_by_name_stands_for_its_annotation_files(folder: Path) -> None:
    (folder / "images").mkdir()
    splits = {name: {"annotations": f"{name}.json", "images": "images"} for name in ("val", "test")}
    spec = write(folder / "mine.yaml", yaml.safe_dump({"about": "made up", "train": splits["val"], **splits}))
    given = ["--results", folder / "a.json", "--results", folder / "b.json", "--output", folder / "out.json"]

    for options, split in (([], "test"), (["--split", "val"], "val"), (["--split", "test"], "test")):
        by_name = cli("fuse", "--data", spec, *options, *given)
        assert by_name.code == 0
        by_path = fuse(folder, split)
        assert by_name.out.splitlines()[0] == by_path.out.splitlines()[0].replace(
            "images: ", f"images: split {split} of {spec}, "
        )
        assert by_name.out.splitlines()[1:] == by_path.out.splitlines()[1:]
        assert cli("check", "--data", spec, *options, folder / "out.json").code == 0
    # An image that val does not have.
    write(folder / "val.json", one_object() | {"images": [item for item in listing()["images"] if item["id"] != EMPTY]})
    write(folder / "out.json", [detection(0.5) | {"image_id": EMPTY}])
    assert cli("check", "--data", spec, folder / "out.json").code == 0
    ended = cli("check", "--data", spec, "--split", "val", folder / "out.json")
    assert (ended.code, ended.out) == (1, "")
    assert f"expected the id of an image, found {EMPTY}" in ended.err
