"""Merging across tiles: whole boxes before cut ones, NMS between tiles, and nothing else is lost or made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.operations import tiles
from datasets.records import Window
from train.inference.tiling import AGREEMENT, EDGE, Detections, cut_by_edge, merge

Box = tuple[float, float, float, float]

# Two tiles of 100 px that share the columns 80 to 100 of a 180 x 100 picture.
LEFT, RIGHT = 0, 1
PAIR: list[Window] = [(0, 0, 100, 100), (80, 0, 180, 100)]


class Row(NamedTuple):
    """A detection; of class 0 unless said."""

    tile: int
    box: Box
    score: float
    number: int = 0


def detections(rows: Sequence[Row]) -> Detections:
    return Detections(
        boxes_xyxy=np.array([row.box for row in rows], dtype=np.float64).reshape(-1, 4),
        scores=np.array([row.score for row in rows], dtype=np.float64),
        classes=np.array([row.number for row in rows], dtype=np.int64),
        tiles=np.array([row.tile for row in rows], dtype=np.int64),
    )


def merged(
    rows: Sequence[Row],
    windows: Sequence[Window] = PAIR,
    size: tuple[int, int] = (180, 100),
    *,
    iou_threshold: float = 0.5,
    limit: int = 1000,
) -> list[Row]:
    kept = merge(detections(rows), windows, *size, iou_threshold=iou_threshold, limit=limit).tolist()
    assert kept == sorted(set(kept))
    return [rows[at] for at in kept]


def test_a_whole_box_beats_its_cut_copy_whatever_the_scores() -> None:
    whole, cut = Row(RIGHT, (90, 10, 120, 40), 0.1), Row(LEFT, (90, 10, 100, 40), 0.9)
    assert merged([cut, whole]) == [whole]
    # Not where it is another category, or only touches it: 5 of 10 px are half, 4 are less.
    assert len(merged([cut, whole._replace(number=1)])) == 2
    assert merged([cut, whole._replace(box=(95, 10, 120, 40))]) == [whole._replace(box=(95, 10, 120, 40))]
    assert len(merged([cut, whole._replace(box=(96, 10, 120, 40))])) == 2


def test_an_object_that_both_tiles_show_whole_is_found_once() -> None:
    first, second = Row(LEFT, (82, 10, 97, 30), 0.6), Row(RIGHT, (83, 10, 97, 30), 0.7)
    assert merged([first, second]) == [second]
    # IoU 14 / 15.
    assert len(merged([first, second], iou_threshold=0.95)) == 2
    apart = Row(RIGHT, (83, 31, 97, 51), 0.7)
    assert merged([first, apart]) == [first, apart]


def test_boxes_of_one_tile_do_not_suppress_each_other() -> None:
    near = [Row(LEFT, (10, 10, 40, 40), 0.9), Row(LEFT, (11, 10, 40, 40), 0.8), Row(LEFT, (50, 10, 100, 40), 0.7)]
    assert merged([*near, Row(LEFT, (60, 10, 97, 40), 0.6)]) == [*near, Row(LEFT, (60, 10, 97, 40), 0.6)]


def test_of_an_object_that_both_tiles_cut_the_better_half_is_kept() -> None:
    # 70 and 60 px long; they have 20 px in common, an IoU of 20 / 110.
    left, right = Row(LEFT, (30, 10, 100, 40), 0.8), Row(RIGHT, (80, 10, 140, 40), 0.9)
    assert merged([left, right]) == [right]
    assert merged([left, right._replace(score=0.7)]) == [left]
    # In the shared pixels, 15 of 30 px are an IoU of a half, 14 are less.
    assert len(merged([left, right._replace(box=(80, 10, 140, 25))])) == 1
    assert len(merged([left, right._replace(box=(80, 10, 140, 24))])) == 2


def test_two_objects_at_an_edge_are_two() -> None:
    rows = [Row(LEFT, (30, 10, 100, 40), 0.8), Row(RIGHT, (80, 50, 140, 80), 0.9), Row(RIGHT, (101, 10, 140, 40), 0.9)]
    assert merged(rows) == rows


def test_tiles_that_share_nothing_keep_both_halves() -> None:
    apart: list[Window] = [(0, 0, 90, 100), (90, 0, 180, 100)]
    halves = [Row(LEFT, (60, 10, 90, 40), 0.8), Row(RIGHT, (90, 10, 120, 40), 0.9)]
    assert merged(halves, apart) == halves


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((10, 10, 100, 40), True),  # the right edge
        ((10, 10, 100 - EDGE, 40), True),
        ((10, 10, 99 - EDGE, 40), False),
        ((0, 0, 40, 100), False),  # edges of the picture
    ],
)
def test_boxes_are_cut_by_edges_inside_the_picture(box: Box, expected: bool) -> None:
    windows = np.array([PAIR[LEFT]], dtype=np.float64)
    assert cut_by_edge(np.array([box], dtype=np.float64), windows, 180, 100).tolist() == [expected]


def test_the_best_are_kept_of_too_many() -> None:
    rows = [Row(LEFT, (0, y, 10, y + 5), 0.5, y % 3) for y in range(0, 90, 10)]
    rows[4] = rows[4]._replace(score=0.9)
    best = merged(rows, limit=3)
    assert [row.score for row in best] == [0.5, 0.5, 0.9]
    assert merged(rows[::-1], limit=3) == best[::-1]
    assert merged([], limit=3) == []


class Scene(NamedTuple):
    width: int
    height: int
    windows: list[Window]
    rows: list[Row]


@st.composite
def grids(draw: st.DrawFn) -> tuple[int, int, list[Window]]:
    width, height, size = draw(st.integers(20, 120)), draw(st.integers(20, 120)), draw(st.integers(20, 64))
    return width, height, tiles.grid(width, height, size, draw(st.sampled_from([0, 0.2, 0.5])))


@st.composite
def boxes_within(draw: st.DrawFn, window: Window, margin: int = 0) -> Box:
    """Of whole numbers, at least 1 px wide and high."""
    x0, y0, x1, y1 = window[0] + margin, window[1] + margin, window[2] - margin, window[3] - margin
    left, top = draw(st.integers(x0, x1 - 1)), draw(st.integers(y0, y1 - 1))
    return left, top, draw(st.integers(left + 1, x1)), draw(st.integers(top + 1, y1))


# Few, so that there are ties.
scores = st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9])


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Any boxes, wherever and in whichever tile."""
    width, height, windows = draw(grids())
    rows = []
    for _ in range(draw(st.integers(0, 14))):
        tile = draw(st.integers(0, len(windows) - 1))
        rows.append(Row(tile, draw(boxes_within(windows[tile])), draw(scores), draw(st.integers(0, 1))))
    return Scene(width, height, windows, rows)


