"""Recipes by name or YAML file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from augment.operations.parameters import Recipe, from_plain
from datasets import yaml_files

RECIPES = Path(__file__).parent / "recipes"


def shipped() -> list[str]:
    """Names of the recipes that ship."""
    return yaml_files.shipped(RECIPES)


def load(name_or_path: str, seed: int | None = None) -> Recipe:
    """The recipe of that name, or in that YAML file, with another `seed` than its own where one is given.

    Raises DataError naming the key and what is allowed.
    """
    path = yaml_files.find(name_or_path, RECIPES, option="--recipe")
    loaded = from_plain(yaml_files.read(path), str(path))
    return loaded if seed is None else msgspec.structs.replace(loaded, seed=seed)
