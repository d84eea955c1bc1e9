"""Validation: the AP of the network during training, in all processes."""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import structs
from torch import distributed, nn

from datasets.checks import Leniency
from datasets.evaluation import Evaluation, evaluate
from datasets.intervals import ap_interval
from datasets.results import Results
from train import compat  # noqa: F401 - compat before detectron2
from train.data.read import TrainingData, ValidationData
from train.inference import detect
from train.run.best_results import MeasuredOn, shown_path

# isort: split
from detectron2.utils import comm


class Validated(NamedTuple):
    """A validation's numbers, and the detections that they are of, in the order of the images."""

    evaluation: Evaluation
    found: Results


def validate(
    network: nn.Module, cfg: Any, data: TrainingData, validation: ValidationData, best: float
) -> Validated | None:
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
    found = detect.in_order(found, [record.image_id for record in validation.records])
    evaluated = evaluate(validation.truth, found)
    if evaluated.ap is None or evaluated.ap <= best:
        # With many images, intervals take longer than the AP.
        return Validated(evaluated, found)
    return Validated(structs.replace(evaluated, interval=ap_interval(validation.truth, found)), found)


def measured_on(data: TrainingData, validation: ValidationData, leniency: Leniency) -> MeasuredOn:
    """What is kept beside the detections of the best epoch."""
    return MeasuredOn(
        annotations=shown_path(validation.source.annotations),
        annotations_sha256=validation.sha256,
        images=shown_path(validation.source.images),
        clip_boxes=leniency.clip_boxes,
        skip_bad=leniency.skip_bad,
        follow_links=leniency.follow_links,
        skipped=validation.skipped,
        trained_objects=dict(zip(data.categories.ids.tolist(), data.histogram.tolist(), strict=True)),
    )
