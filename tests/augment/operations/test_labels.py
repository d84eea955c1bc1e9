"""What survives a crop, box by box: the recipe's table at both ends of each threshold, and against exact fractions."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from augment.operations import labels
from augment.operations.labels import DROP, IGNORE, KEEP, clip, judge, label_variant
from augment.operations.parameters import LabelRule
from datasets import masks
from datasets.records import Annotation, Image, Polygons, Window
from datasets.stream import annotation_body

RULE = LabelRule()
IMAGE = Image(id=1, file_name="a.jpg", width=300, height=300)
# 100 x 100 = 10,000 px: the ratio 0.01 is 100 px.
WINDOW = (100, 100, 200, 200)

Corners = tuple[float, float, float, float]


def annotation(corners: Corners, mask: Polygons | None = None) -> Annotation:
    """An object with the box x0, y0, x1, y1."""
    x0, y0, x1, y1 = corners
    box = (x0, y0, x1 - x0, y1 - y0)
    return Annotation(id=42, image_id=1, category_id=3, bbox=box, area=7.5, iscrowd=0, segmentation=mask)


def rectangle(x0: float, y0: float, x1: float, y1: float) -> Polygons:
    return (np.array([x0, y0, x1, y0, x1, y1, x0, y1]),)


def shown(item: Annotation, window: Window = WINDOW, rule: LabelRule = RULE) -> tuple[str, Annotation | None]:
    """The case of a single annotation and what is left of it."""
    labels = label_variant([item], IMAGE, window, rule)
    (case,) = labels.cases.elements()
    assert bool(labels.annotations) == (case != DROP)
    return case, labels.annotations[0] if labels.annotations else None


@pytest.mark.parametrize(
    ("corners", "case"),
    [
        # Wholly inside: kept, however small.
        ((150, 150, 151, 151), KEEP),  # r = 1 / 10,000
        ((150, 150, 150.5, 150.5), KEEP),
        ((100, 100, 200, 200), KEEP),  # the window itself: its border is inside
        ((199, 199, 200, 200), KEEP),  # touches the border from inside
        # Cut, v = 20 * 10 / (20 * 20) = 0.5 exactly, r = 200 / 10,000.
        ((190, 100, 210, 120), KEEP),
        ((90, 100, 110, 120), KEEP),
        ((100, 190, 120, 210), KEEP),
        ((100, 90, 120, 110), KEEP),
        ((190, 100, 210.001, 120), IGNORE),  # v = 10 / 20.001
        ((189.999, 100, 210, 120), KEEP),  # v = 10.001 / 20.001
        # v = 0.5, and r = 10 * 10 / 10,000 = 0.01 exactly, which is not above it.
        ((190, 100, 210, 110), DROP),
        ((190, 100, 210, 110.001), KEEP),
        # v = 10 / 100, and r at 0.01 and just above.
        ((190, 100, 290, 110), DROP),
        ((190, 100, 290, 110.001), IGNORE),
        # v = 5 / 5.5, r = 5 * 5 / 10,000: small and cut.
        ((195, 195, 200.5, 200), DROP),
        # Larger than the window on all sides: v = 10,000 / 40,000 and 10,000 / 19,600.
        ((50, 50, 250, 250), IGNORE),
        ((80, 80, 220, 220), KEEP),
        # Outside, also where it touches.
        ((200, 100, 250, 150), DROP),
        ((20, 20, 100, 100), DROP),
        ((0, 0, 10, 10), DROP),
    ],
)
def test_the_table_at_both_ends_of_each_threshold(corners: Corners, case: str) -> None:
    assert judge(corners, clip(corners, WINDOW), WINDOW, RULE) == case
    assert shown(annotation(corners))[0] == case
    assert shown(annotation(corners, rectangle(*corners)))[0] == case


def test_the_thresholds_belong_to_the_recipe() -> None:
    # v = 10 / 40, r = 10 * 40 / 10,000 = 0.04.
    item = annotation((190, 100, 230, 140))
    assert shown(item, rule=LabelRule(min_visible=0.25))[0] == KEEP
    assert shown(item, rule=LabelRule(min_visible=0.2501))[0] == IGNORE
    assert shown(item, rule=LabelRule(min_area_ratio=0.04))[0] == DROP
    assert shown(item, rule=LabelRule(min_area_ratio=0.0399))[0] == IGNORE


def test_float_noise_does_not_make_a_box_cut() -> None:
    # A box of 0.003 of an image 200 px wide, centred at 0.9985 of it: its right border is 200.00000000000003.
    x, width = (0.9985 - 0.003 / 2) * 200, 0.003 * 200
    assert x + width > 200
    # Cut, it would be dropped for r = 0.6 * 0.4 / 10,000.
    item = msgspec.structs.replace(annotation((x, 100, 200, 100.4)), bbox=(x, 100.0, width, 0.4))
    assert shown(item)[0] == KEEP


quarters = st.integers(0, 4 * 300).map(lambda value: value / 4)
corner_pairs = st.tuples(quarters, quarters).filter(lambda pair: pair[0] < pair[1])
any_corners = st.builds(lambda x, y: (x[0], y[0], x[1], y[1]), corner_pairs, corner_pairs)
window_pairs = st.tuples(st.integers(0, 300), st.integers(0, 300)).filter(lambda pair: pair[0] < pair[1])
any_window = st.builds(lambda x, y: (x[0], y[0], x[1], y[1]), window_pairs, window_pairs)


def oracle(corners: Corners, window: Window) -> tuple[str, Corners]:
    """The table of the recipe in exact fractions, and the visible box x, y, width, height in the window."""
    x0, y0 = max(corners[0], window[0]), max(corners[1], window[1])
    x1, y1 = min(corners[2], window[2]), min(corners[3], window[3])
    visible = Fraction(max(0.0, x1 - x0)) * Fraction(max(0.0, y1 - y0))
    share = visible / (Fraction(corners[2] - corners[0]) * Fraction(corners[3] - corners[1]))
    ratio = visible / ((window[2] - window[0]) * (window[3] - window[1]))
    if share == 1:
        case = KEEP
    elif ratio > Fraction(1, 100):
        case = KEEP if share >= Fraction(1, 2) else IGNORE
    else:
        case = DROP
    return case, (x0 - window[0], y0 - window[1], x1 - x0, y1 - y0)


@settings(deadline=None, max_examples=300)
@given(st.lists(any_corners, max_size=8), any_window)
def test_cases_and_boxes_agree_with_exact_fractions(boxes: Sequence[Corners], window: Window) -> None:
    width, height = window[2] - window[0], window[3] - window[1]
    wanted = [oracle(corners, window) for corners in boxes]
    labels = label_variant([annotation(corners) for corners in boxes], IMAGE, window, RULE)
    assert labels.cases.total() == len(boxes)
    assert {name: labels.cases[name] for name in (KEEP, IGNORE, DROP)} == {
        name: [case for case, _ in wanted].count(name) for name in (KEEP, IGNORE, DROP)
    }
    survivors = [pair for pair in wanted if pair[0] != DROP]
    for item, (case, box) in zip(labels.annotations, survivors, strict=True):
        assert item.iscrowd == (case == IGNORE)
        assert item.bbox == box
        x, y, box_width, box_height = item.bbox
        assert 0 <= x < x + box_width <= width
        assert 0 <= y < y + box_height <= height


@st.composite
def near_border(draw: st.DrawFn) -> tuple[Corners, Window]:
    """A window, and a box of many decimals of which some sides lie on the window's border, give or take a hair."""
    window = draw(any_window)
    hair = st.sampled_from([0.0, 0.0, 4e-5, -4e-5, 2e-7, -2e-7])

    def side(low: int, high: int) -> tuple[float, float]:
        values = st.one_of(st.floats(0, 300), st.sampled_from([low, high]).map(float))
        first, last = sorted(min(300.0, max(0.0, draw(values) + draw(hair))) for _ in range(2))
        return first, last

    x, y = side(window[0], window[2]), side(window[1], window[3])
    return (x[0], y[0], x[1], y[1]), window


