"""Prediction: from a checkpoint and images to a COCO results file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import torch
from torch import nn

from datasets import allocator, cli, coco, orientation, outputs, provenance, results
from datasets.categories import check_same
from datasets.digests import sha256_file
from datasets.errors import DataError
from datasets.file_names import locate
from datasets.image_files import FILES_PER_TASK, ImageFile, examine_files
from datasets.images import Pixels
from datasets.parallel import chunks
from datasets.provenance import MadeBy, Provenance
from datasets.records import Category, Image
from datasets.results import Results
from datasets.seen import SeenImages, ids_in, seen_note
from train import config, config_keys, cpu, devices
from train.checkpoints import checkpoint, lineage, weights
from train.data import shared_memory
from train.data.geometry import Geometry, resized
from train.data.loader import inference_batches, naming_lost_workers
from train.data.mapper import InferenceMapper, apply_to_pixels, read_pixels
from train.data.records import Categories, Record, Records
from train.inference import detect, tiling
from train.inference.tiled_model import Model, TiledModel
from train.model.build import build_network
from train.precision import precision_of

# isort: split
from detectron2.data.transforms import HFlipTransform, NoOpTransform, ResizeTransform, TransformList
from detectron2.modeling import GeneralizedRCNNWithTTA
from detectron2.utils import comm

# Settings for later soft-NMS: low scores and overlapping boxes are kept.
RAW = {
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.001,
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.9,
    "TEST.DETECTIONS_PER_IMAGE": 300,
}


class Request(NamedTuple):
    """The parameters of `python -m train predict`; `checkpoint` is a file."""

    checkpoint: Path
    annotations: Path
    images: Path
    output: Path
    tta: bool = False
    raw: bool = False
    amp: str | None = None
    """fp16 or bf16 for mixed precision; None for float32, whatever the training used, as in its validation."""
    tile: int | None = None
    """Side of the tiles in px; None for whole images."""
    overlap: float = tiling.OVERLAP
    """How much of a side neighbouring tiles share at least, 0 <= overlap < 1."""
    overrides: tuple[str, ...] = ()


class Predicted(NamedTuple):
    images: int
    detections: int
    without: int
    """Images without a detection."""
    seen: int
    """Images that the model was trained on."""


def predict(request: Request, progress: cli.Progress) -> Predicted | None:
    """Detect objects in every image of the annotation file; writes `request.output` and its provenance file.

    Each process takes its share of the images; the first one checks the files, writes, and returns what it wrote. All
    problems with files are found before the model is built. Raises DataError.
    """
    is_main = comm.is_main_process()
    read = coco.read_images(request.annotations, request.images)
    loaded = checkpoint.read(request.checkpoint)
    categories = _categories(loaded, read.categories, request)
    seen = SeenImages.from_plain(loaded.content.get("seen"), str(loaded.path))
    cfg = _configuration(loaded, request)
    # Raw boxes overlap within a tile, not between tiles: of each object, soft-NMS gets the boxes of one.
    across_tiles = _configuration(loaded, request._replace(raw=False)).MODEL.ROI_HEADS.NMS_THRESH_TEST
    device = devices.device_of(cfg)
    if device.type == "cpu":
        allocator.keep_freed_memory()
        if comm.get_world_size() == 1:
            cpu.set_threads()
    precision = precision_of(cfg, device, cli.note if is_main else _silent)
    output = _output_of(request, read.images)
    records = _records(read.images, request.annotations, request.images, progress if is_main else None)
    seen_ids = sorted(ids_in(seen, read.images, request.images, progress)) if is_main else []
    in_full_size = request.tta or request.tile is not None
    load = shared_memory.whole_images_load(records) if in_full_size else shared_memory.inference_load(cfg, records)
    shared_memory.check([load], cfg.DATALOADER.NUM_WORKERS)
    network = build_network(cfg, "cpu")
    weights.load_exactly(network, loaded.to_use, loaded.path)
    precision.prepare(network)
    try:
        network.to(device)
        lost = naming_lost_workers(cfg.DATALOADER.NUM_WORKERS, "Nothing was written.")
        with lost, detect.evaluating(network), precision.autocast():
            share = _detect(network, cfg, records, categories, request, progress, across_tiles)
    except RuntimeError as error:
        if not devices.is_full(error):
            raise
        raise DataError(_out_of_memory(error, cfg, tta=request.tta)) from None
    shares = comm.gather(share)
    if not is_main:
        return None
    detections = detect.in_order(detect.join(shares), [record.image_id for record in records])
    made_by = _made_by(request, loaded)

    def describe(written: Path) -> None:
        # Written before the results are renamed, so that results never lack their provenance, whenever this ends.
        about = Provenance(
            results_sha256=sha256_file(written),
            models=(made_by,),
            images=len(records),
            seen_in_training=tuple(seen_ids),
            complete=seen.complete,
        )
        provenance.write(output, about)

    results.write(output, detections, written=describe)
    without = len(records) - len(np.unique(detections.image_ids))
    return Predicted(len(records), len(detections), without, len(seen_ids))


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


def _silent(*_: Any) -> None:
    pass


def _categories(loaded: checkpoint.Loaded, listed: list[Category], request: Request) -> Categories:
    """The model's categories. With those that its training left out, they must equal the file's, if it lists any."""
    categories = Categories.from_pairs(_pairs(loaded.content["categories"]))
    left_out = _left_out(loaded)
    if listed:
        everything = [*categories.categories(), *left_out.categories()]
        check_same(everything, str(request.checkpoint), listed, str(request.annotations))
    return categories


def _left_out(loaded: checkpoint.Loaded) -> Categories:
    return Categories.from_pairs(_pairs(loaded.content.get("data", {}).get("left_out", [])))


def _pairs(categories: list[list[Any]]) -> Iterator[tuple[int, str]]:
    return ((int(id_), str(name)) for id_, name in categories)


def _made_by(request: Request, loaded: checkpoint.Loaded) -> MadeBy:
    return MadeBy(
        checkpoint=str(request.checkpoint).encode("utf-8", "replace").decode(),
        sha256=loaded.sha256,
        model=str(loaded.content.get("name", "")),
        epoch=float(loaded.content.get("epoch", 0)),
        from_scratch=not lineage.doubts(loaded.path.name, loaded.lineage),
        tta=request.tta,
        raw=request.raw,
        not_trained_on=tuple(_left_out(loaded).names),
        settings=(*_tile_settings(request), *_amp_settings(request), *request.overrides),
    )


def _amp_settings(request: Request) -> tuple[str, ...]:
    return ("SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", request.amp) if request.amp else ()


def _tile_settings(request: Request) -> tuple[str, ...]:
    return ("--tile", str(request.tile), "--overlap", str(request.overlap)) if request.tile is not None else ()


def _configuration(loaded: checkpoint.Loaded, request: Request) -> Any:
    cfg = config.from_text(loaded.content["config"], str(loaded.path))
    # Checkpoints from a GPU are read without one, and vice versa.
    cfg.MODEL.DEVICE = "auto"
    cfg.SOLVER.AMP.ENABLED = False
    config.merge_overrides(cfg, _amp_settings(request))
    if request.raw:
        for key, value in RAW.items():
            config.merge_overrides(cfg, [key, str(value)])
    config.merge_overrides(cfg, request.overrides)
    keys = list(request.overrides[::2])
    config.check(cfg, [*config_keys.of_training(keys), *config_keys.refused(keys)])
    return cfg


def _output_of(request: Request, listed: list[Image]) -> Path:
    """The file to write. Raises DataError for an input, and for anything that would fail only at the end."""
    given = request.output
    pictures = (request.images / item.file_name for item in listed)
    read = (request.checkpoint, request.annotations, *pictures)
    path = outputs.file_to_write(given, read, beside=lambda written: [provenance.path_of(written)])
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(f"{given}: cannot be written: expected a folder that takes files, found {folder}")
    return path


def _records(listed: list[Image], annotations: Path, folder: Path, progress: cli.Progress | None) -> Records:
    """Records of the images in an annotation file. With `progress`, raises DataError naming every unreadable one."""
    if not folder.is_dir():
        raise DataError(f"{folder}: expected the folder of the images, found none")
    files = [
        ImageFile(locate(folder.absolute(), item.file_name).path, folder.absolute(), item.width, item.height)
        for item in listed
    ]
    # Only the first process checks; the others are told.
    stored = bool(comm.all_gather(progress is not None and _ignores_orientations(files, annotations, progress))[0])
    return Records(
        Record(
            path=str(file.path),
            image_id=item.id,
            width=item.width,
            height=item.height,
            boxes_xyxy=np.empty((0, 4), dtype=np.float32),
            classes=np.empty(0, dtype=np.int64),
            ignored=np.empty(0, dtype=np.bool_),
            polygons=[],
            on_stored_pixels=stored,
        )
        for item, file in zip(listed, files, strict=True)
    )


def _ignores_orientations(files: list[ImageFile], annotations: Path, progress: cli.Progress) -> bool:
    """Whether the sizes in the annotation file are of stored pixels. Raises DataError naming every bad file."""
    problems = []
    readings = []
    done = 0
    for chunk in chunks(files, FILES_PER_TASK):
        for file, result in zip(chunk, examine_files(chunk), strict=True):
            if isinstance(result, str):
                problems.append(f"{file.path}: {result}")
            else:
                readings.append((str(file.path), result.reading, file.width, file.height))
        done += len(chunk)
        progress("checking images", done, len(files))
    if problems:
        raise DataError(f"{annotations}: {len(problems)} problem(s) in the image files", problems)
    evidence = orientation.weigh(readings)
    if evidence.contradicts:
        raise DataError(f"{annotations}: {orientation.refusal(evidence)}")
    return evidence.on_stored_pixels


def _detect(
    network: nn.Module,
    cfg: Any,
    records: Records,
    categories: Categories,
    request: Request,
    progress: cli.Progress,
    across_tiles: float,
) -> Results:
    """The detections in this process's share of the images; `across_tiles` is the IoU threshold of `tiling.merge`."""
    mapper: Callable[[Record], dict[str, Any]] = InferenceMapper(cfg)
    run: Model = network
    if request.tta:
        mapper, run = _WholeImages(cfg), _augmented(network, cfg)
    if request.tile is not None:
        to_input = _whole if request.tta else InferenceMapper(cfg).of_pixels
        mapper = _WholeImages(cfg)
        run = TiledModel(
            run,
            to_input,
            size=request.tile,
            overlap=request.overlap,
            iou_threshold=across_tiles,
            limit=cfg.TEST.DETECTIONS_PER_IMAGE,
        )
    done, processes = 0, comm.get_world_size()

    def on_done(count: int) -> None:
        nonlocal done
        done += count
        # The other processes are at about the same point.
        progress("predicting", min(done * processes, len(records)), len(records))

    batches = inference_batches(
        records, mapper, cfg.DATALOADER.NUM_WORKERS, first=comm.get_rank(), step=comm.get_world_size()
    )
    return detect.detect(run, batches, categories, on_done)


