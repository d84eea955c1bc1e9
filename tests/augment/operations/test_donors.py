"""Which objects may be taken, how rare ones come first, and that the list has a digest."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given

from augment.operations.donors import Booleans, Chooser, Donors, Indices, extent, to_paste
from augment.operations.parameters import Paste
from datasets import coco_runs
from datasets.records import Annotation, Image, Polygons, Window
from tests.augment.operations.pictures import Pictures, bitmap_of, pictures

IMAGE = Image(id=5, file_name="a.jpg", width=100, height=80)


def item(id_: int, window: Window, category: int = 1, mask: bool = True, iscrowd: int = 0) -> Annotation:
    x0, y0, x1, y1 = window
    outline: Polygons = (np.array([x0, y0, x1, y0, x1, y1, x0, y1], dtype=np.float64),)
    box = (float(x0), float(y0), float(x1 - x0), float(y1 - y0))
    segmentation = outline if mask else None
    return Annotation(
        id=id_, image_id=0, category_id=category, bbox=box, area=1, iscrowd=iscrowd, segmentation=segmentation
    )


def anything(at: Indices) -> Booleans:
    return np.ones(len(at), dtype=np.bool_)


def pasteable(operation: Paste, *objects: Annotation) -> list[int]:
    donors = Donors([(0, IMAGE, objects)])
    return [int(id_) for id_ in donors.annotations[to_paste(donors, operation)]]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ((10, 10, 40, 40), True),
        ((1, 1, 99, 79), True),
        # Touches the border, behind which it may go on.
        ((0, 10, 40, 40), False),
        ((10, 0, 40, 40), False),
        ((60, 10, 100, 40), False),
        ((10, 10, 40, 80), False),
        # 16 px, at 1.5 times its size: 11 is 16.5.
        ((10, 10, 21, 60), True),
        ((10, 10, 20, 60), False),
    ],
)
def test_objects_that_may_be_pasted(window: Window, expected: bool) -> None:
    assert pasteable(Paste(), item(3, window)) == ([3] if expected else [])


def test_crowds_are_never_donors_and_boxes_only_where_asked_for() -> None:
    window = (10, 10, 50, 50)
    objects = [item(1, window, iscrowd=1), item(2, window, mask=False), item(3, window)]

    assert pasteable(Paste(), *objects) == [3]
    assert pasteable(Paste(boxes=True), *objects) == [2, 3]


def test_a_mask_tells_more_than_its_box() -> None:
    """The box is inside, the mask touches the border."""
    outline: Polygons = (np.array([0.0, 10, 40, 10, 40, 40]),)
    lying = Annotation(id=1, image_id=0, category_id=1, bbox=(10, 10, 30, 30), area=1, iscrowd=0, segmentation=outline)
    assert pasteable(Paste(), lying) == []


@given(pictures())
def test_an_extent_holds_the_mask(listed: Pictures) -> None:
    for _, image, objects in listed:
        for one in objects:
            mask = bitmap_of(one, image.height, image.width)
            x0, y0, x1, y1 = extent(one, image)
            assert 0 <= x0 <= x1 <= image.width
            assert 0 <= y0 <= y1 <= image.height
            assert mask[y0:y1, x0:x1].sum() == mask.sum()


def test_extents_are_whole_pixels_free_of_float_noise() -> None:
    noisy = Annotation(id=1, image_id=0, category_id=1, bbox=(0.1, 2.5, 0.2, 1.0), area=1, iscrowd=0)
    exact = Annotation(id=1, image_id=0, category_id=1, bbox=(0.1, 2.5, 3.9, 1.0), area=1, iscrowd=0)

    assert extent(noisy, IMAGE) == (0, 2, 1, 4)
    assert extent(exact, IMAGE) == (0, 2, 4, 4)  # 0.1 + 3.9 is 4, and not 4.000000000000001


def chosen(choose: str, draws: int = 20_000) -> Counter[int]:
    """Categories drawn from a dataset with 100 objects of category 1, 4 of 2 and 1 of 3."""
    counts = {1: 100, 2: 4, 3: 1}
    objects = [
        item(100 * category + at, (10, 10, 40, 40), category) for category, n in counts.items() for at in range(n)
    ]
    donors = Donors([(0, IMAGE, objects)])
    chooser = Chooser(to_paste(donors, Paste()), donors, choose)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    drawn = [chooser(rng, anything) for _ in range(draws)]
    return Counter(int(donors.categories[at]) for at in drawn if at is not None)


def test_a_category_has_the_weight_of_one_by_the_root_of_its_objects() -> None:
    drawn = chosen("rare")
    # 1 / 10, 1 / 2, 1: their sum is 1.6.
    for category, share in ((1, 0.1 / 1.6), (2, 0.5 / 1.6), (3, 1 / 1.6)):
        assert abs(drawn[category] / 20_000 - share) < 0.02


def test_all_objects_are_alike_where_they_are_chosen_uniformly() -> None:
    assert abs(chosen("uniform")[1] / 20_000 - 100 / 105) < 0.01


def test_how_rare_a_category_is_also_objects_tell_that_cannot_be_taken() -> None:
    """Both categories have one object that can be pasted, but the first has 99 more at the border."""
    objects = [item(1, (10, 10, 40, 40), 1), item(2, (10, 10, 40, 40), 2)]
    objects += [item(10 + at, (0, 10, 40, 40), 1) for at in range(99)]
    donors = Donors([(0, IMAGE, objects)])
    chooser = Chooser(to_paste(donors, Paste()), donors, "rare")
    rng = np.random.default_rng(0)

    drawn = Counter(chooser(rng, anything) for _ in range(10_000))

    assert abs(drawn[0] / 10_000 - 0.1 / 1.1) < 0.01


def test_nothing_to_choose_from_is_said_at_once() -> None:
    donors = Donors([(0, IMAGE, [])])
    chooser = Chooser(to_paste(donors, Paste()), donors, "rare")

    assert chooser(np.random.default_rng(0), anything) is None


@pytest.mark.parametrize("choose", ["rare", "uniform"])
def test_the_only_object_that_suits_is_found_among_many(choose: str) -> None:
    """One of 2,000, which a few draws would not meet."""
    objects = [item(at, (10, 10, 40, 40), category=1 + at % 3) for at in range(2000)]
    donors = Donors([(0, IMAGE, objects)])
    chooser = Chooser(to_paste(donors, Paste()), donors, choose)  # type: ignore[arg-type]

    for seed in range(5):
        rng = np.random.default_rng(seed)
        assert chooser(rng, lambda at: at == 1234) == 1234
        assert chooser(rng, lambda at: at < 0) is None


def test_what_suits_is_chosen_rare_first_also_where_little_does() -> None:
    """Of a common and a rare category one object suits each: 1 / sqrt(899) to 1 / sqrt(1), like any other draw."""
    objects = [item(at, (10, 10, 40, 40), category=1) for at in range(899)]
    objects += [item(at, (10, 10, 40, 40), category=2) for at in range(900, 909)]
    donors = Donors([(0, IMAGE, objects)])
    chooser = Chooser(to_paste(donors, Paste()), donors, "rare")
    rng = np.random.default_rng(0)

    drawn = Counter(chooser(rng, lambda at: (at == 0) | (at == 900)) for _ in range(4000))

    assert set(drawn) == {0, 900}
    assert abs(drawn[900] / 4000 - np.sqrt(899) / (np.sqrt(899) + 3)) < 0.06


def test_the_digest_is_that_of_the_whole_list() -> None:
    objects = [item(1, (10, 10, 40, 40)), item(2, (20, 10, 40, 40))]
    base = Donors([(0, IMAGE, objects)]).sha256()

    assert Donors([(0, IMAGE, list(objects))]).sha256() == base
    others: list[Pictures] = [
        [(1, IMAGE, objects)],
        [(0, IMAGE, objects[:1])],
        [(0, IMAGE, objects[::-1])],
        [(0, IMAGE, objects), (0, Image(id=6, file_name="b.jpg", width=1, height=1), [])],
        [(0, IMAGE, [objects[0], item(2, (20, 10, 40, 41))])],
        [(0, IMAGE, [objects[0], item(2, (20, 10, 40, 40), category=2)])],
        [(0, IMAGE, [objects[0], item(2, (20, 10, 40, 40), mask=False)])],
    ]
    assert len({base, *(Donors(other).sha256() for other in others)}) == 1 + len(others)


def test_masks_as_runs_are_donors_like_others() -> None:
    canvas = np.zeros((80, 100), dtype=np.uint8)
    canvas[20:50, 30:60] = 1
    rle = coco_runs.to_rle(coco_runs.from_bitmap(canvas))
    one = Annotation(id=1, image_id=0, category_id=1, bbox=(0, 0, 100, 80), area=900, iscrowd=0, segmentation=rle)

    assert extent(one, IMAGE) == (30, 20, 60, 50)
    assert pasteable(Paste(), one) == [1]
