"""Which sources the gallery shows: rare categories first, then whatever is missing; drawn by the seed alone."""

from __future__ import annotations

from augment.report.chosen import Facet, choose_sources, choose_variants, facets_of, rarest_first
from tests.augment.report.conftest import image

ORIGINAL = Facet("operation", "original")


def category(id_: int) -> Facet:
    return Facet("category", id_)


def test_the_rarest_categories_come_first() -> None:
    assert rarest_first({1: 50, 3: 2, 18: 0, 90: 2}) == [3, 90, 1]
    sources = {(0, at): {ORIGINAL, category(1)} for at in range(20)}
    sources[0, 20] = {ORIGINAL, category(90)}
    sources[0, 21] = {ORIGINAL, category(3), category(1)}
    for seed in range(5):
        assert choose_sources(sources, [3, 90, 1], 4, seed)[:2] == [(0, 21), (0, 20)]


def test_every_transform_appears_if_there_is_room() -> None:
    """Half of the sources are for categories, of which there are more than room."""
    transforms = [Facet("transform", name) for name in ("Blur", "CLAHE", "Solarize")]
    sources = {(0, at): {ORIGINAL, category(at)} for at in range(20)}
    sources |= {(0, 20 + at): {ORIGINAL, category(0), transform} for at, transform in enumerate(transforms)}
    chosen = choose_sources(sources, list(range(20)), 8, 0)
    assert len(chosen) == len(set(chosen)) == 8
    assert set(transforms) <= set().union(*(sources[key] for key in chosen))
    assert sum(key[1] in range(1, 20) for key in chosen) >= 3


def test_the_seed_draws_the_others() -> None:
    sources = {(0, at): {ORIGINAL} for at in range(50)}
    drawn = [choose_sources(sources, [], 10, seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(choose_sources(sources, [], 80, 0)) == 50
    assert choose_sources(sources, [], 0, 0) == []


def test_what_a_source_shows() -> None:
    images = [image(1, "original"), image(2, "pixel", transform="Blur")]
    assert facets_of(images, [3]) == {ORIGINAL, Facet("operation", "pixel"), Facet("transform", "Blur"), category(3)}


def test_of_many_variants_some_of_each_kind_are_shown() -> None:
    copies = [image(at, "copy", transform="Blur" if at < 9 else "CLAHE") for at in range(2, 12)]
    images = [image(1, "original"), *copies, image(12, "pixel", transform="Blur")]
    # One of each kind, then the second of each that has one, in the order of the build.
    assert [item.id for item in choose_variants(images, 6)] == [1, 2, 3, 9, 10, 12]
    assert choose_variants(images, 99) == images
