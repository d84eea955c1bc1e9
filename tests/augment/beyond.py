"""A recipe of the operations that the paper lacks, for the small images of the drawn dataset."""

from __future__ import annotations

from augment.operations.parameters import Erase, Mosaic, Original, Paste, Recipe, Tile, TurnOver

BEYOND = Recipe(
    name="beyond",
    operations=(
        Original(),
        Paste(count=2, min_size=4, scale=(0.2, 2.0), boxes=True),
        Mosaic(),
        Tile(size=40),
        TurnOver(count=3),
        Erase(),
    ),
)
