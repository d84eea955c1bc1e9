"""Fractions as people read them."""

from __future__ import annotations


def precision(fraction: float | None) -> str:
    """AP and AR as the field writes them, 0.4567 as `45.7`; None, which is undefined, as `-`."""
    return "-" if fraction is None else f"{_points(fraction):.1f}"


def difference(fraction: float) -> str:
    """A difference of two of them with its sign, 0.031 as `+3.1`; what rounds to none as `0.0`."""
    points = _points(fraction)
    return f"{points:+.1f}" if points else "0.0"


def _points(fraction: float) -> float:
    """In percent, to one decimal; never -0.0."""
    return round(100 * fraction, 1) + 0.0


def share(fraction: float) -> str:
    """`45 %`, with one decimal where a share would otherwise read as none or all."""
    text = f"{100 * fraction:.0f}"
    return f"{100 * fraction:.1f} %" if text in ("0", "100") and 0 < fraction < 1 else f"{text} %"
