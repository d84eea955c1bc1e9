"""Choosing the test size of a run: AP on validation data at several sizes, with the weights that `predict` uses.

The size that is best at test is often not that of training, where crops and jitter show objects at other scales
(Touvron et al., 2019, "Fixing the train-test resolution discrepancy").
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datasets import cli, coco, percent
from datasets.build_layout import build_of
from datasets.errors import DataError
from datasets.evaluation import Interval, evaluate
from datasets.intervals import ap_interval
from datasets.records import Dataset
from datasets.results import Results
from datasets.sources import Input
from train import compat, cpu, devices  # noqa: F401 - compat before detectron2
from train.checkpoints import weights
from train.data import shared_memory
from train.data.loader import naming_lost_workers
from train.inference import detect, test_size
from train.inference.job import Job, prepare
from train.inference.request import Request
from train.inference.test_size import TestSize
from train.model.build import build_network

# isort: split
from detectron2.utils import comm

# What may be set: where it computes, not what.
ALLOWED = ("MODEL.DEVICE", "DATALOADER.NUM_WORKERS")


class Choice(NamedTuple):
    """The parameters of `python -m train choose-size`; `checkpoint` is a file of `run`, `sizes` None for the usual."""

    run: Path
    checkpoint: Path
    data: Input
    sizes: tuple[int, ...] | None = None
    device: str = "auto"
    overrides: tuple[str, ...] = ()


def choose_and_report(choice: Choice) -> None:
    """Measure, write the best size into the run and show all of them; for every process."""
    with cli.progress_bar() if comm.is_main_process() else nullcontext(None) as progress:
        found = choose(choice, progress)
    if found is not None:
        cli.show(*found.table())


class Chosen(NamedTuple):
    """What was written, and the size of the configuration."""

    path: Path
    size: TestSize
    configured: int
    intervals: dict[int, Interval | None]

    def table(self) -> list[str]:
        lines = ["shorter side at test      AP (95 % interval)"]
        for size, ap in sorted(self.size.ap.items()):
            notes = ("as configured",) * (size == self.configured) + ("the best",) * (size == self.size.shorter)
            interval = self.intervals[size]
            shown = f"{percent.precision(ap):>5} {f'({interval})' if interval else '':<15}"
            lines.append(f"{size:>17} px   {shown} {', '.join(notes)}".rstrip())
        return [*lines, f"{self.path}: `predict --run` uses {self.size}"]


def choose(choice: Choice, progress: cli.Progress | None) -> Chosen | None:
    """Measure and write; in the first process, which has `progress`, what was written. Raises DataError."""
    problems = [
        f"{key}: {'--sizes names the sizes that are tried' if key in test_size.KEYS else 'would not hold in `predict`'}"
        for key in choice.overrides[::2]
        if key not in ALLOWED
    ]
    if problems:
        raise DataError("choose-size measures what `predict` does without keys of its own", problems)
    output = choice.run / test_size.FILE
    request = Request(choice.checkpoint, *choice.data, output, device=choice.device, overrides=choice.overrides)
    job = prepare(request, progress)
    configured: int = job.cfg.INPUT.MIN_SIZE_TEST
    # The configured size is what others are compared with.
    sizes = tuple(sorted({*(choice.sizes or test_size.default_sizes(configured)), configured}))
    load = shared_memory.inference_load(_at(job.cfg, max(sizes)), job.records)
    shared_memory.check([load], job.cfg.DATALOADER.NUM_WORKERS)
    measured = _measured(job, sizes, progress)
    if measured is None:
        return None
    ap, intervals = measured
    if not any(ap.values()):
        raise DataError(f"{choice.checkpoint}: found AP 0 at every size, so that none is better; nothing was written")
    found = TestSize(
        shorter=(shorter := test_size.best(ap, configured)),
        longest=test_size.longest_for(shorter, job.cfg),
        ap={size: round(value, 6) for size, value in ap.items()},
        checkpoint=choice.checkpoint.name,
        sha256=job.loaded.sha256,
        images=len(job.images),
        seen=len(job.seen_ids),
    )
    return Chosen(test_size.write(choice.run, found), found, configured, intervals)


def _at(cfg: Any, size: int) -> Any:
    """The configuration with another size at test."""
    resized = cfg.clone()
    resized.INPUT.MAX_SIZE_TEST = test_size.longest_for(size, cfg)
    resized.INPUT.MIN_SIZE_TEST = size
    return resized


def _measured(
    job: Job, sizes: Sequence[int], progress: cli.Progress | None
) -> tuple[dict[int, float], dict[int, Interval | None]] | None:
    """AP by size, with its intervals; None in all processes but the first. Raises DataError where there is nothing to
    find.
    """
    if job.device.type == "cpu":
        cpu.prepare(processes=comm.get_world_size())
    network = build_network(job.cfg, "cpu")
    weights.load_exactly(network, job.weights, job.loaded.path)
    network.to(job.device)
    annotations = job.request.annotations
    assert annotations is not None, "sizes are compared by AP"
    truth = coco.read(annotations, provenance=build_of(annotations) is not None).dataset
    found = []
    with naming_lost_workers(job.cfg.DATALOADER.NUM_WORKERS, "Nothing was written."), detect.evaluating(network):
        for number, size in enumerate(sizes):
            try:
                found.append(detect.detect_in_all(network, _at(job.cfg, size), job.records, job.categories))
            except RuntimeError as error:
                if not devices.is_full(error):
                    raise
                raise DataError(
                    f"{devices.first_line(error)}\nThe GPU's memory is too small for images of {size} px; nothing was "
                    "written. Name smaller ones: --sizes"
                ) from None
            if progress is not None:
                progress("measuring", number + 1, len(sizes))
    by_size = {size: results for size, results in zip(sizes, found, strict=True) if results is not None}
    if not by_size:
        return None
    ap = {size: _ap(job, truth, results) for size, results in by_size.items()}
    known = {size: value for size, value in ap.items() if value is not None}
    if not known:
        raise DataError(f"{annotations}: expected objects to find, by which sizes are compared, found none")
    return known, {size: ap_interval(truth, by_size[size]) for size in known}


def _ap(job: Job, truth: Dataset, found: Results) -> float | None:
    """AP over the categories that the model was trained on."""
    per_category = evaluate(truth, found).per_category
    trained = [ap for id_, ap in per_category.items() if ap is not None and id_ in set(job.categories.ids.tolist())]
    return float(np.mean(trained)) if trained else None
