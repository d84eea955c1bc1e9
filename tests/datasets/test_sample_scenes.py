"""What the sample shows: things that are whole outlines with their details inside, colours that stand out."""

from __future__ import annotations

import numpy as np
import pytest

from datasets import coco_runs
from datasets.masks import polygon_area
from datasets.sample import THINGS, Thing
from datasets.sample_grounds import PATTERNS, ground
from datasets.sample_outlines import Drawing, both_sides, curve
from datasets.sample_painting import ONE, Light, coverage
from datasets.sample_scenes import GROUNDS, JITTER, PALETTE, Pose, Scene

WIDTH, HEIGHT = 320, 240
MIDDLE = Pose(160, 120, 100, 0, mirrored=False)
RED, BLUE = np.array([(250, 20, 20)] * 3), np.array([(20, 20, 250)] * 3)


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.name)
def test_an_outline_is_a_mask(thing: Thing) -> None:
    points = MIDDLE.points(thing.drawing.outline)
    pixels = coco_runs.area(coco_runs.from_segmentation((points.reshape(-1),), HEIGHT, WIDTH))
    # An outline that crosses itself would have another area than pixels.
    assert pixels == pytest.approx(polygon_area(points), rel=0.02)
    assert np.abs(np.array(thing.drawing.outline)).max() <= 1


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.name)
def test_details_lie_within_the_outline(thing: Thing) -> None:
    window = (0, 0, WIDTH, HEIGHT)
    whole = coverage(MIDDLE.points(thing.drawing.outline), window)
    for part in thing.drawing.parts:
        beyond = coverage(MIDDLE.points(part.outline), window) - whole
        assert np.maximum(beyond, 0).sum() <= 0.02 * whole.sum()


def test_a_pose_turns_mirrors_and_scales() -> None:
    tip = [(0.5, 0.0)]
    assert Pose(100, 50, 20, 0, mirrored=False).points(tip).tolist() == [[110, 50]]
    # Clockwise, as y points down.
    assert Pose(100, 50, 20, 90, mirrored=False).points(tip).tolist() == [[100, 60]]
    assert Pose(100, 50, 20, 0, mirrored=True).points(tip).tolist() == [[90, 50]]


def test_a_curve_begins_and_ends_where_its_points_do() -> None:
    # Chaikin: the corner of (0, 0), (4, 0), (4, 4) is cut to (3, 0) and (4, 1), then these to a quarter of their edges.
    assert curve((0, 0), (4, 0), (4, 4)) == [(0, 0), (2.25, 0), (3.25, 0.25), (3.75, 0.75), (4, 1.75), (4, 4)]
    assert both_sides([(0, 0), (2, 1), (0, 3)]) == [(0, 0), (2, 1), (0, 3), (-2, 1)]


@pytest.mark.parametrize("pattern", range(len(PATTERNS)))
def test_a_ground_is_brightest_towards_the_light(pattern: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.sample_grounds.PATTERNS", PATTERNS[pattern : pattern + 1])
    for seed in range(4):
        found = ground(340, 225, np.array((150, 150, 150)), Light(ONE, 0), np.random.default_rng(seed))
        assert found.shape == (225, 340, 3)
        assert found[:, 170:].mean() > found[:, :170].mean() + 5


def test_a_thing_differs_from_its_ground() -> None:
    for seed in range(20):
        scene = Scene(32, 32, np.random.default_rng(seed))
        found = np.abs(scene._colour(scene._ground, PALETTE) - scene._ground).sum()
        # By no less than half of the palette, up to what each of three channels varies.
        assert found >= np.median(np.abs(PALETTE - scene._ground).sum(axis=1)) - 3 * JITTER


@pytest.mark.parametrize("colour", GROUNDS.tolist())
def test_half_of_the_palette_can_be_told_from_a_ground(colour: list[int]) -> None:
    """By more than both colours vary together."""
    assert np.median(np.abs(PALETTE - colour).sum(axis=1)) > 2 * 3 * JITTER


def test_what_is_drawn_covers_what_was_there() -> None:
    scene = Scene(WIDTH, HEIGHT, np.random.default_rng(0))
    scene.draw(Drawing([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]), MIDDLE, RED)
    scene.draw(Drawing([(-0.5, -1.0), (0.5, -1.0), (0.5, 1.0), (-0.5, 1.0)]), MIDDLE, BLUE)
    pixels = scene.finished().astype(int)
    assert (pixels[60:180, 75:85, 0] > 2 * pixels[60:180, 75:85, 2]).all()
    assert (pixels[60:180, 115:205, 2] > 2 * pixels[60:180, 115:205, 0]).all()
