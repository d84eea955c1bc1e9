"""Builds that must not or cannot be made: refused, they change nothing; cut short, they leave what is finished."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image as PillowImage

from augment import recipe
from augment.compiler import estimate
from augment.compiler.inputs import Request, prepare
from augment.executors.local import executor
from datasets.checks import Leniency
from datasets.errors import DataError
from datasets.parallel import Run
from datasets.sources import Input
from tests.protocols import Draw, Make

Tree = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def source(draw: Draw, tmp_path: Path) -> Input:
    """Two small images, in a folder of their own."""
    return draw(tmp_path / "data", only=(7, 12))


def at_end_of(stage: str, act: Callable[[], Any]) -> Callable[[str, int, int], None]:
    """Progress that acts when a stage of the build is done."""

    def progress(what: str, done: int, of: int) -> None:
        if what == stage and done == of:
            act()

    return progress


def raise_interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("output", ["data", "data/images", "data/images/out", "."])
def test_an_output_that_touches_an_input_is_refused(
    source: Input, make: Make, tree: Tree, tmp_path: Path, output: str
) -> None:
    before = tree(tmp_path)
    with pytest.raises(DataError, match="expected an output"):
        make(source, tmp_path / output)
    assert tree(tmp_path) == before


def test_somebody_s_files_and_folders_are_refused(source: Input, make: Make, tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    before = tree(tmp_path)
    for output in ("mine", "mine/thesis.tex"):
        with pytest.raises(DataError, match="expected a"):
            make(source, tmp_path / output)
    with pytest.raises(DataError, match=r"cannot be written: .*thesis\.tex"):
        make(source, tmp_path / "mine" / "thesis.tex" / "out")
    assert tree(tmp_path) == before


def test_a_folder_that_cannot_be_written_is_an_error(
    source: Input, make: Make, tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(path: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    before = tree(tmp_path)
    monkeypatch.setattr(Path, "mkdir", forbidden)
    with pytest.raises(DataError, match="out: cannot be written: Permission denied"):
        make(source, tmp_path / "out")
    assert tree(tmp_path) == before


def test_the_very_build_again_changes_nothing(source: Input, make: Make, tree: Tree, tmp_path: Path) -> None:
    make(source, tmp_path / "out")
    before = tree(tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = make(source, tmp_path / "out", link=True)
    assert again.counts is None
    assert tree(tmp_path) == before
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == stamps


def test_another_build_is_refused_and_what_differs_is_named(
    source: Input, make: Make, tree: Tree, tmp_path: Path
) -> None:
    make(source, tmp_path / "out")
    before = tree(tmp_path / "out")
    seeded = msgspec.structs.replace(recipe.load("expanded"), seed=1)
    for chosen, limit, named in (
        (seeded, None, "recipe.seed: expected 1, found 0"),
        ("balanced", None, "recipe.name: expected 'balanced', found 'expanded'"),
        ("expanded", 1, "limit: expected 1, found None"),
    ):
        with pytest.raises(DataError, match="holds another build") as caught:
            make(source, tmp_path / "out", chosen, limit=limit)
        assert named in caught.value.problems
    picture = source.images / "tall.jpg"
    picture.write_bytes(picture.read_bytes() + b"\0")
    with pytest.raises(DataError, match="holds another build") as caught:
        make(source, tmp_path / "out")
    assert "inputs[0].images_sha256: " in str(caught.value)
    assert tree(tmp_path / "out") == before


def test_a_build_of_another_version_is_refused(source: Input, make: Make, tmp_path: Path) -> None:
    make(source, tmp_path / "out")
    path = tmp_path / "out" / "manifest.json"
    document = json.loads(path.read_bytes())
    document["versions"]["opencv-python-headless"] = "1.0"
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"versions\.opencv-python-headless: expected '.*', found '1\.0'"):
        make(source, tmp_path / "out")


def test_a_build_of_an_earlier_format_is_refused_and_stays_as_it_is(
    source: Input, make: Make, check: Callable[[Path], Any], tree: Tree, tmp_path: Path
) -> None:
    """Format 1 had no sources.jsonl."""
    out = tmp_path / "out"
    make(source, out)
    document = json.loads((out / "manifest.json").read_bytes())
    document["format"] = 1
    del document["sources_sha256"]
    (out / "manifest.json").write_text(json.dumps(document))
    (out / "sources.jsonl").unlink()
    before = tree(out)
    advice = r"manifest\.json: expected .* format 2, found format 1: .*; build it again, into a new folder"
    with pytest.raises(DataError, match=advice):
        check(out)
    for restart in (False, True):
        with pytest.raises(DataError, match=advice):
            make(source, out, restart=restart)
    assert tree(out) == before
    assert make(source, tmp_path / "new").counts is not None


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"format": 99}'])
def test_a_manifest_that_is_none_is_refused(
    source: Input, make: Make, tree: Tree, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_bytes(content)
    with pytest.raises(DataError, match=r"manifest\.json: "):
        make(source, tmp_path / "out")
    assert tree(tmp_path / "out") == {"manifest.json": content}


def test_bad_images_are_all_named_before_anything_is_written(source: Input, make: Make, tmp_path: Path) -> None:
    (source.images / "tall.jpg").write_bytes((source.images / "tall.jpg").read_bytes()[:-100])
    (source.images / "grey.jpg").unlink()
    with pytest.raises(DataError, match=r"(?s)2 problem\(s\).*tall\.jpg: .*cut short.*grey\.jpg: .*found none"):
        make(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("change", ["other bytes", "gone", "a folder", "another size"])
def test_a_source_that_changes_while_the_build_runs_ends_it(
    source: Input, make: Make, tree: Tree, tmp_path: Path, change: str
) -> None:
    path = source.images / "grey.jpg"

    def act() -> None:
        data = path.read_bytes()
        path.unlink()
        if change == "a folder":
            path.mkdir()
        elif change != "gone":
            path.write_bytes(data[:-10] + bytes(10) if change == "other bytes" else data + b"\0")

    before = path.read_bytes()
    with pytest.raises(DataError, match=r"grey\.jpg: changed while the build ran") as caught:
        make(source, tmp_path / "out", progress=at_end_of("checking", act))
    # The other source is finished, and the build goes on when the file is mended.
    assert f"1 source image is rendered and kept in {tmp_path / 'out.partial'}" in str(caught.value)
    assert not (tmp_path / "out").exists()
    if path.is_dir():
        path.rmdir()
    path.write_bytes(before)
    assert make(source, tmp_path / "out").kept == 1
    make(source, tmp_path / "clean")
    assert tree(tmp_path / "out") == tree(tmp_path / "clean")


def test_a_picture_without_its_tables_is_found_before_anything_is_written(
    source: Input, make: Make, tmp_path: Path
) -> None:
    path = source.images / "tall.jpg"
    path.write_bytes(path.read_bytes().replace(b"\xff\xdb", b"\xff\xfe"))
    with pytest.raises(DataError, match=r"(?s)problem\(s\) in the image files.*tall\.jpg: .*quantization tables"):
        make(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def spoil_pixels(path: Path) -> None:
    """Leave a JPEG whole from its head to its end, but with a Huffman table that is none: no check of heads tells."""
    data = bytearray(path.read_bytes())
    table = data.index(b"\xff\xc4") + 5
    data[table : table + 16] = b"\xff" * 16
    path.write_bytes(data)


def test_pixels_that_cannot_be_decoded_end_the_build_with_the_file_s_name(
    source: Input, make: Make, tmp_path: Path
) -> None:
    good = (source.images / "tall.jpg").read_bytes()
    spoil_pixels(source.images / "tall.jpg")
    with pytest.raises(
        DataError,
        match=r"(?s)tall\.jpg: expected a whole JPEG image.*\nreplace the file and .*: --restart --skip-bad",
    ):
        make(source, tmp_path / "out")
    (source.images / "tall.jpg").write_bytes(good)
    make(source, tmp_path / "out")


def zero_middle(path: Path) -> None:
    """Damage that OpenCV decodes past: everything is there from the head to the end marker, but what was in between."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300] = bytes(300)
    path.write_bytes(data)


