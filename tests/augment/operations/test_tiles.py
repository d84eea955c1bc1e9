"""Tiles cover every pixel, and every object that fits into one is whole enough in one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.operations.labels import Labeller
from augment.operations.parameters import LabelRule, Original, Recipe, Tile
from augment.operations.plan import Dataset, SourceImage, Variant, variants
from augment.operations.tiles import around, count, grid
from datasets.records import Annotation, Image, Window

sides = st.integers(1, 200)
sizes = st.integers(16, 90)
overlaps = st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9])


@pytest.mark.parametrize(
    ("width", "height", "size", "overlap", "expected"),
    [
        (64, 64, 64, 0.2, [(0, 0, 64, 64)]),
        (30, 20, 64, 0.2, [(0, 0, 30, 20)]),
        (128, 64, 64, 0.0, [(0, 0, 64, 64), (64, 0, 128, 64)]),
        # One pixel more: three columns, whose starts are 0, 65 / 2 and 65.
        (129, 64, 64, 0.0, [(0, 0, 64, 64), (32, 0, 96, 64), (65, 0, 129, 64)]),
        # A step of at most 32.
        (96, 64, 64, 0.5, [(0, 0, 64, 64), (32, 0, 96, 64)]),
        (97, 40, 64, 0.5, [(0, 0, 64, 40), (16, 0, 80, 40), (33, 0, 97, 40)]),
        (80, 128, 64, 0.0, [(0, 0, 64, 64), (16, 0, 80, 64), (0, 64, 64, 128), (16, 64, 80, 128)]),
    ],
)
def test_a_grid(width: int, height: int, size: int, overlap: float, expected: list[Window]) -> None:
    assert grid(width, height, size, overlap) == expected


@given(sides, sides, sizes, overlaps)
def test_tiles_cover_every_pixel_and_overlap_as_they_should(width: int, height: int, size: int, overlap: float) -> None:
    windows = grid(width, height, size, overlap)
    seen = np.zeros((height, width), dtype=np.int64)
    for x0, y0, x1, y1 in windows:
        assert (x1 - x0, y1 - y0) == (min(size, width), min(size, height))
        seen[y0:y1, x0:x1] += 1
    assert seen.min() >= 1
    assert count(width, height, size, overlap) == len(windows)
    for low, high, length in ((0, 2, width), (1, 3, height)):
        starts = sorted({window[low] for window in windows})
        ends = sorted({window[high] for window in windows})
        assert (starts[0], ends[-1]) == (0, length)
        # At most one pixel less, since starts are whole pixels; and at least one px of step.
        shared = [end - start for end, start in zip(ends, starts[1:], strict=False)]
        assert all(share >= min(size - 1, int(size * overlap)) for share in shared)


@st.composite
def box_annotations(draw: st.DrawFn) -> tuple[Image, list[Annotation]]:
    width, height = draw(sides), draw(sides)
    objects = []
    for id_ in range(draw(st.integers(0, 8))):
        x, y = draw(st.floats(0, width - 0.5)), draw(st.floats(0, height - 0.5))
        box = (x, y, draw(st.floats(0.5, max(0.5, width - x))), draw(st.floats(0.5, max(0.5, height - y))))
        crowd = draw(st.sampled_from([0, 0, 0, 1]))
        objects.append(Annotation(id=id_, image_id=1, category_id=1, bbox=box, area=1, iscrowd=crowd))
    return Image(id=1, file_name="a.jpg", width=width, height=height), objects


@given(box_annotations(), sizes, overlaps)
def test_every_object_is_kept_in_a_tile_that_is_larger_than_it(
    drawn: tuple[Image, list[Annotation]], size: int, overlap: float
) -> None:
    image, objects = drawn
    recipe = Recipe(name="tiles", operations=(Tile(size=size, overlap=overlap),))
    planned = variants(recipe, SourceImage(image, objects), Dataset(lambda _: 0))
    labeller = Labeller(objects, image, LabelRule())
    kept = {
        item.source_annotation_id
        for one in planned
        for item in labeller.show(one.window).annotations
        if not item.iscrowd
    }

    for item, (x0, y0, x1, y1) in zip(objects, labeller.boxes, strict=True):
        fits = np.ceil(x1) - np.floor(x0) <= size and np.ceil(y1) - np.floor(y0) <= size
        assert item.iscrowd or not fits or item.id in kept


def test_an_object_that_all_tiles_cut_gets_a_tile_of_its_own() -> None:
    """A box of 90 px around the point where the four tiles of 100 px meet: 45 / 90 of each side, a quarter of it."""
    box = (55.0, 55.0, 90.0, 90.0)
    image = Image(id=1, file_name="a.jpg", width=200, height=200)
    objects = [Annotation(id=7, image_id=1, category_id=1, bbox=box, area=8100, iscrowd=0)]
    recipe = Recipe(name="tiles", operations=(Tile(size=100, overlap=0.0),))

    planned = variants(recipe, SourceImage(image, objects), Dataset(lambda _: 0))

    assert [one.window for one in planned[:4]] == grid(200, 200, 100, 0.0)
    assert [one.window for one in planned[4:]] == [(50, 50, 150, 150)]


def test_a_tile_around_an_object_stays_in_the_picture_and_serves_its_neighbours() -> None:
    boxes = [(0.0, 0.0, 30.0, 30.0), (5.5, 5.0, 40.0, 40.0), (170.0, 80.0, 199.5, 99.0), (0.0, 0.0, 101.0, 5.0)]

    windows = around(boxes, [False, False, False, False], 200, 100, 100)

    # The second is whole in the first's window, the last fits into none.
    assert windows == [(0, 0, 100, 100), (100, 0, 200, 100)]
    assert around(boxes, [True, True, True, True], 200, 100, 100) == []


@pytest.mark.parametrize(("with_original", "expected"), [(True, ["original"]), (False, ["tile"])])
def test_a_picture_that_is_one_tile_passes_through_once(with_original: bool, expected: list[str]) -> None:
    image = Image(id=1, file_name="a.jpg", width=64, height=50)
    operations = (Original(), Tile(size=64)) if with_original else (Tile(size=64),)

    planned = variants(Recipe(name="t", operations=operations), SourceImage(image), Dataset(lambda _: 0))

    assert planned == [Variant(name) for name in expected]
    assert all(one.unchanged for one in planned)


def test_a_small_picture_passes_through_once_whatever_tiles_there_are() -> None:
    recipe = Recipe(name="t", operations=(Tile(size=32), Tile(size=64), Tile(size=80)))
    image = Image(id=1, file_name="a.jpg", width=40, height=30)

    planned = variants(recipe, SourceImage(image), Dataset(lambda _: 0))

    assert [one.window for one in planned] == [(0, 0, 32, 30), (8, 0, 40, 30), None]
