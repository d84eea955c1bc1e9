"""sources.jsonl of a build: its source images with the SHA-256 of their files, one JSON object a line.

{"input":0,"id":9,"file_name":"000000000009.jpg","sha256":"..."}
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec

from datasets.errors import DataError, Problems
from datasets.parsing import explain
from datasets.records import Id

# A path of 4,096 bytes, each escaped as \u0000, with room for the other keys.
_MAX_LINE = 1 << 15
_SHOWN = 80


class SourceDigest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A source image: the index of its input, its id and file name there, and the SHA-256 of its file."""

    input: Annotated[int, msgspec.Meta(ge=0)]
    id: Id
    file_name: Annotated[str, msgspec.Meta(min_length=1)]
    # Not `$`, which also matches before a line break.
    source_sha256: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")] = msgspec.field(name="sha256")


_decoder = msgspec.json.Decoder(SourceDigest)
_encoder = msgspec.json.Encoder()


def json_line(line: SourceDigest) -> bytes:
    """A line of the file, line break included."""
    return _encoder.encode(line) + b"\n"


def read_source_digests(path: Path) -> list[SourceDigest]:
    """All lines, in order. Raises DataError with every invalid line, and why."""
    problems = Problems()
    digests = [line for _, line in iterate_source_digests(path, problems)]
    problems.raise_if_any(f"{path}: {{n}} line(s) that are no source image with its digest")
    return digests


def iterate_source_digests(path: Path, problems: Problems) -> Iterator[tuple[int, SourceDigest]]:
    """(line number, source digest) of each line, in constant memory; invalid lines go to `problems`.

    Raises DataError where the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(_MAX_LINE):
                number += 1
                where = f"{path.name} line {number}"
                if line.endswith(b"\n"):
                    parsed = _parsed(line, where, problems)
                    if parsed is not None:
                        yield number, parsed
                elif _skip_line(file):
                    problems.add(f"{where}: expected at most {_MAX_LINE:,} bytes, found more: {_shown(line)}")
                else:
                    problems.add(f"{where}: expected a whole line, found the end of the file: {_shown(line)}")
    except OSError as error:
        raise DataError(f"{path}: expected the source images of a build, found: {error.strerror}") from None


def _parsed(line: bytes, where: str, problems: Problems) -> SourceDigest | None:
    try:
        return _decoder.decode(line)
    except msgspec.ValidationError as error:
        problems.add(explain(error, msgspec.Raw(line), where))
    except (ValueError, RecursionError) as error:
        problems.add(f"{where}: expected a JSON object, found {_shown(line)} ({error})")
    return None


def _skip_line(file: BinaryIO) -> bool:
    """Skip the rest of a partly read line; whether there was any."""
    more = False
    while (rest := file.readline(_MAX_LINE)) and not rest.endswith(b"\n"):
        more = True
    return more or bool(rest)


def _shown(line: bytes) -> str:
    text = line.rstrip(b"\r\n").decode("utf-8", "replace")
    return repr(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}...")