@pytest.mark.parametrize("bad", ["tall.jpg", "grey.jpg"])
def test_a_picture_that_only_decoding_finds_bad_ends_the_build_and_what_is_said_helps(
    source: Input, make: Make, tmp_path: Path, bad: str
) -> None:
    good = (source.images / bad).read_bytes()
    zero_middle(source.images / bad)
    with pytest.raises(DataError, match=r"found damaged pixel data \(Corrupt JPEG data") as caught:
        make(source, tmp_path / "out")
    assert caught.value.headline.startswith(f"{source.images / bad}: ")
    # Of the two, grey.jpg comes second.
    kept = f"1 source image is rendered and kept in {tmp_path / 'out.partial'}; " if bad == "grey.jpg" else ""
    advice = "replace the file and give the same command again, or leave it out: --restart --skip-bad"
    assert caught.value.advice == kept + advice
    # Both ways out, on copies of what stands there.
    assert len(make(source, tmp_path / "out", restart=True, leniency=Leniency(skip_bad=True)).prepared.sources) == 1
    with pytest.raises(DataError, match="found damaged pixel data"):
        make(source, tmp_path / "again")
    (source.images / bad).write_bytes(good)
    assert make(source, tmp_path / "again").kept == (bad == "grey.jpg")


def test_plan_names_a_picture_that_it_cannot_decode(source: Input) -> None:
    zero_middle(source.images / "grey.jpg")
    prepared = prepare(Request([source], recipe.load("expanded")), map, lambda *_: None)
    with pytest.raises(DataError, match=r"(?s)grey\.jpg: expected a whole JPEG.*or leave it out: --skip-bad"):
        estimate.plan(prepared, map, lambda *_: None)


