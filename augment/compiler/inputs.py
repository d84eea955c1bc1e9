"""The inputs of a build, read and checked, and the variants planned for every source."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from augment.operations.balance import Balance, count_boxes
from augment.operations.parameters import Recipe
from augment.operations.plan import Variant, variants
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


class Prepared(NamedTuple):
    """Inputs that were read and checked, image files included; `sources` are those within the limit."""

    inputs: Inputs
    sources: list[Source]
    recipe: Recipe
    leniency: Leniency = STRICT

    def planned(self) -> Iterator[tuple[Source, list[Variant]]]:
        """Every source with its variants. Balance counts all sources, also those beyond the limit."""
        everything = self.inputs.sources
        balance = Balance(count_boxes(item for source in everything for item in source.annotations), len(everything))
        for source in self.sources:
            yield source, variants(self.recipe, source.image, balance.copies(source.annotations))


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
    return Prepared(inputs, usable, request.recipe, request.leniency)


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
