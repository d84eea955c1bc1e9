"""Prediction: from a checkpoint and images to a COCO results file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec
import numpy as np
from torch import nn

from datasets import cli, picture_folder, provenance, results
from datasets.digests import sha256_file
from datasets.errors import DataError
from datasets.provenance import Provenance
from datasets.results import Results
from datasets.seen import seen_note
from train import cpu, devices
from train.checkpoints import weights
from train.data.loader import inference_batches, naming_lost_workers
from train.data.mapper import InferenceMapper
from train.data.records import Record
from train.inference import detect, drawings
from train.inference.job import Job, prepare
from train.inference.masks import SoftMasks
from train.inference.request import Request
from train.inference.tiled_model import Model, TiledModel
from train.inference.tta import WholeImages, augmented, whole
from train.model.build import build_network
from train.precision import precision_of

# isort: split
from detectron2.utils import comm


class Predicted(NamedTuple):
    images: int
    detections: int
    without: int
    """Images without a detection."""
    seen: int
    """Images that the model was trained on."""
    notes: tuple[str, ...] = ()
    """Lines for the user: what was left out, and what was drawn."""


def predict(request: Request, progress: cli.Progress) -> Predicted | None:
    """Detect objects in every image that is asked for; writes `request.output` and what belongs beside it.

    That is its provenance file; without an annotation file also the list of the images, and with `request.draw` a
    folder of drawings. Each process takes its share of the images; the first one checks the files, writes, and returns
    what it wrote. All problems with files are found before the model is built. Raises DataError.
    """
    is_main = comm.is_main_process()
    job = prepare(request, progress if is_main else None)
    if job.device.type == "cpu":
        cpu.prepare(processes=comm.get_world_size())
    precision = precision_of(job.cfg, job.device, cli.note if is_main else _silent)
    network = build_network(job.cfg, "cpu")
    weights.load_exactly(network, job.weights, job.loaded.path)
    precision.prepare(network)
    with drawings.staged(job.drawings) as draw:
        try:
            network.to(job.device)
            lost = naming_lost_workers(job.cfg.DATALOADER.NUM_WORKERS, "Nothing was written.")
            with lost, detect.evaluating(network, masks=job.masks_from is not None), precision.autocast():
                share = _detect(network, job, draw, progress)
        except RuntimeError as error:
            if not devices.is_full(error):
                raise
            raise DataError(job.request.out_of_memory(error, job.cfg)) from None
        shares = comm.gather(share)
        if not is_main:
            return None
        detections = detect.in_order(detect.join(shares), [item.id for item in job.images])
        _write(job, detections)
    without = len(job.images) - len(np.unique(detections.image_ids))
    notes = (*job.notes, *(drawings.notes(job.drawings, detections) if job.drawings is not None else ()))
    return Predicted(len(job.images), len(detections), without, len(job.seen_ids), notes)


def predict_and_report(request: Request) -> None:
    """`predict`, with a progress bar and a closing line; for every process."""
    with cli.progress_bar() if comm.is_main_process() else nullcontext(_silent) as progress:
        done = predict(request, progress)
    if done is not None:
        said = seen_note(done.seen, done.images)
        click.echo(
            f"{request.output}: {done.detections:,} detections in {done.images:,} images, {done.without:,} without "
            f"any; by {request.checkpoint}" + (f"; {said}" if said else "")
        )
        if done.notes:
            cli.show(*done.notes)


def _silent(*_: Any) -> None:
    pass


def _detect(
    network: nn.Module, job: Job, draw: Callable[[int, Results], None] | None, progress: cli.Progress
) -> Results:
    """The detections in this process's share of the images, each of which is drawn as soon as it is predicted."""
    model, mapper = _model(network, job)
    done, processes = 0, comm.get_world_size()

    def on_done(count: int) -> None:
        nonlocal done
        done += count
        # The other processes are at about the same point.
        progress("predicting", min(done * processes, len(job.records)), len(job.records))

    def on_found(image_id: int, found: Results) -> Results:
        if draw is not None:
            draw(image_id, found)
        return found if job.request.masks else msgspec.structs.replace(found, segmentations=None)

    batches = inference_batches(
        job.records, mapper, job.cfg.DATALOADER.NUM_WORKERS, first=comm.get_rank(), step=comm.get_world_size()
    )
    return detect.detect(model, batches, job.categories, on_done, on_found, masks_from=job.masks_from)


def _model(network: nn.Module, job: Job) -> tuple[Model, Callable[[Record], dict[str, Any]]]:
    """What detects in the images, and what makes its input of a record."""
    request, cfg, masks = job.request, job.cfg, job.masks_from is not None
    mapper: Callable[[Record], dict[str, Any]] = InferenceMapper(cfg)
    model: Model = SoftMasks(network) if masks else network
    if request.tta:
        mapper, model = WholeImages(cfg), augmented(network, cfg, masks=masks)
    if request.tile is not None:
        to_input = whole if request.tta else InferenceMapper(cfg).of_pixels
        mapper = WholeImages(cfg)
        model = TiledModel(
            model,
            to_input,
            size=request.tile,
            overlap=request.overlap,
            # Raw boxes overlap within a tile, not between tiles: of each object, soft-NMS gets the boxes of one.
            iou_threshold=request._replace(raw=False).configuration(job.loaded).MODEL.ROI_HEADS.NMS_THRESH_TEST,
            limit=cfg.TEST.DETECTIONS_PER_IMAGE,
        )
    return model, mapper


def _write(job: Job, detections: Results) -> None:
    """Write the results file and what stands beside it."""

    def describe(written: Path) -> None:
        # Written before the results are renamed, so that results never lack them, whenever this ends.
        about = Provenance(
            results_sha256=sha256_file(written),
            models=(job.made_by(),),
            images=len(job.images),
            seen_in_training=job.seen_ids,
            complete=job.seen.complete,
        )
        provenance.write(job.output, about)
        if job.request.annotations is None:
            picture_folder.write_list(job.output, job.images, job.categories.categories())
        else:
            picture_folder.forget_list(job.output, job.request.annotations)

    results.write(job.output, detections, written=describe)