@st.composite
def perfect_scenes(draw: st.DrawFn) -> Scene:
    """Objects of a category each; every tile finds what it shows of them, with any score."""
    width, height, windows = draw(grids())
    rows = []
    for number in range(draw(st.integers(1, 4))):
        x0, y0, x1, y1 = draw(boxes_within((0, 0, width, height)))
        for tile, (left, top, right, bottom) in enumerate(windows):
            shown = max(x0, left), max(y0, top), min(x1, right), min(y1, bottom)
            if shown[0] < shown[2] and shown[1] < shown[3]:
                rows.append(Row(tile, shown, draw(scores), number))
    return Scene(width, height, windows, rows)


def is_cut(row: Row, scene: Scene) -> bool:
    picture = (0, 0, scene.width, scene.height)
    sides = zip(row.box, scene.windows[row.tile], picture, strict=True)
    return any(abs(side - edge) <= EDGE and edge != end for side, edge, end in sides)


def inside(box: Box, other: Box) -> Box:
    return max(box[0], other[0]), max(box[1], other[1]), min(box[2], other[2]), min(box[3], other[3])


def area(box: Box) -> float:
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


def iou(box: Box, other: Box) -> float:
    shared = area(inside(box, other))
    union = area(box) + area(other) - shared
    return shared / union if union else 0.0


