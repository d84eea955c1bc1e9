"""Pasting: where objects go, what their pixels and masks are, and what becomes of the labels."""

from __future__ import annotations

from fractions import Fraction

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.operations import paste
from augment.operations.donors import Chooser, Donors, to_paste
from augment.operations.labels import DROP, IGNORE, KEEP, PASTED, Labeller, Labels
from augment.operations.parameters import LabelRule, Paste
from datasets import coco_runs
from datasets.masks import rle_bounds
from datasets.records import Annotation, Donor, Image, Polygons, Rle, Window
from tests.augment.operations.pictures import Pictures, bitmap_of, generators, pictures

RULE = LabelRule()
EASY = Paste(objects=(1, 6), scale=(0.2, 3.0), min_size=1, boxes=True)
NO_LIMITS = LabelRule(min_visible=0, min_area_ratio=0)


def drawn(listed: Pictures, own: int, operation: Paste, rng: np.random.Generator) -> tuple[Donor, ...]:
    donors = Donors(listed)
    chooser = Chooser(to_paste(donors, operation), donors, operation.choose)
    image = listed[own][1]
    return paste.draw(operation, image.width, image.height, own, donors, chooser, rng)


def annotation_of(listed: Pictures, donor: Donor) -> Annotation:
    _, _, objects = next(one for one in listed if one[1].id == donor.source_id)
    return next(item for item in objects if item.id == donor.source_annotation_id)


@given(pictures(fewest=2), generators)
def test_pasted_objects_lie_inside_come_from_others_and_are_found_again(
    listed: Pictures, rng: np.random.Generator
) -> None:
    for own, (_, image, _) in enumerate(listed):
        found = drawn(listed, own, EASY, rng)
        assert len({(donor.source_id, donor.source_annotation_id) for donor in found}) == len(found) <= 6
        for donor in found:
            assert donor.source_id != image.id
            x0, y0, x1, y1 = donor.window
            left, top, right, bottom = donor.region
            assert 0 <= left < right <= image.width
            assert 0 <= top < bottom <= image.height
            for new, old in ((right - left, x1 - x0), (bottom - top, y1 - y0)):
                assert abs(new - old * donor.scale) <= 1
            assert EASY.scale[0] <= donor.scale <= EASY.scale[1]
            assert not annotation_of(listed, donor).iscrowd


@given(pictures(fewest=2), generators, st.integers(2, 30))
def test_pasted_objects_keep_their_least_size(listed: Pictures, rng: np.random.Generator, least: int) -> None:
    for donor in drawn(listed, 0, msgspec.structs.replace(EASY, min_size=least), rng):
        left, top, right, bottom = donor.region
        assert min(right - left, bottom - top) >= least


@pytest.mark.parametrize(
    "listed", [[], [Annotation(id=1, image_id=0, category_id=1, bbox=(5, 5, 20, 20), area=1, iscrowd=0)]]
)
def test_a_dataset_of_one_picture_lends_nothing(listed: list[Annotation]) -> None:
    image = Image(id=1, file_name="a.jpg", width=40, height=40)

    assert drawn([(0, image, listed)], 0, EASY, np.random.default_rng(0)) == ()


def test_a_picture_of_one_pixel_takes_nothing_that_has_a_least_size() -> None:
    box = Annotation(id=1, image_id=0, category_id=1, bbox=(5, 5, 20, 20), area=1, iscrowd=0)
    listed: Pictures = [
        (0, Image(id=1, file_name="a.jpg", width=1, height=1), []),
        (0, Image(id=2, file_name="b.jpg", width=40, height=40), [box]),
    ]
    assert drawn(listed, 0, Paste(boxes=True), np.random.default_rng(0)) == ()


@given(generators)
def test_the_number_of_objects_is_drawn_from_the_range(rng: np.random.Generator) -> None:
    objects = [Annotation(id=at, image_id=0, category_id=1, bbox=(5, 5, 20, 20), area=1, iscrowd=0) for at in range(50)]
    images = [Image(id=at, file_name=f"{at}.jpg", width=40, height=40) for at in range(2)]
    operation = Paste(objects=(2, 5), boxes=True)

    counts = {len(drawn([(0, images[0], []), (0, images[1], objects)], 0, operation, rng)) for _ in range(60)}

    assert counts == {2, 3, 4, 5}


def lent(mask: Polygons | Rle | None, window: Window, region: Window, flip: bool = False) -> tuple[Donor, Annotation]:
    donor = Donor(source_input=0, source_id=9, source_annotation_id=1, window=window, region=region, scale=1, flip=flip)
    return donor, Annotation(id=1, image_id=9, category_id=4, bbox=(0, 0, 1, 1), area=1, iscrowd=0, segmentation=mask)


