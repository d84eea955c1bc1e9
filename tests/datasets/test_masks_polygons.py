"""Polygons cropped to a window, against winding numbers, a sum over slabs, counted areas and pycocotools."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from datasets.masks import (
    MIN_PIECE_AREA,
    Points,
    clip_polygon,
    crop_polygons,
    polygon_area,
    polygons_area,
    polygons_to_rle,
    rle_to_mask,
)
from datasets.records import Polygons, Window

SIZE = 48  # width and height of the image that the drawn polygons are about as large as

quarters = st.integers(-4 * 10, 4 * (SIZE + 10)).map(lambda value: value / 4)
# Any outline: most of these cross themselves.
outlines = st.lists(st.tuples(quarters, quarters), min_size=3, max_size=9).map(lambda points: ring(*points))
windows = st.tuples(*[st.integers(0, SIZE - 8)] * 2, *[st.integers(8, 30)] * 2).map(
    lambda numbers: (numbers[0], numbers[1], min(numbers[0] + numbers[2], SIZE), min(numbers[1] + numbers[3], SIZE))
)


def ring(*points: tuple[float, float]) -> Points:
    return np.array(points, dtype=np.float64)


@st.composite
def stars(draw: st.DrawFn) -> Points:
    """Outlines that do not cross themselves, most of them concave: points around a centre, each at its distance."""
    radii = draw(st.lists(st.floats(0.5, 40), min_size=3, max_size=12))
    x, y = draw(st.floats(0, SIZE)), draw(st.floats(0, SIZE))
    turns = [2 * math.pi * index / len(radii) for index in range(len(radii))]
    return ring(*[(x + r * math.cos(turn), y + r * math.sin(turn)) for r, turn in zip(radii, turns, strict=True)])


def centres(window: Window) -> Points:
    """(n, 2) centres of the window's pixels."""
    x0, y0, x1, y1 = window
    x, y = np.meshgrid(np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def winding(points: Points, at: Points) -> npt.NDArray[np.int64]:
    """How often the outline goes around each place of (n, 2) `at`: edges that pass it upwards less those downwards."""
    x, y = at[:, :1], at[:, 1:]
    (x0, y0), (x1, y1) = points.T, np.roll(points, -1, axis=0).T
    side = (x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)
    up, down = (y0 <= y) & (y < y1) & (side > 0), (y1 <= y) & (y < y0) & (side < 0)
    return np.asarray(up.sum(axis=1) - down.sum(axis=1))


def distance(points: Points, at: Points) -> npt.NDArray[np.float64]:
    """(n,) from each place to the nearest edge."""
    edges = np.roll(points, -1, axis=0) - points
    from_start = at[:, None, :] - points
    length = np.maximum((edges**2).sum(axis=1), 1e-12)
    share = np.clip((from_start * edges).sum(axis=2) / length, 0, 1)
    return np.asarray(np.sqrt(((from_start - share[..., None] * edges) ** 2).sum(axis=2)).min(axis=1))


def area_inside(points: Points, window: Window) -> float:
    """Square pixels of the window in an outline that does not cross itself, without clipping anything.

    Cut along x, a polygon shows a length that bends only at vertices and where an edge passes the window's top or
    bottom; between those places the length in the middle times the width is exact.
    """
    x0, y0, x1, y1 = window
    edges = list(zip(points.tolist(), np.roll(points, -1, axis=0).tolist(), strict=True))
    bends = {float(x0), float(x1), *points[:, 0].tolist()}
    for (ax, ay), (bx, by) in edges:
        bends |= {ax + (line - ay) / (by - ay) * (bx - ax) for line in (y0, y1) if min(ay, by) < line < max(ay, by)}
    total = 0.0
    for left, right in itertools.pairwise(sorted(x for x in bends if x0 <= x <= x1)):
        x = (left + right) / 2
        cuts = sorted(
            ay + (x - ax) / (bx - ax) * (by - ay) for (ax, ay), (bx, by) in edges if min(ax, bx) < x <= max(ax, bx)
        )
        bounds = [min(max(y, y0), y1) for y in cuts]
        total += (right - left) * sum(bounds[1::2], -sum(bounds[::2]))
    return total


def clipped_area(points: Points, window: Window) -> float:
    clipped = clip_polygon(points, window)
    return 0.0 if clipped is None else polygon_area(clipped)


@given(outlines, windows)
@settings(max_examples=300, deadline=None)
def test_clipping_changes_no_winding_inside_the_window(points: Points, window: Window) -> None:
    at = centres(window)
    at = at[distance(points, at) > 0.01]
    clipped = clip_polygon(points, window)

    expected = winding(points, at)

    assert np.array_equal(np.zeros_like(expected) if clipped is None else winding(clipped, at), expected)


@given(outlines, windows)
@settings(max_examples=200, deadline=None)
def test_a_clipped_polygon_stays_in_the_window(points: Points, window: Window) -> None:
    clipped = clip_polygon(points, window)

    if clipped is not None:
        assert np.all(clipped >= window[:2])
        assert np.all(clipped <= window[2:])


@given(stars(), windows)
@example(
    # A corner of it looks into the window by 3.5e-5 square pixels, less than a piece that is kept.
    np.array([[45.625, 20.53125], [29.625, 21.3972754], [25.6171875, 12.72348972]]),
    (34, 0, 42, 16),
)
@settings(max_examples=300, deadline=None)
def test_the_clipped_area_is_that_of_the_part_inside(points: Points, window: Window) -> None:
    inside = area_inside(points, window)
    if clip_polygon(points, window) is None:
        assert inside <= MIN_PIECE_AREA + 2e-6
    else:
        assert clipped_area(points, window) == pytest.approx(inside, rel=1e-9, abs=2e-6)


def drawn(polygons: Polygons, height: int, width: int) -> npt.NDArray[np.uint8]:
    rle = polygons_to_rle(polygons, height, width)
    return np.zeros((height, width), np.uint8) if rle is None else rle_to_mask(rle)


@given(stars(), windows)
@settings(max_examples=100, deadline=None)
def test_the_mask_of_a_crop_is_the_crop_of_the_mask_away_from_the_outline(points: Points, window: Window) -> None:
    x0, y0, x1, y1 = window
    at = centres(window)
    frame = ring((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    away = (distance(points, at) > 1.5) & (distance(frame, at) > 1.5)
    original = drawn((points.reshape(-1),), SIZE, SIZE)[y0:y1, x0:x1].reshape(-1)

    cropped = crop_polygons((points.reshape(-1),), window)
    mask = drawn(cropped, y1 - y0, x1 - x0).reshape(-1) if cropped else np.zeros(len(at))

    assert np.array_equal(mask[away], original[away])


# A square of 9 x 9 with a notch of 6 x 3 from the right; turned, it opens downwards, to the left and upwards.
C_SHAPE = ring((0, 0), (9, 0), (9, 3), (3, 3), (3, 6), (9, 6), (9, 9), (0, 9))


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize(
    ("window", "area"),
    [
        ((0, 0, 9, 9), 9 * 9 - 6 * 3),
        ((5, 0, 9, 9), 2 * 4 * 3),
        ((4, 2, 8, 7), 2 * 4 * 1),
        ((2, 2, 8, 7), 6 * 5 - 5 * 3),
        ((0, 3, 9, 6), 3 * 3),
        ((1, 1, 2, 8), 1 * 7),
        ((4, 3, 9, 6), 0),
        ((4, 4, 8, 5), 0),
    ],
)
def test_a_c_shape_is_cut_in_its_pieces(window: Window, area: int, turns: int) -> None:
    points, corners = C_SHAPE, ring(window[:2], window[2:])
    for _ in range(turns):
        points, corners = (np.stack([9 - item[:, 1], item[:, 0]], axis=1) for item in (points, corners))
    turned = (*corners.min(axis=0).astype(int).tolist(), *corners.max(axis=0).astype(int).tolist())

    assert clipped_area(points, turned) == area
    assert (clip_polygon(points, turned) is None) == (area == 0)


@pytest.mark.parametrize("shift", [(0, 0), (-20, 5), (10_000, 20_000)])
def test_a_comb_cut_below_its_back_is_its_teeth(shift: tuple[int, int]) -> None:
    teeth = [[(4 * n, 2), (4 * n, 10), (4 * n + 2, 10), (4 * n + 2, 2)] for n in range(5)]
    comb = ring((0, 0), *itertools.chain(*teeth), (18, 0)) + shift
    x, y = shift

    assert polygon_area(comb) == 18 * 2 + 5 * 2 * 8
    assert clipped_area(comb, (x, y + 4, x + 18, y + 9)) == 5 * 2 * (9 - 4)
    assert clipped_area(comb, (x + 1, y + 4, x + 5, y + 9)) == (1 + 1) * (9 - 4)


@pytest.mark.parametrize("turn", [1, -1])
def test_a_polygon_around_the_window_becomes_the_window(turn: int) -> None:
    clipped = clip_polygon(ring((-30, 15), (15, -90), (100, 20), (20, 100))[::turn], (10, 12, 20, 25))

    assert clipped is not None
    assert polygon_area(clipped) == (20 - 10) * (25 - 12)
    assert {tuple(point) for point in clipped.tolist()} >= {(10, 12), (20, 12), (20, 25), (10, 25)}


@pytest.mark.parametrize("dx", [-50, 0, 50])
@pytest.mark.parametrize("dy", [-50, 0, 50])
def test_nothing_is_left_of_a_polygon_outside(dx: int, dy: int) -> None:
    clipped = clip_polygon(ring((2 + dx, 2 + dy), (8 + dx, 3 + dy), (4 + dx, 9 + dy)), (0, 0, 10, 10))

    assert (clipped is None) == ((dx, dy) != (0, 0))


@pytest.mark.parametrize("shift", [(-6, 0), (10, 0), (0, -6), (0, 10), (10, 10)])
def test_nothing_is_left_of_a_polygon_that_touches_the_window(shift: tuple[int, int]) -> None:
    square = ring((0, 0), (6, 0), (6, 6), (0, 6))

    assert clip_polygon(square + shift, (0, 0, 10, 10)) is None


@pytest.mark.parametrize(("width", "left"), [(0.001, True), (1e-9, False)])
def test_a_sliver_is_left_but_not_what_rounding_leaves(width: float, left: bool) -> None:
    sliver = ring((10 - width, 0), (16, 0), (16, 6), (10 - width, 6))

    assert clipped_area(sliver, (0, 0, 10, 10)) == pytest.approx(6 * width if left else 0)
    assert (clip_polygon(sliver, (0, 0, 10, 10)) is not None) == left


# Two triangles of 4 px² that meet in (2, 2): left (0, 0), (2, 2), (0, 4) and right (4, 0), (4, 4), (2, 2).
BOW_TIE = ring((0, 0), (4, 4), (4, 0), (0, 4))


def test_a_bow_tie_is_cut_to_one_of_its_wings() -> None:
    assert clipped_area(BOW_TIE, (2, 0, 9, 9)) == 4 * 2 / 2
    assert clipped_area(BOW_TIE, (3, 0, 9, 9)) == (2 + 4) / 2 * 1


@pytest.mark.parametrize("window", [(0, 1, 4, 4), (1, 0, 3, 9), (0, 1, 4, 3)])
def test_a_bow_tie_of_equal_wings_is_not_lost(window: Window) -> None:
    clipped = clip_polygon(BOW_TIE, window)

    assert clipped is not None
    at = centres(window)
    at = at[distance(BOW_TIE, at) > 0.01]
    assert np.array_equal(winding(clipped, at), winding(BOW_TIE, at))


def test_area_is_the_same_in_both_directions_and_far_from_the_origin() -> None:
    assert polygon_area(C_SHAPE) == polygon_area(C_SHAPE[::-1]) == 9 * 9 - 6 * 3
    assert polygon_area(C_SHAPE + 1e9) == 9 * 9 - 6 * 3
    assert polygon_area(ring((0, 0), (5, 5), (9, 9))) == 0
    assert polygons_area((C_SHAPE.reshape(-1), np.array([0, 0, 1, 0, 0, 1], dtype=np.float32))) == 63 + 1 / 2