def same_object(better: Row, row: Row, scene: Scene, iou_threshold: float) -> bool:
    if better.number != row.number or better.tile == row.tile:
        return False
    if iou(better.box, row.box) > iou_threshold:
        return True
    if not is_cut(row, scene):
        return False
    if not is_cut(better, scene):
        return area(inside(better.box, row.box)) / area(row.box) >= AGREEMENT
    both = inside(scene.windows[better.tile], scene.windows[row.tile])
    return iou(inside(better.box, both), inside(row.box, both)) >= AGREEMENT


def plain_loop(scene: Scene, iou_threshold: float, limit: int) -> list[Row]:
    kept: list[Row] = []
    for row in sorted(scene.rows, key=lambda row: (is_cut(row, scene), -row.score, row.box, row.number, row.tile)):
        if not any(same_object(better, row, scene, iou_threshold) for better in kept):
            kept.append(row)
    return sorted(kept, key=lambda row: -row.score)[:limit]


def merged_scene(
    scene: Scene, rows: list[Row] | None = None, iou_threshold: float = 0.5, limit: int = 1000
) -> list[Row]:
    given = scene.rows if rows is None else rows
    size = scene.width, scene.height
    return merged(given, scene.windows, size, iou_threshold=iou_threshold, limit=limit)


@given(scenes(), st.sampled_from([0.3, 0.5, 0.9]), st.integers(1, 10))
@settings(max_examples=200, deadline=None)
def test_the_same_as_a_plain_loop(scene: Scene, iou_threshold: float, limit: int) -> None:
    found = merged_scene(scene, None, iou_threshold, limit)
    assert sorted(found) == sorted(plain_loop(scene, iou_threshold, limit))


@given(scenes(), st.randoms(use_true_random=False), st.integers(1, 10))
@settings(max_examples=100, deadline=None)
def test_the_order_of_detections_does_not_matter(scene: Scene, random: object, limit: int) -> None:
    mixed = list(scene.rows)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert sorted(merged_scene(scene, mixed, limit=limit)) == sorted(merged_scene(scene, limit=limit))


@given(perfect_scenes())
@settings(max_examples=100, deadline=None)
def test_of_each_object_one_box_is_left_and_it_is_whole_where_a_tile_shows_it_whole(scene: Scene) -> None:
    found = merged_scene(scene)
    for number in {row.number for row in scene.rows}:
        rows = [row for row in scene.rows if row.number == number]
        kept = [row for row in found if row.number == number]
        whole = [row for row in rows if not is_cut(row, scene)]
        if whole:
            assert [row.box for row in kept] == [whole[0].box]
            assert kept[0].score == max(row.score for row in whole)
        else:
            assert kept


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_nothing_is_lost_where_no_edge_cuts_and_no_tiles_overlap(data: st.DataObject) -> None:
    size = data.draw(st.integers(20, 40))
    windows = tiles.grid(3 * size, 2 * size, size, 0)
    within = st.integers(0, 5).flatmap(
        lambda tile: st.builds(Row, st.just(tile), boxes_within(windows[tile], int(EDGE) + 1), scores, st.just(0))
    )
    rows = data.draw(st.lists(within, max_size=12))
    assert merged(rows, windows, (3 * size, 2 * size)) == rows


@given(scenes())
@settings(max_examples=50, deadline=None)
def test_one_tile_is_left_as_it_is(scene: Scene) -> None:
    window = (0, 0, scene.width, scene.height)
    rows = [row._replace(tile=0) for row in scene.rows]
    assert merged(rows, [window], (scene.width, scene.height)) == rows


@given(scenes())
@settings(max_examples=50, deadline=None)
def test_merging_twice_is_merging_once(scene: Scene) -> None:
    once = merged_scene(scene)
    assert merged_scene(scene, once) == once
