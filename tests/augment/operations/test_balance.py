"""How many copies an image gets: min(max, floor(target / boxes of the rarest category in the image))."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.operations.balance import Balance, copies, count_boxes, median_boxes, target_boxes
from augment.operations.parameters import Copy
from datasets.records import Annotation

PAPER_IMAGES = 5_873
PERSON, HAIR_DRIER, TOASTER, DOG = 1, 89, 80, 18
# Boxes in the paper's training images; the number of dogs is made up.
PAPER = Counter({PERSON: 13_085, HAIR_DRIER: 7, TOASTER: 16, DOG: 280})


def annotation(category: int, iscrowd: int = 0) -> Annotation:
    return Annotation(id=1, image_id=1, category_id=category, bbox=(0, 0, 1, 1), area=1, iscrowd=iscrowd)


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        # The default target is half the images: 5,873 / 2 = 2,936.5 boxes.
        ([HAIR_DRIER], 20),  # 2,936.5 / 7 = 419.5, capped
        ([TOASTER], 20),  # 2,936.5 / 16 = 183.5, capped
        ([DOG], 10),  # 2,936.5 / 280 = 10.49
        ([PERSON], 0),  # 2,936.5 / 13,085 = 0.22
        ([PERSON, DOG], 10),  # the rarest one decides
        ([DOG, PERSON, HAIR_DRIER], 20),
        ([], 0),
    ],
)
def test_copies_of_the_paper_s_images(present: list[int], expected: int) -> None:
    assert copies(Copy(), present, PAPER, PAPER_IMAGES) == expected


def test_seven_hair_driers_become_the_paper_s_147() -> None:
    assert 7 * (1 + copies(Copy(), [HAIR_DRIER], PAPER, PAPER_IMAGES)) == 147


@pytest.mark.parametrize(
    ("operation", "boxes", "images", "expected"),
    [
        (Copy(target_boxes=30), 10, 999, 3),  # as a number, the images do not matter
        (Copy(target_boxes=29), 10, 999, 2),
        (Copy(target_boxes=9), 10, 999, 0),
        (Copy(target_fraction=0.3), 10, 100, 3),  # 0.3 * 100 = 30
        (Copy(target_fraction=1.0), 10, 100, 10),
        (Copy(target_fraction=0.5), 10, 59, 2),  # 29.5 / 10 = 2.95
        (Copy(target_fraction=0.5), 10, 60, 3),
        (Copy(target_boxes=199), 10, 999, 19),
        (Copy(target_boxes=200), 10, 999, 20),
        (Copy(target_boxes=210), 10, 999, 20),
        (Copy(target_boxes=210, max_copies=21), 10, 999, 21),
        (Copy(target_boxes=210, max_copies=1), 10, 999, 1),
        (Copy(target_boxes=7, target_fraction=1.0), 1, 100, 7),  # the number wins
        # 29 % of 100 images are 29 boxes, also where 0.29 * 100 is 28.999999999999996.
        (Copy(target_fraction=0.29, max_copies=100), 1, 100, 29),
        (Copy(target_fraction=0.57), 57, 100, 1),
    ],
)
def test_target_cap_and_floor(operation: Copy, boxes: int, images: int, expected: int) -> None:
    assert copies(operation, [1], Counter({1: boxes}), images) == expected


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (Copy(), 2936.5),  # 5,873 / 2
        (Copy(target_boxes=12), 12),
        (Copy(target="median"), 148),  # between 16 and 280
    ],
)
def test_the_target_is_a_share_of_the_images_or_a_number(operation: Copy, expected: float) -> None:
    assert target_boxes(operation, PAPER_IMAGES, PAPER) == expected


@pytest.mark.parametrize(("counts", "expected"), [([], 0), ([3, 0, 0], 3), ([9, 1, 4], 4), ([1, 2], Fraction(3, 2))])
def test_the_median_is_of_the_categories_that_have_boxes(counts: list[int], expected: Fraction) -> None:
    assert median_boxes(Counter(dict(enumerate(counts)))) == expected


def test_crowds_do_not_count() -> None:
    assert count_boxes([annotation(3), annotation(3), annotation(3, 1), annotation(5, 1)]) == {3: 2}


def test_an_image_s_crowds_do_not_make_it_rare() -> None:
    # 100 cars and 2 dogs; the target of 50 boxes gives a car's image 0 copies and a dog's 25, capped at 20.
    balance = Balance(Counter({3: 100, 18: 2}), 100)
    assert balance.copies([annotation(3), annotation(18, 1)])(Copy()) == 0
    assert balance.copies([annotation(3), annotation(18)])(Copy()) == 20
    assert balance.copies([annotation(18, 1)])(Copy()) == 0
    assert balance.copies([])(Copy()) == 0


operations = st.builds(
    Copy,
    max_copies=st.integers(1, 50),
    target_fraction=st.floats(0.01, 1),
    target_boxes=st.none() | st.integers(1, 1000),
)
datasets_boxes = st.dictionaries(st.integers(1, 90), st.integers(1, 5000), min_size=1).map(Counter)


@settings(deadline=None)
@given(operations, datasets_boxes, st.integers(1, 10_000), st.data())
def test_copies_stay_in_bounds_and_never_fall_with_rarity(
    operation: Copy, boxes: Counter[int], images: int, data: st.DataObject
) -> None:
    by_rarity = sorted(boxes, key=lambda category: boxes[category])
    numbers = [copies(operation, [category], boxes, images) for category in by_rarity]
    assert numbers == sorted(numbers, reverse=True)
    assert all(0 <= number <= operation.max_copies for number in numbers)
    present = data.draw(st.lists(st.sampled_from(by_rarity), min_size=1))
    rarest = min(present, key=by_rarity.index)
    assert copies(operation, present, boxes, images) == copies(operation, [rarest], boxes, images)
