"""The sentences at the head of the page."""

from __future__ import annotations

from datasets.comparison import Difference
from datasets.evaluation import Interval
from ensemble.report import words


def gain(difference: float, low: float, high: float) -> Difference:
    return Difference(0.5 + difference, 0.5, difference, Interval(low, high), 1)


def test_a_gain_a_loss_and_what_may_be_chance() -> None:
    both = ["a", "b"]
    assert words.judgement(both, gain(0.02, 0.01, 0.03)) == "Fusion gains, and that is more than chance."
    assert words.judgement(both, gain(-0.02, -0.03, -0.01)) == "Fusion loses, and that is more than chance."
    chance = "Whether fusion gains cannot be told from these images: the difference may be chance."
    assert words.judgement(both, gain(0.02, -0.01, 0.05)) == chance
    assert words.judgement(both, None).endswith("it takes at least two images with objects.")
    alone = "Nothing is fused: a is the only model with a weight."
    assert words.judgement(["a"], gain(0.02, 0.01, 0.03)) == alone


def test_a_difference_has_its_interval() -> None:
    assert words.difference(gain(0.0146, -0.0118, 0.058)) == "+1.5 (95 % interval: -1.2 to 5.8)"


def test_how_many_find_an_object() -> None:
    text = "50 % of the objects are found by all models, 30 % by some of them only, 20 % by none."
    assert words.shared([0.2, 0.1, 0.2, 0.5]) == text
    assert words.shared([0.25, 0.75]) == "75 % of the objects are found by all models, 25 % by none."


def test_names_are_joined() -> None:
    assert [words.joined(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
