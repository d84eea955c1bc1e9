"""The shapes over a variant, and what its caption says of them."""

from __future__ import annotations

from augment.report.shapes import MOST_SHAPES, categories_text, counts_text, drawn
from tests.augment.report.conftest import box, image

NAMES = {1: "person", 3: "car", 18: "dog"}
# The first is whole in the crop, the second cut, the third lost at its border, the fourth outside, the last a crowd.
SOURCE = [
    box(10, (5, 5, 10, 10)),
    box(11, (40, 5, 20, 10), category=3),
    box(12, (45, 30, 50, 10)),
    box(13, (70, 70, 5, 5), category=18),
    box(14, (0, 30, 40, 10), category=3, iscrowd=1),
]
CROP = image(2, "random_crop", window=(0, 0, 50, 50), width=50, height=50)
SHOWN = [SOURCE[0], box(11, (40, 5, 10, 10), category=3, iscrowd=1), SOURCE[4]]
ORIGINALS = {(0, 1): SOURCE}


def test_each_object_has_its_kind() -> None:
    found = drawn(CROP, SHOWN, ORIGINALS, NAMES)
    # The largest first, so that the smallest is on top.
    assert [(shape.kind, shape.box_xywh, shape.about) for shape in found.shapes] == [
        ("ignored", (0, 30, 40, 10), "car: crowd"),
        ("kept", (5, 5, 10, 10), "person: kept"),
        ("ignored", (40, 5, 10, 10), "car: ignored"),
        ("dropped", (45, 30, 5, 10), "person: dropped (object 12)"),
    ]
    assert counts_text(found) == "1 kept, 1 ignored, 1 crowd, 2 dropped (1 wholly outside)"
    assert categories_text(found, NAMES) == "person 2, car 2, dog"


def test_an_object_of_another_image_names_it() -> None:
    pasted = box(70, (5, 5, 10, 10), category=18, source_image_id=7, source_input=0)
    for operation, verb in (("paste", "pasted"), ("mosaic", "shown")):
        found = drawn(image(2, operation), [pasted], {}, NAMES)
        assert [(shape.kind, shape.about) for shape in found.shapes] == [
            ("pasted", f"dog: kept, {verb} from image 7, its object 70")
        ]
        assert counts_text(found) == "1 kept of other images"


def test_the_smallest_of_many_are_left_out() -> None:
    many = [box(at, (0, 0, at, 1)) for at in range(1, MOST_SHAPES + 4)]
    found = drawn(image(1, "original"), many, {}, NAMES)
    assert (len(found.shapes), found.left_out) == (MOST_SHAPES, 3)
    assert min(shape.box_xywh[2] for shape in found.shapes) == 4
    assert counts_text(found) == f"{MOST_SHAPES + 3} kept"


def test_an_empty_image_says_so() -> None:
    found = drawn(image(1, "original"), [], {}, NAMES)
    assert (counts_text(found), categories_text(found, NAMES)) == ("no object", "")


def test_a_caption_names_few_categories() -> None:
    names = {at: f"category {at}" for at in range(9)}
    found = drawn(image(1, "original"), [box(at, (0, 0, 1, 1), category=at) for at in range(9)], {}, names)
    assert categories_text(found, names).endswith("category 5, and 3 more")
