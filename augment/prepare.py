"""What a build starts from: inputs that were read and checked, and the variants of every source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from augment.balance import Balance, count_boxes
from augment.plan import Variant, variants
from augment.recipe import Recipe
from datasets.image_files import Examined
from datasets.sources import Input, Inputs, Run, Source, examine_images, read_inputs
from datasets.terminal import Progress


class Request(NamedTuple):
    """What to build. `limit` takes the first sources only; `link` makes hard links of originals instead of copies.

    `skip_bad` leaves out images whose files cannot be used, which are an error otherwise; `follow_links` reads files
    that lie outside of their image folder by a symbolic link.
    """

    inputs: list[Input]
    recipe: Recipe
    limit: int | None = None
    link: bool = False
    strict: bool = False
    skip_bad: bool = False
    follow_links: bool = False


class Prepared(NamedTuple):
    """Inputs that were read and checked, image files included; `sources` are those within the limit."""

    inputs: Inputs
    sources: list[Source]
    recipe: Recipe

    def planned(self) -> Iterator[tuple[Source, list[Variant]]]:
        """Every source with its variants. Balance looks at all sources, also those beyond the limit."""
        everything = self.inputs.sources
        balance = Balance(count_boxes(item for source in everything for item in source.annotations), len(everything))
        for source in self.sources:
            yield source, variants(self.recipe, source.image, balance.copies(source.annotations))


def prepare(request: Request, run: Run, progress: Progress) -> Prepared:
    """Read and check everything that a build reads. Raises DataError with all offenders; writes nothing."""
    inputs = read_inputs(request.inputs, strict=request.strict)
    sources = inputs.sources[: request.limit]
    looking = examine_images(
        inputs,
        sources,
        run,
        strict=request.strict,
        skip_bad=request.skip_bad,
        follow_links=request.follow_links,
    )
    for done in looking:
        progress("checking", done, len(sources))
    return Prepared(inputs, [source for source in sources if source.examined is not None], request.recipe)


def examined(source: Source) -> Examined:
    """What the check found out about a source's file."""
    assert source.examined is not None, "examine_images comes first"
    return source.examined
