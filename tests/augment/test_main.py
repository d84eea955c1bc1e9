"""The command line: plan, build and verify, what they print, and with which code they end."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tqdm import tqdm

from augment.__main__ import main
from augment.compiler import build
from datasets.sources import Input
from tests.command_line import Cli, in_shell
from tests.protocols import Draw, Python

Tree = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def cli() -> Cli:
    """cli(...): what a shell would see of `python -m augment ...`."""
    return partial(in_shell, main, "python -m augment")


def given(*inputs: Input) -> list[object]:
    """The options for these inputs, and to work in this process."""
    options = [option for item in inputs for option in ("--annotations", item.annotations, "--images", item.images)]
    return [*options, "--executor", "serial"]


@pytest.fixture
def source(draw: Draw, tmp_path: Path) -> Input:
    """Two small images, in a folder of their own."""
    return draw(tmp_path / "data", only=(7, 12))


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("command", [[], ["plan"], ["build"], ["verify"], ["report"]])
def test_help_has_an_example(command: list[str], flag: str) -> None:
    ended = CliRunner().invoke(main, [*command, flag])
    assert ended.exit_code == 0
    _, example = ended.output.split("Example:")
    assert " ".join(["python -m augment", *command]) in example


def test_help_imports_nothing_that_takes_time(python: Python) -> None:
    heavy = "{'numpy', 'cv2', 'msgspec', 'PIL', 'albumentations', 'multiprocessing'}"
    done = python("-c", f"import sys, augment.__main__; print(*{heavy} & set(sys.modules))")
    assert (done.returncode, done.stdout.split()) == (0, [])


def test_data_without_masks_is_built_by_scarce_without_pasted_objects(cli: Cli, draw: Draw, tmp_path: Path) -> None:
    boxes = draw(tmp_path / "boxes", masks=False)
    code, out, _ = cli("build", *given(boxes), "--recipe", "scarce", "--output", tmp_path / "out")
    made = json.loads((tmp_path / "out" / "annotations" / "instances.json").read_bytes())["images"]
    operations = {image["operation"] for image in made}
    assert (code, operations) == (0, {"original", "random_crop", "mosaic"})
    assert "by paste: the others found no object" in out
    code, _, err = cli("verify", tmp_path / "out")
    assert code == 0, err


def test_plan_prints_tables_and_writes_nothing(cli: Cli, source: Input, tree: Tree, tmp_path: Path) -> None:
    before = tree(tmp_path)
    code, out, err = cli("plan", *given(source))
    assert (code, err) == (0, "")
    assert out.startswith("recipe expanded, seed 0: 2 source images\n")
    rows = [line.split() for line in out.splitlines()]
    assert ["pixel", "2", "4", "0", "0", "0"] in rows
    assert next(row for row in rows if row[:1] == ["total"])[1] == "12"
    assert "with one worker (estimated)" in out
    assert tree(tmp_path) == before


def test_plan_prints_the_build_s_counts_as_json(cli: Cli, drawn: Input, built: Callable[[str], Path]) -> None:
    code, out, err = cli("plan", *given(drawn), "--recipe", "everything", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    cost = document.pop("estimate")
    assert (cost["bytes"] > 0, cost["seconds_one_worker"] >= 0) == (True, True)
    assert document.pop("skipped") == 0
    assert document.pop("warnings") == ["annotations.json: 1 of 4 categories have no object: dog"]
    assert document.pop("repairs") == {"EXIF orientation that the annotations do not follow, taken out of the copy": 1}
    assert document == json.loads((built("everything") / "manifest.json").read_bytes())["counts"]


def test_build_then_verify_then_build_again(cli: Cli, source: Input, tree: Tree, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, text, err = cli("build", *given(source), "--output", out)
    assert (code, err) == (0, "")
    assert text.splitlines()[-1].startswith(f"{out}: ")
    assert ["total", "12"] in [line.split()[:2] for line in text.splitlines()]
    assert text.splitlines()[-2].startswith("warning: annotations.json: ")
    code, text, err = cli("verify", out, "--executor", "serial")
    assert (code, err) == (0, "")
    # 2 * 6 images, the annotations, the sources and the manifest.
    assert text.startswith(f"{out}: good; 15 files, 12 images, ")
    before = tree(out)
    assert cli("build", *given(source), "--output", out) == (
        0,
        f"{out}: this very build is there already; nothing to do\n",
        "",
    )
    assert tree(out) == before


def test_what_was_asked_for_beyond_repairs_makes_another_build(cli: Cli, draw: Draw, tmp_path: Path) -> None:
    """A box far outside and one of negative size; the manifest counts both and says what was asked for."""
    data = draw(tmp_path / "data")
    document = json.loads(data.annotations.read_bytes())
    image = document["images"][0]
    given_boxes = {"far": [-5, 0, 15, 10], "negative": [10, 10, -5, -5]}
    for number, box in enumerate(given_boxes.values(), start=9000):
        document["annotations"].append(
            {"id": number, "image_id": image["id"], "category_id": 1, "bbox": box, "area": 50, "iscrowd": 0}
        )
    data.annotations.write_text(json.dumps(document))
    build = ("build", *given(data), "--recipe", "expanded", "--limit", "2", "--output", tmp_path / "out")

    code, _, err = cli(*build)
    assert code == 1
    assert "or any with --clip-boxes" in err
    assert "--skip-bad leaves out annotations" in err
    code, text, err = cli(*build, "--clip-boxes", "--skip-bad")
    assert (code, err) == (0, "")
    assert "repaired: 1 x box more than 1 px outside the image, clipped (--clip-boxes)" in text
    assert "repaired: 1 x annotation that cannot be used, left out (--skip-bad)" in text
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert (manifest["inputs"][0]["clip_boxes"], manifest["inputs"][0]["skip_bad"]) == (True, True)
    assert cli("verify", tmp_path / "out", "--executor", "serial")[0] == 0
    code, _, err = cli(*build, "--skip-bad")
    assert code == 1
    assert "clip_boxes" in err


def test_options_reach_the_build(cli: Cli, drawn: Input, tmp_path: Path) -> None:
    code, _, _ = cli("build", *given(drawn), "--output", tmp_path / "out", "--seed", "5", "--limit", "3", "--link")
    assert code == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert (manifest["recipe"]["seed"], manifest["limit"], manifest["inputs"][0]["images"]) == (5, 3, 3)
    assert manifest["counts"]["images"] == 3 * 6
    first = next(path for path in (tmp_path / "out" / "images").iterdir() if path.name.startswith("000000001_"))
    assert first.samefile(drawn.images / "tall.jpg")


def test_several_inputs_become_one_dataset(cli: Cli, draw: Draw, tmp_path: Path) -> None:
    inputs = draw(tmp_path / "a", only=(7,)), draw(tmp_path / "b", only=(7, 12))
    assert cli("build", *given(*inputs), "--output", tmp_path / "out", "--recipe", "balanced").code == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert [item["images"] for item in manifest["inputs"]] == [1, 2]


@pytest.mark.usefixtures("source")
def test_data_and_recipe_may_be_files(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(
        "about: mine\ntrain: {annotations: data/annotations.json, images: data/images}\n"
    )
    (tmp_path / "recipe.yaml").write_text("name: mine\noperations: [{operation: original}]\n")
    arguments = ["--data", tmp_path / "data.yaml", "--recipe", tmp_path / "recipe.yaml", "--executor", "serial"]
    code, out, err = cli("plan", *arguments)
    assert (code, err) == (0, "")
    assert out.startswith("recipe mine, seed 0: 2 source images\n")


def test_repairs_are_told_and_strict_refuses_them(cli: Cli, drawn: Input, tmp_path: Path) -> None:
    code, text, _ = cli("build", *given(drawn), "--output", tmp_path / "out")
    assert code == 0
    assert "repaired: 1 x EXIF orientation that the annotations do not follow, taken out of the copy" in text
    code, text, err = cli("plan", *given(drawn), "--strict")
    assert (code, text) == (1, "")
    assert err.startswith("error: 1 problem(s) that --strict does not repair\n")
    assert "exif to ignore.jpg" in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["plan"], "either --annotations and --images, or --data"),
        (["plan", "--annotations", "a", "--annotations", "b", "--images", "c"], "expected one --images for each"),
        (["build", "--annotations", "a", "--output", "o"], "expected one --images for each"),
        (["plan", "--data", "sample", "--images", "c"], "either --annotations and --images, or --data"),
        (["build", "--annotations", "a", "--images", "b"], "--output"),
        (["plan", "--data", "sample", "--limit", "0"], "--limit"),
        (["plan", "--data", "sample", "--workers", "0"], "--workers"),
        (["plan", "--data", "sample", "--seed", "-1"], "--seed"),
        (["plan", "--data", "sample", "--executor", "threads"], "serial"),
        (["verify", "x", "--executor", "ray", "--workers", "2"], "--workers is for this machine"),
        (["verify", "x", "--ray-address", "127.0.0.1:1"], "--ray-address goes with --executor ray"),
        (["plan", "--colour"], "--colour"),
        (["verify"], "FOLDER"),
        (["report"], "FOLDER"),
        (["report", "x", "--sources", "-1"], "--sources"),
        (["compile"], "compile"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], expected: str) -> None:
    ended = CliRunner().invoke(main, arguments)
    assert ended.exit_code == 2
    assert expected in " ".join(ended.output.split())


def test_bad_data_ends_with_1_and_no_traceback(cli: Cli, source: Input, tmp_path: Path) -> None:
    (source.images / "tall.jpg").write_bytes(b"no picture")
    cases: list[tuple[list[object], str]] = [
        (
            ["plan", *given(source)],
            f"{source.annotations}: 1 problem(s) in the image files\n  {source.images / 'tall.jpg'}: expected a JPEG",
        ),
        (
            ["plan", *given(source), "--recipe", "expandet"],
            "--recipe expandet: expected a YAML file or one of balanced,",
        ),
        (["plan", *given(Input(tmp_path / "none.json", source.images))], f"{tmp_path / 'none.json'}: "),
        (["plan", *given(Input(source.annotations, tmp_path / "none"))], f"{tmp_path / 'none'}: expected the folder"),
        (
            ["plan", "--data", "nobody"],
            "--data nobody: expected the folder of a build (`make dataset`), a YAML file or one of ",
        ),
        (["build", *given(source), "--output", source.images], f"{source.images}: expected an output outside"),
        (["verify", tmp_path / "none", "--executor", "serial"], f"{tmp_path / 'none' / 'manifest.json'}: expected"),
    ]
    for arguments, expected in cases:
        code, out, err = cli(*arguments)
        assert (code, out) == (1, ""), arguments
        assert err.startswith(f"error: {expected}")


def test_what_verify_finds_ends_with_1(cli: Cli, copied: Callable[[str], Path]) -> None:
    folder = copied("balanced")
    name = min(path.name for path in (folder / "images").iterdir())
    (folder / "images" / name).unlink()
    code, out, err = cli("verify", folder, "--executor", "serial")
    assert (code, out) == (1, "")
    assert err == f"error: {folder}: 1 problem(s)\n  images/{name}: expected an image file, found none\n"


def test_an_output_below_a_file_ends_with_1_and_its_name(cli: Cli, source: Input, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, out, err = cli("build", *given(source), "--output", tmp_path / "file" / "out")
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert str(tmp_path / "file") in err


def test_ctrl_c_ends_with_130(cli: Cli, source: Input, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for advice, expected in (("", "interrupted"), ("go on", "interrupted; go on")):

        def interrupted(*_: object, advice: str = advice, **__: object) -> None:
            raise KeyboardInterrupt(advice)

        monkeypatch.setattr(build, "build_dataset", interrupted)
        code, out, err = cli("build", *given(source), "--output", tmp_path / "out")
        assert (code, out, err.strip()) == (130, "", expected)


def test_skipped_images_are_told(cli: Cli, draw: Draw, tmp_path: Path) -> None:
    source = draw(tmp_path / "data", only=(7, 12))
    (source.images / "tall.jpg").write_bytes(b"no picture")
    code, _, err = cli("build", *given(source), "--output", tmp_path / "out")
    assert (code, "tall.jpg: expected a JPEG or PNG file" in err) == (1, True)
    for command in (["plan"], ["build", "--output", tmp_path / "out"]):
        code, out, err = cli(*command, *given(source), "--skip-bad")
        assert (code, err) == (0, "")
        assert "skipped: 1 images whose files cannot be used" in out
        assert f"  {source.images / 'tall.jpg'}: expected a JPEG or PNG file" in out
    code, out, _ = cli("plan", *given(source), "--skip-bad", "--json")
    assert (code, json.loads(out)["skipped"]) == (0, 1)


def test_a_stopped_build_goes_on_or_is_begun_anew(
    cli: Cli, source: Input, tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_after_one(bar: tqdm[Any], number: float = 1) -> None:
        if bar.desc.startswith("rendering") and number:
            raise KeyboardInterrupt

    for more, kept in (([], True), (["--restart"], False)):
        out = tmp_path / f"out{kept}"
        with monkeypatch.context() as patched:
            patched.setattr(tqdm, "update", stop_after_one)
            code, text, err = cli("build", *given(source), "--output", out)
        assert (code, text) == (130, "")
        assert f"interrupted; 1 source image is rendered and kept in {out}.partial; give the same command" in err
        code, text, err = cli("build", *given(source), "--output", out, *more)
        assert (code, err) == (0, "")
        assert (f"{out}: 1 source images had been rendered before and are kept" in text) == kept
    assert tree(tmp_path / "outTrue") == tree(tmp_path / "outFalse")
