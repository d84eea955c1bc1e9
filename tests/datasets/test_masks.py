"""Run-length masks, against pycocotools: decoding, encoding, area, cropping, and what is malformed."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from datasets.masks import Spans, mask_to_rle, polygons_to_rle, rle_area, rle_runs, rle_to_mask
from datasets.records import Polygons, Rle, Window

# pycocotools 2.0 returns an array type that numpy 2 complains about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Mask = npt.NDArray[np.uint8]

masks = hnp.arrays(np.uint8, st.tuples(st.integers(1, 13), st.integers(1, 13)), elements=st.integers(0, 1))
# What an object looks like: few runs, long ones among them.
blocks = st.builds(
    lambda height, width, x, y: np.pad(np.ones((height, width), dtype=np.uint8), ((y, 40), (x, 55))),
    *[st.integers(1, 60)] * 4,
)


def crop_rle(rle: Rle, window: Window) -> Rle | None:
    return Spans(rle).crop(window)


def text_of(mask: Mask) -> str:
    """COCO's compressed string, by pycocotools."""
    return str(coco_mask.encode(np.asfortranarray(mask))["counts"].decode("ascii"))


def text_rle(mask: Mask) -> Rle:
    height, width = mask.shape
    return Rle((height, width), text_of(mask))


def by_pycocotools(rle: Rle) -> Mask:
    found: dict[str, Any] = {"size": list(rle.size), "counts": rle.counts}
    if not isinstance(rle.counts, str):
        found = coco_mask.frPyObjects(found | {"counts": rle.counts.tolist()}, *rle.size)
    return np.asarray(coco_mask.decode(found))


def windows_of(mask: Mask) -> st.SearchStrategy[Window]:
    """Windows of at least a pixel inside the mask's image."""

    def span(size: int) -> st.SearchStrategy[tuple[int, int]]:
        return st.tuples(st.integers(0, size - 1), st.integers(1, size)).map(
            lambda pair: (min(pair), max(pair[1], pair[0] + 1))
        )

    height, width = mask.shape
    return st.tuples(span(width), span(height)).map(lambda spans: (spans[0][0], spans[1][0], spans[0][1], spans[1][1]))


@given(masks | blocks)
@settings(max_examples=100, deadline=None)
def test_runs_and_strings_decode_to_what_pycocotools_encoded(mask: Mask) -> None:
    text, runs = text_rle(mask), mask_to_rle(mask)

    for rle in (text, runs):
        assert np.array_equal(rle_to_mask(rle), mask)
        assert np.array_equal(by_pycocotools(rle), mask)
        assert rle_area(rle) == mask.sum() == coco_mask.area({"size": list(mask.shape), "counts": text.counts})
    assert np.array_equal(rle_runs(text), rle_runs(runs))


def test_runs_go_down_the_columns_and_start_with_zeros() -> None:
    mask = np.array([[0, 1], [0, 1], [1, 0]], dtype=np.uint8)

    rle = mask_to_rle(mask)

    assert rle.size == (3, 2)
    assert isinstance(rle.counts, np.ndarray)
    assert rle.counts.tolist() == [2, 1 + 2, 1]
    assert rle_area(rle) == 1 + 2


def test_a_mask_that_starts_set_has_a_run_of_no_zeros_first() -> None:
    rle = mask_to_rle(np.ones((2, 3), dtype=np.uint8))

    assert isinstance(rle.counts, np.ndarray)
    assert rle.counts.tolist() == [0, 2 * 3]


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_crop_is_the_masks_window_in_the_form_of_its_source(data: st.DataObject) -> None:
    mask = data.draw(masks | blocks)
    window = data.draw(windows_of(mask))
    x0, y0, x1, y1 = window
    expected = mask[y0:y1, x0:x1]

    for rle in (text_rle(mask), mask_to_rle(mask)):
        cropped = crop_rle(rle, window)
        if not expected.any():
            assert cropped is None
            continue
        assert cropped is not None
        assert cropped.size == (y1 - y0, x1 - x0)
        assert isinstance(cropped.counts, str) == isinstance(rle.counts, str)
        assert np.array_equal(by_pycocotools(cropped), expected)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_crop_has_the_very_runs_of_its_bitmap(data: st.DataObject) -> None:
    """Also where the source's runs have lengths of 0, which the bitmap does not know of."""
    mask = data.draw(masks | blocks)
    window = data.draw(windows_of(mask))
    x0, y0, x1, y1 = window
    runs = rle_runs(mask_to_rle(mask)).tolist()
    for place in data.draw(st.lists(st.integers(0, len(runs)), max_size=3)):
        runs[place:place] = [0, 0]
    if data.draw(st.booleans()) and runs[-1] > 1:
        # A run of ones that is cut by a run of no zeros, or the other way.
        runs[-1:] = [1, 0, runs[-1] - 1]

    cropped = crop_rle(Rle(mask_to_rle(mask).size, np.array(runs, dtype=np.int64)), window)

    expected = mask_to_rle(np.ascontiguousarray(mask[y0:y1, x0:x1]))
    if cropped is None:
        assert not mask[y0:y1, x0:x1].any()
    else:
        assert rle_runs(cropped).tolist() == rle_runs(expected).tolist()


def test_several_windows_of_one_mask_by_hand() -> None:
    """3 x 4 px, columns 110, 011, 000, 111: stretches [0, 2), [4, 6), [9, 12), the last pixel of all set."""
    spans = Spans(Rle((3, 4), np.array([0, 2, 2, 2, 3, 3], dtype=np.int64)))

    def runs(window: Window) -> list[int] | None:
        cropped = spans.crop(window)
        return None if cropped is None else rle_runs(cropped).tolist()

    assert runs((0, 0, 4, 3)) == [0, 2, 2, 2, 3, 3]
    # Row 1 is 1 1 0 1.
    assert runs((0, 1, 4, 2)) == [0, 2, 1, 1]
    # Columns 10, 01 of the first two rows: 1, 1, 0, 1.
    assert runs((0, 0, 2, 2)) == [0, 2, 1, 1]
    assert runs((2, 0, 3, 3)) is None


