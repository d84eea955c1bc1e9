"""Counts: sums over variants, as they stand in the manifest and in the tables that plan and build print."""

from __future__ import annotations

from collections import Counter

import pytest

from augment.compiler.counts import Counts, categories_table, operations_table, warnings
from augment.operations.balance import Balance
from augment.operations.labels import CROWD, IGNORE, KEEP, Labels
from augment.operations.parameters import Copy, Mosaic, Original, Paste, Recipe
from datasets.records import Annotation, Category

CATEGORIES = [Category(id=90, name="toothbrush"), Category(id=1, name="person"), Category(id=18, name="dog")]


def shown(*categories: int, iscrowd: int = 0) -> list[Annotation]:
    return [
        Annotation(id=0, image_id=0, category_id=category, bbox=(0, 0, 1, 1), area=1, iscrowd=iscrowd)
        for category in categories
    ]


def counted() -> Counts:
    """One source with two persons, a toothbrush and a crowd: the original, and two crops of it."""
    counts = Counts.empty()
    counts.before = Counter({1: 2, 90: 1})
    original = Labels(shown(1, 1, 90) + shown(1, iscrowd=1), [KEEP, KEEP, KEEP, CROWD], 0)
    counts.add_variant("original", original)
    counts.add_variant("center_crop", Labels(shown(1) + shown(90, iscrowd=1), [KEEP, IGNORE], 2))
    counts.add_variant("center_crop", Labels([], [], 4))
    return counts


def test_each_operation_sums_its_images_and_cases() -> None:
    assert counted().as_json(CATEGORIES)["operations"] == {
        "original": {"images": 1, "kept": 3, "ignored": 0, "dropped": 0, "crowd": 1},
        "center_crop": {"images": 2, "kept": 1, "ignored": 1, "dropped": 2 + 4, "crowd": 0},
    }
    assert counted().as_json(CATEGORIES)["images"] == 1 + 2


def test_boxes_per_category_leave_out_crowds_and_ignored_ones() -> None:
    assert counted().as_json(CATEGORIES)["boxes_per_category"] == [
        {"id": 90, "name": "toothbrush", "before": 1, "after": 1},
        {"id": 1, "name": "person", "before": 2, "after": 2 + 1},
        {"id": 18, "name": "dog", "before": 0, "after": 0},
    ]


def test_sums_of_parts_are_the_counts_of_the_whole() -> None:
    total = Counts.empty()
    total.add(counted())
    total.add(counted())
    document = total.as_json(CATEGORIES)
    assert document["images"] == 2 * 3
    assert document["operations"]["center_crop"] == {"images": 4, "kept": 2, "ignored": 2, "dropped": 12, "crowd": 0}
    assert document["boxes_per_category"][1] == {"id": 1, "name": "person", "before": 4, "after": 6}


def test_operations_stand_in_a_fixed_order_whatever_came_first() -> None:
    counts = Counts.empty()
    for operation in ("random_crop", "copy", "pixel", "original", "center_crop"):
        counts.add_variant(operation, Labels([], [], 0))
    assert list(counts.as_json([])["operations"]) == ["original", "pixel", "copy", "center_crop", "random_crop"]


def test_the_operations_table_ends_with_the_total() -> None:
    head, *rows = [line.split() for line in operations_table(counted())]
    assert head == ["operation", "images", "kept", "ignored", "dropped", "crowd"]
    assert rows == [
        ["original", "1", "3", "0", "0", "1"],
        ["center_crop", "2", "1", "1", "6", "0"],
        ["total", "3", "4", "1", "6", "1"],
    ]


def test_the_categories_table_has_the_rarest_first_and_what_became_of_the_imbalance() -> None:
    head, *rows, imbalance = categories_table(counted(), CATEGORIES)
    assert head.split() == ["category", "before", "after", "times"]
    assert [row.split() for row in rows] == [
        ["dog", "0", "0", "-"],
        ["toothbrush", "1", "1", "1.0"],
        ["person", "2", "3", "1.5"],
    ]
    # Categories that are missing do not count: 2 / 1 before, 3 / 1 after.
    assert imbalance.endswith("before 2 : 1, after 3 : 1")


def test_tables_of_a_dataset_without_boxes() -> None:
    assert operations_table(Counts.empty())[-1].split() == ["total", "0", "0", "0", "0", "0"]
    assert categories_table(Counts.empty(), CATEGORIES)[-1].endswith("before -, after -")


@pytest.mark.parametrize(("target", "copied", "warned"), [(83, 0, True), (84, 3, False)])
def test_a_recipe_that_copies_nothing_says_so(target: int, copied: int, warned: bool) -> None:
    """floor(83 / 84) is 0 copies of the image with the rarest category."""
    counts = Counts.empty()
    counts.images, counts.before = Counter(original=5, copy=copied), Counter({1: 967, 2: 84})
    recipe = Recipe(name="mine", operations=(Original(), Copy(target_boxes=target)))

    balance = Balance(counts.before, 5)

    found = warnings(counts, recipe, balance, 5)

    assert bool(found) == warned
    if warned:
        assert "copies no image" in found[0]
        assert "83 boxes a category (target_boxes), which 0 of 2 categories lack; the rarest has 84" in found[0]
        # (84 + 967) / 2
        assert "the median one 525.5 (target: median)" in found[0]
    assert warnings(counts, Recipe(name="mine", operations=(Original(),)), balance, 5) == []


def test_a_recipe_that_finds_too_few_donors_says_so() -> None:
    counts = Counts.empty()
    counts.images = Counter(original=5, paste=7, mosaic=5)
    recipe = Recipe(name="mine", operations=(Original(), Paste(count=2), Mosaic()))

    (found,) = warnings(counts, recipe, Balance(Counter(), 5), 5)

    assert found.startswith("the recipe mine makes 7 of 10 images by paste: ")
