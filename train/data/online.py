"""Online augmentation: in each epoch, each image is one of the variants that a build would make of it.

Epoch e draws from the build that the recipe makes with a seed of its own, which follows from the run's seed and e: the
same variants, by the same code, with the same labels. Nothing of it is on disk, and no epoch repeats another. Balance
copies are not drawn, since an epoch has each image once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from augment import operations
from augment.operations.donors import Donors
from augment.operations.parameters import Copy, Mosaic, Original, Paste, Recipe, from_plain, takes_from_others
from augment.operations.plan import Dataset, Lending, SourceImage, Variant, variants
from augment.operations.variant_labels import Lender, Lent, VariantLabeller
from datasets import yaml_files
from datasets.errors import DataError
from datasets.records import Annotation
from datasets.sources import Source
from train.data.packed import Packed
from train.data.records import Categories
from train.data.sampler import Key, generator

RECIPES = Path(operations.__file__).parents[1] / "recipes"
ORIGINAL = Variant(Original.name)


def load_recipe(name_or_path: str) -> Recipe:
    """A recipe of `augment`, by name or YAML file. Raises DataError where there is none, or nothing to draw in it."""
    path = yaml_files.find(name_or_path, RECIPES, option="--online")
    recipe = from_plain(yaml_files.read(path), str(path))
    if all(isinstance(operation, (Copy, Original)) for operation in recipe.operations):
        raise DataError(
            f"--online {name_or_path}: expected a recipe with operations to draw from, found none but "
            f"{' and '.join(operation.name for operation in recipe.operations)}",
            advice="Balance copies are no variety: build them with `augment build`, and train on the build.",
        )
    return recipe


class OnlineData(NamedTuple):
    """What variants are drawn from."""

    recipe: Recipe
    sources: Packed[Source]
    """Every source of the dataset, also those that are not trained on: others may take from them."""
    trained: Sequence[int]
    """The indices of the sources that are trained on."""
    categories: Categories
    donors: Donors
    on_stored_pixels: bool
    keep_empty: bool
    """Whether images without a kept object are trained on."""


class Drawn(NamedTuple):
    """A variant of a source, with its labels; `lent` are the other sources that it takes from, by (input, id)."""

    source: Source
    variant: Variant
    annotations: list[Annotation]
    lent: dict[tuple[int, int], Source]
    lender: Lender


class OnlineDraws:
    """Draws and labels variants. From epoch `donors_end` on, nothing is taken from other images."""

    def __init__(self, data: OnlineData, *, seed: int, donors_end: float) -> None:
        self._data, self._seed, self._donors_end = data, seed, donors_end
        self._lending = Lending(data.recipe, data.donors)

    def draw(self, key: Key) -> Drawn:
        """One of the variants that a build makes of an image, all alike.

        Those without a kept object are not drawn where such images are left out; the image itself stands in for none.
        """
        source = self._data.sources[self._data.trained[key.image]]
        planned = self.variants(source, key.epoch)
        order = generator(self._seed, "variant", key.epoch, key.image).permutation(len(planned))
        for variant in (planned[at] for at in order):
            drawn = self._labelled(source, variant)
            if self._data.keep_empty or any(not item.iscrowd for item in drawn.annotations):
                return drawn
        return self._labelled(source, ORIGINAL)

    def variants(self, source: Source, epoch: int) -> list[Variant]:
        """All variants that a source has in an epoch."""
        recipe = msgspec.structs.replace(self._data.recipe, seed=self.recipe_seed(epoch))
        image = SourceImage(source.image, source.annotations, source.input)
        planned = variants(recipe, image, Dataset(_no_copies, self._lending))
        return [variant for variant in planned if not variant.donors or epoch < self._donors_end]

    def recipe_seed(self, epoch: int) -> int:
        """The seed of the build that an epoch draws from."""
        return int(generator(self._seed, "recipe", epoch, self._data.recipe.seed).integers(2**63))

    def _labelled(self, source: Source, variant: Variant) -> Drawn:
        own = source.input, source.image.id
        keys = {(donor.source_input, donor.source_id) for donor in variant.donors} - {own}
        lent = {key: self._data.sources[self._data.donors.index_of(*key)] for key in keys}
        lender = Lender({key: Lent(other.image, other.annotations) for key, other in lent.items()})
        rule = self._data.recipe.labels
        labeller = VariantLabeller(source.annotations, source.image, rule, source.input, lender)
        return Drawn(source, variant, labeller.show(variant).annotations, lent, lender)


def _no_copies(_operation: Copy) -> int:
    return 0


def describe(recipe: Recipe, off_epochs: float) -> list[str]:
    """Lines for the plan."""
    drawn = dict.fromkeys(operation.name for operation in recipe.operations if not isinstance(operation, Copy))
    lines = [f"online: each epoch draws each image anew by the recipe {recipe.name}: {', '.join(drawn)}"]
    if len(drawn) < len({operation.name for operation in recipe.operations}):
        lines.append("  balance copies are not drawn: an epoch has each image once")
    if takes_from_others(recipe):
        until = f"until {off_epochs:g} epochs before the end" if off_epochs else "to the end"
        taking = [name for name in drawn if name in (Paste.name, Mosaic.name)]
        lines.append(f"  {' and '.join(taking)} {until} (INPUT.ONLINE_OFF_EPOCHS)")
    return lines


def identity(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain types, for checkpoints."""
    plain: dict[str, Any] = msgspec.to_builtins(recipe)
    return plain


def name_of(identity: dict[str, Any] | None) -> str:
    """A recipe of a checkpoint in a few words: its name, and a digest of its parameters."""
    if identity is None:
        return "none"
    digest = hashlib.sha256(msgspec.json.encode(identity)).hexdigest()
    return f"{identity.get('name')} (parameters {digest[:12]})"
