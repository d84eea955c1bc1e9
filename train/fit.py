"""A training run: check everything, say what will happen, then train; or go on where a run was stopped."""

from __future__ import annotations

import fcntl
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from datasets import __version__, terminal
from datasets.errors import DataError
from datasets.evaluation import Evaluation, evaluate
from datasets.sources import Input
from train import checkpoint, compat, config, inference, model  # noqa: F401 - compat before detectron2
from train.checkpoint import Loaded
from train.data import TrainingData, ValidationData, locate, read_training, read_validation
from train.hooks import Best, EpochHook, ReportHook, StoppedError
from train.loader import inference_batches, training_batches
from train.mapper import InferenceMapper, TrainingMapper
from train.sampler import BatchSampler, Division
from train.schedule import Schedule, derive, describe
from train.trainer import DivergedError, Trainer

# isort: split
from detectron2.solver import build_optimizer
from detectron2.solver.lr_scheduler import WarmupParamScheduler
from detectron2.utils import comm
from fvcore.common.param_scheduler import CosineParamScheduler, MultiStepParamScheduler

CONFIG = "config.yaml"
LOCK = ".lock"


class Request(NamedTuple):
    """What `python -m train fit` was asked for."""

    model: str
    data: str
    output: Path
    schedule: str = "paper"
    overrides: tuple[str, ...] = ()
    validation: Input | None = None
    resume: bool = False
    allow_pretrained: bool = False


def fit(request: Request) -> None:
    """Train, in every process of the world. Raises DataError for everything that a user can put right.

    What is written to `request.output`: config.yaml, model_last.pth, model_best.pth, model_epoch_*.pth, metrics.json
    and TensorBoard's events.
    """
    main = comm.is_main_process()
    say: Callable[[str], None] = _print if main else _silent
    cfg = config.load(request.model, request.schedule, request.overrides)
    division = Division(cfg.SOLVER.IMS_PER_BATCH, comm.get_world_size(), cfg.SOLVER.ACCUMULATE)
    problem = division.problem()
    if problem is not None:
        raise DataError(problem)
    _check_solver(cfg)
    with ExitStack() as stack:
        if main:
            stack.enter_context(_locked(request.output))
        before = _find_before(request)
        data, validation = _read(request, cfg, main)
        schedule = _schedule(cfg, len(data.records))
        cfg.MODEL.MASK_ON = data.masks
        cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(data.categories)
        for note in [
            *data.notes,
            *(validation.notes if validation else ["no validation data: no AP, no best checkpoint"]),
        ]:
            say(note)
        if before is not None:
            _check_same_run(before, cfg, data, division, request.output, say)
            if before.content["iteration"] >= schedule.last:
                if main:
                    # What a kill right after the last checkpoint left to do.
                    checkpoint.forget_old_epochs(request.output, cfg.SOLVER.MAX_TO_KEEP)
                say(f"{request.output}: this run is complete; nothing to do")
                return
        _train(request, cfg, data, validation, schedule, division, before, say)


def _train(
    request: Request,
    cfg: Any,
    data: TrainingData,
    validation: ValidationData | None,
    schedule: Schedule,
    division: Division,
    before: Loaded | None,
    say: Callable[[str], None],
) -> None:
    device = model.device_of(cfg)
    amp = _amp(cfg, device, say)
    network = model.build(cfg, device, seed=cfg.SEED)
    start = _start(request, cfg, network, before, say)
    optimizer = _optimizer(cfg, network, schedule)
    trainer = Trainer(
        # After the weights stand, so that the other processes start from the same.
        model=_parallel(network, device),
        optimizer=optimizer,
        batches=_batches(cfg, data, division, start.first, schedule.last),
        division=division,
        learning_rate=learning_rates(cfg, schedule),
        seed=cfg.SEED,
        rank=comm.get_rank(),
        amp=amp,
    )
    if before is not None:
        optimizer.load_state_dict(before.content["optimizer"])
        trainer.scaler.load_state_dict(before.content["scaler"])
    # What stays the same in every checkpoint of the run.
    constant = {
        "config": cfg.dump(),
        "name": request.model,
        "categories": [list(pair) for pair in data.categories.pairs()],
        "data": data.identity,
        "lineage": start.lineage,
        "processes": division.processes,
        "version": __version__,
    }

    def content(done: int, best: Best) -> dict[str, Any]:
        return {
            "model": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scaler": trainer.scaler.state_dict(),
            "iteration": done,
            "best": tuple(best),
            **constant,
        }

    for line in [
        f"{request.model}: {model.parameter_count(network) / 1e6:.2f} M parameters, on {_place(device, division)}"
        + (", mixed precision" if amp else ""),
        *describe(schedule),
        *([f"going on from iteration {start.first:,}, epoch {schedule.epoch(start.first):.2f}"] if before else []),
    ]:
        say(line)
    report = None
    if comm.is_main_process():
        (request.output / CONFIG).write_text(cfg.dump(), encoding="utf-8")
        report = ReportHook(request.output, schedule, start.first)
    epochs = EpochHook(
        request.output,
        schedule,
        evaluate=(lambda: _validate(network, cfg, data, validation)) if validation else None,
        content=content,
        best=start.best,
        period=cfg.SOLVER.CHECKPOINT_PERIOD,
        max_to_keep=cfg.SOLVER.MAX_TO_KEEP,
        say=report.say if report else _silent,
    )
    trainer.register_hooks([epochs, report])
    _run(trainer, start.first, schedule.last, request.output, cfg, say)
    say(_summary(request.output, epochs.best))


