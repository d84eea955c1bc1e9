"""What fuse, tune and check refuse: the file, the place, what was expected and found; exit 1, and nothing written."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any, Protocol

import pytest

from ensemble.recipe import ADVICE
from tests.ensemble.files import Record, annotated, cli, predicted, unannotated, write

GOOD = {"image_id": 7, "category_id": 1, "bbox": [10, 20, 30, 40], "score": 0.5}
FRACTIONS = (
    "expected boxes in pixels, found coordinates of at most 1.5, as fractions of the image have; "
    "multiply x and width by the image's width, y and height by its height"
)
NO_LIST = "expected COCO results, a JSON list of detections: Expected `array`, got"
ONE = "1 problem(s) in the results file"


def without(key: str) -> Record:
    return {name: value for name, value in GOOD.items() if name != key}


# What the results file has, and what is said of it: after its name, and in the lines below.
BAD: dict[str, tuple[Any, str, list[str]]] = {
    "no JSON": ("[{", "not valid JSON", ["line 1, column 3: Expecting property name enclosed in double quotes"]),
    "nothing": ("", "not valid JSON", ["line 1, column 1: Expecting value; the file has 0 bytes"]),
    "cut short": (
        '[{"image_id": 7',
        "not valid JSON",
        ["line 1, column 16: Expecting ',' delimiter; the file has 15 bytes"],
    ),
    "an object": ({"a": 1}, f"{NO_LIST} `object` with the keys 'a'", []),
    "an annotation file": (
        unannotated(),
        f"{NO_LIST} `object` with the keys 'images', 'categories', as annotation files have",
        [],
    ),
    "a number": ("5", f"{NO_LIST} `int`", []),
    "no records": ([GOOD, 5], ONE, ["$[1]: Expected `object`, got `int`, found 5"]),
    **{
        f"no {key}": ([GOOD, without(key)], ONE, [f"$[1]: Object missing required field `{key}`, found "])
        for key in GOOD
        if key != "bbox"
    },
    "no bbox": (
        [GOOD, without("bbox")],
        ONE,
        ["$[1].bbox: expected [x, y, width, height] or a mask to take it from, found neither"],
    ),
    "a float for an id": (
        [GOOD | {"image_id": 7.5}, GOOD | {"category_id": None}],
        "2 problem(s) in the results file",
        [
            "$[0].image_id: Expected `int`, got `float`, found 7.5",
            "$[1].category_id: Expected `int`, got `null`, found null",
        ],
    ),
    "an unknown file name": (
        [GOOD | {"image_id": "8.jpg"}],
        ONE,
        ["$[0].image_id: expected the id, file name or stem of an image, found '8.jpg'"],
    ),
    "text for a score": ([GOOD | {"score": "high"}], ONE, ['$[0].score: Expected `float`, got `str`, found "high"']),
    "corners only": (
        [GOOD | {"bbox": [1, 2, 3]}],
        ONE,
        ["$[0].bbox: Expected `array` of length 4, found [1, 2, 3]"],
    ),
    "a size below 0": ([GOOD | {"bbox": [1, 2, -3, 4]}], ONE, ["$[0].bbox[2]: Expected `float` >= 0.0, found -3"]),
    "a score above 1": ([GOOD, GOOD | {"score": 1.5}], ONE, ["$[1].score: Expected `float` <= 1.0, found 1.5"]),
    "NaN": (
        [GOOD, GOOD | {"score": float("nan")}, GOOD | {"bbox": [float("inf"), 0, 1, 1]}],
        "not valid JSON",
        [
            "$[1].score: expected a finite number, found nan",
            "$[2].bbox[0]: expected a finite number, found inf",
        ],
    ),
    "an unknown image": (
        [GOOD, GOOD | {"image_id": 8}, GOOD | {"image_id": 8}],
        "1 id(s) that {annotations} does not have",
        ["$[1].image_id: expected the id of an image, found 8 (2 detection(s))"],
    ),
    "an unknown category": (
        [GOOD | {"category_id": 90}],
        "1 id(s) that {annotations} does not have",
        ["$[0].category_id: expected the id of a category, found 90 (1 detection(s))"],
    ),
    "a huge box": (
        [GOOD | {"bbox": [0, 0, 1e300, 1e300]}],
        ONE,
        ["$[0].bbox: expected coordinates of up to 1e+09 px, found [0.0, 0.0, 1e+300, 1e+300]"],
    ),
}


class Refused(Protocol):
    """refused("fuse", ...): what stderr has after `error: `; nothing else was printed, and nothing written."""

    def __call__(self, command: str, *arguments: object) -> str: ...


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With val.json, the results good.json and fine.json, and out, an output that stands there already."""
    write(tmp_path / "val.json", annotated())
    write(tmp_path / "good.json", predicted(1))
    write(tmp_path / "fine.json", predicted(2))
    write(tmp_path / "out", "older")
    return tmp_path


