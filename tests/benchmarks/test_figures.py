"""Figures and their goals, and the table that is made of them."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from benchmarks import bench_all, figures
from benchmarks.bench_all import BEGIN, END, Measured, table, with_table
from benchmarks.figures import Figure


@pytest.mark.parametrize(
    ("figure", "goal", "is_met"),
    [
        (Figure("a", 1.1, most=1.1), "<= 1.1", True),
        (Figure("a", 1.11, most=1.1), "<= 1.1", False),
        (Figure("a", 20.0, least=20), ">= 20", True),
        (Figure("a", 19.9, least=20), ">= 20", False),
        (Figure("a", 5.0), "", None),
    ],
)
def test_a_goal_is_met_up_to_its_bound(figure: Figure, goal: str, is_met: bool | None) -> None:
    assert (figure.goal, figure.is_met) == (goal, is_met)


@pytest.mark.parametrize(
    ("value", "unit", "text"), [(1.234, "x", "1.23 x"), (12.34, "ms", "12.3 ms"), (1234.5, "MB", "1,234 MB")]
)
def test_three_digits_are_shown(value: float, unit: str, text: str) -> None:
    assert Figure("a", value, unit).text == text


def test_figures_come_back_from_their_file(tmp_path: Path) -> None:
    written = [Figure("a", 1.5, most=2), Figure("b", 3, "ms a source")]
    figures.write(tmp_path / "f.json", written)
    assert figures.read(tmp_path / "f.json") == written
    figures.write(None, written)  # nobody asked for a file


def test_a_command_stands_beside_the_first_of_its_figures() -> None:
    rows = table(
        [
            Measured(Figure("a", 1.5, most=2), "python a.py"),
            Measured(Figure("b", 1.5, most=1), "python a.py"),
            Measured(Figure("c", 7, "ms"), "python c.py"),
        ]
    )
    assert rows[2:] == [
        "| a | 1.50 x | <= 2 | met | `python a.py` |",
        "| b | 1.50 x | <= 1 | **missed** |  |",
        "| c | 7.00 ms |  |  | `python c.py` |",
    ]


def test_only_what_is_between_the_marks_is_written_anew() -> None:
    page = f"# Title\n\n{BEGIN}\n\nold\n\n{END}\n\nMore.\n"
    assert with_table(page, ["new"]) == f"# Title\n\n{BEGIN}\n\nnew\n\n{END}\n\nMore.\n"
    with pytest.raises(ValueError, match="expected a page with the marks"):
        with_table("# Title\n", ["new"])


def test_the_page_has_the_marks_and_every_benchmark_is_run() -> None:
    assert with_table(bench_all.PAGE.read_text(encoding="utf-8"), []).count(BEGIN) == 1
    scripts = {path.name for path in bench_all.PAGE.parents[1].glob("benchmarks/bench_*.py")} - {"bench_all.py"}
    assert {arguments[0] for arguments in (*bench_all.ON_PHOTOGRAPHS, *bench_all.RUNS)} == scripts


def test_photographs_take_the_place_of_the_drawings() -> None:
    assert bench_all.compiled((), ()) == bench_all.SAMPLE
    assert bench_all.compiled(("a.json", "b.json"), ("a", "b")) == (
        *("--annotations", "a.json", "--images", "a"),
        *("--annotations", "b.json", "--images", "b"),
    )
    assert bench_all.heading(300.0, ("far/a.json", "b.json")).endswith(", 300 s. Compiled: a.json, b.json.")
    assert bench_all.heading(300.0, ()).endswith(", 300 s. Compiled: the sample.")
    with pytest.raises(click.UsageError, match="go together"):
        bench_all.compiled(("a.json",), ())