class _Start(NamedTuple):
    """Where a run begins or goes on."""

    lineage: dict[str, Any]
    first: int
    best: Best


def _start(request: Request, cfg: Any, network: nn.Module, before: Loaded | None, say: Callable[[str], None]) -> _Start:
    """Put the weights that the run starts from into `network`."""
    if before is not None:
        checkpoint.load_exactly(network, before.content["model"], before.path)
        return _Start(before.lineage, int(before.content["iteration"]), Best(*before.content["best"]))
    found = checkpoint.start_weights(
        network, cfg.MODEL.WEIGHTS, seed=cfg.SEED, allow_pretrained=request.allow_pretrained
    )
    for note in found.notes:
        say(note)
    return _Start(found.lineage, 0, Best())


def _batches(cfg: Any, data: TrainingData, division: Division, first: int, last: int) -> Iterator[list[dict[str, Any]]]:
    """This process's parts of the batches of iterations `first` to `last`."""
    sampler = BatchSampler(
        images=len(data.records),
        division=division,
        seed=cfg.SEED,
        rank=comm.get_rank(),
        first=first,
        last=last,
        tall=data.tall if cfg.DATALOADER.ASPECT_RATIO_GROUPING else None,
    )
    mapper = TrainingMapper(cfg, masks=data.masks, seed=cfg.SEED)
    return training_batches(data.records, mapper, sampler, cfg.DATALOADER.NUM_WORKERS)


def _run(trainer: Trainer, first: int, last: int, output: Path, cfg: Any, say: Callable[[str], None]) -> None:
    """The loop; a signal ends it after a step, with everything saved. Raises DataError where it diverges."""
    with _stop_on_signal(trainer) as stopped_by:
        try:
            trainer.train(first, last)
        except StoppedError:
            say(f"stopped at iteration {trainer.iter + 1:,}, all saved; --resume goes on from there")
            _leave(stopped_by)
        except DivergedError as error:
            raise DataError(_diverged(error, output, cfg)) from None


def _print(text: str) -> None:
    import click

    click.echo(text)


