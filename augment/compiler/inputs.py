"""What a build starts from: inputs that were read and checked, and the variants of every source."""

from __future__ import annotations

from collections.abc import Iterator
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
    """What to build. `limit` takes the first sources only; `link` makes hard links of originals instead of copies.

    `leniency` says what is made of boxes far outside their images, of what cannot be used, and of links.
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
        """Every source with its variants. Balance looks at all sources, also those beyond the limit."""
        everything = self.inputs.sources
        balance = Balance(count_boxes(item for source in everything for item in source.annotations), len(everything))
        for source in self.sources:
            yield source, variants(self.recipe, source.image, balance.copies(source.annotations))


def prepare(request: Request, run: Run, progress: Progress) -> Prepared:
    """Read and check everything that a build reads. Raises DataError with all offenders; writes nothing."""
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


def examined(source: Source) -> Examined:
    """What the check found out about a source's file."""
    assert source.examined is not None, "examine_images comes first"
    return source.examined
