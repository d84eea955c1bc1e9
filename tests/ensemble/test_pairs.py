"""Models that cannot both be right, and which of them is blamed."""

from __future__ import annotations

import numpy as np
import pytest

from datasets import percent
from datasets.results import Results
from ensemble.pairs import Pairs
from tests.datasets.test_plausibility import CATEGORIES, WRITTEN, made, with_categories

NAMES = ["a", "b", "c"]


def problems(*models: Results) -> list[str]:
    return Pairs(models).problems(NAMES, CATEGORIES, leave_out=set())


def shifted(results: Results) -> Results:
    return with_categories(results, results.category_ids - 1)


def elsewhere(results: Results) -> Results:
    """On the pictures of others."""
    return Results((results.image_ids + 7) % 40, results.category_ids, results.boxes_xywh, results.scores)


def test_models_that_agree_have_no_problem() -> None:
    found = Pairs([made(), made(noise=3)])
    assert found.problems(NAMES, CATEGORIES, leave_out=set()) == []
    assert found.notes(NAMES) == []
    assert found.met(0) == pytest.approx(0.9, abs=0.1)
    assert found.same(0) == pytest.approx(1.0, abs=0.05)


def test_a_model_alone_is_compared_with_nothing() -> None:
    found = Pairs([made()])
    assert (found.met(0), found.same(0), found.problems(NAMES, CATEGORIES, leave_out=set())) == (None, None, [])


@pytest.mark.parametrize("name", ["x, y, x, y", "centre x, centre y, width, height", "y, x, y, x"])
def test_the_one_in_another_format_is_blamed(name: str) -> None:
    (problem,) = problems(made(noise=3), WRITTEN[name](made()))
    assert problem.startswith("b: ")
    assert problem.endswith(f"meet boxes of a; they look like {name}")


def test_of_two_numberings_either_may_be_wrong() -> None:
    (problem,) = problems(made(noise=3), shifted(made()))
    assert problem.startswith("a: ")
    assert problem.endswith(
        "0 % of these with the same category, meet boxes of b; its category ids look shifted by one, or the other's do"
    )


def test_of_three_numberings_the_odd_one_is_blamed() -> None:
    (problem,) = problems(made(noise=3), shifted(made()), made(noise=5))
    assert problem.startswith("b: ")
    assert problem.endswith("its category ids look shifted by one")


def test_positions_are_told_from_ids() -> None:
    positions = with_categories(made(), np.searchsorted(CATEGORIES, made().category_ids))
    (problem,) = problems(made(noise=3), positions)
    assert problem.startswith("b: ")
    assert problem.endswith("look like positions from 0 in the list of categories (--category-ids contiguous0)")


def test_sure_models_that_do_not_meet_saw_other_pictures() -> None:
    small = made()
    small.boxes_xywh[:, 2:] = np.minimum(small.boxes_xywh[:, 2:], 40)
    (problem,) = problems(small, elsewhere(small))
    assert "they look like those of other images" in problem
    small.scores[:] *= 0.1
    unsure = Pairs([small, elsewhere(small)])
    assert unsure.problems(NAMES, CATEGORIES, leave_out=set()) == []
    assert unsure.notes(NAMES) == [f"a and b: hardly any boxes meet ({percent.share(unsure.met(0) or 0.0)})"]


def test_models_of_different_pictures_cannot_be_compared() -> None:
    first, second = made(), made()
    found = Pairs([first, Results(second.image_ids + 100, *(getattr(second, name) for name in FIELDS))])
    assert found.problems(NAMES, CATEGORIES, leave_out=set()) == []
    assert found.notes(NAMES) == ["a and b: no image in common"]
    assert found.met(0) is None


FIELDS = ("category_ids", "boxes_xywh", "scores")


def test_a_model_without_a_detection_is_no_problem() -> None:
    nothing = Results(*(getattr(made(), name)[:0] for name in ("image_ids", *FIELDS)))
    found = Pairs([made(), nothing])
    assert (found.problems(NAMES, CATEGORIES, leave_out=set()), found.notes(NAMES)) == ([], [])


def test_one_that_is_wrong_by_itself_is_left_out() -> None:
    found = Pairs([made(noise=3), WRITTEN["x, y, x, y"](made())])
    assert found.problems(NAMES, CATEGORIES, leave_out={1}) == []
