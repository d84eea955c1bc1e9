"""scripts/evidence: the tables, and what is said of them, counted by hand."""

from __future__ import annotations

import json

import pytest

from datasets.comparison import Difference
from datasets.evaluation import Interval
from scripts.evidence.page import ArmAbout, Cell, Doubled, Tables, as_json, document, findings, nearest_double, table
from scripts.experiments.numbers import Spread

ARMS = [ArmAbout("original", "as they are", ""), ArmAbout("more", "more of them", "original")]


def difference(by: float, low: float, high: float) -> Difference:
    return Difference(0.5 + by, 0.5, by, Interval(low, high), 3)


def cell(arm: str, images: int, ap: float, found: Difference | None = None, steps: int = 600) -> Cell:
    return Cell(arm, images, steps, Spread(ap, 0.004), 3, found)


GAIN, MAYBE, LOSS = difference(0.03, 0.01, 0.05), difference(0.01, -0.01, 0.03), difference(-0.03, -0.05, -0.01)
CELLS = [
    cell("original", 50, 0.5),
    cell("more", 50, 0.53, GAIN),
    cell("original", 100, 0.52),
    cell("more", 100, 0.53, MAYBE),
]
TABLES = Tables(ARMS, CELLS, [Doubled(50, 100, 600, MAYBE)], headline="more", split="val")


def test_a_row_has_the_ap_and_the_difference_and_what_is_told_from_chance_is_bold() -> None:
    assert table(TABLES, 600) == [
        "| arm | what it is | 50 images | 100 images |",
        "| --- | --- | ---: | ---: |",
        "| original | as they are | 50.0 ± 0.4 | 52.0 ± 0.4 |",
        "| more | more of them | 53.0 ± 0.4<br>**+3.0 (1.0 to 5.0)** | 53.0 ± 0.4<br>+1.0 (-1.0 to 3.0) |",
    ]


def test_an_arm_that_is_not_measured_has_no_row_and_a_number_that_is_not_a_dash() -> None:
    assert len(table(TABLES._replace(arms=[*ARMS, ArmAbout("third", "", "original")]), 600)) == 4
    row = table(TABLES._replace(cells=CELLS[:3]), 600)[-1]
    assert row.endswith("**+3.0 (1.0 to 5.0)** | - |")


def test_what_is_wanted_is_said_with_how_much_is_missed() -> None:
    assert findings(TABLES) == [
        "600 steps: more is better than original for certain on 1 of 2 numbers of images; +3.0 (1.0 to 5.0) AP with 50 "
        "images, of 5 wanted (missed by 2.0); as good as original with twice the images in 1 of 1 cases.",
        "600 steps, gains more than chance would: more on 50.",
        "600 steps, loses more than chance would: none.",
    ]
    worse = TABLES._replace(cells=[*CELLS[:1], cell("more", 50, 0.47, LOSS)], doubled=[Doubled(50, 100, 600, LOSS)])
    assert findings(worse)[0].endswith("in 0 of 1 cases.")
    assert findings(worse)[2] == "600 steps, loses more than chance would: more on 50."


def test_lengths_have_tables_of_their_own_and_pictures_come_first() -> None:
    long = [item._replace(steps=2400) for item in CELLS]
    page = document(TABLES._replace(cells=[*CELLS, *long]), ["a note"], "Title", [("what it shows", "one.svg")])
    places = [page.index(part) for part in ("# Title", "![what it shows](one.svg)", "## 600 steps", "## 2,400 steps")]
    assert places == sorted(places)
    assert page.endswith("- a note\n")


def test_programs_read_the_same_numbers_unrounded() -> None:
    found = json.loads(json.dumps(as_json(TABLES, {"notes": []})))
    assert found["cells"][1]["from_reference"]["interval"] == {"low": 0.01, "high": 0.05}
    assert found["doubled"][0]["of_reference"] == 100


@pytest.mark.parametrize(("images", "found"), [(25, 50), (50, 100), (100, 205), (205, None)])
def test_twice_the_images_are_as_near_to_that_as_there_are(images: int, found: int | None) -> None:
    assert nearest_double(images, (25, 50, 100, 205)) == found
