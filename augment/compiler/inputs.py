"""The inputs of a build, read and checked, and the variants planned for every source."""

from __future__ import annotations

import gc
from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from augment.operations import suitable
from augment.operations.balance import Balance, count_boxes
from augment.operations.donors import Donors
from augment.operations.parameters import Recipe, takes_from_others
from augment.operations.plan import Dataset, Lending, SourceImage, Variant, variants
from datasets.checks import STRICT, Leniency
from datasets.cli import Progress
from datasets.errors import DataError
from datasets.image_files import Examined
from datasets.parallel import Run
from datasets.sources import Input, Inputs, Source, examine_images, read_inputs


class Request(NamedTuple):
    """A build's parameters. `limit` takes the first sources only; `link` makes hard links instead of copies.

    `leniency` allows repairs beyond the usual ones (see `datasets.checks.Leniency`).
    """

    inputs: list[Input]
    recipe: Recipe
    limit: int | None = None
    link: bool = False
    strict: bool = False
    leniency: Leniency = STRICT


class PlannedSource(NamedTuple):
    """A source with what is made of it."""

    source: Source
    variants: list[Variant]


class Prepared(NamedTuple):
    """Inputs that were read and checked, image files included; `sources` are those within the limit.

    `donors` are the pictures and objects of `sources`; None where the recipe takes nothing from other pictures.
    """

    inputs: Inputs
    sources: list[Source]
    recipe: Recipe
    leniency: Leniency = STRICT
    donors: Donors | None = None

    def balance(self) -> Balance:
        """The statistics of all sources, also of those beyond the limit."""
        everything = self.inputs.sources
        return Balance(count_boxes(item for source in everything for item in source.annotations), len(everything))

    def planned(self, only: Container[int] | None = None) -> Iterator[PlannedSource]:
        """Every source with its variants, or those with the indices `only`."""
        balance = self.balance()
        lending = None if self.donors is None else Lending(self.recipe, self.donors)
        for index, source in enumerate(self.sources):
            if only is not None and index not in only:
                continue
            dataset = Dataset(balance.copies(source.annotations), lending)
            planned = variants(self.recipe, SourceImage(source.image, source.annotations, source.input), dataset)
            yield PlannedSource(source, planned)

    def lent(self, source: Source, planned: list[Variant]) -> list[Source]:
        """The other sources that variants take from, in their order, with the annotations that are taken."""
        return [_with_objects(self.sources[at], ids) for at, ids in sorted(self._taken(source, planned).items())]

    def lenders(self, source: Source, planned: list[Variant]) -> list[int]:
        """The indices of the other sources that variants take from, rising."""
        return sorted(self._taken(source, planned))

    def _taken(self, source: Source, planned: list[Variant]) -> dict[int, set[int | None]]:
        """The ids of the annotations that are taken from each source; None for the whole picture."""
        taken: dict[int, set[int | None]] = {}
        own = source.input, source.image.id
        for donor in (donor for variant in planned for donor in variant.donors):
            key = donor.source_input, donor.source_id
            if self.donors is not None and key != own:
                taken.setdefault(self.donors.index_of(*key), set()).add(donor.source_annotation_id)
        return taken


def _with_objects(source: Source, ids: set[int | None]) -> Source:
    """A source with these of its annotations only; all where None is among them, as the whole picture is taken."""
    if None in ids:
        return source
    chosen = [item for item in source.annotations if item.id in ids]
    return msgspec.structs.replace(source, annotations=chosen)


def prepare(request: Request, run: Run, progress: Progress) -> Prepared:
    """Read and check everything that a build reads. Raises DataError with all offenders; writes nothing."""
    with _no_collection():
        inputs = read_inputs(request.inputs, strict=request.strict, leniency=request.leniency)
    if not any(source.annotations for source in inputs.sources):
        paths = ", ".join(str(item.annotations) for item in inputs.inputs)
        raise DataError(
            f"{paths}: expected objects in at least one input, found no annotation that can be used",
            inputs.repairs.lines(),
        )
    sources = inputs.sources[: request.limit]
    looking = examine_images(
        inputs,
        sources,
        run,
        strict=request.strict,
        skip_bad=request.leniency.skip_bad,
        follow_links=request.leniency.follow_links,
    )
    for done in looking:
        progress("checking", done, len(sources))
    usable = [source for source in sources if source.examined is not None]
    suitable.check_tiles(request.recipe, ((str(source.path), source.image) for source in usable))
    return Prepared(inputs, usable, request.recipe, request.leniency, _donors(request.recipe, inputs, usable))


def _donors(recipe: Recipe, inputs: Inputs, sources: list[Source]) -> Donors | None:
    """The donors that a recipe needs. Raises DataError where it pastes objects by masks that none has."""
    if not takes_from_others(recipe):
        return None
    donors = Donors((source.input, source.image, source.annotations) for source in sources)
    suitable.check_masks(recipe, donors, ", ".join(str(item.annotations) for item in inputs.inputs))
    return donors


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause Python's collector of cycles, which would go through all records again and again while they become more."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def examined(source: Source) -> Examined:
    """The result of the check of a source's file."""
    assert source.examined is not None, "examine_images comes first"
    return source.examined
