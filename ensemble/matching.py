"""Matching results files to the models of a recipe, by name, not by position.

A recipe is tuned on one split and used on another, so file names differ in the name of the split only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from datasets.errors import DataError
from datasets.result_names import NUMBERINGS, Numbering
from ensemble.recipe import Model, Recipe

# Words of a file name that name a split.
SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval", "minival"})
# Parent folders that may tell models apart, as in runs/r50/val.json.
DEPTH = 5

_WORD = re.compile(r"[^\W_]+")


class Given(NamedTuple):
    """A value of --results: FILE, or NAME=FILE with the recipe's name of the model."""

    path: Path
    name: str = ""


def parse(text: str) -> Given:
    """Parses FILE or NAME=FILE; a file whose own name has an `=` wins."""
    name, equals, path = text.partition("=")
    return Given(Path(path), name) if equals and name and path and not Path(text).exists() else Given(Path(text))


def numberings(texts: Sequence[str], paths: Sequence[Path], chosen: Recipe) -> list[Numbering]:
    """How each file numbers its categories: by the last [FILE=]HOW of `texts` that applies, else by the recipe.

    Raises DataError for a malformed text.
    """
    numbered: list[Numbering] = [model.categories for model in chosen.models] or ["ids"] * len(paths)
    problems = []
    for text in texts:
        file, _, name = text.rpartition("=")
        places = [at for at, path in enumerate(paths) if file in ("", str(path), path.name, path.stem)]
        how = next((numbering for numbering in NUMBERINGS if numbering == name), None)
        if how is None or not places:
            problems.append(f"{text}: expected HOW or FILE=HOW, of a results file and {', '.join(NUMBERINGS)}")
            continue
        for index in places:
            numbered[index] = how
    if problems:
        raise DataError("--category-ids: how results files number their categories", problems)
    return numbered


def ordered(chosen: Recipe, recipe_path: Path, given: Sequence[Given]) -> Recipe:
    """The recipe with its models in the order of the given files.

    Raises DataError where the recipe has another number of models, or where the names leave the match ambiguous.
    """
    models = chosen.models
    if not models:
        named = [item.name for item in given if item.name]
        if named:
            raise DataError(f"{recipe_path}: expected a recipe that names its models, found none for {named[0]!r}")
        return chosen
    chosen.weights(len(given), name=str(recipe_path))
    if len({(model.weight, model.categories) for model in models}) == 1:
        return chosen
    places = _by_name(models, given, recipe_path) if any(item.name for item in given) else None
    if places is None:
        folder = recipe_path.parent
        places = _match([folder / model.results for model in models], [item.path for item in given])
    if places is None:
        raise DataError(
            f"{recipe_path}: expected results files of which each has the name of one of its models, but for the split",
            [
                f"the recipe's: {', '.join(model.results for model in models)}",
                f"given: {', '.join(str(item.path) for item in given)}",
            ],
            advice=f"Say which is which: --results {Path(models[0].results).stem}={given[0].path}",
        )
    return msgspec.structs.replace(chosen, models=tuple(models[index] for index in places))


def _by_name(models: Sequence[Model], given: Sequence[Given], recipe_path: Path) -> list[int]:
    """The index of each file's model, by the names that the user gave."""
    problems = []
    places = []
    for item in given:
        called = {
            at: {model.results, Path(model.results).name, Path(model.results).stem} for at, model in enumerate(models)
        }
        matches = [at for at, names in called.items() if item.name in names]
        if len(matches) == 1 and matches[0] not in places:
            places.append(matches[0])
        else:
            several = (
                "a model that another file has" if len(matches) == 1 else f"{len(matches) or 'no'} models of that name"
            )
            problems.append(f"{item.path}: expected NAME=FILE, found {item.name!r}, {several}")
    if problems:
        names = ", ".join(model.results for model in models)
        raise DataError(f"{recipe_path}: expected each of its models ({names}) once", problems)
    return places


def _names(model: Model) -> set[str]:
    """The names that a user may give a model."""
    path = Path(model.results)
    return {model.results, path.name, path.stem}


def _match(names: Sequence[Path], files: Sequence[Path]) -> list[int] | None:
    """The index of the model that each file's name matches; None where that is ambiguous."""
    exact = [path.resolve() for path in names]
    resolved = [path.resolve() for path in files]
    if sorted(exact) == sorted(resolved):
        return [exact.index(path) for path in resolved]
    for depth in range(1, DEPTH + 1):
        keys = [_key(path, depth) for path in exact]
        wanted = [_key(path, depth) for path in resolved]
        if len(set(keys)) == len(keys) and set(keys) == set(wanted) and len(set(wanted)) == len(wanted):
            return [keys.index(key) for key in wanted]
    return None


def model_name(path: Path) -> str:
    """`r50` of r50_val.json: a file's name without its suffix, and without the split that it ends in."""
    stem = path.name.partition(".")[0] or path.name
    last = re.search(r"[\W_]+([^\W_]+)$", stem)
    return stem[: last.start()] or stem if last and _is_split(last[1]) else stem


def _is_split(word: str) -> bool:
    return word.lower().rstrip("0123456789") in SPLITS


def _key(path: Path, depth: int) -> tuple[tuple[str, ...], ...]:
    """The words of a file's stem and parent folders, without those that name a split."""
    parts = [path.name.partition(".")[0], *(folder.name for folder in path.parents)][:depth]
    return tuple(tuple(word for word in map(str.lower, _WORD.findall(part)) if not _is_split(word)) for part in parts)
