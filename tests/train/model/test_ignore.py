"""Ignore regions: who is taken out of the targets, and which candidates lie in an ignored box."""

from __future__ import annotations

from fractions import Fraction
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.train.scenes import Box, boxes, ioa, iou, outline, target
from train.model import ignore
from train.model.ignore import IGNORED, background_threshold, lies_in_ignored, split_ignored

# isort: split
from detectron2.modeling.matcher import Matcher
from detectron2.structures import Boxes, pairwise_ioa, pairwise_iou
from detectron2.structures.boxes import pairwise_intersection

# Whole numbers, few of them, so that edges coincide and shares are exact; also boxes without an area.
corners = st.tuples(*[st.integers(0, 12)] * 4).map(
    lambda found: (min(found[0], found[2]), min(found[1], found[3]), max(found[0], found[2]), max(found[1], found[3]))
)
solid = corners.filter(lambda box: box[2] > box[0] and box[3] > box[1])
# Those of the RPN and of the cascade's stages among them.
thresholds = st.sampled_from([Fraction(tenths, 10) for tenths in (1, 3, 5, 6, 7, 10)])


def lies_in(candidate: Box, ignored: Box, *, min_ioa: float = 0.5, min_iou: float = 0.3) -> bool:
    found = lies_in_ignored(boxes([candidate]), boxes([ignored]), min_ioa, min_iou)
    assert found is not None
    return bool(found)


@given(st.lists(corners, max_size=8), st.lists(corners, min_size=1, max_size=4), thresholds, thresholds)
def test_candidates_lie_where_a_plain_loop_finds_them(
    candidates: list[Box], ignored: list[Box], min_ioa: Fraction, min_iou: Fraction
) -> None:
    expected = [
        any(ioa(candidate, region) >= min_ioa or iou(candidate, region) >= min_iou for region in ignored)
        for candidate in candidates
    ]

    found = lies_in_ignored(boxes(candidates), boxes(ignored), float(min_ioa), float(min_iou))

    assert found is not None
    assert found.dtype == torch.bool
    assert found.tolist() == expected


@given(
    st.lists(corners, min_size=1, max_size=8),
    st.lists(corners, min_size=1, max_size=6),
    thresholds,
    thresholds,
    st.integers(1, 50),
)
def test_it_does_not_matter_how_many_pairs_are_compared_at_once(
    candidates: list[Box], ignored: list[Box], min_ioa: Fraction, min_iou: Fraction, pairs: int
) -> None:
    given = boxes(candidates), boxes(ignored)
    expected = (pairwise_ioa(given[1], given[0]) >= float(min_ioa)) | (
        pairwise_iou(given[1], given[0]) >= float(min_iou)
    )

    with mock.patch.object(ignore, "PAIRS_AT_ONCE", pairs):
        found = lies_in_ignored(*given, float(min_ioa), float(min_iou))

    assert found is not None
    assert found.tolist() == expected.any(dim=0).tolist()


