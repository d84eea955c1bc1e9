"""Verifying sources.jsonl: whatever is changed in it, or in what must agree with it, is found and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from augment.operations.parameters import Copy, Original, Pixel, Recipe
from augment.verify.dataset import Verified
from datasets.errors import DataError
from datasets.sources import Input
from tests.protocols import Draw, Edit, Make

Check = Callable[[Path], Verified]
Faults = Callable[[Path], list[str]]
Lines = list[dict[str, Any]]
Sign = Callable[[Path], None]

# The sources of the drawn dataset: ids 7, 3, 12, 20, 21, 30, 31, 40; 21 is the one whose EXIF tag was taken out.
Rewrite = Callable[[Path, Callable[[Lines], Any]], None]


@pytest.fixture
def rewrite(sign: Sign, edit: Edit) -> Rewrite:
    """rewrite(folder, change): change the lines of sources.jsonl in place, and give it good digests everywhere."""

    def rewritten(folder: Path, change: Callable[[Lines], Any]) -> None:
        path = folder / "sources.jsonl"
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        change(lines)
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
        endorse(folder, edit, sign)

    return rewritten


def endorse(folder: Path, edit: Edit, sign: Sign) -> None:
    """Have the manifest and SHA256SUMS name the digest of sources.jsonl as it is."""
    sign(folder)
    sums = (folder / "SHA256SUMS").read_text().splitlines()
    (digest,) = (line[:64] for line in sums if line.endswith("  sources.jsonl"))
    edit(folder, lambda m: m.update(sources_sha256=digest), "manifest.json")


def test_a_change_without_a_signature_is_found_by_its_digest(copied: Callable[[str], Path], faults: Faults) -> None:
    folder = copied("expanded")
    path = folder / "sources.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"input":0', b'"input": 0', 1))
    (fault,) = faults(folder)
    assert fault.startswith("sources.jsonl: expected the digest ")


def test_a_change_that_was_signed_is_found_by_the_manifest(
    copied: Callable[[str], Path], faults: Faults, sign: Sign
) -> None:
    folder = copied("expanded")
    path = folder / "sources.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"input":0', b'"input": 0', 1))
    sign(folder)
    (fault,) = faults(folder)
    assert fault.startswith("manifest.json sources_sha256: expected ")


def spoil_three(lines: Lines) -> None:
    lines[0]["sha256"] = "A" * 64
    del lines[3]["id"]
    lines.append({})


# What to change in the lines of `expanded`, and the problems that must be named, all of them.
CHANGES: dict[str, tuple[Callable[[Lines], Any], list[str]]] = {
    "a line that is gone": (
        lambda lines: lines.pop(2),
        ["sources.jsonl: expected a line for source 12 of input 0, 'grey.jpg', found none"],
    ),
    "the last two gone": (
        lambda lines: lines.__delitem__(slice(-2, None)),
        [
            "sources.jsonl: expected a line for source 31 of input 0, 'größe.png', found none",
            "sources.jsonl: expected a line for source 40 of input 0, 'many.jpg', found none",
        ],
    ),
    "all gone": (
        lambda lines: lines.clear(),
        [f"sources.jsonl: expected a line for source {id_} of input 0" for id_ in (7, 3, 12, 20, 21, 30, 31, 40)],
    ),
    "a strange source": (
        lambda lines: lines.insert(2, {**lines[2], "id": 99}),
        ["sources.jsonl line 3: expected a source of the images in annotations/instances.json, found source 99 of"],
    ),
    "a line twice": (
        lambda lines: lines.append(lines[0]),
        ["sources.jsonl line 9: expected one line for each source, found another for source 7 of input 0"],
    ),
    "two that changed places": (
        lambda lines: lines.insert(0, lines.pop(1)),
        ["sources.jsonl line 2: expected the order of the images, found source 7 of input 0 behind a later one"],
    ),
    "another name": (
        lambda lines: lines[1].update(file_name="wide.jpg"),
        ["sources.jsonl line 2.file_name: expected 'sub/wide.jpg' for source 3 of input 0, found 'wide.jpg'"],
    ),
    "an input that there is not": (
        lambda lines: lines.append({**lines[0], "input": 10**12}),
        ["sources.jsonl line 9.input: expected one of 1 inputs, found 1000000000000"],
    ),
    "another digest": (
        lambda lines: lines[0].update(sha256="0" * 64),
        [
            "images/000000001_tall_original.jpg: expected its source's digest, 000000000000... in sources.jsonl line 1",
            "manifest.json inputs[0].images_sha256: expected ",
        ],
    ),
    "another digest of a source whose copy differs from it": (
        lambda lines: lines[4].update(sha256="0" * 64),
        ["manifest.json inputs[0].images_sha256: expected "],
    ),
    "lines that are none": (
        spoil_three,
        [
            "sources.jsonl line 1.sha256: Expected `str` matching regex",
            "sources.jsonl line 4: Object missing required field `id`",
            "sources.jsonl line 9: Object missing required field `input`",
        ],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_everything_agrees_with_is_found(
    copied: Callable[[str], Path], faults: Faults, rewrite: Rewrite, change: str
) -> None:
    folder = copied("expanded")
    act, expected = CHANGES[change]
    rewrite(folder, act)
    found = faults(folder)
    assert len(found) == len(expected)
    for fault, beginning in zip(found, expected, strict=True):
        assert fault.startswith(beginning)


def test_many_faults_are_counted_and_the_first_are_shown(
    copied: Callable[[str], Path], check: Check, rewrite: Rewrite
) -> None:
    folder = copied("expanded")
    rewrite(folder, lambda lines: lines.extend({**lines[0], "id": 1000 + n} for n in range(500)))
    with pytest.raises(DataError, match=r"500 problem\(s\)") as caught:
        check(folder)
    assert len(caught.value.problems) == 20


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[" * 10_000 + b"\n", b"x" * 2**20])
def test_whatever_stands_there_is_named(
    copied: Callable[[str], Path], faults: Faults, edit: Edit, sign: Sign, content: bytes
) -> None:
    folder = copied("expanded")
    (folder / "sources.jsonl").write_bytes(content)
    endorse(folder, edit, sign)
    (fault,) = faults(folder)
    assert fault.startswith("sources.jsonl line 1: ")
    assert len(fault) < 300


def test_a_build_without_it_is_not_good(copied: Callable[[str], Path], faults: Faults, sign: Sign) -> None:
    folder = copied("expanded")
    (folder / "sources.jsonl").unlink()
    missing = "sources.jsonl: expected the source images of a build, found: No such file or directory"
    assert faults(folder) == [missing]
    sign(folder)
    assert faults(folder) == ["sources.jsonl: expected a digest in SHA256SUMS, found none", missing]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda m: m["inputs"][0].update(images=7), "manifest.json inputs[0].images: expected 8, the lines of"),
        (lambda m: m["inputs"][0].update(images_sha256="0" * 64), "manifest.json inputs[0].images_sha256: expected "),
        (lambda m: m.update(sources_sha256="0" * 64), "manifest.json sources_sha256: expected "),
        (lambda m: m.update(repairs={}), "images/000000025_exif-to-ignore_original.jpg: expected its source's digest"),
    ],
)
def test_a_manifest_that_says_otherwise_is_found(
    copied: Callable[[str], Path], faults: Faults, edit: Edit, change: Callable[[Any], Any], fault: str
) -> None:
    folder = copied("expanded")
    edit(folder, change, "manifest.json")
    (found,) = faults(folder)
    assert found.startswith(fault)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("inputs"),
        lambda m: m.update(inputs={}),
        lambda m: m["inputs"][0].pop("images_sha256"),
        lambda m: m.pop("sources_sha256"),
        lambda m: m.update(repairs=[]),
    ],
)
def test_a_manifest_that_does_not_speak_of_sources_is_refused(
    copied: Callable[[str], Path], check: Check, edit: Edit, change: Callable[[Any], Any]
) -> None:
    folder = copied("balanced")
    edit(folder, change, "manifest.json")
    with pytest.raises(DataError, match=r"manifest\.json: expected what the build was made of: "):
        check(folder)


def test_an_original_that_was_exchanged_and_signed_is_found(
    copied: Callable[[str], Path], faults: Faults, sign: Sign
) -> None:
    folder = copied("balanced")
    original = folder / "images" / "000000001_tall_original.jpg"
    original.write_bytes(original.read_bytes() + b"\0")
    sign(folder)
    (fault,) = faults(folder)
    assert fault.startswith(f"images/{original.name}: expected its source's digest, ")


def test_of_two_files_of_a_name_only_the_one_that_was_turned_may_differ(
    draw: Draw, make: Make, check: Check, faults: Faults, sign: Sign, tmp_path: Path
) -> None:
    source = draw(tmp_path / "data", only=(7, 21))
    document = json.loads(source.annotations.read_bytes())
    document["images"][0]["file_name"] = "sub/exif to ignore.jpg"
    source.annotations.write_text(json.dumps(document))
    (source.images / "sub").mkdir()
    (source.images / "tall.jpg").rename(source.images / "sub" / "exif to ignore.jpg")
    make(source, tmp_path / "out", Recipe(name="originals", operations=(Original(),)))
    check(tmp_path / "out")
    for path in sorted((tmp_path / "out" / "images").iterdir()):
        path.write_bytes(path.read_bytes() + b"\0")
    sign(tmp_path / "out")
    (fault,) = faults(tmp_path / "out")
    assert fault.startswith("images/000000001_exif-to-ignore_original.jpg: expected its source's digest, ")


def test_sources_without_images_are_checked_by_their_digest_and_number(
    drawn: Input, make: Make, faults: Faults, rewrite: Rewrite, tmp_path: Path
) -> None:
    """Of these, only image 31 has copies."""
    copies = Recipe(name="copies", operations=(Copy(),))
    changes: list[tuple[Callable[[Lines], Any], list[str]]] = [
        (lambda lines: lines[0].update(sha256="0" * 64), ["images_sha256"]),
        (lambda lines: lines[0].update(file_name="b.jpg"), ["images_sha256"]),
        (lambda lines: lines.pop(0), ["images: expected 7", "images_sha256"]),
        (lambda lines: lines.insert(0, lines.pop(1)), ["images_sha256"]),
        (lambda lines: lines.append({**lines[0], "id": 99}), ["images: expected 9", "images_sha256"]),
        (lambda lines: lines.append(lines[0]), ["line 9: expected one line for each source"]),
        (lambda lines: lines.pop(6), ["expected a line for source 31"]),
    ]
    for number, (act, expected) in enumerate(changes):
        make(drawn, tmp_path / str(number), copies)
        rewrite(tmp_path / str(number), act)
        found = faults(tmp_path / str(number))
        assert len(found) == len(expected), number
        assert all(part in fault for fault, part in zip(found, expected, strict=True)), number


def test_lines_of_inputs_out_of_their_order_are_found(
    draw: Draw, make: Make, faults: Faults, rewrite: Rewrite, tmp_path: Path
) -> None:
    make([draw(tmp_path / "a", only=(7, 12)), draw(tmp_path / "b", only=(7,))], tmp_path / "out")
    rewrite(tmp_path / "out", lambda lines: lines.insert(0, lines.pop()))
    (fault,) = faults(tmp_path / "out")
    assert fault == (
        "sources.jsonl line 2: expected the order of the images, found source 7 of input 0 behind a later one"
    )


def test_without_originals_sources_are_checked_by_the_image_records(
    drawn: Input, make: Make, faults: Faults, rewrite: Rewrite, tmp_path: Path
) -> None:
    make(drawn, tmp_path / "out", Recipe(name="pixels", operations=(Pixel(),)))
    rewrite(tmp_path / "out", lambda lines: lines[0].update(id=99))
    assert [fault.partition(", found")[0] for fault in faults(tmp_path / "out")] == [
        "sources.jsonl line 1: expected a source of the images in annotations/instances.json",
        "sources.jsonl: expected a line for source 7 of input 0, 'tall.jpg'",
    ]
