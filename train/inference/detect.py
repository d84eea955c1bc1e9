"""Detections of a model: boxes only, with the dataset's category ids, in pixels of the original image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from datasets.boxes import xyxy_to_xywh
from datasets.results import Results
from train.data.records import Categories

# Decimals: a thousandth of a pixel, a millionth of a score.
BOX_DECIMALS, SCORE_DECIMALS = 3, 6


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """`model` in evaluation mode, without gradients and without mask prediction, which is not used."""
    heads: Any = model.roi_heads
    was_training, mask_on = model.training, heads.mask_on
    model.eval()
    heads.mask_on = False
    try:
        with torch.no_grad():
            yield
    finally:
        heads.mask_on = mask_on
        model.train(was_training)


def detect(
    model: Callable[[list[dict[str, Any]]], list[dict[str, Any]]],
    batches: Iterable[list[dict[str, Any]]],
    categories: Categories,
    on_done: Callable[[int], None] = lambda _: None,
) -> Results:
    """Run a Detectron2 model (see `evaluating`) over batches; detections of an image are in descending score.

    `on_done` is called with the number of images of each batch.
    """
    parts = [_to_results(np.empty(0), np.empty((0, 4)), np.empty(0, dtype=np.int64), 0, categories)]
    for batch in batches:
        for item, output in zip(batch, model(batch), strict=True):
            instances = output["instances"]
            parts.append(
                _to_results(
                    instances.scores.float().cpu().numpy(),
                    instances.pred_boxes.tensor.float().cpu().numpy(),
                    instances.pred_classes.cpu().numpy(),
                    item["image_id"],
                    categories,
                )
            )
        on_done(len(batch))
    return join(parts)


def _to_results(
    scores: np.ndarray[Any, Any],
    boxes_xyxy: np.ndarray[Any, Any],
    classes: np.ndarray[Any, Any],
    image_id: int,
    categories: Categories,
) -> Results:
    boxes_xywh = xyxy_to_xywh(boxes_xyxy.astype(np.float64)).round(BOX_DECIMALS)
    order = np.argsort(-scores, kind="stable")
    return Results(
        image_ids=np.full(len(scores), image_id, dtype=np.int64),
        category_ids=categories.ids_of(classes.astype(np.int64))[order],
        boxes_xywh=boxes_xywh[order],
        scores=np.clip(scores.astype(np.float64), 0, 1).round(SCORE_DECIMALS)[order],
    )


def join(parts: list[Results]) -> Results:
    """Concatenates detections."""
    return Results(
        image_ids=np.concatenate([part.image_ids for part in parts]),
        category_ids=np.concatenate([part.category_ids for part in parts]),
        boxes_xywh=np.concatenate([part.boxes_xywh for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
    )


def in_order(results: Results, image_ids: Sequence[int]) -> Results:
    """Detections in the order of `image_ids`, stable within an image.

    So the file does not depend on how many processes shared the images.
    """
    places = {image_id: index for index, image_id in enumerate(image_ids)}
    order = np.argsort(np.array([places[id_] for id_ in results.image_ids.tolist()], dtype=np.int64), kind="stable")
    return Results(
        image_ids=results.image_ids[order],
        category_ids=results.category_ids[order],
        boxes_xywh=results.boxes_xywh[order],
        scores=results.scores[order],
    )
