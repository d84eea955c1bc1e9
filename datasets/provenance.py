"""What results were made by: a small JSON file beside a results file, RESULTS.provenance.json for RESULTS.json.

COCO's results format is a bare list with no room for this, and other tools must be able to read it. Results without
such a file are taken as they are: nothing is known of them then, and that is said.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from datasets.errors import DataError
from datasets.seen import sha256_file

SUFFIX = ".provenance.json"


class MadeBy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A checkpoint that predicted. `epoch` may be a part of one; `settings` are KEY VALUE texts as they were given."""

    checkpoint: str
    sha256: str
    model: str
    epoch: float
    from_scratch: bool
    tta: bool = False
    raw: bool = False
    settings: tuple[str, ...] = ()


class Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`seen_in_training` are the ids of the images, of those predicted on, that a training had seen; `complete` is
    False where a model was trained on something that nobody wrote down."""

    results_sha256: str
    models: tuple[MadeBy, ...]
    images: int
    seen_in_training: tuple[int, ...]
    complete: bool
    format: Literal[1] = 1


class Known(NamedTuple):
    """What is known of results: `seen` are ids of images trained on, `doubt` says why there may be more."""

    provenance: Provenance | None = None
    seen: frozenset[int] = frozenset()
    doubt: str = ""


def path_of(results: Path) -> Path:
    return results.with_name(results.name.removesuffix(".json") + SUFFIX)


def write(results: Path, provenance: Provenance) -> None:
    """Beside `results`, at once or not at all."""
    path = path_of(results)
    temporary = path.with_name(f"{path.name}.tmp")
    text = json.dumps(msgspec.to_builtins(provenance), indent=1, ensure_ascii=False, allow_nan=False)
    try:
        temporary.write_text(f"{text}\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def forget(results: Path) -> None:
    """Remove what stands beside `results` of earlier ones, before they are replaced."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path_of(results).unlink()


def read(results: Path, trained_on: frozenset[int] | None = None) -> Known:
    """What stands beside results, and the images that the user says were `trained_on`.

    Raises DataError for a file that is damaged; one that is missing, or speaks of other results, says nothing.
    """
    path = path_of(results)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Provenance, strict=True)
    except FileNotFoundError:
        return Known(seen=trained_on or frozenset(), doubt="" if trained_on is not None else f"no {path.name}")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected what `python -m train predict` writes beside results: {error}") from None
    if found.results_sha256 != sha256_file(results):
        doubt = "" if trained_on is not None else f"{path.name} speaks of other results"
        return Known(seen=trained_on or frozenset(), doubt=doubt)
    seen = frozenset(found.seen_in_training) | (trained_on or frozenset())
    is_all = found.complete or trained_on is not None
    return Known(found, seen, "" if is_all else "part of its training is not on record")


def doubts(known: Iterable[tuple[Path, Known]]) -> list[str]:
    """A line on the results of which nobody knows whether their images had been trained on, if there are any."""
    found = [f"{path.name}: {item.doubt}" for path, item in known if item.doubt]
    return [f"seen in training or not is unknown ({'; '.join(found)}); --trained-on names the data"] if found else []


def joined(results: Path, images: int, parts: Iterable[Known]) -> Provenance:
    """That of results that were made of several ones', all on the same `images` images."""
    known = list(parts)
    made = [part.provenance for part in known if part.provenance is not None]
    return Provenance(
        results_sha256=sha256_file(results),
        models=tuple(model for part in made for model in part.models),
        images=images,
        seen_in_training=tuple(sorted({id_ for part in known for id_ in part.seen})),
        complete=not any(part.doubt for part in known),
    )
