"""What results were made by: a small JSON file beside a results file, RESULTS.provenance.json for RESULTS.json.

COCO's results format is a bare list with no room for this, and other tools must be able to read it. Results without
such a file are taken as they are: nothing is known of them then, and that is said.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from datasets.digests import sha256_file
from datasets.errors import DataError
from datasets.records import Image
from datasets.seen import ids_in, trained_on
from datasets.staging import write_durably

SUFFIX = ".provenance.json"


class MadeBy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A checkpoint that predicted. `epoch` may be a part of one; `settings` are KEY VALUE texts as they were given.

    `not_trained_on` are categories of its data that it does not know.
    """

    checkpoint: str
    sha256: str
    model: str
    epoch: float
    from_scratch: bool
    tta: bool = False
    raw: bool = False
    not_trained_on: tuple[str, ...] = ()
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
    text = json.dumps(msgspec.to_builtins(provenance), indent=1, allow_nan=False)
    write_durably(path_of(results), f"{text}\n")


def forget(results: Path) -> None:
    """Remove what stands beside `results` of earlier ones."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path_of(results).unlink()


class Told(NamedTuple):
    """What the user says that models were trained on: the ids of such images, and why there may be more."""

    seen: frozenset[int] = frozenset()
    doubt: str = ""


def told(places: Sequence[Path], images: Sequence[Image], folder: Path | None) -> Told | None:
    """The images among those of the training data at `places` (see `seen.trained_on`); None where none is named.

    Raises DataError for places that are no training data.
    """
    if not places:
        return None
    data = trained_on(places)
    doubt = "compared by name only, for want of --images" if data.digests and folder is None else ""
    return Told(ids_in(data, images, folder), doubt)


def read(results: Path, told: Told | None = None) -> Known:
    """What stands beside results, and what the user told of them.

    Raises DataError for a file that is damaged; one that is missing, or speaks of other results, says nothing.
    """
    path = path_of(results)
    if results.is_symlink() and not path.exists():
        # A link to results is written through (`datasets.outputs`), so that this stands beside the file itself.
        path = path_of(results.resolve())
    found: Provenance | None = None
    doubt = ""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Provenance, strict=True)
    except FileNotFoundError:
        doubt = f"no {path.name}"
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected what `python -m train predict` writes beside results: {error}") from None
    if found is not None and found.results_sha256 != sha256_file(results):
        found, doubt = None, f"{path.name} speaks of other results"
    if found is not None and not found.complete:
        doubt = "part of its training is not on record"
    seen = frozenset(found.seen_in_training) if found is not None else frozenset[int]()
    return Known(found, seen, doubt) if told is None else Known(found, seen | told.seen, told.doubt)


def notes(known: Iterable[tuple[Path, Known]]) -> list[str]:
    """Lines on results of which nobody knows whether their images had been trained on, and on categories that a model
    does not know, if there are any such."""
    pairs = list(known)
    doubts = [f"{path.name}: {item.doubt}" for path, item in pairs if item.doubt]
    lines = [f"seen in training or not is unknown ({'; '.join(doubts)}); --trained-on names the data"] if doubts else []
    for path, item in pairs:
        for model in item.provenance.models if item.provenance else ():
            if model.not_trained_on:
                count = len(model.not_trained_on)
                lines.append(f"{path.name}: {count} categories were not trained on; they count with what was not found")
    return list(dict.fromkeys(lines))


def joined(results_sha256: str, images: int, parts: Iterable[Known]) -> Provenance:
    """That of results that were made of several ones', all on the same `images` images."""
    known = list(parts)
    made = [part.provenance for part in known if part.provenance is not None]
    return Provenance(
        results_sha256=results_sha256,
        models=tuple(model for part in made for model in part.models),
        images=images,
        seen_in_training=tuple(sorted({id_ for part in known for id_ in part.seen})),
        complete=not any(part.doubt for part in known),
    )
