"""sources.jsonl: what a build writes is read, and whatever else stands there is named, line by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from datasets.build_layout import SOURCES
from datasets.errors import SHOWN, DataError, Problems
from datasets.source_digests import SourceDigest, iterate_source_digests, json_line, read_source_digests

GOOD: dict[str, Any] = {"input": 0, "id": 9, "file_name": "000000000009.jpg", "sha256": "0123456789abcdef" * 4}


def line(**changed: object) -> bytes:
    return json.dumps({**GOOD, **changed}).encode() + b"\n"


def write(folder: Path, *lines: bytes) -> Path:
    path = folder / SOURCES
    path.write_bytes(b"".join(lines))
    return path


def faults(path: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        read_source_digests(path)
    assert str(path) in caught.value.headline
    return caught.value.problems


def test_a_line_is_compact_and_has_its_keys_in_order() -> None:
    digest = SourceDigest(input=1, id=-7, file_name="größe\n.jpg", source_sha256="a" * 64)
    expected = '{"input":1,"id":-7,"file_name":"größe\\n.jpg","sha256":"' + "a" * 64 + '"}\n'
    assert json_line(digest) == expected.encode()


@pytest.mark.parametrize("name", ["a.jpg", "sub/größe 猫.jpg", "two\nlines.jpg", "u\u2028.jpg", "\x01" * 4096, '"\\'])
def test_what_is_written_is_read_in_its_order(tmp_path: Path, name: str) -> None:
    digests = [
        SourceDigest(input=number, id=9 - number, file_name=name, source_sha256=f"{number:064x}") for number in range(3)
    ]
    path = write(tmp_path, *map(json_line, digests))
    assert read_source_digests(path) == digests
    assert list(iterate_source_digests(path, Problems())) == list(enumerate(digests, start=1))


def test_no_lines_are_no_sources(tmp_path: Path) -> None:
    assert read_source_digests(write(tmp_path)) == []


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (b"\n", "expected a JSON object, found ''"),
        (b"{\n", "expected a JSON object, found '{'"),
        (line().replace(b"0009.jpg", b"\xff.jpg"), "expected a JSON object, found '{"),
        (line(file_name="\ud800.jpg"), "expected a JSON object, found '{"),
        (b"[]\n", "Expected `object`, got `array`, found []"),
        (b"{}\n", "Object missing required field `input`, found {}"),
        (b'{"input": 0, "id": 9, "file_name": "a.jpg"}\n', "Object missing required field `sha256`, found {"),
        (line(more=1), "Object contains unknown field `more`, found {"),
        (line(input=-1), "Expected `int` >= 0, found -1"),
        (line(input=True), "Expected `int`, got `bool`, found true"),
        (line(id="9"), 'Expected `int`, got `str`, found "9"'),
        (line(id=2**53 + 1), "Expected `int` <= 9007199254740992, found 9007199254740993"),
        (line(file_name=None), "Expected `str`, got `null`, found null"),
        (line(file_name=""), 'Expected `str` of length >= 1, found ""'),
        (line(sha256="A" * 64), "Expected `str` matching regex"),
        (line(sha256="a" * 63), "Expected `str` matching regex"),
        (line(sha256="a" * 65), "Expected `str` matching regex"),
        (line(sha256="a" * 64 + "\n"), "Expected `str` matching regex"),
        (line(sha256=f"sha256:{'a' * 57}"), "Expected `str` matching regex"),
        (b'{"input":' + b"[" * 10_000 + b"]" * 10_000 + b"}\n", "Expected `int`, got `array`"),
        (b'{"more":' + b"[" * 10_000 + b"\n", "Object contains unknown field `more`"),
        (b" " * 2**15 + line(), "expected at most 32,768 bytes, found more"),
        (b"x" * 2**17 + b"\n", "expected at most 32,768 bytes, found more: 'xxx"),
    ],
)
def test_a_line_that_is_no_source_is_named_and_the_others_are_read(tmp_path: Path, bad: bytes, expected: str) -> None:
    path = write(tmp_path, line(), bad, line(id=10))
    (fault,) = faults(path)
    assert fault.startswith("sources.jsonl line 2")
    assert expected in fault
    assert len(fault) < 300
    assert [(number, digest.id) for number, digest in iterate_source_digests(path, Problems())] == [(1, 9), (3, 10)]


def test_a_file_that_was_cut_short_is_named(tmp_path: Path) -> None:
    (fault,) = faults(write(tmp_path, line(), line()[:-1]))
    assert fault.startswith("sources.jsonl line 2: expected a whole line, found the end of the file: '{")
    (fault,) = faults(write(tmp_path, line(), b"x" * 2**17))
    assert fault.startswith("sources.jsonl line 2: expected at most 32,768 bytes, found more: 'xxx")


def test_all_bad_lines_are_counted_and_the_first_are_shown(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"sources\.jsonl: 30 line\(s\) that are no source image") as caught:
        read_source_digests(write(tmp_path, *[b"{}\n"] * 30))
    assert (len(caught.value.problems), caught.value.count) == (SHOWN, 30)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name, found in (("none", "No such file or directory"), ("folder", "Is a directory")):
        with pytest.raises(DataError, match=f"{name}: expected the source images of a build, found: {found}"):
            read_source_digests(tmp_path / name)