class _WholeImages:
    """record -> (height, width, 3) "image" in the original size; `_Variants` resizes it, `TiledModel` cuts it."""

    def __init__(self, cfg: Any) -> None:
        self._order = cfg.INPUT.FORMAT

    def __call__(self, record: Record) -> dict[str, Any]:
        return _whole(read_pixels(record, self._order), record.image_id)


def _whole(pixels: Pixels, image_id: int) -> dict[str, Any]:
    height, width = pixels.shape[:2]
    return {"image": torch.from_numpy(pixels), "height": height, "width": width, "image_id": image_id}


class _Variants:
    """The input of Detectron2's TTA: an image in every size of the configuration, and mirrored, resized by the
    project.
    """

    def __init__(self, cfg: Any) -> None:
        self._sizes = list(cfg.TEST.AUG.MIN_SIZES)
        self._longest = cfg.TEST.AUG.MAX_SIZE
        self._flips = (False, True) if cfg.TEST.AUG.FLIP else (False,)

    def __call__(self, item: dict[str, Any]) -> list[dict[str, Any]]:
        return list(self._variants(item))

    def _variants(self, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
        pixels = item["image"].numpy()
        height, width = pixels.shape[:2]
        for shorter in self._sizes:
            new = resized(height, width, shorter, self._longest)
            for mirrored in self._flips:
                # The inverse transform of boxes: mirrored back, then resized back.
                flip = HFlipTransform(new[1]) if mirrored else NoOpTransform()
                yield {
                    **item,
                    "image": apply_to_pixels(pixels, Geometry(*new, mirrored)),
                    "transforms": TransformList([ResizeTransform(height, width, *new), flip]),
                }


def _augmented(network: nn.Module, cfg: Any) -> Model:
    """Detectron2's test-time augmentation, boxes only: masks would run the backbone a second time."""
    boxes_only = cfg.clone()
    boxes_only.MODEL.MASK_ON = False
    augmented: Model = GeneralizedRCNNWithTTA(boxes_only, network, tta_mapper=_Variants(cfg), batch_size=1)
    return augmented


def _out_of_memory(error: Exception, cfg: Any, *, tta: bool) -> str:
    """The error of a prediction that exceeds GPU memory."""
    sizes = f"INPUT.MIN_SIZE_TEST (was {cfg.INPUT.MIN_SIZE_TEST})"
    if tta:
        sizes = f"TEST.AUG.MIN_SIZES (was {list(cfg.TEST.AUG.MIN_SIZES)})"
    amp = "" if cfg.SOLVER.AMP.ENABLED else "--amp fp16; "
    return (
        f"{devices.first_line(error)}\nThe GPU's memory is too small for an image. Try: {amp}a smaller {sizes}; "
        "MODEL.DEVICE cpu. Nothing was written"
    )
