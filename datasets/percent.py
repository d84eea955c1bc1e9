"""Fractions as people read them."""

from __future__ import annotations


def precision(fraction: float | None) -> str:
    """AP and AR as the field writes them, 0.4567 as `45.7`; None, which is undefined, as `-`."""
    return "-" if fraction is None else f"{100 * fraction:.1f}"


def share(fraction: float) -> str:
    """`45 %`, with one decimal where a share would otherwise read as none or all."""
    text = f"{100 * fraction:.0f}"
    return f"{100 * fraction:.1f} %" if text in ("0", "100") and 0 < fraction < 1 else f"{text} %"
