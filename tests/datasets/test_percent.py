"""Fractions as people read them."""

from __future__ import annotations

from datasets import percent


def test_a_precision_has_one_decimal_and_may_be_undefined() -> None:
    assert [percent.precision(value) for value in (0.0, 0.4567, 1.0, None)] == ["0.0", "45.7", "100.0", "-"]


def test_what_rounds_to_nothing_has_no_sign() -> None:
    assert percent.precision(-0.0004) == "0.0"
    values = (0.031, -0.031, 0.0, 0.0004, -0.0004, 0.0006, -0.0006)
    assert [percent.difference(value) for value in values] == ["+3.1", "-3.1", "0.0", "0.0", "0.0", "+0.1", "-0.1"]


def test_a_share_is_not_rounded_to_nothing_or_all() -> None:
    shares = (0.0, 0.001, 0.5, 0.999, 1.0)
    assert [percent.share(share) for share in shares] == ["0 %", "0.1 %", "50 %", "99.9 %", "100 %"]
