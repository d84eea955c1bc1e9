"""What survives a crop beside the box: masks, areas, crowds, and what an ignored region looks like on disk."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from augment.operations.labels import CROWD, DROP, IGNORE, KEEP, label_variant
from augment.operations.parameters import LabelRule
from datasets.records import Annotation, Image, Polygons, Rle, Window

# pycocotools 2.0 returns an array type that numpy 2 complains about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

IMAGE = Image(id=1, file_name="a.jpg", width=300, height=200)
WINDOW = (100, 50, 200, 150)
SIZE = (100, 100)  # height and width of WINDOW

Corners = tuple[float, float, float, float]
CUT_KEPT, CUT_IGNORED, INSIDE = (150, 60, 220, 100), (180, 60, 260, 100), (110, 60, 150, 100)


def polygon(*coordinates: float) -> Polygons:
    return (np.array(coordinates, dtype=np.float64),)


def rectangle(x0: float, y0: float, x1: float, y1: float) -> Polygons:
    return polygon(x0, y0, x1, y0, x1, y1, x0, y1)


def runs(x0: int, y0: int, x1: int, y1: int, text: bool = False) -> Rle:
    """A mask of IMAGE's size that fills the rectangle, which must not start in the corner; as runs or as text."""
    mask = np.zeros((IMAGE.height, IMAGE.width), dtype=np.uint8, order="F")
    mask[y0:y1, x0:x1] = 1
    if text:
        return Rle(mask.shape, coco_mask.encode(mask)["counts"].decode())
    flat = mask.reshape(-1, order="F")
    return Rle(mask.shape, np.diff(np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1, [flat.size]])))


def decoded(mask: Any) -> npt.NDArray[np.uint8]:
    """(height, width) as pycocotools reads what stands in the JSON."""
    assert isinstance(mask, Rle)
    if isinstance(mask.counts, str):
        return np.asarray(coco_mask.decode({"size": list(mask.size), "counts": mask.counts}))
    plain = {"size": list(mask.size), "counts": np.asarray(mask.counts).tolist()}
    return np.asarray(coco_mask.decode(coco_mask.frPyObjects(plain, *mask.size)))


def annotation(corners: Corners, mask: Polygons | Rle | None, iscrowd: int = 0) -> Annotation:
    """An object with the box x0, y0, x1, y1, and an area that no computation would give."""
    x0, y0, x1, y1 = corners
    box = (x0, y0, x1 - x0, y1 - y0)
    return Annotation(id=42, image_id=1, category_id=3, bbox=box, area=7.5, iscrowd=iscrowd, segmentation=mask)


def cropped(item: Annotation, window: Window = WINDOW) -> tuple[str, Annotation | None]:
    labels = label_variant([item], IMAGE, window, LabelRule())
    (case,) = labels.cases.elements()
    return case, labels.annotations[0] if labels.annotations else None


def survivor(item: Annotation, case: str) -> Annotation:
    found, left = cropped(item)
    assert found == case
    assert left is not None
    return left


def points(mask: Any) -> list[list[list[float]]]:
    return [part.reshape(-1, 2).tolist() for part in mask]


MASKS: dict[str, Callable[..., Polygons | Rle | None]] = {
    "polygon": rectangle,
    "runs": runs,
    "text": functools.partial(runs, text=True),
    "none": lambda *_: None,
}


@pytest.mark.parametrize("kind", MASKS)
def test_what_lies_inside_is_moved_and_else_untouched(kind: str) -> None:
    left = survivor(annotation(INSIDE, MASKS[kind](*INSIDE)), KEEP)
    assert left.bbox == (110 - 100, 60 - 50, 150 - 110, 100 - 60)
    assert left.area == 7.5
    assert (left.iscrowd, left.category_id, left.source_annotation_id) == (0, 3, 42)
    if kind == "polygon":
        assert points(left.segmentation) == [[[10, 10], [50, 10], [50, 50], [10, 50]]]
    elif kind != "none":
        mask = decoded(left.segmentation)
        assert mask.shape == SIZE
        assert mask[10:50, 10:50].all()
        assert mask.sum() == 40 * 40


@pytest.mark.parametrize("kind", MASKS)
def test_what_is_cut_gets_a_new_area(kind: str) -> None:
    # 50 of 70 columns are visible.
    left = survivor(annotation(CUT_KEPT, MASKS[kind](*CUT_KEPT)), KEEP)
    assert left.bbox == (50, 10, 200 - 150, 100 - 60)
    assert left.area == 50 * 40
    assert left.iscrowd == 0


