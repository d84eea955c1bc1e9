"""Whole commands on this device: a run that is killed and resumed, predictions, and learning against the clock."""

from __future__ import annotations

import math
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.gpu.correct import difference
from benchmarks.gpu.records import Rows, Settings, first_of
from benchmarks.measuring import environment
from datasets import coco, evaluation, result_reading
from datasets.results import Results
from train.checkpoints import checkpoint

WHOLE, KILLED = "run-whole", "run-killed"
# Iterations of a run, and the one after which it has a checkpoint.
LAST, SAVED = 30, 10
LAST_ON_CPU, SAVED_ON_CPU = 10, 4
# How far kernels that add up in no fixed order may take two runs apart in these iterations, as a share of the change.
# A run that loads the wrong weights, rate or momentum is about 1 away.
DRIFT = 0.5
# Images to predict; on a GPU start-up dominates, which every command repeats.
FEW = 10
# Below so many seconds a run has hardly begun; so many are left for its last step and checkpoint.
LEARNING_SECONDS, SHUTDOWN_SECONDS = 40.0, 15.0
# Detections of an image that are compared.
BEST = 20


def _size(settings: Settings) -> tuple[str, ...]:
    """Keys of the runs that are compared; they need not learn. In fp16, whose loss scale must be resumed too."""
    if settings.on_gpu:
        precision = ("SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", "fp16")
        return ("SOLVER.IMS_PER_BATCH", "4", *precision, "DATALOADER.NUM_WORKERS", "2")
    sizes = ("INPUT.MIN_SIZE_TRAIN", "[48,64]", "INPUT.MIN_SIZE_TEST", "64", "INPUT.MAX_SIZE_TEST", "96")
    return (*sizes, "DATALOADER.NUM_WORKERS", "1")


def _fit(settings: Settings, output: Path, *overrides: str) -> list[str]:
    model = "r18" if settings.on_gpu else "tiny"
    files = ("--data", str(settings.training.annotations.parents[1]), "--output", str(output), "--resume")
    device = ("MODEL.DEVICE", settings.device)
    return [
        *(sys.executable, "-m", "train", "fit", "--model", model, "--schedule", "sample", *files),
        *(*_size(settings), *device, *overrides),
    ]


