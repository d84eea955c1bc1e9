"""The recipes that docs/ensemble.md shows are recipes, with every method's every key."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import yaml

from ensemble import recipe
from ensemble.recipe import FUSIONS, SUPPRESSIONS, Recipe

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ensemble.md"


def shown() -> list[dict[str, object]]:
    return [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)]


def test_every_recipe_of_the_page_is_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    for content in shown():
        path.write_text(yaml.safe_dump(content))
        recipe.load(path)


def test_every_method_is_shown_with_all_its_defaults() -> None:
    for key, methods in (("suppress", SUPPRESSIONS), ("fuse", FUSIONS)):
        found = [content[key] for content in shown() if key in content]
        for name, kind in methods.items():
            assert msgspec.to_builtins(kind()) in found, name
    assert set(shown()[0]) == set(Recipe.__struct_fields__) - {"format"}
