"""The provenance of results files: RESULTS.provenance.json beside RESULTS.json, with models and images trained on.

COCO's results format is a bare list with no room for this, and other tools must be able to read it. Results without
such a file are accepted; their provenance is then reported as unknown.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
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
    """A checkpoint that predicted. `epoch` may be fractional.

    `settings` are what --tile and --amp set, and then the KEY VALUE overrides as given. `not_trained_on`
    are the categories of the images' annotation file that the model was not trained on.
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
    """The content of a provenance file.

    `seen_in_training` are the ids of those of the predicted images that were trained on; `complete` is False where
    part of a model's training is not on record.
    """

    results_sha256: str
    models: tuple[MadeBy, ...]
    images: int
    seen_in_training: tuple[int, ...]
    complete: bool
    format: Literal[1] = 1


class ResultsProvenance(NamedTuple):
    """The provenance of one results file.

    `recorded` is the content of its provenance file, `seen` the ids of images that were trained on, recorded or
    declared; `doubt` is empty, or the reason why there may be more.
    """

    recorded: Provenance | None = None
    seen: frozenset[int] = frozenset()
    doubt: str = ""


def path_of(results: Path) -> Path:
    """RESULTS.provenance.json for RESULTS.json."""
    return results.with_name(results.name.removesuffix(".json") + SUFFIX)


def write(results: Path, provenance: Provenance) -> None:
    """Write the provenance file of `results` atomically."""
    text = json.dumps(msgspec.to_builtins(provenance), indent=1, allow_nan=False)
    write_durably(path_of(results), f"{text}\n")


def remove(results: Path) -> None:
    """Remove the provenance file of earlier results at this path."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path_of(results).unlink()


class DeclaredTraining(NamedTuple):
    """Training data that the user declared by --trained-on: the ids of its images, and why there may be more."""

    seen: frozenset[int] = frozenset()
    doubt: str = ""


def declared_training(paths: Sequence[Path], images: Sequence[Image], folder: Path | None) -> DeclaredTraining | None:
    """Which of `images` are among those of the training data at `paths` (see `seen.trained_on`); None without paths.

    `folder` is that of the images, so that they are also compared by content. Raises DataError for paths that are no
    training data.
    """
    if not paths:
        return None
    data = trained_on(paths)
    doubt = "compared by name only, for want of --images" if data.digests and folder is None else ""
    return DeclaredTraining(ids_in(data, images, folder), doubt)


def read(
    results: Path, declared: DeclaredTraining | None = None, ids: Mapping[int, int] | None = None
) -> ResultsProvenance:
    """The provenance of a results file: its provenance file, and what the user declared.

    `ids` are the dataset's by those of the file, where these differ. A provenance file that is missing, or that
    describes other results, makes the provenance doubtful. Raises DataError for one that is damaged.
    """
    path = path_of(results)
    if results.is_symlink() and not path.exists():
        # A link to results is written through (`datasets.outputs`), so that this stands beside the file itself.
        path = path_of(results.resolve())
    recorded: Provenance | None = None
    doubt = ""
    try:
        recorded = msgspec.json.decode(path.read_bytes(), type=Provenance, strict=True)
    except FileNotFoundError:
        doubt = f"no {path.name}"
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected what `python -m train predict` writes beside results: {error}") from None
    if recorded is not None and recorded.results_sha256 != sha256_file(results):
        recorded, doubt = None, f"{path.name} describes other results"
    if recorded is not None and not recorded.complete:
        doubt = "part of its training is not on record"
    ids = ids or {}
    seen = frozenset(ids.get(id_, id_) for id_ in recorded.seen_in_training) if recorded is not None else frozenset()
    return (
        ResultsProvenance(recorded, seen, doubt)
        if declared is None
        else ResultsProvenance(recorded, seen | declared.seen, declared.doubt)
    )


def notes(results: Iterable[tuple[Path, ResultsProvenance]]) -> list[str]:
    """Lines for the user: results of doubtful provenance, and categories that a model was not trained on."""
    pairs = list(results)
    doubts = [f"{path.name}: {item.doubt}" for path, item in pairs if item.doubt]
    lines = [f"seen in training or not is unknown ({'; '.join(doubts)}); --trained-on names the data"] if doubts else []
    for path, item in pairs:
        for model in item.recorded.models if item.recorded else ():
            if model.not_trained_on:
                count = len(model.not_trained_on)
                lines.append(f"{path.name}: {count} categories were not trained on; they count with what was not found")
    return list(dict.fromkeys(lines))


def joined(results_sha256: str, images: int, parts: Iterable[ResultsProvenance]) -> Provenance:
    """The provenance of results fused from `parts`, all on the same `images` images."""
    all_parts = list(parts)
    made = [part.recorded for part in all_parts if part.recorded is not None]
    return Provenance(
        results_sha256=results_sha256,
        models=tuple(model for part in made for model in part.models),
        images=images,
        seen_in_training=tuple(sorted({id_ for part in all_parts for id_ in part.seen})),
        complete=not any(part.doubt for part in all_parts),
    )
