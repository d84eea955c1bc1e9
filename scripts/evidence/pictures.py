"""The pictures of the page: AP against the number of images, and against steps. Pure functions."""

from __future__ import annotations

from scripts.evidence.page import Tables


def draw(tables: Tables) -> dict[str, tuple[str, str]]:
    return {}
