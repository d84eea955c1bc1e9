"""Whether a recipe suits a dataset: all that can be told before anything is drawn."""

from __future__ import annotations

from collections.abc import Iterable

from augment.operations import tiles
from augment.operations.donors import Donors
from augment.operations.parameters import Paste, Recipe, Tile
from datasets.errors import DataError, Problems
from datasets.records import Image

# Tiles of one image.
MOST_TILES = 10_000


def check_tiles(recipe: Recipe, images: Iterable[tuple[str, Image]]) -> None:
    """Raises DataError naming every image, of (name, record), that would become thousands of tiles, as by a size in
    another unit.
    """
    listed = list(images)
    problems = Problems()
    for operation in recipe.operations:
        if isinstance(operation, Tile):
            for name, image in listed:
                count = tiles.count(image.width, image.height, operation.size, operation.overlap)
                if count > MOST_TILES:
                    problems.add(
                        f"{name}: expected at most {MOST_TILES:,} tiles, found {count:,} of {operation.size} px "
                        f"in {image.width:,} x {image.height:,} px"
                    )
    problems.raise_if_any(
        f"{{n}} image(s) too large for the tiles of recipe {recipe.name}",
        advice="a larger `size`, or a smaller `overlap`",
    )


def check_masks(recipe: Recipe, donors: Donors, name: str) -> None:
    """Raises DataError, which calls the dataset `name`, where a recipe pastes objects by masks that none has."""
    needing = [
        operation
        for operation in recipe.operations
        if isinstance(operation, Paste) and not (operation.boxes or operation.optional)
    ]
    if len(donors.masked) and not donors.masked.any() and needing:
        raise DataError(
            f"{name}: expected objects with a segmentation, by which recipe {recipe.name} cuts out what it pastes, "
            f"found none among {len(donors.masked):,} objects",
            advice="leave the operation paste out of the recipe, or have it left out where there are no masks: "
            "`optional: true`; or have whole boxes pasted, background and all: `boxes: true`, which may do harm",
        )
