"""GridMask: where the squares lie, and that objects which they hide are ignored."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.operations import erase
from augment.operations.labels import CROWD, IGNORE, KEEP, Labeller
from augment.operations.occlusion import Cover, remainder
from augment.operations.parameters import Erase, LabelRule
from datasets.records import Annotation, Grid, Image
from tests.augment.operations.pictures import Pictures, bitmap_of, generators, pictures

RULE = LabelRule()
GRID = Grid(unit=10, square=4, left=-2, top=3)


def test_squares_of_a_grid() -> None:
    """Columns 0..1 (cut), 8..11 and 18..19 (cut); rows 3..6 and 13..14 (cut)."""
    assert erase.squares(GRID, 20, 15) == [
        (0, 3, 2, 7),
        (8, 3, 12, 7),
        (18, 3, 20, 7),
        (0, 13, 2, 15),
        (8, 13, 12, 15),
        (18, 13, 20, 15),
    ]


def test_squares_are_black_and_nothing_else_changes() -> None:
    pixels = np.random.default_rng(0).integers(1, 256, (15, 20, 3), dtype=np.uint8)
    before = pixels.copy()

    erased = erase.render(pixels, GRID)

    expected = before.copy()
    for y in range(15):
        for x in range(20):
            if (x + 2) % 10 < 4 and (y - 3) % 10 < 4 and y >= 3:
                expected[y, x] = 0
    np.testing.assert_array_equal(erased, expected)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (640, 480), (7, 5)])
@given(rng=generators)
def test_a_grid_is_drawn_for_any_size(size: tuple[int, int], rng: np.random.Generator) -> None:
    grid = erase.draw(Erase(), *size, rng)

    assert 1 <= grid.square < grid.unit
    assert -grid.square <= grid.left < grid.unit - grid.square
    assert -grid.square <= grid.top < grid.unit - grid.square
    if min(size) >= 100:
        assert 0.2 * min(size) - 1 <= grid.unit <= 0.6 * min(size) + 1
        assert abs(grid.square - grid.unit / 2) <= 1


def test_every_pixel_is_erased_as_often_as_any_other() -> None:
    """A quarter of the time, with squares of half the unit: 0.5 * 0.5, also at the border."""
    rng = np.random.default_rng(0)
    shares = np.zeros((40, 40))
    for _ in range(4000):
        erased = erase.render(np.ones((40, 40, 3), dtype=np.uint8), erase.draw(Erase(unit=(0.5, 0.5)), 40, 40, rng))
        shares += erased[:, :, 0] == 0
    assert np.abs(shares / 4000 - 0.25).max() < 0.04


@pytest.mark.parametrize(
    ("box", "case"),
    [
        ((8, 3, 4, 4), IGNORE),  # a whole square
        ((8, 3, 8, 4), KEEP),  # 16 of 32 px
        ((8, 3, 7, 4), IGNORE),  # 12 of 28 px
        ((12, 7, 5, 5), KEEP),  # between squares
        ((0, 0, 20, 15), KEEP),
    ],
)
@pytest.mark.parametrize("mask", [True, False])
def test_hidden_objects_are_ignored_and_others_stay_whole(
    box: tuple[float, float, float, float], case: str, mask: bool
) -> None:
    x, y, width, height = box
    outline = (np.array([x, y, x + width, y, x + width, y + height, x, y + height], dtype=np.float64),)
    item = Annotation(
        id=1, image_id=1, category_id=1, bbox=box, area=7, iscrowd=0, segmentation=outline if mask else None
    )
    shown = Labeller([item], Image(id=1, file_name="a.jpg", width=20, height=15), RULE).show(None)

    labels = erase.labels(shown, 20, 15, GRID, RULE)

    (found,) = labels.annotations
    assert labels.cases == {case: 1}
    assert (found.bbox, found.area, found.iscrowd) == (box, 7, int(case == IGNORE))
    if case == KEEP:
        assert found.segmentation is item.segmentation


@given(pictures(most=1), generators, st.floats(0.1, 0.9))
def test_the_rule_is_the_visible_share(listed: Pictures, rng: np.random.Generator, least: float) -> None:
    _, image, objects = listed[0]
    rule = LabelRule(min_visible=least)
    grid = erase.draw(Erase(), image.width, image.height, rng)
    black = erase.render(np.ones((image.height, image.width, 3), dtype=np.uint8), grid)[:, :, 0] == 0

    labels = erase.labels(Labeller(objects, image, rule).show(None), image.width, image.height, grid, rule)

    assert len(labels.annotations) == len(objects)
    for item, found in zip(objects, labels.annotations, strict=True):
        mask = bitmap_of(item, image.height, image.width)
        if item.iscrowd:
            assert labels.cases[CROWD] > 0
            assert found.segmentation is item.segmentation
        elif mask.any():
            share = (mask * ~black).sum() / mask.sum()
            assert found.iscrowd == (share < least)
        assert found.bbox == item.bbox


@given(st.floats(0, 15), st.floats(0, 10), st.floats(0.5, 5), st.floats(0.5, 5), generators)
def test_what_squares_cover_of_a_box_is_counted_by_columns_and_rows(
    x: float, y: float, width: float, height: float, rng: np.random.Generator
) -> None:
    """Against the remainder of the box under all squares, one by one."""
    grid = erase.draw(Erase(unit=(0.1, 0.9)), 20, 15, rng)
    item = Annotation(id=1, image_id=1, category_id=1, bbox=(x, y, width, height), area=1, iscrowd=0)
    squares = erase.squares(grid, 20, 15)
    box = (x, y, x + width, y + height)

    share = erase._visible_share(item, Cover.of_windows(squares, 15, 20), grid)

    assert share == pytest.approx(remainder(box, squares)[0] / (width * height), abs=1e-6)


def test_a_mesh_that_is_too_fine_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unit: expected shares of 0\.02 at least, found 0\.001"):
        Erase(unit=(0.001, 0.5))
