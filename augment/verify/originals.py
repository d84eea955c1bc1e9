"""The originals of a build, from which the variants that take from other pictures are drawn and labelled again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from augment.operations.balance import Balance
from augment.operations.donors import Donors
from augment.operations.parameters import Original, Recipe
from augment.operations.plan import Dataset, Lending, Variant, variants
from augment.verify.heads import read_head_of
from augment.verify.source import OriginalPart, copies_of
from datasets import build_layout
from datasets.errors import Problems
from datasets.records import Image
from datasets.stream import records


class Originals:
    """The originals with their annotations as raw JSON: parsed, they would take several times as much memory."""

    def __init__(self, path: Path, images: Iterable[Image], categories: frozenset[int], recipe: Recipe) -> None:
        self._categories = categories
        self._recipe = recipe
        of_image = {image.id: OriginalPart(image, []) for image in images if image.operation == Original.name}
        for number, record in enumerate(records(path, "annotations")):
            head = read_head_of(record)
            if head is not None and head.image_id in of_image:
                of_image[head.image_id].annotations.append((number, record))
        self._parts = {(part.image.source_input or 0, part.image.source_id or 0): part for part in of_image.values()}
        sources = (part.as_source(categories) for part in of_image.values())
        donors = Donors((source.input, source.image, source.annotations) for source in sources)
        self._lending = Lending(recipe, donors)

    def check(self, document: dict[str, Any], problems: Problems) -> bool:
        """Whether these are the donors that the build had, by the manifest; if not, that is a problem."""
        found, expected = document.get("donors_sha256"), self._lending.donors.sha256()
        if found != expected:
            problems.add(
                f"{build_layout.MANIFEST} donors_sha256: expected {expected[:12]}..., which follows from the "
                f"originals, found {str(found)[:12]}...; so nothing was drawn again, and no label compared"
            )
        return found == expected

    def planned(
        self, group: list[Image], balance: Balance | None
    ) -> tuple[list[Variant] | None, tuple[OriginalPart, ...]]:
        """The variants of the source that `group` was made of, and the originals that they take from."""
        part = self._parts.get((group[0].source_input or 0, group[0].source_id or 0))
        if part is None:
            return None, ()
        source = part.as_source(self._categories)
        dataset = Dataset(copies_of(group, source.annotations, balance), self._lending)
        planned = variants(self._recipe, source, dataset)
        keys = {(donor.source_input, donor.source_id) for variant in planned for donor in variant.donors}
        return planned, tuple(self._parts[key] for key in sorted(keys))
