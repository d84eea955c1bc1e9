"""scripts/measure_transforms.py: a row for each of the 30, figures that are right, the whole page, and a sheet."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image as PillowImage

from augment.operations.transforms import PAPER_TRANSFORMS
from datasets.sources import Input
from tests.protocols import Draw

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "measure_transforms.py"))
PAGE = (ROOT / "docs" / "transforms.md").read_text(encoding="utf-8")


def run(item: Input, *more: str) -> str:
    arguments = ["--annotations", str(item.annotations), "--images", str(item.images), *more]
    result = CliRunner().invoke(SCRIPT["main"], arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def two(draw: Draw, tmp_path: Path) -> Input:
    """Two images, of which one is grey."""
    return draw(tmp_path / "two", only={12, 40})


def test_every_transform_is_described_and_every_note_is_referred_to() -> None:
    assert tuple(SCRIPT["STRENGTHS"]) == PAPER_TRANSFORMS
    numbers = [int(number) for text in SCRIPT["STRENGTHS"].values() for number in re.findall(r"\[(\d+)\]", text)]
    assert numbers == list(range(1, len(SCRIPT["NOTES"]) + 1))
    for name, text in SCRIPT["STRENGTHS"].items():
        for number in re.findall(r"\[(\d+)\]", text):
            assert SCRIPT["NOTES"][int(number) - 1].startswith(f"{name}: ")


def test_the_table_has_a_row_for_each(two: Input) -> None:
    rows = run(two, "--draws", "1").splitlines()
    assert tuple(row.split(" | ")[0].removeprefix("| ") for row in rows) == PAPER_TRANSFORMS
    figures = {row.split(" | ")[0].removeprefix("| "): row.split(" | ")[2:] for row in rows}
    # Of the two the grey one cannot become grey.
    assert figures["ToGray"][2] == "50.0 %"
    assert figures["InvertImg"][2] == "0.0 %"


def test_the_page_is_written_as_a_whole(two: Input, tmp_path: Path) -> None:
    output = tmp_path / "page.md"
    printed = run(two, "--draws", "1", "--about", "two drawings", "--output", str(output))
    assert "2 images, 1 draws of 30 transforms" in printed
    page = output.read_text(encoding="utf-8")
    assert "--about 'two drawings' --draws 1 --output" in page
    assert "Measured on two drawings, 1 draws" in page
    # The page in docs/ is this one but for its figures: the texts are the same.
    assert [line for line in page.splitlines() if line[:1].isdigit()] == [
        line for line in PAGE.splitlines() if line[:1].isdigit()
    ]
    named = re.findall(r"^\| (\w+ \| [^|]+) \|", page, flags=re.MULTILINE)
    assert named == re.findall(r"^\| (\w+ \| [^|]+) \|", PAGE, flags=re.MULTILINE)
    assert len(named) == 30


def test_the_sheet_has_a_row_for_each(two: Input, tmp_path: Path) -> None:
    output = tmp_path / "sheet.png"
    assert "30 transforms" in run(two, "--sheet", str(output), "--width", "40")
    with PillowImage.open(output) as sheet:
        # The source, three draws, and the small image without and with one.
        assert sheet.width == 6 * (40 + 6)
        assert sheet.height > 30 * 40


def test_a_change_is_the_mean_difference_and_seen_above_two_levels() -> None:
    source = np.full((10, 10, 3), 100, dtype=np.uint8)
    faint = source + np.uint8(2)
    seen = source.copy()
    seen[0, 0, 0] = 160
    assert SCRIPT["compare"](faint, source) == (2.0, False)
    assert SCRIPT["compare"](seen, source) == (60 / 300, True)
    change = SCRIPT["summed_up"]([SCRIPT["compare"](faint, source)] * 3 + [SCRIPT["compare"](seen, source)])
    assert (change.median, change.without_effect) == (2.0, 0.75)


def test_an_input_is_never_replaced(two: Input) -> None:
    arguments = ["--annotations", str(two.annotations), "--images", str(two.images), "--output", str(two.annotations)]
    result = CliRunner().invoke(SCRIPT["main"], arguments)
    assert "would replace an input" in str(result.exception)


def test_a_missing_sample_is_named_with_the_command_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCRIPT["sample"].__globals__, "SAMPLE", tmp_path / "sample")
    result = CliRunner().invoke(SCRIPT["main"], [])
    assert f"python -m datasets sample --output {tmp_path / 'sample'}" in str(result.exception)