@given(masks.filter(lambda mask: bool(mask.any())))
@settings(max_examples=50, deadline=None)
def test_cropping_to_the_whole_image_changes_nothing(mask: Mask) -> None:
    height, width = mask.shape
    text, runs = text_rle(mask), mask_to_rle(mask)

    assert crop_rle(text, (0, 0, width, height)) == text
    cropped = crop_rle(runs, (0, 0, width, height))
    assert cropped is not None
    assert np.array_equal(rle_runs(cropped), rle_runs(runs))


@pytest.mark.parametrize(
    ("runs", "why"),
    [
        ([], "add up to 0 px, expected 3 x 4 = 12 px"),
        ([5, 6], f"add up to {5 + 6} px"),
        ([5, 8], f"add up to {5 + 8} px"),
        ([13, -1], "negative or longer"),
        ([5, -1, 8], "negative or longer"),
        ([-1, 13], "negative or longer"),
        ([2**62, 2**62, 2**62, 2**62, 12], "negative or longer"),
    ],
)
def test_runs_that_are_no_mask_of_the_size_are_refused(runs: list[int], why: str) -> None:
    rle = Rle((3, 4), np.array(runs, dtype=np.int64))

    for use in (rle_runs, rle_to_mask, rle_area, lambda rle: crop_rle(rle, (0, 0, 2, 2))):
        with pytest.raises(ValueError, match=why):
            use(rle)


# A character holds five bits and, as its sixth (32), whether more follow; 48 is added. `<` is a run of 60 - 48 = 12.
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "add up to 0 px"),
        (";", "add up to 11 px"),
        ("=", "longer than the image"),
        ("P", "not a whole COCO run-length string"),
        ("<P", "not a whole COCO run-length string"),
        ("< ", "not a whole COCO run-length string"),
        ("<p", "not a whole COCO run-length string"),
        ("<\0", "not a whole COCO run-length string"),
        ("<é", "not a whole COCO run-length string"),
        ("P" * 60 + "0", "longer than any image"),
        ("O<=", "negative"),
    ],
)
def test_strings_that_are_no_mask_of_the_size_are_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        rle_to_mask(Rle((3, 4), text))


def test_the_smallest_right_string_is_read() -> None:
    assert not rle_to_mask(Rle((3, 4), "<")).any()


@pytest.mark.parametrize("foreign", ["中", "\u0100", "\U0001f600", "\ud800"])
def test_a_character_that_no_run_length_string_has_is_refused(foreign: str) -> None:
    with pytest.raises(ValueError, match="not a whole COCO run-length string"):
        rle_to_mask(Rle((3, 5), foreign))


@given(st.text() | st.text(st.characters(min_codepoint=48, max_codepoint=111)), st.integers(1, 9), st.integers(1, 9))
@example("o" * 9 + "0", 1, 1)
@example("0" * 50, 5, 5)
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_mask_or_a_value_error(text: str, height: int, width: int) -> None:
    rle = Rle((height, width), text)
    with contextlib.suppress(ValueError):
        mask = rle_to_mask(rle)

        assert mask.shape == (height, width)
        assert np.array_equal(mask, by_pycocotools(rle))


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 20)), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=200, deadline=None)
def test_any_runs_are_a_mask_or_a_value_error(runs: list[int], height: int, width: int) -> None:
    with contextlib.suppress(ValueError):
        mask = rle_to_mask(Rle((height, width), np.array(runs, dtype=np.int64)))

        assert mask.shape == (height, width)
        assert mask.sum() == sum(runs[1::2])


@given(masks, st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_a_string_with_one_other_character_is_a_mask_or_a_value_error(mask: Mask, seed: int) -> None:
    chance = random.Random(seed)
    text = text_of(mask)
    place = chance.randrange(len(text))
    with contextlib.suppress(ValueError):
        rle = Rle(text_rle(mask).size, text[:place] + chr(chance.randrange(256)) + text[place + 1 :])

        assert np.array_equal(rle_to_mask(rle), by_pycocotools(rle))


def polygons(*rings: list[float]) -> Polygons:
    return tuple(np.array(ring, dtype=np.float64) for ring in rings)


def test_polygons_become_runs_by_cocos_own_rule() -> None:
    found = polygons([1.5, 2.25, 17.0, 3.0, 8.0, 15.5], [10.0, 1.0, 19.0, 2.0, 19.5, 18.0])

    rle = polygons_to_rle(found, 20, 22)
    assert rle is not None

    parts = coco_mask.frPyObjects([polygon.tolist() for polygon in found], 20, 22)
    assert rle.size == (20, 22)
    assert np.array_equal(rle_to_mask(rle), np.asarray(coco_mask.decode(parts)).max(axis=2))


def test_polygons_that_cover_no_pixel_are_no_mask() -> None:
    assert polygons_to_rle(polygons([30.0, 30.0, 40.0, 30.0, 40.0, 40.0]), 20, 22) is None
    assert polygons_to_rle(polygons([5.0, 5.0, 5.0, 5.0, 5.0, 5.0]), 20, 22) is None


def test_overlapping_polygons_of_an_object_are_counted_once() -> None:
    square = [2.0, 2.0, 8.0, 2.0, 8.0, 8.0, 2.0, 8.0]
    rle = polygons_to_rle(polygons(square, square), 10, 10)
    assert rle is not None

    assert rle_area(rle) == (8 - 2) * (8 - 2)
