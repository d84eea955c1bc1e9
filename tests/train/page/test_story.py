"""The sentences of the page: what a run's numbers are said to mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.train.page.made_run import write_run
from train.page import runs, story
from train.page.runs import Validation


def validations(*percents: float) -> list[Validation]:
    return [Validation(float(epoch), ap / 100) for epoch, ap in enumerate(percents, 1)]


@pytest.mark.parametrize(
    ("percents", "finding"),
    [
        ((50,), "One validation only"),
        # The last against the one before; of four and five, the best of two against that of two.
        ((10, 20), "Still rising"),
        ((10, 50, 49), "Falling"),
        ((10, 50, 49, 50.6), "Still rising"),
        ((90, 50, 49, 50.3, 49), "Level"),
        # The best of the last three against the best of the three before.
        ((10, 20, 30, 40, 50, 60), "Still rising"),
        ((50, 50, 50, 50.4, 50, 50), "Level"),
        ((50, 50, 50, 50.6, 50, 50), "Still rising"),
        ((50, 50, 50, 49.6, 49, 49), "Level"),
        ((50, 50, 50, 49, 48, 47), "Falling"),
        ((1, 2, 3, 50, 50, 50, 50, 50, 50), "Level"),
    ],
)
def test_whether_ap_still_rises(percents: Sequence[float], finding: str) -> None:
    assert story.trend(validations(*percents)).finding == finding


def test_a_trend_has_its_numbers() -> None:
    text = story.trend(validations(10, 20, 30, 40, 50, 60)).text
    assert text.startswith("The best of the last 3 validations has +30.0 AP to the 3 before: a longer run")


@pytest.mark.parametrize(
    ("percents", "losses", "finding"),
    [
        ((50,), (1.0,), "Overfitting is not known"),
        ((40, 50, 50), (3.0, 2.0, 1.0), "No overfitting seen"),
        ((40, 50, 49.6), (3.0, 2.0, 1.0), "No overfitting seen"),
        ((40, 50, 45), (3.0, 2.0, 1.0), "It overfits"),
        # The loss fell by less than a twentieth.
        ((40, 50, 45), (3.0, 2.0, 1.95), "AP has fallen"),
        ((40, 50, 45), (3.0, 2.0, 4.0), "AP has fallen"),
    ],
)
def test_whether_it_overfits(percents: Sequence[float], losses: Sequence[float], finding: str) -> None:
    found = story.overfitting(validations(*percents), [(float(at), loss) for at, loss in enumerate(losses, 1)])
    assert found.finding == finding


def test_of_few_validations_the_last_is_compared() -> None:
    assert story.trend(validations(10, 20, 30)).text.startswith("The last validation has +10.0 AP to the one before: a")


def test_overfitting_has_its_numbers() -> None:
    text = story.overfitting(validations(40, 50, 45), [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]).text
    assert text.startswith("Since epoch 2 AP fell from 50.0 to 45.0, while the loss of the training images went on")
    assert "from 2 to 1" in text


def test_the_head_of_the_page(tmp_path: Path) -> None:
    online = {"name": "scarce"}
    folder = write_run(tmp_path / "run", (10, 20, 15), data={"annotations": "a.json", "images": 7, "online": online})
    (run,) = runs.read([folder])
    # Three epochs of ten steps of half a second.
    assert story.trained(run) == (
        "tiny, trained from scratch on 7 images of a.json with 2 categories, drawn anew in each epoch by the recipe "
        "scarce: 30 iterations, 3 epochs, in 15 s, validations not counted."
    )
    assert story.best(run, None) == (
        "The best AP is 20.0, in epoch 2. On other images like these it would be 19.0 to 21.0 in 95 % of cases."
    )


def test_a_run_that_was_not_validated(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "metrics.json").write_text('{"iteration": 9, "total_loss": 1.5}\n')
    (run,) = runs.read([folder])
    assert story.best(run, None) == "It was not validated while it was trained, so that no AP is known."
    assert story.findings(run) == []
