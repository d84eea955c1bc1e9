"""Groups of boxes in blocks of equal length, and the IoU of a whole block at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from ensemble.groups import CELLS, Block, Corners, Floats, Indices, blocks, iou_with, order_of_pairs

sides = st.floats(0, 1e4)
corners = st.floats(-1e4, 1e4)
boxes_xywh = st.tuples(corners, corners, sides, sides)


def made_blocks(*keys: list[int]) -> list[Block]:
    """Blocks of the boxes with these keys, in a stable order."""
    arrays = tuple(np.array(key, dtype=np.int64) for key in keys)
    return list(blocks(arrays, np.lexsort(arrays[::-1])))


def groups_in(found: list[Block]) -> list[list[int]]:
    """The places of each group, without what only fills its row up."""
    pairs = [pair for block in found for pair in zip(block.places.tolist(), block.lengths.tolist(), strict=True)]
    return [row[:length] for row, length in pairs]


def corners_of(*boxes: tuple[float, float, float, float]) -> Corners:
    """Tables of (1, N)"""
    return Corners.of(np.array([boxes], dtype=np.float64))


def column_of(box: tuple[float, float, float, float]) -> Corners:
    return corners_of(box)


@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 1)), max_size=60))
@settings(max_examples=150, deadline=None)
def test_every_group_stands_in_one_row_in_its_order(pairs: list[tuple[int, int]]) -> None:
    found = made_blocks([pair[0] for pair in pairs], [pair[1] for pair in pairs])

    expected = [[at for at, pair in enumerate(pairs) if pair == wanted] for wanted in sorted(set(pairs))]
    assert sorted(groups_in(found)) == sorted(expected)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_the_groups_of_a_block_are_about_as_long_and_the_longest_stand_first(lengths: list[int]) -> None:
    found = made_blocks([key for key, length in enumerate(lengths) for _ in range(length)])

    assert [length for block in found for length in block.lengths.tolist()] == sorted(lengths, reverse=True)
    for block in found:
        assert block.places.shape == (len(block.lengths), block.lengths[0])
        # As long as three quarters of the longest, rounded down.
        assert block.lengths[-1] >= block.lengths[0] * 3 // 4
        assert block.filled.sum(axis=1).tolist() == block.lengths.tolist()
        # What fills a row up is its first box.
        assert np.all((block.places == block.places[:, :1]) | block.filled)


def test_a_row_is_filled_up_on_the_right() -> None:
    (block,) = made_blocks([1, 0, 1, 0, 1, 0, 1])

    # The four boxes of key 1; the three of key 0, and the first of them once more.
    assert block.places.tolist() == [[0, 2, 4, 6], [1, 3, 5, 1]]
    assert block.filled.tolist() == [[True] * 4, [True] * 3 + [False]]


def test_a_much_shorter_group_has_a_block_of_its_own() -> None:
    assert [block.lengths.tolist() for block in made_blocks([0] * 8 + [1] * 6 + [2] * 5)] == [[8, 6], [5]]


def test_boxes_of_one_image_and_two_categories_are_two_groups() -> None:
    assert sorted(groups_in(made_blocks([5, 5, 5, 6], [1, 2, 1, 2]))) == [[0, 2], [1], [3]]


def test_many_small_groups_are_split_into_tables_of_so_many_cells() -> None:
    found = made_blocks([*range(2 * CELLS + 1), *range(2 * CELLS + 1)])

    # Two boxes a group: half as many groups as cells.
    assert [block.places.shape for block in found] == [(CELLS // 2, 2)] * 4 + [(1, 2)]


def test_a_group_longer_than_a_table_is_a_block_alone() -> None:
    found = made_blocks([0] * (CELLS + 5) + [1] * (CELLS + 3) + [2])

    assert [block.places.shape for block in found] == [(1, CELLS + 5), (1, CELLS + 3), (1, 1)]


pairs_far_apart = st.tuples(st.sampled_from([-(2**53), -1, 0, 7, 2**53]), st.sampled_from([-(2**53), 0, 1, 2**53]))


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)) | pairs_far_apart, max_size=20))
def test_pairs_are_ordered_as_by_lexsort(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs, dtype=np.int64).reshape(-1, 2).T

    assert order_of_pairs(first, second).tolist() == np.lexsort((second, first)).tolist()


def test_no_boxes_are_no_blocks() -> None:
    assert made_blocks([]) == []


@given(st.lists(boxes_xywh, min_size=1, max_size=6), boxes_xywh)
@settings(max_examples=200, deadline=None)
def test_iou_is_that_of_pycocotools(
    many: list[tuple[float, float, float, float]], one: tuple[float, float, float, float]
) -> None:
    def xyxy(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        return (box[0], box[1], box[0] + box[2], box[1] + box[3])

    found = iou_with(corners_of(*map(xyxy, many)), column_of(xyxy(one)))

    expected = coco_mask.iou(np.array(many), np.array([one]), [0])[:, 0]
    # x + width loses the last digits of a narrow box far from 0, which is all of its width in the end.
    lossy = min(side for box in (*many, one) for side in box[2:]) < 1e-3
    assert found.shape == (1, len(many))
    assert np.all((found >= 0) & (found <= 1))
    if not lossy:
        assert found[0] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_iou_is_the_common_part_over_the_whole() -> None:
    # 5 x 10 of 2 x 100 - 50; one inside the other; apart; side by side; itself.
    others = [(5, 0, 15, 10), (0, 0, 10, 4), (20, 0, 30, 10), (10, 0, 20, 10), (0, 0, 10, 10)]

    found = iou_with(corners_of(*others), column_of((0, 0, 10, 10)))

    assert found.tolist() == [[50 / (200 - 50), 40 / 100, 0, 0, 1]]


def test_iou_is_0_for_boxes_without_area_even_with_themselves() -> None:
    flat, point = (0, 5, 10, 5), (5, 5, 5, 5)

    for one in (flat, point):
        assert iou_with(corners_of(flat, point, (0, 0, 10, 10)), column_of(one)).tolist() == [[0, 0, 0]]


@given(st.tuples(corners, corners, corners, corners))
@settings(max_examples=100, deadline=None)
def test_the_iou_of_a_box_with_itself_is_1_to_the_last_bit(box: tuple[float, float, float, float]) -> None:
    x0, x1 = sorted((box[0], box[2]))
    y0, y1 = sorted((box[1], box[3]))
    found = iou_with(corners_of((x0, y0, x1, y1)), column_of((x0, y0, x1, y1)))

    if (x1 - x0) * (y1 - y0) > 1e-290:
        assert found.tolist() == [[1.0]]
    else:
        # An area next to nothing is lost beside the smallest number, which keeps 0 from being divided by 0.
        assert 0 <= found[0, 0] <= 1


def test_each_group_is_compared_with_its_own_box() -> None:
    boxes = Corners.of(np.array([[(0, 0, 10, 10), (0, 0, 10, 5)], [(0, 0, 10, 10), (0, 0, 10, 5)]], dtype=np.float64))
    one = boxes.at((np.array([[0], [1]]), np.array([[0], [1]])))

    assert iou_with(boxes, one).tolist() == [[1, 0.5], [0.5, 1]]


def test_comparing_leaves_the_boxes_as_they_were() -> None:
    table: Floats = np.arange(24, dtype=np.float64).reshape(2, 3, 4)
    boxes = Corners.of(table)
    others = boxes.at(np.s_[:, :1])

    iou_with(boxes, others)

    assert boxes.stacked().tobytes() == table.tobytes()
    assert boxes.area.tolist() == [[4.0] * 3] * 2


def test_corners_are_picked_and_put_by_cell() -> None:
    boxes = Corners.of(np.arange(24, dtype=np.float64).reshape(2, 3, 4))
    rows: Indices = np.array([0, 1])

    picked = boxes.at((rows, np.array([2, 0])))
    boxes.put((rows, np.array([0, 1])), picked)

    assert picked.stacked().tolist() == [[8, 9, 10, 11], [12, 13, 14, 15]]
    assert boxes.stacked()[:, :, 0].tolist() == [[8, 4, 8], [12, 12, 20]]
    assert boxes.area[0, 0] == (10 - 8) * (11 - 9)