def _run(settings: Settings, command: list[str]) -> str:
    """What it printed. Raises RuntimeError with its last words where it fails."""
    done = subprocess.run(command, env=_environment(settings), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


def _environment(settings: Settings) -> dict[str, str]:
    """As a user has it; on the CPU with one thread, since two wait for each other where others are at work."""
    return environment(one_thread=not settings.on_gpu)


def resume(settings: Settings, rows: Rows) -> None:
    """A run that is killed and resumed ends with the weights of an uninterrupted one."""
    last, saved = (LAST, SAVED) if settings.on_gpu else (LAST_ON_CPU, SAVED_ON_CPU)
    keys = ("SOLVER.MAX_ITER", str(last), "SOLVER.CHECKPOINT_PERIOD", str(saved), "SOLVER.BASE_LR", "0.02")
    whole, killed = settings.folder / WHOLE, settings.folder / KILLED
    began = time.perf_counter()
    _run(settings, _fit(settings, whole, *keys))
    seconds = round(time.perf_counter() - began, 1)
    rows.add(f"{last} iterations, start included", None, f"{seconds:g} s", seconds=seconds)
    said = _kill(settings, _fit(settings, killed, *keys), killed)
    if said is not None:
        rows.add("killed", False, f"the run ended before it could be killed; its last words: {said[-400:]}")
        return
    at_kill = _weights(killed)
    going_on = re.search(r"going on from iteration (\d+)", _run(settings, _fit(settings, killed, *keys)))
    # Relative to the change after the kill, since weights as a whole change little in any run.
    error = difference(_weights(killed) - at_kill, _weights(whole) - at_kill)
    # A CPU promises the same order of additions in every run.
    most = DRIFT if settings.on_gpu else 0.0
    rows.add(
        f"{last} iterations, killed and resumed",
        going_on is not None and error <= most,
        f"went on from iteration {going_on[1] if going_on else 'none'}; "
        + ("the same to the bit" if error == 0 else f"the change since then differs by {error:.1e} (at most {most:g})"),
        difference=error,
    )
    if settings.on_gpu:
        scaler = checkpoint.read(killed / checkpoint.LAST).content["scaler"]
        rows.add("loss scale in the checkpoint", "scale" in scaler, f"{scaler.get('scale', 'none')}")


def _kill(settings: Settings, command: list[str], output: Path) -> str | None:
    """SIGKILL once its first checkpoint exists; its output where it had ended by then, else None."""
    with _started(settings, command) as process:
        while process.poll() is None and not (output / checkpoint.LAST).is_file():
            time.sleep(0.02)
        if process.poll() is None:
            return None
        assert process.stdout is not None
        return process.stdout.read().strip()


@contextmanager
def _started(settings: Settings, command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A command that is killed at the end if it still runs; its loader's workers end by themselves. It stays in the
    part's process group, which is killed where the part is late.
    """
    environment = _environment(settings) | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _weights(run: Path) -> torch.Tensor:
    tensors = checkpoint.read(run / checkpoint.LAST).content["model"].values()
    return torch.cat([tensor.double().flatten() for tensor in tensors])


def predict(settings: Settings, rows: Rows) -> None:
    """Predictions, with test-time augmentation, mixed precision and on the CPU, and their AP."""
    weights = settings.folder / WHOLE / checkpoint.LAST
    if not weights.is_file():
        rows.add("a trained checkpoint", None, f"not run: the part `resume` left none in {weights.parent}")
        return
    here = ("MODEL.DEVICE", settings.device)
    plain = _predict(settings, weights, "plain", *here)
    rows.add("plain", len(plain.results) > 0, plain.text, seconds=plain.seconds)
    variants: list[tuple[str, tuple[str, ...], float]] = []
    if settings.on_gpu:
        variants.append(("on the CPU", ("MODEL.DEVICE", "cpu"), 0.02))
        variants.append(("in bf16", ("--amp", "bf16", *here), 0.1))
        variants.append(("in fp16", ("--amp", "fp16", *here), 0.05))
    if torch.cuda.device_count() >= 2 or not settings.on_gpu:
        variants.append(("by 2 processes", ("--gpus", "2", *here), 1e-3))
    for name, options, most in variants:
        with rows.attempt(name):
            found = _predict(settings, weights, name.replace(" ", "-"), *options)
            error = _scores_apart(found.results, plain.results)
            text = f"{found.text}; best scores of an image differ by at most {error:.1e} ({most:g})"
            rows.add(name, len(found.results) > 0 and error <= most, text, difference=error)
    with rows.attempt("test-time augmentation"):
        sizes = () if settings.on_gpu else ("TEST.AUG.MIN_SIZES", "(48,)")
        tta = _predict(settings, weights, "tta", "--tta", *here, *sizes)
        rows.add("test-time augmentation", len(tta.results) > 0, tta.text, seconds=tta.seconds)


class Predicted(NamedTuple):
    results: Results
    text: str
    seconds: float


def _predict(settings: Settings, weights: Path, name: str, *options: str) -> Predicted:
    output = settings.folder / f"{name}.json"
    data = first_of(settings.validation, settings.folder / "predicted.json", FEW)
    began = time.perf_counter()
    _run(
        settings,
        [
            *(sys.executable, "-m", "train", "predict", "--weights", str(weights), "--output", str(output)),
            *("--annotations", str(data.annotations), "--images", str(data.images), "--raw", *options),
            # A model that has learnt little detects something too.
            *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"),
        ],
    )
    seconds = round(time.perf_counter() - began, 1)
    found = result_reading.read(output)
    ap = evaluation.evaluate(coco.read(data.annotations, as_written=True).dataset, found).ap
    return Predicted(found, f"{len(found):,} detections in {seconds:g} s, AP {100 * (ap or 0):.1f}", seconds)


def _scores_apart(found: Results, expected: Results) -> float:
    """The largest difference between an image's best scores, rank by rank; which of two equal boxes stays is chance."""
    worst = 0.0
    for image_id in np.unique(expected.image_ids):
        ours, theirs = (np.sort(part.scores[part.image_ids == image_id])[::-1][:BEST] for part in (found, expected))
        if len(ours) != len(theirs):
            return math.inf
        worst = max(worst, float(np.abs(ours - theirs).max(initial=0)))
    return worst


def learning(settings: Settings, rows: Rows) -> None:
    """AP on the validation data by the minute, until the time is up; then the run is told to stop and must save."""
    if settings.seconds < LEARNING_SECONDS:
        rows.add("AP against the clock", None, f"not run: {settings.seconds:.0f} s are too few")
        return
    output = settings.folder / "run-learning"
    every = min(60.0, settings.seconds / 8)
    data = settings.validation
    keys = ["SOLVER.EPOCHS", "1000.0", "SOLVER.STEP_EPOCHS", "[900.0]", "SOLVER.CHECKPOINT_PERIOD", "0"]
    if settings.on_gpu:
        # The sample schedule's own rate of 0.03 a step, in batches that a GPU is worth.
        keys += ["SOLVER.IMS_PER_BATCH", "16", "SOLVER.BASE_LR", "0.03", "SOLVER.AMP.DTYPE", "bf16"]
    validation = ("--val-annotations", str(data.annotations), "--val-images", str(data.images))
    command = [*_fit(settings, output, *keys), *validation]
    began = time.monotonic()
    best, shown = -1.0, 0.0
    with _started(settings, command) as process:
        stopper = threading.Timer(max(1.0, settings.ends - SHUTDOWN_SECONDS - began), process.terminate)
        stopper.start()
        lines = []
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if (found := re.match(r"epoch (\d+): AP ([\d.-]+)", line)) and found[2] != "-":
                best = max(best, float(found[2]))
                passed = time.monotonic() - began
                if passed >= shown + every:
                    shown = passed
                    rows.add(f"{passed / 60:.1f} min", None, f"AP {found[2]}, epoch {found[1]}", ap=float(found[2]))
        code = process.wait()
        stopper.cancel()
    rows.add(
        "stopped by SIGTERM",
        code == 128 + signal.SIGTERM and (output / checkpoint.LAST).is_file(),
        f"exit code {code}" + ("" if code == 143 else f": {''.join(lines)[-500:]}"),
    )
    rows.add("best AP", None, f"{best:.1f}" if best >= 0 else "no epoch was finished", ap=best)


PARTS = {"resume": resume, "predict": predict, "learning": learning}