@pytest.mark.parametrize("kind", ["polygon", "runs", "text"])
def test_an_ignored_object_is_a_crowd_with_a_mask_as_runs_of_the_window_s_size(kind: str) -> None:
    # 20 of 80 columns are visible.
    left = survivor(annotation(CUT_IGNORED, MASKS[kind](*CUT_IGNORED)), IGNORE)
    assert left.iscrowd == 1
    assert left.bbox == (80, 10, 20, 40)
    assert left.area == 20 * 40
    mask = decoded(left.segmentation)
    assert mask.shape == SIZE
    assert mask[10:50, 80:].all()
    assert mask.sum() == 20 * 40


def test_an_ignored_box_without_mask_is_a_crowd_without_mask() -> None:
    left = survivor(annotation(CUT_IGNORED, None), IGNORE)
    assert (left.iscrowd, left.segmentation, left.area) == (1, None, 20 * 40)


def test_runs_stay_runs_and_text_stays_text() -> None:
    for text in (False, True):
        left = survivor(annotation(CUT_KEPT, runs(*CUT_KEPT, text=text)), KEEP)
        assert isinstance(left.segmentation, Rle)
        assert isinstance(left.segmentation.counts, str) == text


def test_a_polygon_is_intersected_with_the_window_not_clamped_to_it() -> None:
    # Clamping would push the diamond's right corner from (240, 100) to (200, 100) and shave off what is visible.
    left = survivor(annotation((140, 50, 240, 150), polygon(190, 50, 240, 100, 190, 150, 140, 100)), KEEP)
    # Half of the diamond lies left of x = 190; right of it is a trapezium, 100 high at its left and 80 at its right.
    assert left.area == pytest.approx(100 * 50 / 2 + 10 * (100 + 80) / 2)
    assert isinstance(left.segmentation, tuple)
    assert sorted(points(left.segmentation)[0]) == [[40, 50], [90, 0], [90, 100], [100, 10], [100, 90]]


def test_of_several_polygons_those_outside_go() -> None:
    parts = rectangle(110, 60, 150, 100) + rectangle(190, 60, 210, 100) + rectangle(220, 60, 240, 100)
    left = survivor(annotation((110, 60, 240, 100), parts), KEEP)
    assert points(left.segmentation)[0] == [[10, 10], [50, 10], [50, 50], [10, 50]]
    assert len(points(left.segmentation)) == 2
    assert left.area == 40 * 40 + 10 * 40


@pytest.mark.parametrize("outside", [rectangle(201, 60, 219, 99), rectangle(200, 60, 219, 99), runs(200, 60, 219, 99)])
@pytest.mark.parametrize("corners", [CUT_KEPT, CUT_IGNORED])
def test_an_object_whose_mask_has_nothing_left_is_dropped(corners: Corners, outside: Polygons | Rle) -> None:
    assert cropped(annotation(corners, outside)) == (DROP, None)


def sliver(reach: float, iscrowd: int = 0) -> Annotation | None:
    """What is left of an object whose mask only just reaches over the border to x = `reach`, its box much further."""
    item = annotation((0, 60, 290, 140), polygon(100, 60, reach, 100, 100, 140), iscrowd)
    return cropped(item, (200, 0, 300, 200))[1]


@pytest.mark.parametrize("iscrowd", [0, 1])
@pytest.mark.parametrize("reach", [200.001, 200.003, 200.01, 200.1])
def test_what_is_left_of_a_mask_has_an_area(reach: float, iscrowd: int) -> None:
    # Readers, ours too, take an area of 0 for a missing one.
    left = sliver(reach, iscrowd)
    assert left is None or left.area > 0


@pytest.mark.parametrize("reach", [200.001, 200.003, 200.01, 200.1])
def test_an_ignored_object_whose_runs_have_no_pixel_left_is_dropped(reach: float) -> None:
    # The triangle is at most 0.1 wide, and COCO's rule gives it no pixel.
    assert sliver(reach) is None


