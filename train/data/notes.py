"""Lines for the user about the data that a run trains on."""

from __future__ import annotations

from collections.abc import Sequence

from augment.operations.parameters import Recipe
from datasets.build_layout import build_of
from datasets.records import Category
from datasets.sources import Input, Inputs, Source
from train.data.records import Categories


def size_notes(source: Input, read: Inputs, sources: Sequence[Source]) -> list[str]:
    left_out = len(read.sources) - len(sources)
    note = f"training: {len(sources):,} images of {source.annotations}"
    if left_out:
        note += f"; {left_out:,} without a kept object left out (DATALOADER.FILTER_EMPTY_ANNOTATIONS False keeps them)"
    ignored = sum(item.iscrowd for entry in sources for item in entry.annotations)
    kept = sum(len(entry.annotations) for entry in sources) - ignored
    return [note, f"  {kept:,} objects, {ignored:,} ignored regions that cost no loss"]


def left_out_notes(categories: Categories, left_out: list[Category]) -> list[str]:
    if not left_out:
        return []
    return [
        f"  {len(categories)} of {len(categories) + len(left_out)} categories: {', '.join(categories.names)}",
        "  objects of the others are background",
    ]


def build_notes(source: Input, online: Recipe | None) -> list[str]:
    if online is None or build_of(source.annotations) is None:
        return []
    return ["warning: a build is made of variants already, of which --online draws others; name its source instead"]


def mask_notes(objects: int, bare: int, masks: bool) -> list[str]:
    if bare == objects:
        return ["  boxes only: no object has a segmentation, so there is no mask head"]
    if bare:
        trained = "and train their boxes only" if masks else "and no mask is trained, as MODEL.MASK_ON False asks for"
        return [f"  {bare:,} of {objects:,} objects have no segmentation, {trained}"]
    return [] if masks else ["  no mask head, as MODEL.MASK_ON False asks for"]
