"""Category lists of two files, compared."""

from __future__ import annotations

import pytest

from datasets.categories import check_same
from datasets.errors import DataError
from datasets.records import Category

PERSON, CAR, DOG = (Category(id=id_, name=name) for id_, name in ((18, "person"), (1, "car"), (3, "dog")))


def test_the_same_categories_in_another_order_are_the_same() -> None:
    check_same([PERSON, CAR, DOG], "the model", [DOG, PERSON, CAR], "b.json")


def test_categories_that_differ_are_refused_with_every_difference() -> None:
    with pytest.raises(DataError) as caught:
        check_same(
            [PERSON, CAR, DOG], "the model", [PERSON, Category(id=1, name="auto"), Category(id=4, name="dog")], "b.json"
        )

    assert caught.value.problems == [
        "the model has 1 'car', b.json has not",
        "the model has 3 'dog', b.json has not",
        "b.json has 1 'auto', the model has not",
        "b.json has 4 'dog', the model has not",
    ]