def _silent(_text: str) -> None:
    pass


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    """The run's folder, for this process alone."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        file = (output / LOCK).open("a")
    except OSError as error:
        raise DataError(f"{output}: cannot be written: {error.strerror} ({error.filename})") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataError(f"{output}: another training is writing it") from None
        yield


def _find_before(request: Request) -> Loaded | None:
    """The run that stands in the output folder, if it is to be resumed. Raises DataError where it is not."""
    path = request.output / checkpoint.LAST
    if path.is_file():
        if not request.resume:
            raise DataError(
                f"{request.output}: expected a new folder, found a run; --resume goes on with it, another "
                "--output begins anew"
            )
        return checkpoint.read(path)
    return None


def _read(request: Request, cfg: Any, main: bool) -> tuple[TrainingData, ValidationData | None]:
    """Only the first process looks at every image file."""
    masks = None if cfg.MODEL.MASK_ON else False
    # Asked for by name, it must be possible; as the default, it follows the data.
    if "MODEL.MASK_ON" in request.overrides[::2] and cfg.MODEL.MASK_ON:
        masks = True
    with terminal.progress_bar() if main else nullcontext() as progress:
        data = read_training(
            locate(request.data),
            keep_empty=not cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
            masks=masks,
            progress=progress,
        )
        validation = read_validation(request.validation, data, progress=progress) if request.validation else None
    return data, validation


def _check_solver(cfg: Any) -> None:
    if cfg.SEED < 0:
        raise DataError(f"SEED: expected 0 or more, since every run can be repeated, found {cfg.SEED}")


def _schedule(cfg: Any, images: int) -> Schedule:
    solver = cfg.SOLVER
    try:
        return derive(
            images=images,
            batch=solver.IMS_PER_BATCH,
            epochs=float(solver.EPOCHS),
            step_epochs=[float(step) for step in solver.STEP_EPOCHS],
            warmup_epochs=float(solver.WARMUP_EPOCHS),
            base_lr=solver.BASE_LR,
            reference_batch=solver.REFERENCE_BATCH,
            max_iter=solver.MAX_ITER,
        )
    except ValueError as error:
        raise DataError(f"the schedule cannot be run: {error}") from None


def learning_rates(cfg: Any, schedule: Schedule) -> Callable[[int], float]:
    """iteration (from 0) -> learning rate, by fvcore's and Detectron2's schedulers. Nothing of it need be saved."""
    solver = cfg.SOLVER
    # A run that MAX_ITER ends early follows the same curve as a whole one.
    whole = schedule._replace(last=max(1, schedule.at(schedule.epochs)))
    if solver.LR_SCHEDULER_NAME == "WarmupCosineLR":
        curve: Any = CosineParamScheduler(1, 0)
    else:
        # fvcore wants them rising, from above 0; on very few images several steps fall on one iteration.
        milestones = sorted({step for step in schedule.steps if step > 0})
        values = [solver.GAMMA ** sum(step <= at for step in schedule.steps) for at in (0, *milestones)]
        curve = MultiStepParamScheduler(values=values, milestones=milestones, num_updates=whole.last)
    warmed = WarmupParamScheduler(
        curve, solver.WARMUP_FACTOR, min(schedule.warmup / whole.last, 1.0), solver.WARMUP_METHOD
    )
    return lambda iteration: schedule.learning_rate * warmed(iteration / whole.last)


def _check_same_run(
    before: Loaded, cfg: Any, data: TrainingData, division: Division, output: Path, say: Callable[[str], None]
) -> None:
    """Raises DataError, with every difference, where the run in the folder is not the one that was asked for."""
    recorded = config.from_text(before.content["config"], str(before.path))
    problems = [str(item) for item in config.differences(recorded, cfg)]
    then, now = before.content["data"], data.identity
    if then["manifest_sha256"] is None or then["manifest_sha256"] != now["manifest_sha256"]:
        problems += [
            f"dataset, {key}: was {then.get(key)!r}, is {now[key]!r}" for key in now if then.get(key) != now[key]
        ]
    if problems:
        raise DataError(
            f"{output}: this run was begun with another configuration or dataset; choose another --output, or go on as "
            "it was begun",
            problems,
        )
    if before.content["processes"] != division.processes:
        say(
            f"{division.processes} processes instead of {before.content['processes']}: the run goes on, but not bit by "
            "bit as it would have"
        )


def _amp(cfg: Any, device: torch.device, say: Callable[[str], None]) -> bool:
    if cfg.SOLVER.AMP.ENABLED and device.type != "cuda":
        say("SOLVER.AMP.ENABLED: mixed precision is for CUDA; training in float32")
        return False
    return bool(cfg.SOLVER.AMP.ENABLED)


def _parallel(network: nn.Module, device: torch.device) -> nn.Module:
    if comm.get_world_size() == 1:
        return network
    # `launch` gave each process a GPU of its own.
    ids = [torch.cuda.current_device()] if device.type == "cuda" else None
    return DistributedDataParallel(network, device_ids=ids, broadcast_buffers=False)


def _optimizer(cfg: Any, network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    scaled = cfg.clone()
    scaled.SOLVER.BASE_LR = schedule.learning_rate
    optimizer: torch.optim.Optimizer = build_optimizer(scaled, network)
    for group in optimizer.param_groups:
        # Detectron2 can give biases a rate of their own.
        group["lr_factor"] = group["lr"] / schedule.learning_rate
    return optimizer


def _validate(network: nn.Module, cfg: Any, data: TrainingData, validation: ValidationData) -> Evaluation | None:
    """Each process takes its share of the images; the first one gets the result."""
    with inference.evaluating(network):
        batches = inference_batches(
            validation.records,
            InferenceMapper(cfg),
            cfg.DATALOADER.NUM_WORKERS,
            first=comm.get_rank(),
            step=comm.get_world_size(),
        )
        share = inference.detect(network, batches, data.categories)
    parts = comm.gather(share)
    return evaluate(validation.truth, inference.join(parts)) if comm.is_main_process() else None


@contextmanager
def _stop_on_signal(trainer: Trainer) -> Iterator[list[int]]:
    """SIGINT and SIGTERM let the step end and save; a second one ends at once. Yields the signals that came."""
    came: list[int] = []

    def handle(number: int, _frame: object) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)
        trainer.stop_asked = True

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(signals: list[int]) -> None:
    if signal.SIGTERM in signals:
        raise SystemExit(128 + signal.SIGTERM)
    raise KeyboardInterrupt


def _place(device: torch.device, division: Division) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    turns = f", batches in {division.accumulate} turns" if division.accumulate > 1 else ""
    return (f"{division.processes} x {name}" if division.processes > 1 else name) + turns


def _diverged(error: DivergedError, output: Path, cfg: Any) -> str:
    kept = output / checkpoint.LAST
    last = f"the last good checkpoint, {kept}, is kept" if kept.is_file() else "no checkpoint had been saved yet"
    return (
        f"the training has diverged: {error}; {last}.\n"
        f"Try a lower SOLVER.BASE_LR (was {cfg.SOLVER.BASE_LR:g}), a longer SOLVER.WARMUP_EPOCHS (was "
        f"{cfg.SOLVER.WARMUP_EPOCHS:g}), or SOLVER.CLIP_GRADIENTS.ENABLED True, with another --output"
    )


def _summary(output: Path, best: Best) -> str:
    if best.epoch:
        return f"{output}: done; best AP {100 * best.ap:.1f} in epoch {best.epoch}, {output / checkpoint.BEST}"
    return f"{output}: done; {output / checkpoint.LAST}"
