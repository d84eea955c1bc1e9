"""A training run: check everything, print the plan, train; or resume an interrupted run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from datasets import __version__, cli
from datasets.errors import DataError
from datasets.results import Results
from datasets.seen import SeenImages
from train import config, config_checks, cpu, devices
from train.checkpoints import checkpoint, lineage, weights
from train.checkpoints.checkpoint import Loaded
from train.checkpoints.weights import Parent
from train.data import online, shared_memory
from train.data.loader import naming_lost_workers, training_batches
from train.data.online_mapper import mapper_of
from train.data.read import TrainingData, ValidationData, read_training, read_validation
from train.data.sampler import BatchSampler, Division
from train.model.build import build_network
from train.model.cpu_layers import use_faster_layers
from train.precision import load_scaler, precision_of
from train.processes.signals import leave, stop_on_signal
from train.run import best_results, checks, ema, loggers, patience, resume, small, solver
from train.run.best import Best
from train.run.endings import NoBetterError, StoppedError
from train.run.hooks import EpochHook, ReportHook
from train.run.report import besides, diverged, out_of_memory, plan, quicker, summary
from train.run.request import Request
from train.run.schedule import Schedule
from train.run.trainer import DivergedError, Trainer
from train.run.validate import measured_on, validate

# isort: split
from detectron2.utils import comm

CONFIG = "config.yaml"
INIT_LOG = "init.log"


class _Run(NamedTuple):
    """Everything known before the first step; one of `before` and `parent`, or neither."""

    request: Request
    cfg: Any
    data: TrainingData
    validation: ValidationData | None
    seen: SeenImages
    schedule: Schedule
    division: Division
    before: Loaded | None
    parent: Parent | None
    say: Callable[[str], None]


def fit(request: Request) -> None:
    """Train, in every process of the world. Raises DataError for everything that users can act on.

    Written to `request.output`: config.yaml, model_last.pth, model_best.pth, model_epoch_*.pth, metrics.json,
    val_results.json with the detections of the best epoch, what LOGGERS write, and init.log where the weights come from
    another checkpoint.
    """
    main = comm.is_main_process()
    say: Callable[[str], None] = partial(_print, request.prefix) if main else _silent
    resumes = request.resume and (request.output / checkpoint.LAST).is_file()
    cfg = request.configuration(resumes)
    checks.check_online(request, cfg)
    if not cfg.SOLVER.SMALL:
        # Before the data are read, which may take minutes.
        checks.division_of(cfg)
    solver.check(cfg)
    patience.check(cfg.SOLVER.PATIENCE, validated=request.validation is not None)
    with ExitStack() as stack:
        if main:
            loggers.check(cfg.LOGGERS)
            stack.enter_context(resume.locked(request.output))
        before = resume.find_in_all(request.output, resume=request.resume)
        parent = None
        if before is None:
            parent = weights.find_parent(cfg.MODEL.WEIGHTS, allow_pretrained=request.allow_pretrained)
        else:
            resume.keep_parent(before, cfg, given=request.init is not None)
        checks.check_frozen(cfg)
        data, validation, seen = _read(request, cfg, before, parent, main)
        chosen = small.apply(cfg, data.records, request.given) if cfg.SOLVER.SMALL else []
        checks.check_epochs(cfg)
        division = checks.division_of(cfg)
        patience.check_truth(cfg.SOLVER.PATIENCE, validation.truth if validation else None)
        schedule = solver.schedule_of(cfg, len(data.records))
        cfg.MODEL.MASK_ON = data.masks
        checks.set_classes(cfg, len(data.categories))
        resume.check_same_everywhere(cfg, data)
        if before is None:
            resume.check_left_over(request.output, schedule)
        for note in [
            *data.notes,
            *(validation.notes if validation else ["no validation data: no AP, no best checkpoint"]),
            *chosen,
        ]:
            say(note)
        if before is not None:
            resume.check_same_run(before, cfg, data, division, request.output, say)
            why = _complete(before, cfg, schedule)
            if why is not None:
                if main:
                    # Work left undone by a kill right after the last checkpoint.
                    checkpoint.forget_old_epochs(request.output, cfg.SOLVER.MAX_TO_KEEP)
                say(f"{request.output}: this run is complete{why}; nothing to do")
                return
        remedy = "The same command with --resume continues from the last checkpoint."
        with naming_lost_workers(cfg.DATALOADER.NUM_WORKERS, remedy):
            _train(_Run(request, cfg, data, validation, seen, schedule, division, before, parent, say))


def _complete(before: Loaded, cfg: Any, schedule: Schedule) -> str | None:
    """Why the run of a checkpoint is over, to be added to a line; None where there is something left to do."""
    done, best = before.content["iteration"], Best(*before.content["best"])
    if done >= schedule.last:
        return ""
    if patience.is_over(cfg.SOLVER.PATIENCE, schedule.ended(done), best.epoch):
        return f": {patience.complete(cfg.SOLVER.PATIENCE, best.epoch)}"
    return None


def _train(run: _Run) -> None:
    cfg, schedule, division, validation = run.cfg, run.schedule, run.division, run.validation
    shared_memory.check(_loads(run), cfg.DATALOADER.NUM_WORKERS)
    device = devices.device_of(cfg)
    if device.type == "cpu":
        cpu.prepare(run.before.content.get("threads") if run.before else None, processes=comm.get_world_size())
    problems = config_checks.norms_without_gpu(config.flat(cfg)) if device.type != "cuda" else []
    if problems:
        raise DataError("the configuration cannot be used on a CPU", problems)
    precision = precision_of(cfg, device, run.say)
    network = build_network(cfg, device, seed=cfg.SEED)
    if device.type == "cpu":
        use_faster_layers(network)
    start = _start(run, network)
    average = ema.average_of(network, cfg.SOLVER.EMA, run.before)
    optimizer = solver.optimizer_of(cfg, network, schedule)
    trainer = Trainer(
        # After the weights are loaded, so that all processes start from the same ones.
        model=_parallel(network, device),
        optimizer=optimizer,
        batches=_batches(cfg, run.data, division, start.first, schedule.last),
        division=division,
        learning_rate=solver.learning_rates(cfg, schedule),
        seed=cfg.SEED,
        rank=comm.get_rank(),
        precision=precision,
    )
    if run.before is not None:
        optimizer.load_state_dict(run.before.content["optimizer"])
        load_scaler(trainer.scaler, run.before.content["scaler"], run.say)
    solver.fuse(optimizer, device)
    constant = _constant(run, start)

    def content(done: int, best: Best) -> dict[str, Any]:
        return {
            "model": network.state_dict(),
            **ema.content(average),
            "optimizer": optimizer.state_dict(),
            "scaler": trainer.scaler.state_dict(),
            "iteration": done,
            "epoch": schedule.epoch(done),
            "best": tuple(best),
            **constant,
        }

    for line in [
        *plan(cfg, schedule, run.request.model, network, device, division, precision),
        *(online.describe(run.request.online, cfg.INPUT.ONLINE_OFF_EPOCHS) if run.request.online else []),
        *([f"going on from iteration {start.first:,}, epoch {schedule.epoch(start.first):.2f}"] if run.before else []),
    ]:
        run.say(line)
    report = None
    if comm.is_main_process():
        (run.request.output / CONFIG).write_text(config.dump(cfg), encoding="utf-8")
        about = loggers.about(run.request.output, run.request.model, run.data.identity, cfg)
        report = ReportHook(
            partial(loggers.writers, cfg.LOGGERS, about, start.first),
            schedule,
            start.first,
            quicker=quicker(cfg, device, run.request.model),
            besides=besides(cfg, validated=validation is not None),
            label=run.request.prefix,
        )
    validated = network if average is None else average.module
    epochs = EpochHook(
        run.request.output,
        schedule,
        evaluate=partial(validate, validated, cfg, run.data, validation) if validation else None,
        content=content,
        keep_results=_keep_results(run),
        best=start.best,
        period=cfg.SOLVER.CHECKPOINT_PERIOD,
        max_to_keep=cfg.SOLVER.MAX_TO_KEEP,
        patience_epochs=cfg.SOLVER.PATIENCE,
        say=report.say if report else _silent,
        seen=validation.seen if validation else 0,
        images=len(validation.records) if validation else 0,
    )
    trainer.register_hooks([ema.EmaHook(average, network) if average else None, epochs, report])
    _loop(trainer, run, start.first)
    run.say(summary(run.request.output, epochs.best))


class _Start(NamedTuple):
    """The point where a run starts or resumes."""

    lineage: dict[str, Any]
    first: int
    best: Best


def _start(run: _Run, network: nn.Module) -> _Start:
    """Load the initial weights of the run into `network`."""
    before = run.before
    if before is not None:
        weights.load_exactly(network, before.content["model"], before.path)
        return _Start(before.lineage, int(before.content["iteration"]), Best(*before.content["best"]))
    start = weights.start(network, run.parent, seed=run.cfg.SEED, categories=run.data.categories.pairs())
    for note in start.notes:
        run.say(note)
    if start.log and comm.is_main_process():
        log = run.request.output / INIT_LOG
        log.write_text("".join(f"{line}\n" for line in start.log), encoding="utf-8")
        run.say(f"  each tensor, whether it was taken over and why not: {log}")
    return _Start(start.lineage, 0, Best())


def _constant(run: _Run, start: _Start) -> dict[str, Any]:
    """The keys that are equal in all checkpoints of the run."""
    earlier = run.before.content.get("code", []) if run.before else []
    now = lineage.code_version()
    return {
        "config": run.cfg.dump(),
        "name": run.request.model,
        "categories": [list(pair) for pair in run.data.categories.pairs()],
        "data": run.data.identity,
        "seen": run.seen.plain(),
        "lineage": start.lineage,
        "processes": run.division.processes,
        "threads": torch.get_num_threads(),
        "version": __version__,
        # Several where a run was resumed with other code.
        "code": [*earlier, *([] if now in earlier[-1:] else [now])],
    }


def _keep_results(run: _Run) -> Callable[[Results, int], None]:
    """What keeps the detections of the best epoch."""
    if run.validation is None:
        return lambda _found, _epoch: None
    of = measured_on(run.data, run.validation, run.request.leniency)
    return partial(best_results.write, run.request.output, of)


def _loads(run: _Run) -> list[shared_memory.Load]:
    """Loads of shared memory; training workers keep their batches during validation."""
    training = shared_memory.training_load(run.cfg, run.data.records, run.division.part)
    validation = [shared_memory.inference_load(run.cfg, run.validation.records)] if run.validation else []
    return [training, *validation]


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
    return training_batches(mapper_of(cfg, data), sampler, cfg.DATALOADER.NUM_WORKERS)


def _loop(trainer: Trainer, run: _Run, first: int) -> None:
    """The training loop; a signal ends it after a step, with everything saved. Raises DataError on divergence."""
    with stop_on_signal(trainer, alone=comm.get_world_size() == 1) as asked:
        try:
            trainer.train(first, run.schedule.last)
        except NoBetterError as error:
            run.say(str(error))
        except StoppedError:
            run.say(f"stopped at iteration {trainer.iter + 1:,}, all saved; --resume continues from there")
            leave(asked.first)
        except DivergedError as error:
            raise DataError(diverged(error, run.request.output, run.cfg)) from None
        except RuntimeError as error:
            if not devices.is_full(error):
                raise
            raise DataError(out_of_memory(error, run.request.output, run.cfg, run.division)) from None


def _print(prefix: str, text: str) -> None:
    cli.show(f"{prefix}{text}")


def _silent(_text: str) -> None:
    pass


def _read(
    request: Request, cfg: Any, before: Loaded | None, parent: Parent | None, main: bool
) -> tuple[TrainingData, ValidationData | None, SeenImages]:
    """The data, and all images that the weights have seen or will see. Only the first process checks image files."""
    masks = None if cfg.MODEL.MASK_ON else False
    # MASK_ON must be possible where it was set; as the default, it follows the data.
    if "MODEL.MASK_ON" in request.given and cfg.MODEL.MASK_ON:
        masks = True
    with cli.progress_bar() if main and not request.label else nullcontext() as progress:
        data = read_training(
            request.data,
            keep_empty=not cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
            masks=masks,
            only=request.categories,
            progress=progress,
            leniency=request.leniency,
            online=request.online,
            as_source=cfg.INPUT.SCALE == "source",
        )
        earlier = weights.seen_by(parent) if before is None else resume.seen_by(before)
        seen = data.seen.joined(earlier)
        validation = None
        if request.validation:
            validation = read_validation(
                request.validation, data, seen=seen, progress=progress, leniency=request.leniency
            )
    return data, validation, seen


def _parallel(network: nn.Module, device: torch.device) -> nn.Module:
    if comm.get_world_size() == 1:
        return network
    # `launch` gave each process its own GPU.
    ids = [torch.cuda.current_device()] if device.type == "cuda" else None
    with warnings.catch_warnings():
        # torch 2.14's name for it, unknown to earlier versions.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return DistributedDataParallel(network, device_ids=ids, broadcast_buffers=False)
