"""Validation: the AP of the network during training, in all processes."""

from __future__ import annotations

from typing import Any

from msgspec import structs
from torch import distributed, nn

from datasets.evaluation import Evaluation, evaluate
from datasets.intervals import ap_interval
from train import compat  # noqa: F401 - compat before detectron2
from train.data.read import TrainingData, ValidationData
from train.inference import detect

# isort: split
from detectron2.utils import comm


def validate(
    network: nn.Module, cfg: Any, data: TrainingData, validation: ValidationData, best: float
) -> Evaluation | None:
    """Each process takes its share of the images; the first one returns the result, with the interval of its AP where
    that is higher than `best`.

    All use the batch norm statistics of the first process, which are the ones that are saved.
    """
    if comm.get_world_size() > 1:
        for buffer in network.buffers():
            distributed.broadcast(buffer, 0)
    with detect.evaluating(network):
        found = detect.detect_in_all(network, cfg, validation.records, data.categories)
    if found is None:
        return None
    evaluated = evaluate(validation.truth, found)
    if evaluated.ap is None or evaluated.ap <= best:
        # With many images, intervals take longer than the AP.
        return evaluated
    return structs.replace(evaluated, interval=ap_interval(validation.truth, found))
