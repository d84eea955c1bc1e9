"""The plan: decides the variants of one image. Nothing is drawn at random after this.

Every draw comes from a generator keyed by the recipe's seed, the source image's id and file name, the operation's index
in the recipe and the copy's number, so it depends on nothing else: not on workers, order or other images.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

import msgspec
import numpy as np

from augment.operations.crops import center_window, random_window
from augment.operations.parameters import CenterCrop, Copy, Crop, Original, Pixel, Recipe
from datasets.images import SUFFIXES
from datasets.records import Image, Window


class Variant(msgspec.Struct, frozen=True):
    """One image to make: `window` for a crop, `transform` and `seed` for a pixel transform, neither for the
    original.
    """

    operation: str
    window: Window | None = None
    transform: str | None = None
    seed: int | None = None


def generator(seed: int, source_id: int, file_name: str, operation: int, copy: int) -> np.random.Generator:
    """The random generator of one variant; equal keys give equal streams in every process."""
    key = msgspec.json.encode([seed, source_id, file_name, operation, copy])
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(key).digest()[:16], "little")))


def variants(recipe: Recipe, image: Image, copies: Callable[[Copy], int]) -> list[Variant]:
    """The variants of a source image, in the recipe's order; `copies` gives the number of balance copies."""
    planned = []
    for index, operation in enumerate(recipe.operations):
        if isinstance(operation, Original):
            planned.append(Variant(operation.name))
            continue
        for copy in range(copies(operation) if isinstance(operation, Copy) else 1):
            rng = generator(recipe.seed, image.id, image.file_name, index, copy)
            planned.append(_draw(operation, image.width, image.height, rng))
    return planned


def _draw(operation: Crop | Pixel | Copy, width: int, height: int, rng: np.random.Generator) -> Variant:
    if isinstance(operation, Crop):
        fraction = float(rng.uniform(*operation.fraction))
        if isinstance(operation, CenterCrop):
            return Variant(operation.name, window=center_window(fraction, width, height))
        return Variant(operation.name, window=random_window(fraction, width, height, rng))
    transform = operation.transforms[int(rng.integers(len(operation.transforms)))]
    return Variant(operation.name, transform=transform, seed=int(rng.integers(2**31)))


def image_records(
    planned: list[Variant], source: Image, source_input: int, source_format: str, first_id: int
) -> list[Image]:
    """The image records of a source's variants, numbered from `first_id`; `file_name` is relative to images/."""
    records = []
    stem = _readable(source.file_name)
    for image_id, variant in enumerate(planned, start=first_id):
        width, height = source.width, source.height
        if variant.window is not None:
            x0, y0, x1, y1 = variant.window
            width, height = x1 - x0, y1 - y0
        suffix = SUFFIXES[source_format if variant.operation == Original.name else "JPEG"]
        records.append(
            Image(
                id=image_id,
                file_name=f"{image_id:09d}_{stem}_{variant.operation}{suffix}",
                width=width,
                height=height,
                license=source.license,
                coco_url=source.coco_url,
                flickr_url=source.flickr_url,
                date_captured=source.date_captured,
                source_input=source_input,
                source_id=source.id,
                source_file_name=source.file_name,
                operation=variant.operation,
                window=variant.window,
                transform=variant.transform,
                seed=variant.seed,
            )
        )
    return records


def _readable(file_name: str) -> str:
    """The source's file stem, reduced to characters that every file system allows; the id makes names unique."""
    stem = file_name.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return re.sub(r"[^A-Za-z0-9-]+", "-", stem)[:40].strip("-") or "image"
