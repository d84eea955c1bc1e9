"""scripts/evidence: which points are in the pictures."""

from __future__ import annotations

from scripts.evidence.page import ArmAbout, Cell, Tables
from scripts.evidence.pictures import draw
from scripts.experiments.numbers import Spread

ARMS = [ArmAbout("original", "", ""), ArmAbout("more", "", "original")]


def tables(*places: tuple[str, int, int]) -> Tables:
    """With an AP of 0.5 and a standard deviation of 0.01 at each (arm, images, steps)."""
    return Tables(ARMS, [Cell(*place, Spread(0.5, 0.01), 3) for place in places], [], "more", "val")


def test_a_picture_by_images_has_a_panel_for_each_length_and_one_by_steps_for_each_number_of_images() -> None:
    found = draw(
        tables(*((arm, images, steps) for arm in ("original", "more") for images in (25, 50) for steps in (6, 24)))
    )
    assert list(found) == ["images", "steps"]
    about, by_images = found["images"]
    assert about == "AP against the number of training images, a line an arm"
    assert "6 steps: original: 50.0 (49.0 to 51.0) at 25, 50.0 (49.0 to 51.0) at 50." in by_images
    assert "25 images: original: 50.0 (49.0 to 51.0) at 6, 50.0 (49.0 to 51.0) at 24." in found["steps"][1]


def test_only_what_leads_to_the_headline_is_shown() -> None:
    found = tables(*((arm, images, 6) for arm in ("original", "other", "more") for images in (25, 50)))
    found = found._replace(arms=[ARMS[0], ArmAbout("other", "", "original"), ARMS[1]])
    assert "other" not in draw(found)["images"][1]
    assert "other" in draw(found._replace(headline=""))["images"][1]


def test_a_picture_of_single_points_is_left_out() -> None:
    assert list(draw(tables(("original", 25, 6), ("more", 25, 6)))) == []
    assert list(draw(tables(("original", 25, 6), ("original", 50, 6)))) == ["images"]