def test_memory_does_not_grow_with_the_number_of_ignored_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 ignored boxes against the anchors of a picture of 1800 x 2400 px took a gigabyte at once."""
    compared: list[tuple[int, int]] = []

    def spy(one: Boxes, other: Boxes) -> torch.Tensor:
        compared.append((len(one), len(other)))
        shared: torch.Tensor = pairwise_intersection(one, other)
        return shared

    monkeypatch.setattr(ignore, "pairwise_intersection", spy)
    monkeypatch.setattr(ignore, "PAIRS_AT_ONCE", 2500)

    found = lies_in_ignored(boxes([(0, 0, 10, 10)] * 1000), boxes([(0, 0, 10, 10)] * 41), 0.5, 0.5)

    assert found is not None
    assert found.all()
    # Two ignored boxes at a time, since three would be 3,000 pairs.
    assert compared == [(2, 1000)] * 20 + [(1, 1000)]


def test_half_of_a_candidate_is_enough() -> None:
    region = (0, 0, 100, 100)

    assert lies_in((90, 0, 110, 40), region)  # 10 of 20 columns
    assert not lies_in((90.01, 0, 110.01, 40), region)  # 9.99 of 20


def test_shares_in_two_ignored_boxes_are_not_added_up() -> None:
    # 4 of 10 columns in each: all but 2 columns are ignored, yet neither box says what the candidate is.
    found = lies_in_ignored(boxes([(10, 0, 20, 10)]), boxes([(0, 0, 14, 10), (16, 0, 30, 10)]), 0.5, 0.5)

    assert found is not None
    assert not found.any()


@pytest.mark.parametrize("min_iou", [0.3, 0.5, 0.6])
def test_a_candidate_larger_than_the_ignored_box_lies_in_it_at_the_background_threshold(min_iou: float) -> None:
    # The candidate is the ignored box and more, so its share inside and its IoU are both 100 min_iou / 100.
    columns = round(100 * min_iou)

    assert lies_in((0, 0, 100, 10), (0, 0, columns, 10), min_ioa=0.9, min_iou=min_iou)
    assert not lies_in((0, 0, 100, 10), (0, 0, columns - 1, 10), min_ioa=0.9, min_iou=min_iou)


def test_a_small_candidate_lies_in_a_large_ignored_box() -> None:
    candidate, region = (40, 40, 44, 44), (0, 0, 100, 100)

    assert iou(candidate, region) == Fraction(4 * 4, 100 * 100)
    assert lies_in(candidate, region)


def test_without_ignored_boxes_there_is_no_answer() -> None:
    assert lies_in_ignored(boxes([(0, 0, 10, 10)]), boxes([]), 0.5, 0.5) is None


def test_no_candidates_are_an_answer_of_no_rows() -> None:
    found = lies_in_ignored(boxes([]), boxes([(0, 0, 10, 10)]), 0.5, 0.5)

    assert found is not None
    assert found.shape == (0,)


@given(solid, solid, st.sampled_from([Matcher([0.3, 0.7], [0, -1, 1], True), Matcher([0.6], [0, 1], False)]))
def test_what_fits_an_ignored_box_is_what_a_matcher_would_not_call_background(
    candidate: Box, region: Box, matcher: Matcher
) -> None:
    """Not by a low quality match, which asks for no fit at all."""
    plain = Matcher(matcher.thresholds[1:-1], matcher.labels, allow_low_quality_matches=False)
    _, (label,) = plain(pairwise_iou(boxes([region]), boxes([candidate])))

    found = lies_in(candidate, region, min_ioa=2, min_iou=background_threshold(matcher.thresholds))

    assert found == (int(label) != 0)


@given(st.lists(solid, max_size=5), st.lists(solid, max_size=5), st.booleans())
def test_targets_are_split_as_a_plain_loop_splits_them(kept: list[Box], ignored: list[Box], masks: bool) -> None:
    before = target(kept, ignored, masks=masks)

    (chosen,), (regions,) = split_ignored([before])

    assert chosen.gt_boxes.tensor.tolist() == [list(box) for box in kept]
    assert chosen.gt_classes.tolist() == list(range(len(kept)))
    assert chosen.has("gt_masks") == masks
    if masks:
        assert [[ring.tolist() for ring in mask] for mask in chosen.gt_masks.polygons] == [[outline(b)] for b in kept]
    assert not chosen.has(IGNORED)
    assert chosen.image_size == before.image_size
    assert isinstance(regions, Boxes)
    assert regions.tensor.shape == (len(ignored), 4)
    assert regions.tensor.tolist() == [list(box) for box in ignored]


def test_every_image_has_its_own_answer() -> None:
    one, two = (0, 0, 10, 10), (5, 5, 20, 20)

    kept, ignored = split_ignored([target([one], [two]), target([], [one, two]), target([two, one])])

    assert [image.gt_boxes.tensor.tolist() for image in kept] == [[list(one)], [], [list(two), list(one)]]
    assert [image.tensor.tolist() for image in ignored] == [[list(two)], [list(one), list(two)], []]


def test_targets_without_the_field_are_returned_untouched() -> None:
    before = target([(0, 0, 10, 10)], field=False)

    (chosen,), (regions,) = split_ignored([before])

    assert chosen is before
    assert regions.tensor.shape == (0, 4)


def test_nothing_is_copied_where_nothing_is_ignored() -> None:
    before = target([(0, 0, 10, 10), (5, 5, 20, 20)])

    (chosen,), (regions,) = split_ignored([before])

    assert chosen.gt_boxes is before.gt_boxes
    assert chosen.gt_masks is before.gt_masks
    assert not chosen.has(IGNORED)
    assert len(regions) == 0


def test_the_targets_that_were_given_stay_as_they_were() -> None:
    before = target([(0, 0, 10, 10)], [(5, 5, 20, 20)])

    split_ignored([before])

    assert before.get(IGNORED).tolist() == [False, True]
    assert len(before.gt_boxes) == 2
