"""Which sources and variants the gallery shows: the rarest categories first, then every operation and transform."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from augment.report.finished import Key
from datasets.records import Image

# Pictures of one source; balance copies and tiles may be many more.
MOST_VARIANTS = 12


class Facet(NamedTuple):
    """What a source may show: `kind` is category, operation or transform."""

    kind: str
    value: int | str


def facets_of(images: Iterable[Image], categories: Iterable[int]) -> set[Facet]:
    """What a source with these images, and objects of these categories, shows."""
    facets = {Facet("category", category) for category in categories}
    for image in images:
        facets.add(Facet("operation", image.operation or ""))
        if image.transform is not None:
            facets.add(Facet("transform", image.transform))
    return facets


def rarest_first(boxes: Mapping[int, int]) -> list[int]:
    """The categories that have boxes, by their number."""
    return sorted((id_ for id_, count in boxes.items() if count), key=lambda id_: (boxes[id_], id_))


def choose_sources(sources: Mapping[Key, set[Facet]], rarest_first: Sequence[int], count: int, seed: int) -> list[Key]:
    """At most `count` of the sources, by what each shows.

    The first half shows the rarest categories, one source each where none before shows it; then come operations and
    transforms that are missing, the other categories, and a sample. Who shows it is drawn.
    """
    order = _shuffled(list(sources), seed)
    showing: defaultdict[Facet, list[Key]] = defaultdict(list)
    for key in order:
        for facet in sources[key]:
            showing[facet].append(key)
    chosen: dict[Key, None] = {}
    covered: set[Facet] = set()
    candidates = (showing[facet][0] for facet in _wanted(showing, rarest_first, count) if facet not in covered)
    for key in itertools.chain(candidates, order):
        if len(chosen) >= count:
            break
        chosen[key] = None
        covered |= sources[key]
    return list(chosen)


def choose_variants(images: Sequence[Image], most: int = MOST_VARIANTS) -> list[Image]:
    """At most `most` images of a source, as many of each operation and transform as of the others, in their order."""
    kinds: defaultdict[tuple[str | None, str | None], list[Image]] = defaultdict(list)
    for image in images:
        kinds[image.operation, image.transform].append(image)
    turns = itertools.chain.from_iterable(itertools.zip_longest(*kinds.values()))
    taken = {image.id for image in itertools.islice((image for image in turns if image is not None), most)}
    return [image for image in images if image.id in taken]


def _wanted(showing: Mapping[Facet, object], rarest_first: Sequence[int], count: int) -> Iterator[Facet]:
    """All facets that some source shows, by how much they are wanted."""
    categories = [facet for id_ in rarest_first if (facet := Facet("category", id_)) in showing]
    others = sorted((facet for facet in showing if facet.kind != "category"), key=str)
    yield from categories[: max(1, count // 2)]
    yield from others
    yield from categories[max(1, count // 2) :]


def _shuffled(keys: list[Key], seed: int) -> list[Key]:
    return [keys[at] for at in np.random.Generator(np.random.PCG64(seed)).permutation(len(keys))]