@pytest.fixture
def refused(folder: Path) -> Refused:
    """refused("fuse", ...): what stands on stderr after `error: `; nothing else was printed, and nothing written."""

    def refused(command: str, *arguments: object) -> str:
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        code, out, err = cli(command, *arguments)
        assert code == 1
        # Nothing but what was looked at before the error.
        assert out == "" or out.startswith("images: ")
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
        assert "Traceback" not in err
        head, _, rest = err.partition("error: ")
        assert head == ""
        return rest.removesuffix("\n")

    return refused


def options(folder: Path, *names: str) -> list[object]:
    given = [part for name in names for part in ("--results", folder / name)]
    return ["--annotations", folder / "val.json", *given, "--output", folder / "out"]


@pytest.mark.parametrize("command", ["fuse", "tune"])
@pytest.mark.parametrize("case", BAD)
def test_bad_results_are_refused_by_file_and_place(case: str, command: str, folder: Path, refused: Refused) -> None:
    content, headline, problems = BAD[case]
    bad = write(folder / "bad.json", content)

    for names in (("bad.json",), ("good.json", "bad.json")):
        first, *others = refused(command, *options(folder, *names)).splitlines()
        assert first == f"{bad}: {headline.replace('{annotations}', str(folder / 'val.json'))}"
        assert len(others) == len(problems)
        for line, problem in zip(others, problems, strict=True):
            assert line.startswith(f"  {problem}")


@pytest.mark.parametrize("command", ["fuse", "tune"])
def test_fractions_are_refused_unless_they_are_trusted(command: str, folder: Path, refused: Refused) -> None:
    bad = write(folder / "bad.json", [GOOD | {"bbox": [0.25, 0.25, 0.5, 0.75]}, GOOD | {"bbox": [0, 0, 1, 1]}])

    assert refused(command, *options(folder, "good.json", "bad.json")) == (
        f"1 thing(s) about the results files cannot be right\n  {bad}: {FRACTIONS}\n--trust continues anyway."
    )
    code, out, err = cli(command, *options(folder, "good.json", "bad.json"), "--trust")
    assert (code, err) == (0, "")
    assert f"note: {bad}: {FRACTIONS}" in out.splitlines()


@pytest.mark.parametrize("command", ["fuse", "tune"])
@pytest.mark.parametrize("name", ["good.json", "val.json", "link.json", "hard.json"])
def test_no_input_is_ever_replaced(command: str, name: str, folder: Path, refused: Refused) -> None:
    """Also by another name: a symbolic link to the results, a hard link to the annotations."""
    (folder / "link.json").symlink_to(folder / "good.json")
    (folder / "hard.json").hardlink_to(folder / "val.json")

    said = refused(command, *options(folder, "good.json")[:-1], folder / name)

    assert "would replace" in said
    assert said.endswith("; give another --output")


@pytest.mark.parametrize("command", ["fuse", "tune"])
def test_no_device_is_ever_replaced(command: str, folder: Path, refused: Refused) -> None:
    """The administrator could, and the whole machine would miss it. A link to one stands for it here."""
    (folder / "out").unlink()
    (folder / "out").symlink_to("/dev/null")

    said = refused(command, *options(folder, "good.json"))

    assert said.startswith(f"{folder / 'out'}: expected the name of a file to write, found a device")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.parametrize("command", ["fuse", "tune"])
def test_a_link_is_followed_and_stays(command: str, folder: Path) -> None:
    (folder / "real").mkdir()
    (folder / "out").unlink()
    (folder / "out").symlink_to(folder / "real" / "file")

    code, _, err = cli(command, *options(folder, "good.json"))

    assert (code, err) == (0, "")
    assert (folder / "out").is_symlink()
    assert (folder / "real" / "file").stat().st_size > 0


# For these `check` has its own words, or takes them; see test_check.py.
NOT_OF_CHECK = ("an unknown image", "an unknown category", "an unknown file name", "no bbox", "a huge box")


@pytest.mark.parametrize("case", [case for case in BAD if case not in NOT_OF_CHECK])
def test_check_refuses_the_same_files_in_the_same_words(case: str, folder: Path, refused: Refused) -> None:
    bad = write(folder / "bad.json", BAD[case][0])

    assert refused("check", bad, "--annotations", folder / "val.json") == refused("fuse", *options(folder, "bad.json"))


@pytest.mark.parametrize("command", ["fuse", "tune"])
def test_the_same_results_twice_are_refused_by_any_name(
    command: str, folder: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "link.json").symlink_to(folder / "good.json")
    (folder / "sub").mkdir()
    monkeypatch.chdir(folder)

    for again in ("good.json", "link.json", "sub/../good.json"):
        assert refused(command, *options(folder, "good.json", "fine.json", again)) == (
            f"expected different results files, found some twice\n  {folder / again}"
        )
    assert refused(command, *options(folder, "good.json"), "--results", "good.json").endswith(
        "found some twice\n  good.json"
    )