def test_a_picture_wider_than_any_jpeg_is_found_first_and_can_be_left_out(
    source: Input, make: Make, tmp_path: Path
) -> None:
    document = json.loads(source.annotations.read_bytes())
    document["images"].append({"id": 50, "file_name": "strip.png", "width": 65_501, "height": 1})
    source.annotations.write_text(json.dumps(document))
    PillowImage.new("L", (65_501, 1)).save(source.images / "strip.png")
    with pytest.raises(DataError, match=r"strip\.png: expected sides of at most 65,500 px.*found 65,501 x 1") as caught:
        make(source, tmp_path / "out")
    assert "--skip-bad" in caught.value.advice
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    built = make(source, tmp_path / "out", leniency=Leniency(skip_bad=True))
    assert [item.file_name for item in built.prepared.inputs.skipped] == ["strip.png"]


def test_files_behind_links_are_built_when_links_are_followed(source: Input, make: Make, tmp_path: Path) -> None:
    path = source.images / "tall.jpg"
    path.rename(tmp_path / "elsewhere.jpg")
    path.symlink_to(tmp_path / "elsewhere.jpg")
    with pytest.raises(DataError, match=r"tall\.jpg: expected a file in the image folder, .*--follow-links reads it"):
        make(source, tmp_path / "out")
    make(source, tmp_path / "out", leniency=Leniency(follow_links=True))
    copies = [item for item in (tmp_path / "out" / "images").iterdir() if "tall_original" in item.name]
    assert [item.read_bytes() for item in copies] == [path.read_bytes()]
    assert not copies[0].is_symlink()


def test_skip_bad_leaves_out_what_cannot_be_used_and_the_manifest_lists_it(
    draw: Draw, make: Make, check: Callable[[Path], Any], tree: Tree, tmp_path: Path
) -> None:
    source = draw(tmp_path / "data")
    names = {image["id"]: image["file_name"] for image in json.loads(source.annotations.read_bytes())["images"]}
    spoil_pixels(source.images / names[7])
    (source.images / names[12]).unlink()
    (source.images / names[31]).write_bytes((source.images / names[31]).read_bytes()[:-100])
    built = make(source, tmp_path / "out", "everything", leniency=Leniency(skip_bad=True))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    (used,) = manifest["inputs"]
    assert used["images"] == 8 - 3
    assert [(item["id"], item["file_name"]) for item in used["skipped"]] == [(n, names[n]) for n in (7, 12, 31)]
    assert [item["why"].partition(",")[0] for item in used["skipped"]] == [
        "expected a whole JPEG image",
        "expected an image file",
        "expected a whole PNG file",
    ]
    assert len(built.prepared.inputs.skipped) == 3
    check(tmp_path / "out")
    # As if the others were all there is, also for balance: without image 31 no category is rare.
    others = draw(tmp_path / "others", only=tuple(names.keys() - {7, 12, 31}))
    make(others, tmp_path / "clean", "everything")
    pictures = {name: data for name, data in tree(tmp_path / "clean").items() if name.startswith("images/")}
    assert {name: data for name, data in tree(tmp_path / "out").items() if name.startswith("images/")} == pictures


def test_skip_bad_with_nothing_good_is_an_error(source: Input, make: Make, tmp_path: Path) -> None:
    for path in source.images.iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"2 problem\(s\) in the image files"):
        make(source, tmp_path / "out", leniency=Leniency(skip_bad=True))
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_mended_file_makes_another_build(source: Input, make: Make, tmp_path: Path) -> None:
    good = (source.images / "tall.jpg").read_bytes()
    (source.images / "tall.jpg").write_bytes(b"no picture")
    make(source, tmp_path / "out", leniency=Leniency(skip_bad=True))
    (source.images / "tall.jpg").write_bytes(good)
    with pytest.raises(DataError, match="holds another build") as caught:
        make(source, tmp_path / "out")
    assert "inputs[0].images: expected 2, found 1" in caught.value.problems


@pytest.mark.parametrize(("stage", "left"), [("checking", ["data"]), ("rendering", ["data", "out.partial"])])
def test_ctrl_c_leaves_what_is_finished(source: Input, make: Make, tmp_path: Path, stage: str, left: list[str]) -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        make(source, tmp_path / "out", progress=at_end_of(stage, raise_interrupt))
    assert sorted(path.name for path in tmp_path.iterdir()) == left
    assert ("give the same command again" in str(caught.value)) == (stage == "rendering")
    make(source, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]


def test_a_killed_worker_ends_the_build(source: Input, make: Make, tmp_path: Path) -> None:
    def deadly(run: Run) -> Run:
        """Runs the checks, and in place of the rendering a function that ends its process."""

        def start(function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
            if (tmp_path / "out.partial" / "dataset" / "SHA256SUMS").exists():
                return run(signal.raise_signal, [signal.SIGKILL])
            return run(function, tasks)

        return start

    with pytest.raises(DataError, match="a worker process died"), executor("process", 1) as run:
        make(source, tmp_path / "out", run=deadly(run))
    # Nothing was finished, so there is nothing to keep.
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_link_across_file_systems_is_an_error_that_says_so(
    source: Input, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def across(*_: Any, **__: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", across)
    with pytest.raises(DataError, match=r"cannot be hard-linked.*Invalid cross-device link.*leave --link out"):
        make(source, tmp_path / "out", link=True)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