TRIANGLE: Polygons = (np.array([10.0, 10, 30, 10, 10, 20]),)


def test_an_outline_is_scaled_and_a_bitmap_resized() -> None:
    """A triangle of half its 20 x 10 px window, at twice its size; and the same as runs."""
    whole = coco_runs.from_segmentation(TRIANGLE, 40, 40)
    outline = paste.mask_of(*lent(TRIANGLE, (10, 10, 30, 20), (0, 0, 40, 20)))
    runs = paste.mask_of(*lent(coco_runs.to_rle(whole), (10, 10, 30, 20), (0, 0, 40, 20)))

    assert outline.shape == runs.shape == (20, 40)
    assert abs(int(outline.sum()) - 400) <= 20
    # Steps of two pixels where a bitmap was enlarged.
    np.testing.assert_array_equal(runs, coco_runs.to_bitmap(whole)[10:20, 10:30].repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("mask", [TRIANGLE, coco_runs.to_rle(coco_runs.from_segmentation(TRIANGLE, 40, 40)), None])
def test_a_mirrored_mask_is_the_mask_mirrored(mask: Polygons | Rle | None) -> None:
    plain, mirrored = (paste.mask_of(*lent(mask, (10, 10, 30, 20), (0, 0, 27, 13), flip)) for flip in (False, True))

    np.testing.assert_array_equal(mirrored, plain[:, ::-1])
    assert plain.any()


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 5), st.integers(0, 2**20))
def test_the_weights_rise_from_the_outline_to_the_edge(width: int, height: int, edge: int, seed: int) -> None:
    mask = (np.random.default_rng(seed).random((height, width)) < 0.8).astype(np.uint8)

    weights = paste.opacity(mask, edge)

    assert ((weights > 0) == (mask > 0)).all()
    assert weights.max(initial=0) <= paste.OPAQUE
    if not edge:
        assert (weights[mask > 0] == paste.OPAQUE).all()


def test_the_weights_of_a_square() -> None:
    """Distances 1, 2, 3 of the outermost pixels, as thirds."""
    weights = paste.opacity(np.ones((9, 9), dtype=np.uint8), 2)

    assert weights[4].tolist() == [85, 171, 256, 256, 256, 256, 256, 171, 85]


@pytest.mark.parametrize("edge", [0, 2])
def test_pixels_are_mixed_by_their_weights_and_nothing_else_changes(edge: int) -> None:
    rng = np.random.default_rng(0)
    canvas, other = (rng.integers(0, 256, (30, 40, 3), dtype=np.uint8) for _ in range(2))
    before, donor_before = canvas.copy(), other.copy()
    donor, annotation = lent(TRIANGLE, (10, 10, 30, 20), (5, 7, 25, 17), flip=True)
    mask = paste.mask_of(donor, annotation)

    paste.blend(canvas, donor, other, mask, edge)

    np.testing.assert_array_equal(other, donor_before)
    weights = paste.opacity(mask, edge)
    for y in range(30):
        for x in range(40):
            inside = 7 <= y < 17 and 5 <= x < 25
            weight = int(weights[y - 7, x - 5]) if inside else 0
            theirs = other[10 + y - 7, 29 - (x - 5)] if inside else before[y, x]
            for channel in range(3):
                exact = Fraction(weight * int(theirs[channel]) + (256 - weight) * int(before[y, x, channel]), 256)
                assert canvas[y, x, channel] == int(exact + Fraction(1, 2))


def pasted_labels(
    listed: Pictures, own: int, donors: tuple[Donor, ...], rule: LabelRule
) -> tuple[Labels, list[tuple[Donor, Annotation, paste.Mask]]]:
    _, image, objects = listed[own]
    pasted = []
    for donor in donors:
        annotation = annotation_of(listed, donor)
        pasted.append((donor, annotation, paste.mask_of(donor, annotation)))
    shown = Labeller(objects, image, rule).show(None)
    return paste.labels(shown, image.width, image.height, pasted, rule), pasted


@given(pictures(fewest=2, kinds=("polygons", "runs", "string")), generators)
def test_masks_beneath_and_above_never_overlap_and_areas_add_up(listed: Pictures, rng: np.random.Generator) -> None:
    """Every pixel that an object loses is one that a later one has."""
    _, image, objects = listed[0]
    donors = drawn(listed, 0, EASY, rng)
    if not donors:
        return
    labels, pasted = pasted_labels(listed, 0, donors, NO_LIMITS)
    size = image.height, image.width
    above = [coco_runs.to_bitmap(coco_runs.at(mask, donor.region, *size)) for donor, _, mask in pasted]
    layers = [(bitmap_of(item, *size), 0) for item in objects] + [(mask, at + 1) for at, mask in enumerate(above)]
    shown = {(item.source_image_id, item.source_annotation_id): item for item in labels.annotations}
    keys = [(None, item.id) for item in objects] + [(one.source_id, one.source_annotation_id) for one in donors]
    for (before, first), key in zip(layers, keys, strict=True):
        cover = np.maximum.reduce(above[first:], initial=0) if first < len(above) else np.zeros(size, dtype=np.uint8)
        expected = before * (1 - cover)
        item = shown.get(key)
        if item is None:
            continue
        after = bitmap_of(item, *size)
        if before.any():
            np.testing.assert_array_equal(after, expected)
            assert after.sum() + (before * cover).sum() == before.sum()
            assert not (after * cover).any()
        if key[0] is not None:
            assert rle_bounds(coco_runs.to_rle(coco_runs.from_bitmap(after)))[:2] == item.bbox[:2]


