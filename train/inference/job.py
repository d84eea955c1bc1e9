"""A request that was checked: everything that `predict` refuses is refused here, before a model is built."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from datasets import cli, outputs, picture_folder, provenance
from datasets.categories import check_same
from datasets.errors import SHOWN, DataError
from datasets.provenance import MadeBy
from datasets.records import Image
from datasets.seen import SeenImages, ids_in
from train import devices
from train.checkpoints import checkpoint, lineage
from train.data import shared_memory
from train.data.records import Categories, Records
from train.inference import drawings, pictures
from train.inference.request import Request


class Job(NamedTuple):
    """A request whose files are good."""

    request: Request
    loaded: checkpoint.Loaded
    cfg: Any
    device: torch.device
    categories: Categories
    output: Path
    images: list[Image]
    records: Records
    """Of the images, in their order."""
    seen: SeenImages
    seen_ids: tuple[int, ...]
    """Of the images, known to the first process."""
    drawings: drawings.Plan | None
    notes: tuple[str, ...]
    """Lines for the user: what was left out."""

    @property
    def masks_from(self) -> float | None:
        """The score from which on masks are needed; None where none are."""
        if self.request.masks:
            return 0.0
        return self.request.draw_score if self.drawings is not None and self.cfg.MODEL.MASK_ON else None

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """Those to predict with: the moving average, where there is one and it is not declined."""
        weights: dict[str, torch.Tensor] = (
            self.loaded.weights_to_use if self.request.ema else self.loaded.content["model"]
        )
        return weights

    def made_by(self) -> MadeBy:
        return MadeBy(
            checkpoint=str(self.request.checkpoint).encode("utf-8", "replace").decode(),
            sha256=self.loaded.sha256,
            model=str(self.loaded.content.get("name", "")),
            epoch=float(self.loaded.content.get("epoch", 0)),
            from_scratch=not lineage.doubts(self.loaded.path.name, self.loaded.lineage),
            tta=self.request.tta,
            raw=self.request.raw,
            not_trained_on=tuple(_left_out(self.loaded).names),
            settings=self.request.settings(),
        )


def prepare(request: Request, progress: cli.Progress | None) -> Job:
    """Check everything that can be checked without a model; the process with `progress` reads the files.

    Raises DataError.
    """
    asked = pictures.ask(request.annotations, request.images)
    loaded = checkpoint.read(request.checkpoint)
    request, said = request.at_chosen_size(loaded)
    if said and progress is not None:
        cli.note(said)
    categories = _categories(loaded, asked)
    seen = SeenImages.from_plain(loaded.content.get("seen"), str(loaded.path))
    cfg = request.configuration(loaded)
    _check_masks(request, cfg)
    _check_ema(request, loaded)
    device = devices.device_of(cfg)
    output = _output_of(request, asked)
    if request.draw is not None:
        drawings.check_installed()
        drawings.check_folder(request.draw, request.images, output)
    checked = pictures.check(asked, progress, skip_bad=request.skip_bad)
    records = checked.records
    plan = None
    if request.draw is not None:
        plan = drawings.plan(request.draw, request.images, records, categories, request.draw_score)
    seen_ids = sorted(ids_in(seen, checked.images, request.images, progress)) if progress is not None else []
    in_full_size = request.in_full_size
    load = shared_memory.whole_images_load(records) if in_full_size else shared_memory.inference_load(cfg, records)
    shared_memory.check([load], cfg.DATALOADER.NUM_WORKERS)
    return Job(
        request=request,
        loaded=loaded,
        cfg=cfg,
        device=device,
        categories=categories,
        output=output,
        images=checked.images,
        records=records,
        seen=seen,
        seen_ids=tuple(seen_ids),
        drawings=plan,
        notes=tuple(_left_out_notes(asked, checked)),
    )


def _categories(loaded: checkpoint.Loaded, asked: pictures.Asked) -> Categories:
    """The model's categories. With those that its training left out, they must equal the file's, if it lists any."""
    categories = Categories.from_pairs(_pairs(loaded.content["categories"]))
    left_out = _left_out(loaded)
    if asked.categories:
        everything = [*categories.categories(), *left_out.categories()]
        check_same(everything, str(loaded.path), asked.categories, str(asked.annotations))
    return categories


def _left_out(loaded: checkpoint.Loaded) -> Categories:
    return Categories.from_pairs(_pairs(loaded.content.get("data", {}).get("left_out", [])))


def _pairs(categories: list[list[Any]]) -> Iterator[tuple[int, str]]:
    return ((int(id_), str(name)) for id_, name in categories)


def _check_masks(request: Request, cfg: Any) -> None:
    if request.masks and not cfg.MODEL.MASK_ON:
        raise DataError(
            f"--masks: expected a model with a mask head, found none in {request.checkpoint}, as where the training "
            "data has boxes only; leave --masks out, or train on objects with segmentation"
        )


def _check_ema(request: Request, loaded: checkpoint.Loaded) -> None:
    if not request.ema and checkpoint.EMA not in loaded.content:
        raise DataError(
            f"--no-ema: expected a checkpoint with a moving average of the weights (SOLVER.EMA), found none in "
            f"{request.checkpoint}; leave --no-ema out"
        )


def _output_of(request: Request, asked: pictures.Asked) -> Path:
    """The file to write. Raises DataError for an input, and for anything that would fail only at the end."""
    given = request.output
    read = (request.checkpoint, *([asked.annotations] if asked.annotations else []), *asked.paths())
    path = outputs.file_to_write(given, read, beside=lambda written: _beside(written, asked))
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(f"{given}: cannot be written: expected a folder that takes files, found {folder}")
    return path


def _beside(written: Path, asked: pictures.Asked) -> list[Path]:
    listed = [picture_folder.list_path(written)] if asked.annotations is None else []
    return [provenance.path_of(written), *listed]


def _left_out_notes(asked: pictures.Asked, checked: pictures.Checked) -> list[str]:
    lines = [asked.note] if asked.note else []
    if checked.skipped:
        lines.append(f"skipped: {len(checked.skipped):,} images whose files cannot be used")
        lines += [f"  {line}" for line in checked.skipped[:SHOWN]]
    if len(checked.skipped) > SHOWN:
        lines.append(f"  ... and {len(checked.skipped) - SHOWN:,} more")
    return lines