@pytest.mark.parametrize("text", [False, True])
def test_a_crowd_stays_a_crowd_while_a_pixel_of_it_is_left(text: bool) -> None:
    # 1 of 120 columns: v = 1 / 120, r = 10 / 10,000, which would drop an object.
    left = survivor(annotation((199, 60, 300, 70), runs(199, 60, 300, 70, text), 1), CROWD)
    assert (left.iscrowd, left.bbox, left.area) == (1, (99, 10, 1, 10), 10)
    assert decoded(left.segmentation).sum() == 10
    assert decoded(left.segmentation).shape == SIZE


def test_a_crowd_wholly_inside_stays_as_it_is() -> None:
    left = survivor(annotation(INSIDE, runs(*INSIDE), 1), CROWD)
    assert (left.iscrowd, left.bbox, left.area) == (1, (10, 10, 40, 40), 7.5)


@pytest.mark.parametrize("corners", [(200, 60, 300, 70), (201, 60, 300, 70), (0, 0, 100, 200)])
def test_a_crowd_of_which_nothing_is_left_goes(corners: tuple[int, int, int, int]) -> None:
    for mask in (runs(200, 60, 300, 70), None):
        assert cropped(annotation(corners, mask, 1)) == (DROP, None)


def test_a_crowd_whose_box_but_not_mask_is_left_goes() -> None:
    assert cropped(annotation((150, 60, 300, 70), runs(200, 60, 300, 70), 1)) == (DROP, None)


def test_a_crowd_of_polygons_stays_one() -> None:
    left = survivor(annotation(CUT_IGNORED, rectangle(*CUT_IGNORED), 1), CROWD)
    assert left.iscrowd == 1
    assert left.area == 20 * 40
    assert isinstance(left.segmentation, tuple)


def test_without_a_window_everything_stays_and_names_its_source() -> None:
    items = [annotation(INSIDE, rectangle(*INSIDE)), annotation(CUT_KEPT, runs(*CUT_KEPT), 1), annotation(INSIDE, None)]
    labels = label_variant(items, IMAGE, None, LabelRule())
    assert labels.cases == {KEEP: 2, CROWD: 1}
    for item, left in zip(items, labels.annotations, strict=True):
        assert (left.bbox, left.area, left.iscrowd, left.category_id) == (item.bbox, 7.5, item.iscrowd, 3)
        assert left.segmentation is item.segmentation
        assert left.source_annotation_id == 42


pairs = st.tuples(st.integers(1, 199), st.integers(1, 199)).filter(lambda pair: pair[0] < pair[1])


@settings(deadline=None, max_examples=100)
@given(pairs, pairs, pairs, pairs)
def test_a_cropped_mask_is_the_crop_of_the_mask(
    x: tuple[int, int], y: tuple[int, int], across: tuple[int, int], down: tuple[int, int]
) -> None:
    """A rectangle of whole pixels, as polygon and as runs, against plain slicing of its pixels."""
    corners = (x[0], y[0], x[1], y[1])
    full = np.zeros((IMAGE.height, IMAGE.width), dtype=np.uint8)
    full[y[0] : y[1], x[0] : x[1]] = 1
    wanted = full[down[0] : down[1], across[0] : across[1]]
    for mask in (rectangle(*corners), runs(*corners)):
        left = cropped(annotation(corners, mask), (across[0], down[0], across[1], down[1]))[1]
        if left is None:
            continue
        assert left.area == (7.5 if wanted.sum() == full.sum() else wanted.sum())
        if isinstance(left.segmentation, Rle):
            np.testing.assert_array_equal(decoded(left.segmentation), wanted)


def test_a_sliver_of_a_crowd_without_a_mask_is_nothing() -> None:
    # 0.00004 px of its width are left, which rounds to 0; a box of no width would be refused by every reader.
    crowd = annotation((0, 0, 50.00004, 50), None, iscrowd=1)
    assert label_variant([crowd], IMAGE, (50, 0, 150, 100), LabelRule()) == ([], [], 1)


def test_a_cut_bow_tie_of_equal_wings_has_the_area_of_its_box() -> None:
    # Its wings turn opposite ways, so its own area is 0, which would read as a missing one.
    item = annotation((0, 0, 80, 80), polygon(0, 0, 80, 80, 80, 0, 0, 80))
    (shown,) = label_variant([item], IMAGE, (0, 20, 80, 60), LabelRule()).annotations
    assert (shown.bbox, shown.area) == ((0.0, 0.0, 80.0, 40.0), 80 * 40)