@given(pictures(fewest=2), generators)
def test_labels_are_counted_and_lie_inside(listed: Pictures, rng: np.random.Generator) -> None:
    _, image, objects = listed[0]
    donors = drawn(listed, 0, EASY, rng)
    if not donors:
        return
    labels, _ = pasted_labels(listed, 0, donors, RULE)
    assert labels.cases.total() == len(objects) + len(donors)
    assert labels.cases.total() - labels.cases[DROP] == len(labels.annotations)
    for item in labels.annotations:
        x, y, width, height = item.bbox
        assert min(x, y) >= 0
        assert min(width, height) > 0
        # Sums of floats.
        assert x + width <= image.width + 1e-6
        assert y + height <= image.height + 1e-6


def square_donor(region: Window, id_: int = 1) -> tuple[Donor, Annotation, paste.Mask]:
    outline: Polygons = (np.array([0.0, 0, 10, 0, 10, 10, 0, 10]),)
    donor, annotation = lent(outline, (0, 0, 10, 10), region)
    annotation = msgspec.structs.replace(annotation, id=id_)
    return msgspec.structs.replace(donor, source_annotation_id=id_), annotation, paste.mask_of(donor, annotation)


def test_an_object_that_a_later_one_covers_follows_the_rule_too() -> None:
    """20 x 20 px in 10,000: the second leaves 40 % of the first, the third nothing of the second."""
    pasted = [square_donor((10, 10, 30, 30), 1), square_donor((18, 5, 48, 35), 2), square_donor((18, 5, 48, 35), 3)]

    labels = paste.labels(Labels([], [], 0), 100, 100, pasted, RULE)

    assert labels.cases == {IGNORE: 1, DROP: 1, PASTED: 1}
    first, last = labels.annotations
    assert (first.bbox, first.area, first.iscrowd) == ((10, 10, 8, 20), 160, 1)
    assert (last.bbox, last.area, last.iscrowd, last.category_id) == ((18, 5, 30, 30), 900, 0, 4)
    assert [(item.source_input, item.source_image_id, item.source_annotation_id) for item in (first, last)] == [
        (0, 9, 1),
        (0, 9, 3),
    ]


def test_what_is_not_touched_stays_as_it_was() -> None:
    outline: Polygons = (np.array([50.25, 50.5, 60.75, 50, 60, 60.125]),)
    own = Annotation(
        id=7,
        image_id=0,
        category_id=1,
        bbox=(50.25, 50, 10.5, 10.125),
        area=51.5,
        iscrowd=0,
        segmentation=outline,
        source_annotation_id=7,
    )
    labels = paste.labels(Labels([own], [KEEP], 0), 100, 100, [square_donor((10, 10, 30, 30))], RULE)

    assert labels.annotations[0] is own
    assert labels.cases == {KEEP: 1, PASTED: 1}


def test_an_object_without_a_pixel_is_not_there() -> None:
    """An outline without area leaves no pixel when it is scaled."""
    line: Polygons = (np.array([0.0, 0, 10, 0, 10, 0.001]),)
    donor, annotation = lent(line, (0, 0, 10, 10), (10, 10, 20, 20))
    pasted = [(donor, annotation, paste.mask_of(donor, annotation))]

    labels = paste.labels(Labels([], [], 0), 100, 100, pasted, RULE)

    assert (labels.annotations, labels.cases) == ([], {DROP: 1})


def test_nothing_is_pasted_from_the_same_file_in_another_input() -> None:
    image = Image(id=1, file_name="a.jpg", width=50, height=40)
    box = Annotation(id=1, image_id=1, category_id=1, bbox=(5, 5, 20, 20), area=1, iscrowd=0)
    listed: Pictures = [(0, image, [box]), (1, image, [box])]

    assert drawn(listed, 0, EASY, np.random.default_rng(0)) == ()
    assert drawn(
        [*listed, (2, msgspec.structs.replace(image, file_name="b.jpg"), [box])], 0, EASY, np.random.default_rng(0)
    )
