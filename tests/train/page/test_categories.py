"""The table of categories, and what is said to label next."""

from __future__ import annotations

from pathlib import Path

from datasets.results import write
from tests.train.page.made_run import DETECTIONS, HOSTILE, results, write_data
from train.page import categories
from train.page.categories import Row
from train.page.judged import judge
from train.page.measured import Files, measure


def row(name: str, trained: int | None, ap: float | None, objects: int = 20) -> Row:
    return Row(name, trained, objects, ap, right=0, wrong=0)


def told(*rows: Row) -> list[tuple[str, str]]:
    return [(item.finding, item.text) for item in categories.label_next(rows)]


def test_a_row_counts_what_is_judged(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    write(tmp_path / "found.json", results(DETECTIONS))
    files = Files(tmp_path / "found.json", data.annotations, None, trained_objects={1: 9, 3: 4})
    found = measure(files, [1, 3])
    judgement = judge(found)
    rows = categories.rows(found, judgement.kept, judgement.verdicts)
    # Trained, to find, AP (34 of 101 points at 1/2), found, missed, false alarms; the lowest AP first.
    assert [item.cells() for item in rows] == [
        ["car", "4", "1", "0.0", "0", "1", "2"],
        [HOSTILE, "9", "3", "16.8", "1", "2", "1"],
    ]
    chart = categories.chart(rows)
    assert chart is not None
    assert [cells[:2] for cells in chart.rows] == [["car", "4"], [HOSTILE, "9"]]


def test_without_counts_there_is_no_chart() -> None:
    assert categories.chart([row("cup", None, 0.5), row("cat", 3, None), row("dog", 0, 0.5)]) is None


def test_few_boxes_and_little_ap_are_labelled_next() -> None:
    rows = [row("a", 50, 0.1), row("b", 9, 0.2), row("c", 900, 0.3), row("d", 90, 0.9)]
    # The mean AP is 37.5, the median 70 boxes; `c` has many, `d` is good.
    assert told(*rows) == [
        (
            "What to label next",
            "b (AP 20.0, 9 boxes), a (AP 10.0, 50 boxes): few boxes, and less AP than the mean, 37.5.",
        )
    ]


def test_many_boxes_and_little_ap_are_looked_at() -> None:
    (finding,) = told(row("a", 900, 0.1), row("b", 9, 0.9), row("c", 10, 0.9))
    assert finding == (
        "The lowest AP",
        "a (AP 10.0, 900 boxes), though boxes are many: their mistakes say more than new labels.",
    )


def test_what_was_trained_on_may_not_be_known() -> None:
    (finding,) = told(row("a", None, 0.1), row("b", None, 0.9))
    assert finding == ("The lowest AP", "a (AP 10.0). How many boxes these had in training is not known.")


def test_what_is_not_measured_well_is_named() -> None:
    assert told(row("a", 5, 0.5, objects=9), row("b", 5, 0.5), row("c", 5, None, objects=0)) == [
        ("What to label next", "No category is worse than the others; any."),
        ("Uncertain", "a: fewer than 10 objects to find, so that AP says little."),
        ("Not measured", "c: no object in the validation data."),
    ]
    assert told(*(row(str(at), 5, None, objects=0) for at in range(10))) == [
        ("Not measured", "0, 1, 2, 3, 4, 5, 6, 7 and 2 more: no object in the validation data.")
    ]