def test_a_file_that_is_not_there_is_named(folder: Path, refused: Refused) -> None:
    none = folder / "none"
    missing = "cannot be read: No such file or directory"

    for command in ("fuse", "tune"):
        assert refused(command, *options(folder, "good.json", "none")) == f"{none}: the results file {missing}"
        given = [*options(folder, "good.json")[2:], "--annotations", none]
        assert refused(command, *given) == f"{none}: the annotation file {missing}"
        assert refused(command, *options(folder, "good.json"), "--recipe", none) == (
            f"--recipe {none}: expected a YAML file or one of paper, per-category, found neither"
        )
        given = [*options(folder, "good.json")[2:], "--data", none]
        assert refused(command, *given).startswith(
            f"--data {none}: expected the folder of a build (`make dataset`), a YAML file or"
        )
    assert refused("check", none, "--annotations", folder / "val.json") == f"{none}: the results file {missing}"
    assert refused("check", folder / "good.json", "--annotations", none) == f"{none}: the annotation file {missing}"


def test_no_results_at_all_are_refused(folder: Path, refused: Refused) -> None:
    assert refused("fuse", *options(folder)) == "expected at least one results file, found none; name each by --results"


@pytest.mark.parametrize("command", ["fuse", "tune"])
def test_another_number_of_results_than_of_weights_is_refused(command: str, folder: Path, refused: Refused) -> None:
    two = write(folder / "two.yaml", "models: [{results: a.json, weight: 1}, {results: b.json, weight: 0.5}]")

    for names in (["good.json"], ["good.json", "fine.json", "none"]):
        assert refused(command, *options(folder, *names), "--recipe", two) == (
            f"{two}: expected a results file for each of the recipe's 2 models (a.json, b.json), found {len(names)}"
        )


@pytest.mark.parametrize("command", ["fuse", "tune"])
def test_a_bad_recipe_is_refused_by_its_key(command: str, folder: Path, refused: Refused) -> None:
    cases = [
        (
            "supress: {method: nms}",
            "Object contains unknown field `supress`\n"
            "  supress: expected one of models, suppress, fuse, detections_per_image, format",
        ),
        ("fuse: {method: wbf, iou_threshold: 2}", "Expected `float` <= 1.0 - at `$.fuse.iou_threshold`"),
    ]
    for text, what in cases:
        bad = write(folder / "bad.yaml", text)
        assert refused(command, *options(folder, "good.json"), "--recipe", bad) == f"{bad}: {what}\n{ADVICE}"
    nobody = write(folder / "nobody.yaml", "models: [{results: a.json, weight: 0}]")
    assert refused(command, *options(folder, "good.json"), "--recipe", nobody) == (
        f"{nobody}: expected a model with a weight above 0, found none"
    )


def test_the_results_that_a_recipe_names_are_refused_in_the_same_way(folder: Path, refused: Refused) -> None:
    recipe = write(folder / "sub" / "mine.yaml", "models: [{results: ../good.json}, {results: none.json}]")

    assert refused("fuse", *options(folder), "--recipe", recipe) == (
        f"{folder / 'sub' / 'none.json'}: the results file cannot be read: No such file or directory"
    )
    write(recipe, "models: [{results: ../good.json}, {results: ../sub/../good.json}]")
    assert "expected different results files, found some twice" in refused("fuse", *options(folder), "--recipe", recipe)


def test_tune_needs_something_to_compare_with(folder: Path, refused: Refused) -> None:
    path = write(folder / "test.json", unannotated())
    given = [*options(folder, "good.json")[2:], "--annotations", path]

    assert refused("tune", *given) == f"{path}: expected annotations to measure with, found none"


def test_file_names_that_do_not_tell_images_apart_are_refused(folder: Path, refused: Refused) -> None:
    content = unannotated()
    content["images"][0]["file_name"] = content["images"][1]["file_name"]
    path = write(folder / "test.json", content)
    given = [*options(folder, "good.json")[2:], "--annotations", path, "--format", "vipriors"]

    assert refused("fuse", *given) == (
        f"{path}: expected a file name of its own for each image, found some twice\n  3.jpg"
    )


@pytest.mark.parametrize("command", ["fuse", "tune"])
def test_an_output_that_cannot_be_written_is_named(command: str, folder: Path, refused: Refused) -> None:
    (folder / "taken").mkdir()

    for output, why in (("out/deep.json", f"File exists ({folder / 'out'})"), ("taken", "found a folder")):
        assert refused(command, *options(folder, "good.json"), "--output", folder / output).endswith(why)
    assert list((folder / "taken").iterdir()) == []
