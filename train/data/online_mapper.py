"""From a drawn variant to the model's input: its files decoded and rendered, then as any other image."""

from __future__ import annotations

from typing import Any

import cv2
import msgspec
from cachetools import LRUCache

from augment.operations.parameters import Pixel
from augment.operations.plan import size_of
from augment.operations.render import render
from datasets import images
from datasets.images import Order, Pixels
from datasets.records import Donor
from datasets.sources import Source
from train.data.geometry import Size
from train.data.mapper import PAPER_RULE, RecordMapper, TrainingMapper, read_picture
from train.data.online import Drawn, OnlineData, OnlineDraws
from train.data.read import TrainingData
from train.data.records import Record, to_record
from train.data.sampler import Key

# Bytes of decoded donors that a loader worker keeps: 290 images of 640 x 480 px.
MOST_BYTES = 256 * 2**20


class OnlineMapper:
    """Key -> the model's input, as `TrainingMapper` makes it, of a variant that is drawn for this epoch."""

    def __init__(self, data: OnlineData, draws: OnlineDraws, mapper: TrainingMapper) -> None:
        self._data, self._draws, self._mapper = data, draws, mapper
        if any(isinstance(operation, Pixel) for operation in data.recipe.operations):
            # Once, for all workers that are forked from here: it takes a second.
            from augment.operations import pixel  # noqa: F401
        self._cache: LRUCache[tuple[int, Order], Pixels] = LRUCache(MOST_BYTES, getsizeof=_bytes)

    def __call__(self, key: Key) -> dict[str, Any]:
        """Raises DataError naming a file that cannot be read."""
        # The last bits of some transforms depend on the number of OpenCV's threads; workers have one anyway.
        cv2.setNumThreads(1)
        drawn = self._draws.draw(key)
        return self._mapper(self._record(drawn), key, lambda order: self._render(drawn, order))

    def _record(self, drawn: Drawn) -> Record:
        source = drawn.source
        width, height = size_of(drawn.variant, source.image.width, source.image.height)
        image = msgspec.structs.replace(source.image, width=width, height=height)
        return to_record(
            msgspec.structs.replace(source, image=image, annotations=drawn.annotations),
            self._data.categories,
            masks=self._mapper.masks,
            source_size=Size(source.image.height, source.image.width),
        )

    def _render(self, drawn: Drawn, order: Order) -> Pixels:
        # Pixel transforms need RGB.
        rendered_in: Order = "RGB" if drawn.variant.transform is not None else order
        own = self._read(drawn.source, rendered_in)

        def pixels_of(donor: Donor) -> Pixels:
            other = drawn.lent.get((donor.source_input, donor.source_id))
            return own if other is None else self._read_donor(other, rendered_in)

        pixels = render(own, drawn.variant, drawn.lender, pixels_of)
        return pixels if order == rendered_in else images.swapped(pixels)

    def _read(self, source: Source, order: Order) -> Pixels:
        return read_picture(
            source.path, source.image.width, source.image.height, order, on_stored_pixels=self._data.on_stored_pixels
        )

    def _read_donor(self, source: Source, order: Order) -> Pixels:
        key = self._data.donors.index_of(source.input, source.image.id), order
        pixels = self._cache.get(key)
        if pixels is None:
            pixels = self._read(source, order)
            if pixels.nbytes <= MOST_BYTES:
                self._cache[key] = pixels
        return pixels


def mapper_of(cfg: Any, data: TrainingData) -> RecordMapper | OnlineMapper:
    """The mapper of a run: of the images as they are, or of variants of them."""
    rule = PAPER_RULE if data.online is None else data.online.recipe.labels
    mapper = TrainingMapper(cfg, masks=data.masks, unmasked=data.unmasked, seed=cfg.SEED, rule=rule)
    if data.online is None:
        return RecordMapper(data.records, mapper)
    donors_end = cfg.SOLVER.EPOCHS - cfg.INPUT.ONLINE_OFF_EPOCHS
    return OnlineMapper(data.online, OnlineDraws(data.online, seed=cfg.SEED, donors_end=donors_end), mapper)


def _bytes(pixels: Pixels) -> int:
    return pixels.nbytes