@settings(deadline=None, max_examples=300)
@given(near_border())
@example(((10.12355, 10.0, 100.0, 60.0), (5, 5, 100, 100)))
@example(((10.12345, 10.12345, 100.0, 100.0), (0, 0, 100, 100)))
def test_boxes_of_many_decimals_stay_inside_the_output_image(case: tuple[Corners, Window]) -> None:
    corners, window = case
    if min(corners[2] - corners[0], corners[3] - corners[1]) < 1e-3:
        return
    left = shown(annotation(corners), window)[1]
    if left is not None:
        x, y, width, height = left.bbox
        assert min(x, y) >= 0
        # One millionth of a pixel is what the reader takes for float noise; what is more it takes for a fault.
        assert x + width <= window[2] - window[0] + 1e-6
        assert y + height <= window[3] - window[1] + 1e-6


def test_an_image_that_loses_every_object_has_an_empty_list() -> None:
    labels = label_variant([annotation((0, 0, 10, 10)), annotation((250, 250, 300, 300))], IMAGE, WINDOW, RULE)
    assert labels.annotations == []
    assert labels.cases == {DROP: 2}


def test_an_image_without_objects_is_no_trouble() -> None:
    for window in (None, WINDOW):
        assert label_variant([], IMAGE, window, RULE) == ([], [], 0)


@given(
    st.lists(st.tuples(*[st.integers(0, 300)] * 4), min_size=1, max_size=30), st.integers(0, 200), st.integers(0, 200)
)
def test_many_objects_are_labelled_as_few_are(drawn: list[tuple[int, int, int, int]], left: int, top: int) -> None:
    """An array tells which boxes meet the window, where there are many; the others are dropped either way."""
    boxes = [(min(x0, x1), min(y0, y1), max(x0, x1) + 0.5, max(y0, y1) + 0.5) for x0, y0, x1, y1 in drawn]
    items = [annotation(box, rectangle(*box) if at % 2 else None) for at, box in enumerate(boxes)]
    window = (left, top, left + 100, top + 100)
    few = label_variant(items, IMAGE, window, RULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labels, "FEW", 0)
        patch.setattr(masks, "MANY_POINTS", 0)
        many = label_variant(items, IMAGE, window, RULE)

    assert list(map(annotation_body, many.annotations)) == list(map(annotation_body, few.annotations))
    assert many.cases == few.cases
