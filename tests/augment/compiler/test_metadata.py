"""sources.jsonl: every source image that a build is made of, with the SHA-256 of its file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from augment.executors.local import executor
from augment.operations.parameters import Copy, Original, Pixel, Recipe
from augment.verify.dataset import Verified
from datasets.checks import Leniency
from datasets.source_digests import SourceDigest, read_source_digests
from datasets.sources import Input
from tests.protocols import Draw, Make

Check = Callable[[Path], Verified]
Tree = Callable[[Path], dict[str, bytes]]


def sources_of(*inputs: Input) -> list[SourceDigest]:
    """What must stand there: the images of the annotation files, in their order, with the digests of the files."""
    return [
        SourceDigest(
            input=number,
            id=image["id"],
            file_name=image["file_name"],
            source_sha256=hashlib.sha256((item.images / image["file_name"]).read_bytes()).hexdigest(),
        )
        for number, item in enumerate(inputs)
        for image in json.loads(item.annotations.read_bytes())["images"]
    ]


@pytest.mark.parametrize("name", ["expanded", "balanced", "everything"])
def test_every_source_has_a_line_in_the_order_of_the_input(
    built: Callable[[str], Path], drawn: Input, name: str
) -> None:
    found = read_source_digests(built(name) / "sources.jsonl")
    assert found == sources_of(drawn)
    # Also that of which the copy has another EXIF tag: the digest is of the source's own file.
    assert [origin.id for origin in found] == [7, 3, 12, 20, 21, 30, 31, 40]


def test_lines_are_compact_json(built: Callable[[str], Path]) -> None:
    lines = (built("expanded") / "sources.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    for line in lines:
        assert line == json.dumps(json.loads(line), ensure_ascii=False, separators=(",", ":")) + "\n"
    assert list(json.loads(lines[0])) == ["input", "id", "file_name", "sha256"]
    assert '"größe.png"' in lines[6]


def test_a_source_without_images_has_a_line_too(drawn: Input, make: Make, check: Check, tmp_path: Path) -> None:
    """The one toothbrush, of image 31, is copied: 8 images, target 4. Nothing else is."""
    make(drawn, tmp_path / "out", Recipe(name="copies", operations=(Copy(),)))
    images = json.loads((tmp_path / "out" / "annotations" / "instances.json").read_bytes())["images"]
    assert {image["source_id"] for image in images} == {31}
    assert read_source_digests(tmp_path / "out" / "sources.jsonl") == sources_of(drawn)
    assert check(tmp_path / "out").images == len(images) == 4


def test_without_originals_the_lines_are_the_same(drawn: Input, make: Make, tmp_path: Path) -> None:
    make(drawn, tmp_path / "out", Recipe(name="pixels", operations=(Pixel(),)))
    assert read_source_digests(tmp_path / "out" / "sources.jsonl") == sources_of(drawn)


def test_two_inputs_are_told_apart(draw: Draw, make: Make, tmp_path: Path) -> None:
    first, second = draw(tmp_path / "a", only=(7, 12)), draw(tmp_path / "b", only=(7, 31))
    (second.images / "tall.jpg").write_bytes((second.images / "tall.jpg").read_bytes() + b"second")
    make([first, second], tmp_path / "out")
    found = read_source_digests(tmp_path / "out" / "sources.jsonl")
    assert found == sources_of(first, second)
    assert len({origin.source_sha256 for origin in found}) == 4


def test_what_is_left_out_has_no_line(draw: Draw, make: Make, tmp_path: Path) -> None:
    source = draw(tmp_path / "data")
    expected = [origin for origin in sources_of(source) if origin.id != 12]
    (source.images / "grey.jpg").write_bytes(b"no picture")
    make(source, tmp_path / "skipped", leniency=Leniency(skip_bad=True))
    assert read_source_digests(tmp_path / "skipped" / "sources.jsonl") == expected
    make(source, tmp_path / "limited", limit=2)
    assert read_source_digests(tmp_path / "limited" / "sources.jsonl") == expected[:2]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_build_that_goes_on_with_other_workers_ends_with_the_same_bytes(
    drawn: Input, built: Callable[[str], Path], make: Make, tree: Tree, tmp_path: Path, workers: int
) -> None:
    def stop(what: str, done: int, of: int) -> None:
        if what == "rendering" and done == of - 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(drawn, tmp_path / "out", "balanced", progress=stop)
    # As a build leaves it that is killed in the middle of a line.
    path: Any = tmp_path / "out.partial" / "dataset" / "sources.jsonl"
    path.write_bytes(path.read_bytes()[:-100])
    with executor("process", workers) as run:
        assert make(drawn, tmp_path / "out", "balanced", run=run).kept == 5
    assert tree(tmp_path / "out") == tree(built("balanced"))


def test_originals_alone_say_the_same_as_their_sums(draw: Draw, make: Make, tmp_path: Path) -> None:
    source = draw(tmp_path / "data", only=(7, 12, 31))
    make(source, tmp_path / "out", Recipe(name="originals", operations=(Original(),)))
    sums = (tmp_path / "out" / "SHA256SUMS").read_text().splitlines()
    assert [line[:64] for line in sums[:3]] == [origin.source_sha256 for origin in sources_of(source)]
