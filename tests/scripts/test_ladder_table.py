"""scripts/ladder: the table's numbers, counted by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from scripts.experiments.arms import Paper
from scripts.experiments.numbers import IMAGES, METRICS, SEEN, Spread, percent, spread
from scripts.ladder.table import Row, as_json, change, document, findings, table


def row(name: str, aps: list[float | None], *, trains: bool = True, **more: Any) -> Row:
    measured = tuple({**dict.fromkeys(METRICS), "ap": ap, IMAGES: 16, SEEN: 0} for ap in aps)
    numbers = {"iterations": 400, "batch": 2, "images": 59, "parameters": 12_480_000, "seconds": 61.4}
    trained = tuple(dict(numbers) for _ in aps)
    seconds = tuple(8.0 for _ in aps)
    fields = {
        "measured": measured,
        "doubts": ("",) * len(aps),
        "trained": trained,
        "seconds": seconds,
        "paper": None,
        **more,
    }
    return Row(f"01-{name}", name, f"about {name}", "3.B", trains=trains, **fields)


def test_mean_and_sample_standard_deviation() -> None:
    # Mean 4; squares of the differences 4 + 0 + 4, over 3 - 1.
    found = spread([2.0, 4.0, 6.0])
    assert found == Spread(4.0, 2.0)
    assert spread([0.5]) == Spread(0.5, None)
    assert spread([0.5, None]) is None
    assert spread([]) is None


def test_change_is_taken_seed_by_seed() -> None:
    before, after = row("a", [0.10, 0.20, 0.30]), row("b", [0.11, 0.22, 0.33])
    found = change(before, after)
    assert found is not None
    # 0.01, 0.02, 0.03: the spread of the differences, not that of the values.
    assert found.mean == pytest.approx(0.02)
    assert found.sd == pytest.approx(0.01)
    assert change(row("a", []), after) is None
    assert change(row("a", [0.1, None, 0.3]), after) is None


def test_an_ap_on_images_that_were_trained_on_says_so() -> None:
    some, every, unseen = row("a", [0.10, 0.12]), row("b", [0.13, 0.15]), row("c", [0.09, 0.11])
    some.measured[1][SEEN] = 3
    for numbers in every.measured:
        numbers[SEEN] = 16
    *_, first, second, third = table([some, every, unseen])
    assert cells(first)[4] == "11.0 ± 1.4 (seen in training: 3 of 16 images)"
    assert cells(second)[4] == "14.0 ± 1.4 (seen in training)"
    assert cells(third)[4] == "10.0 ± 1.4"
    assert findings([some, every, unseen]) == [
        "c does not help: -4.0 ± 0.0 AP (b: seen in training) against b.",
    ]
    assert findings([every, every._replace(name="again")]) == [
        "again does not help: +0.0 ± 0.0 AP (seen in training) against b.",
    ]
    page = document([some, every], ["a note"], "Title")
    said = "(seen in training: 3 of 16 images; seen in training)"
    assert f"- Every rung that could be compared with the one before helps {said}." in page


def test_an_ap_on_images_of_which_nobody_knows_says_so() -> None:
    unknown = row("a", [0.10, 0.12])._replace(doubts=("", "no results.provenance.json"))
    unknown.measured[1][SEEN] = 3
    about = "seen in training: 3 of 16 images; seen in training or not is unknown: no results.provenance.json"
    assert cells(table([unknown])[-1])[4] == f"11.0 ± 1.4 ({about})"
    assert as_json([unknown], {})["rungs"][0]["note"] == about


def test_percents_have_one_decimal() -> None:
    assert percent(Spread(0.1234, 0.0056)) == "12.3 ± 0.6"
    assert percent(Spread(0.1234, None)) == "12.3"
    assert percent(Spread(-0.0123, 0.01), sign=True) == "-1.2 ± 1.0"
    assert percent(Spread(0.0123, None), sign=True) == "+1.2"
    assert percent(None) == "-"


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_has_a_line_for_every_rung_and_dashes_for_those_not_run() -> None:
    rows = [
        row("a", [0.10, 0.12], paper=Paper(ap=8.3, split="val")),
        row("b", [0.13, 0.15], trains=False),
        row("c", []),
    ]
    head, _, *lines = map(cells, table(rows))
    assert len({len(line) for line in (head, *lines)}) == 1
    a, b, c = (dict(zip(head, line, strict=True)) for line in lines)
    # sd of 0.10 and 0.12: 0.02 / sqrt(2) = 0.0141.
    assert 0.02 / math.sqrt(2) == pytest.approx(0.0141, abs=1e-4)
    assert (a["AP"], a["paper's AP"], a["change of AP"]) == ("11.0 ± 1.4", "8.3 (val)", "-")
    assert (a["images seen"], a["time a seed"], a["parameters"]) == ("800", "61 s", "12.48 M")
    assert (b["AP"], b["change of AP"], b["AP50"]) == ("14.0 ± 1.4", "+3.0 ± 0.0", "-")
    assert (b["images seen"], b["time a seed"]) == ("no training", "8 s, no training")
    assert {c[key] for key in (*METRICS.values(), "change of AP", "images seen", "time a seed", "parameters")} == {"-"}


def test_rungs_that_do_not_help_are_named() -> None:
    rows = [
        row("a", [0.10, 0.20]),
        row("worse", [0.09, 0.19]),
        # 0.00 and 0.05 more: mean 0.025, sd 0.05 / sqrt(2) = 0.035.
        row("unsure", [0.09, 0.24]),
        # 0.06 and 0.04 more: mean 0.05, sd 0.02 / sqrt(2) = 0.014.
        row("better", [0.15, 0.28]),
        row("not run", []),
    ]
    assert findings(rows) == [
        "worse does not help: -1.0 ± 0.0 AP against a.",
        "unsure does not help for certain: +2.5 ± 3.5 AP against worse is within one spread.",
    ]


def test_one_seed_has_no_spread_and_the_page_says_so() -> None:
    page = document([row("a", [0.1]), row("b", [0.2])], ["a note"], "Title")
    assert "| 20.0 |" in page
    assert "- Every rung that could be compared with the one before helps." in page
    assert "- One seed says nothing of the spread: differences may be chance." in page
    assert page.startswith("# Title\n\n| rung |")
    assert page.endswith("\n\n- a note\n")


def test_a_page_of_nothing_claims_nothing() -> None:
    page = document([row("a", []), row("b", [])], ["a note"], "Title")
    assert "help" not in page
    assert "seed says" not in page


def test_json_has_the_numbers_of_every_seed() -> None:
    found = as_json([row("a", [0.1, 0.2]), row("b", [0.2, 0.4], paper=Paper(ap=8.3, split="val"))], {"data": "sample"})
    assert found["data"] == "sample"
    second = found["rungs"][1]
    assert second["paper"] == {"ap": 8.3, "split": "val"}
    assert [entry["ap"] for entry in second["measured"]] == [0.2, 0.4]
    assert second["change"]["mean"] == pytest.approx(0.15)
    assert found["rungs"][0]["change"] is None
    assert second["mean"]["ap50"] is None
