"""What results look like that cannot be right: made boxes, read in every other format and numbering."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from datasets import plausibility
from datasets.boxes import xywh_to_xyxy
from datasets.plausibility import Agreement, Boxes, Floats, Ids, Sizes
from datasets.records import Annotation, Category, Dataset, Image
from datasets.results import Results

SIZE = (640, 480)
CATEGORIES = [1, 2, 3, 5, 8, 13, 21, 34]
PICTURES = 40


def made(seed: int = 0, noise: float = 0.0) -> Results:
    """Five boxes in each of 40 pictures of 640 x 480 px; another `noise` gives the same, so many pixels elsewhere."""
    rng = np.random.default_rng(seed)
    count = 5 * PICTURES
    corners = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1) * SIZE
    sizes = np.maximum(corners[:, 1] - corners[:, 0], 30)
    low = np.minimum(corners[:, 0], np.array(SIZE) - sizes)
    boxes = np.hstack([low, sizes])
    categories = rng.choice(CATEGORIES, count)
    if noise:
        moved = xywh_to_xyxy(boxes) + np.random.default_rng(1).normal(0, noise, boxes.shape)
        moved = np.clip(moved, 0, [*SIZE, *SIZE])
        boxes = np.hstack([moved[:, :2], moved[:, 2:] - moved[:, :2]])
    ids = np.repeat(np.arange(PICTURES), 5)
    scores: Floats = np.linspace(0.9, 0.3, count, dtype=np.float64)
    return Results(ids, categories, boxes, scores)


def with_boxes(results: Results, boxes: Floats) -> Results:
    return Results(results.image_ids, results.category_ids, boxes, results.scores)


def with_categories(results: Results, ids: Ids) -> Results:
    return Results(results.image_ids, ids, results.boxes_xywh, results.scores)


def sizes() -> Sizes:
    return Sizes(dict.fromkeys(range(PICTURES), SIZE))


# How another tool writes the boxes that are x, y, width, height here.
WRITTEN: dict[str, Callable[[Results], Results]] = {
    "x, y, x, y": lambda found: with_boxes(found, xywh_to_xyxy(found.boxes_xywh)),
    "centre x, centre y, width, height": lambda found: with_boxes(
        found, np.hstack([found.boxes_xywh[:, :2] + found.boxes_xywh[:, 2:] / 2, found.boxes_xywh[:, 2:]])
    ),
    "y, x, y, x": lambda found: with_boxes(found, xywh_to_xyxy(found.boxes_xywh)[:, [1, 0, 3, 2]]),
    "y, x, height, width": lambda found: with_boxes(found, found.boxes_xywh[:, [1, 0, 3, 2]]),
}


def pair(found: Results, other: Results) -> tuple[Boxes, Boxes]:
    pictures = plausibility.compared_images(found.image_ids)
    return plausibility.best_boxes(found, pictures, 10), plausibility.best_boxes(other, pictures, 100)


def test_every_format_is_tried() -> None:
    assert set(WRITTEN) == set(plausibility.OTHER_FORMATS)


@pytest.mark.parametrize("name", WRITTEN)
def test_another_format_is_told_by_where_its_boxes_lie(name: str) -> None:
    assert plausibility.format_by_place(made(), sizes()) == ""
    assert plausibility.format_by_place(WRITTEN[name](made()), sizes()) == name


@pytest.mark.parametrize("name", WRITTEN)
def test_another_format_is_told_by_what_its_boxes_meet(name: str) -> None:
    """Also where the sizes of the pictures are not known."""
    good = made(noise=3)
    assert plausibility.format_by_agreement(*pair(made(), good)) == ""
    assert plausibility.format_by_agreement(*pair(WRITTEN[name](made()), good)) == name
    assert plausibility.format_by_place(WRITTEN[name](made()), Sizes({})) == ""


def test_boxes_that_are_only_bad_look_like_no_other_format() -> None:
    other = made(seed=5)
    assert plausibility.agreement(*pair(made(), other)).met < 0.5
    assert plausibility.format_by_agreement(*pair(made(), other)) == ""
    far = made().boxes_xywh * 3
    assert plausibility.format_by_place(with_boxes(made(), far), sizes()) == ""


def test_a_few_boxes_tell_nothing() -> None:
    few = WRITTEN["x, y, x, y"](made())
    first = Results(few.image_ids[:19], few.category_ids[:19], few.boxes_xywh[:19], few.scores[:19])
    assert plausibility.format_by_place(first, sizes()) == ""


@pytest.mark.parametrize(
    ("renumber", "said"),
    [
        (lambda ids: np.searchsorted(CATEGORIES, ids), "positions from 0 in the list of categories"),
        (lambda ids: np.searchsorted(CATEGORIES, ids) + 1, "positions from 1 in the list of categories"),
        (lambda ids: ids - 1, "shifted by one (too low)"),
        (lambda ids: ids + 1, "shifted by one (too high)"),
        (lambda ids: np.array(CATEGORIES)[(np.searchsorted(CATEGORIES, ids) + 3) % 8], "those of another list"),
        (lambda ids: ids, ""),
        # Bad, not numbered in another way: everything is one category.
        (np.zeros_like, ""),
        (lambda ids: np.random.default_rng(0).permutation(ids), ""),
    ],
)
def test_another_numbering_is_told_by_the_categories_of_boxes_that_meet(
    renumber: Callable[[Ids], Ids],
    said: str,
) -> None:
    found = with_categories(made(), renumber(made().category_ids))
    compared = plausibility.agreement(*pair(found, made(noise=3)))
    assert compared.met > 0.8
    numbering = plausibility.numbering_by_agreement(compared, CATEGORIES)
    assert numbering.startswith(said)
    assert bool(numbering) == bool(said)


def test_ids_that_follow_each_other_are_shifted_and_no_positions() -> None:
    own = np.tile([0, 1, 2, 3], 20)
    assert plausibility.numbering_by_agreement(Agreement(80, own, own + 1), [1, 2, 3, 4]).startswith("shifted by one")


def test_agreement_counts_the_boxes_of_pictures_that_both_have() -> None:
    boxes = np.array([[0, 0, 10, 10], [20, 0, 10, 10], [0, 0, 10, 10]], dtype=np.float64)
    own = Boxes(np.array([1, 1, 2]), np.array([7, 7, 7]), boxes, np.ones(3))
    # The second box is missed by 4 px, IoU 6 / 14; of two on the first, the better one's category counts.
    there = np.array([[0, 0, 10, 9], [0, 0, 10, 10], [24, 0, 10, 10]], dtype=np.float64)
    others = Boxes(np.array([1, 1, 1]), np.array([8, 7, 7]), there, np.array([0.9, 0.5, 0.4]))

    found = plausibility.agreement(own, others)

    assert (found.compared, found.own.tolist(), found.others.tolist()) == (2, [7], [8])
    assert (found.met, found.same) == (0.5, 0.0)


def test_boxes_without_area_meet_nothing() -> None:
    point = Boxes(np.array([1]), np.array([1]), np.zeros((1, 4)), np.ones(1))
    found = plausibility.agreement(point, point)
    assert (found.compared, len(found.own), found.met, found.same) == (1, 0, 0.0, 0.0)


def test_duplicates_agree_in_everything() -> None:
    found = made()
    twice = Results(*(np.concatenate([getattr(found, name)] * 2) for name in found.__struct_fields__[:4]))
    assert plausibility.duplicates(found) == 0
    assert plausibility.duplicates(twice) == len(found)
    twice.scores[: len(found)] *= 0.5
    assert plausibility.duplicates(twice) == 0


def test_how_far_boxes_reach_out_of_their_picture() -> None:
    boxes = np.array([[0, 0, 640, 480], [-3, 0, 5, 5], [600, 400, 700, 485], [5, 5, 4, 9]], dtype=np.float64)
    limits = np.tile(np.array(SIZE, dtype=np.float64), (4, 1))
    assert plausibility.pixels_outside(boxes, limits).tolist() == [0, 3, 60, np.inf]


def test_many_pictures_are_stood_for_by_some_that_are_spread_evenly() -> None:
    ids = np.arange(10_000)
    chosen = plausibility.compared_images(ids)
    assert len(chosen) == 300
    assert (chosen[0], chosen[-1]) == (0, 9999)


def truth_of(results: Results) -> Dataset:
    annotations = [
        Annotation(id=at, image_id=image_id, category_id=category_id, bbox=tuple(box), area=1.0, iscrowd=0)
        for at, (image_id, category_id, box) in enumerate(
            zip(results.image_ids.tolist(), results.category_ids.tolist(), results.boxes_xywh.tolist(), strict=True)
        )
    ]
    return Dataset(
        info={},
        licenses=[],
        categories=[Category(id=id_, name=str(id_)) for id_ in CATEGORIES],
        images=[Image(id=id_, file_name="", width=SIZE[0], height=SIZE[1]) for id_ in range(PICTURES)],
        annotations=annotations,
    )


def test_what_results_look_like_beside_objects() -> None:
    truth = truth_of(made(noise=3))
    assert plausibility.against_objects(truth, made()) == []
    assert plausibility.against_objects(truth, made(seed=5)) == []
    for name, write in WRITTEN.items():
        (note,) = plausibility.against_objects(truth, write(made()))
        assert note.endswith(f"they look like {name}")
    shifted = with_categories(made(), made().category_ids - 1)
    (note,) = plausibility.against_objects(truth, shifted)
    assert note.endswith("category ids look shifted by one (too low)")
