"""What is said of the best epoch."""

from __future__ import annotations

from train.run.best import Best


def test_an_interval_is_told_with_what_it_was_measured_on() -> None:
    assert Best(6, 0.521, 0, 1087, 0.49, 0.552).text == "52.1 (49.0 to 55.2: 95 % over 1,087 images)"
    # Of a checkpoint of an earlier version.
    assert Best(6, 0.521).text == "52.1"


def test_metrics_are_in_percent() -> None:
    assert Best().scalars() == {}
    assert Best(6, 0.5).scalars() == {"best/epoch": 6, "best/ap": 50.0}
    assert Best(6, 0.5, 0, 87, 0.25, 0.75).scalars() == {
        "best/epoch": 6,
        "best/ap": 50.0,
        "best/ap_low": 25.0,
        "best/ap_high": 75.0,
    }
