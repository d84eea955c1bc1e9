"""Detections of a model with the dataset's category ids, in pixels of the original image; masks where asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from datasets.boxes import xyxy_to_xywh
from datasets.results import Results
from train import compat  # noqa: F401 - before detectron2
from train.data.loader import inference_batches
from train.data.mapper import InferenceMapper
from train.data.records import Categories, Record
from train.inference.masks import segmentations

# isort: split
from detectron2.structures import Instances
from detectron2.utils import comm

# Decimals: a thousandth of a pixel, a millionth of a score.
BOX_DECIMALS, SCORE_DECIMALS = 3, 6


@contextmanager
def evaluating(model: nn.Module, *, masks: bool = False) -> Iterator[None]:
    """`model` in evaluation mode, without gradients and, unless they are used, without predicting masks."""
    heads: Any = model.roi_heads
    was_training, mask_on = model.training, heads.mask_on
    model.eval()
    heads.mask_on = masks and mask_on
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
    on_found: Callable[[int, Results], Results] = lambda _, found: found,
    *,
    masks_from: float | None = None,
) -> Results:
    """Run a Detectron2 model (see `evaluating`) over batches; detections of an image are in descending score.

    `on_done` is called with the number of images of each batch, `on_found` with the id of each image and its
    detections, for what is to be kept of them. With `masks_from`, the model makes soft masks (see
    `train.inference.masks`), and detections of at least this score have a segmentation.
    """
    parts = [_to_results(np.empty(0), np.empty((0, 4)), np.empty(0, dtype=np.int64), 0, categories)]
    for batch in batches:
        for item, output in zip(batch, model(batch), strict=True):
            found = _found(output["instances"], item["image_id"], categories, masks_from)
            parts.append(on_found(item["image_id"], found))
        on_done(len(batch))
    return join(parts)


def detect_in_all(network: nn.Module, cfg: Any, records: Sequence[Record], categories: Categories) -> Results | None:
    """The boxes that a network (see `evaluating`) detects in `records`: each process takes its share of them.

    All detections in the first process, None in the others.
    """
    batches = inference_batches(
        records,
        InferenceMapper(cfg),
        cfg.DATALOADER.NUM_WORKERS,
        first=comm.get_rank(),
        step=comm.get_world_size(),
    )
    shares = comm.gather(detect(network, batches, categories))
    return join(shares) if comm.is_main_process() else None


def _found(instances: Instances, image_id: int, categories: Categories, masks_from: float | None) -> Results:
    scores = instances.scores.float().cpu().numpy()
    return _to_results(
        scores,
        instances.pred_boxes.tensor.float().cpu().numpy(),
        instances.pred_classes.cpu().numpy(),
        image_id,
        categories,
        None if masks_from is None else segmentations(instances, _rounded(scores) >= masks_from),
    )


def _to_results(
    scores: np.ndarray[Any, Any],
    boxes_xyxy: np.ndarray[Any, Any],
    classes: np.ndarray[Any, Any],
    image_id: int,
    categories: Categories,
    masks: Sequence[bytes] | None = None,
) -> Results:
    boxes_xywh = xyxy_to_xywh(boxes_xyxy.astype(np.float64)).round(BOX_DECIMALS)
    order = np.argsort(-scores, kind="stable")
    return Results(
        image_ids=np.full(len(scores), image_id, dtype=np.int64),
        category_ids=categories.ids_of(classes.astype(np.int64))[order],
        boxes_xywh=boxes_xywh[order],
        scores=_rounded(scores)[order],
        segmentations=None if masks is None else [masks[at] for at in order],
    )


def _rounded(scores: np.ndarray[Any, Any]) -> npt.NDArray[np.float64]:
    return np.asarray(np.clip(scores.astype(np.float64), 0, 1).round(SCORE_DECIMALS))


def join(parts: list[Results]) -> Results:
    """Concatenates detections."""
    masked = any(part.segmentations is not None for part in parts)
    return Results(
        image_ids=np.concatenate([part.image_ids for part in parts]),
        category_ids=np.concatenate([part.category_ids for part in parts]),
        boxes_xywh=np.concatenate([part.boxes_xywh for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        segmentations=[mask for part in parts for mask in _masks(part)] if masked else None,
    )


def _masks(part: Results) -> Sequence[bytes]:
    return [b""] * len(part) if part.segmentations is None else part.segmentations


def in_order(results: Results, image_ids: Sequence[int]) -> Results:
    """Detections in the order of `image_ids`, stable within an image.

    So the file does not depend on how many processes shared the images.
    """
    places = {image_id: index for index, image_id in enumerate(image_ids)}
    order = np.argsort(np.array([places[id_] for id_ in results.image_ids.tolist()], dtype=np.int64), kind="stable")
    return taken(results, order)


def taken(results: Results, rows: npt.NDArray[Any]) -> Results:
    """The detections at (n,) indices, in their order, or at (N,) flags."""
    masks = results.segmentations
    return Results(
        image_ids=results.image_ids[rows],
        category_ids=results.category_ids[rows],
        boxes_xywh=results.boxes_xywh[rows],
        scores=results.scores[rows],
        segmentations=None if masks is None else [masks[at] for at in np.arange(len(results))[rows].tolist()],
    )
