"""Sheets of a build's variants: which are drawn, what is outlined in which colour, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image as PillowImage

from augment.compiler.build import build_dataset
from augment.compiler.inputs import Request
from datasets.sources import Input
from scripts import draw_variants
from tests.augment.beyond import BEYOND


@pytest.fixture(scope="module")
def beyond(drawn: Input, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("sheets") / "beyond"
    build_dataset(Request([drawn], BEYOND), output, map, lambda *_: None)
    return output


def draw(dataset: Path, output: Path, *options: str) -> np.ndarray[Any, Any]:
    """(height, width, 3) The sheet that the command draws."""
    result = CliRunner().invoke(
        draw_variants.main, [str(dataset), "--output", str(output), *options], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    with PillowImage.open(output) as sheet:
        return np.asarray(sheet.convert("RGB"))


def has(sheet: np.ndarray[Any, Any], kind: str) -> bool:
    return bool((sheet == draw_variants.COLORS[kind]).all(axis=2).any())


def test_all_variants_of_a_source(beyond: Path, tmp_path: Path) -> None:
    sheet = draw(beyond, tmp_path / "sheet.png", "--source-id", "12", "--width", "100")

    assert sheet.shape[1] == 3 * (100 + 6)
    assert has(sheet, "kept")


@pytest.mark.parametrize("operation", ["paste", "mosaic", "tile", "turn", "erase"])
def test_variants_of_an_operation(beyond: Path, tmp_path: Path, operation: str) -> None:
    options = ("--operation", operation, "--count", "4", "--columns", "2", "--width", "120")
    sheet = draw(beyond, tmp_path / "sheet.png", *options)

    assert sheet.shape[1] == 2 * (120 + 6)
    assert has(sheet, "pasted") == (operation == "paste")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "give either --source-id or --operation"),
        (("--source-id", "7", "--operation", "paste"), "give either --source-id or --operation"),
        (("--source-id", "8"), "expected variants of source 8 of input 0, found none"),
        (("--operation", "copy"), "expected variants of the operation copy, found none"),
    ],
)
def test_what_cannot_be_drawn_is_said(beyond: Path, tmp_path: Path, options: tuple[str, ...], expected: str) -> None:
    result = CliRunner().invoke(draw_variants.main, [str(beyond), "--output", str(tmp_path / "sheet.png"), *options])

    assert result.exit_code
    assert expected in result.output + str(result.exception)
    assert not (tmp_path / "sheet.png").exists()
