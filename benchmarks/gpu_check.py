"""The GPU check: is training right on this machine's GPU, what does it need, and how fast is it?

Every part is a process of its own with a time limit, the most important first. Results are in the report as soon as
they are found, so that an interrupted check leaves what it had.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it also runs without PYTHONPATH

from benchmarks import reports
from benchmarks.gpu import records, report
from benchmarks.gpu.records import Settings
from benchmarks.gpu.report import PartResult, Report
from benchmarks.measuring import ROOT, environment
from datasets import cli
from datasets.build_layout import INSTANCES
from datasets.checkout import commit
from datasets.errors import DataError
from datasets.sample import write_sample
from datasets.sources import Input
from scripts.experiments.environment import gpus, kind, versions

PATH = click.Path(path_type=Path)
# Seconds between two looks at a part's results.
POLL = 0.2
# Folder of the sample, in that of the report.
DATA = "data"
# Source images of the sample, and pictures to validate on, where everything is small.
FEW, FEW_TO_VALIDATE = 10, 4


class Part(NamedTuple):
    """`share` of the time at most; the last one has all that is left."""

    name: str
    about: str
    share: float


PARTS = (
    Part("steps", "every model takes a step in fp32, fp16 and bf16, finite", 0.3),
    Part("losses", "losses with ignored regions equal those of the CPU", 0.1),
    Part("accumulation", "a batch in turns changes the weights as the whole batch does", 0.1),
    Part("checkpointing", "activations that are computed again change nothing", 0.1),
    Part("processes", "processes that exchange gradients step as one does", 0.15),
    Part("resume", "a run that is killed and goes on ends as one that is not", 0.3),
    Part("predict", "predictions, with TTA and mixed precision, measured; the checkpoint on the CPU", 0.3),
    Part("memory", "what a step needs at the largest pictures", 0.2),
    Part("speed", "images a second against a stock Detectron2 loop", 0.35),
    Part("learning", "AP against the clock", 1.0),
)
NAMES = [part.name for part in PARTS]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--minutes", type=click.FloatRange(0.5, 600), default=8.0, show_default=True, help="Ends within these.")
@click.option("--output", type=PATH, default=Path("runs/gpu-check"), show_default=True, help="Folder of the report.")
@click.option("--data", type=PATH, help="A built dataset to train on.  [default: the sample, which is drawn and built]")
@click.option("--val-annotations", type=PATH, help="With --data: COCO file to validate on ...")
@click.option("--val-images", type=PATH, help="... and its images.")
@click.option("--only", metavar="NAMES", help=f"Some parts, with commas: {','.join(NAMES)}.")
@click.option("--cpu", is_flag=True, help="The same checks in small on the CPU, to try them where there is no GPU.")
def main(
    minutes: float,
    output: Path,
    data: Path | None,
    val_annotations: Path | None,
    val_images: Path | None,
    only: str | None,
    cpu: bool,
) -> None:
    """Check training on this machine's GPU: right, memory, speed, learning. Exit code 1 if a check failed.

    OUTPUT/report.txt and report.json have what was found so far at any time.

    \b
    Example:
      python -m benchmarks.gpu_check --minutes 8
      python -m benchmarks.gpu_check --cpu --only steps,losses
    """
    began = time.monotonic()
    ends = began + 60 * minutes
    parts = chosen(only)
    # As Ctrl-C does, it ends the part that is running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if not cpu and not gpus():
        raise DataError("expected an NVIDIA GPU that `nvidia-smi` lists, found none; --cpu tries it without one")
    output = output.absolute()
    _clear(output)
    files = _files(output, data, val_annotations, val_images, few=cpu)
    settings = Settings(device="cpu" if cpu else "cuda", output=str(output), seconds=0.0, ends=0.0, **files)
    found = Report(
        machine=describe_machine(cpu=cpu),
        minutes=minutes,
        parts=[PartResult(name=part.name, about=part.about) for part in parts],
    )

    def save() -> None:
        found.seconds = round(time.monotonic() - began, 1)
        reports.write(found, report.as_text(found), output)

    save()
    click.echo("\n".join(f"{name + ':':<14} {value}" for name, value in found.machine.items()))
    for part, result in zip(parts, found.parts, strict=True):
        left = ends - time.monotonic()
        limit = min(left, 60 * minutes * part.share)
        if limit < 5:
            result.state = "not run"
            continue
        click.echo(f"\n{part.name}: {part.about} (at most {limit:.0f} s)")
        given = msgspec.structs.replace(settings, seconds=limit, ends=time.monotonic() + limit)
        _run_part(result, given, squeezed=limit == left, save=save)
        save()
    found.complete = True
    save()
    click.echo(f"\n{report.summary(found)}\n{output / reports.TEXT}")
    if found.failed:
        sys.exit(1)


def _clear(output: Path) -> None:
    """Create `output`, or remove an earlier check's files from it; drawn data may stay. Raises DataError for a folder
    with anything else.
    """
    known = {DATA, reports.JSON}
    if output.is_dir() and any(output.iterdir()) and not known & {path.name for path in output.iterdir()}:
        raise DataError(f"{output}: expected a new folder or one of an earlier check, found something else in it")
    output.mkdir(parents=True, exist_ok=True)
    for path in output.iterdir():
        if path.is_dir() and path.name != DATA:
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()


def chosen(only: str | None) -> list[Part]:
    """Raises DataError naming the parts that there are, where one is asked for that is not among them."""
    names = reports.chosen(only, NAMES)
    return [part for part in PARTS if part.name in names]


def _run_part(result: PartResult, settings: Settings, *, squeezed: bool, save: Callable[[], None]) -> None:
    """Run a part in its own process group; its rows go to `result` and to the terminal as they come."""
    folder = settings.folder / "parts"
    folder.mkdir(exist_ok=True)
    rows, log, request = (folder / f"{result.name}.{suffix}" for suffix in ("jsonl", "log", "json"))
    rows.unlink(missing_ok=True)
    request.write_bytes(msgspec.json.encode(settings))
    began = time.monotonic()
    result.state = "running"
    command = [sys.executable, "-m", "benchmarks.gpu.part", result.name, str(request), str(rows)]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            # On the CPU two threads wait for each other where others are at work.
            env=environment(one_thread=not settings.on_gpu),
            stdout=file,
            stderr=subprocess.STDOUT,
            # A group that can be killed whole; not a session, which some batch systems let run on.
            preexec_fn=os.setpgrp,
        )
        try:
            while process.poll() is None and time.monotonic() - began < settings.seconds:
                time.sleep(POLL)
                _take(rows, result, save)
            is_late = process.poll() is None
        finally:
            # With its child processes, and also where this process is interrupted.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    _take(rows, result, save)
    result.seconds = round(time.monotonic() - began, 1)
    result.state, result.problem = ended(process.returncode, is_late, squeezed, settings.seconds, _last_words(log))
    if result.problem:
        click.echo(f"  {report.MARKS[False]:<6} {result.problem}")


def ended(code: int, is_late: bool, squeezed: bool, seconds: float, said: str) -> tuple[str, str]:
    """The state and the problem of a part that exited with `code`, or was late. A part with less time than its share
    (`squeezed`) is not blamed for being late.
    """
    if is_late:
        if squeezed:
            return "cut off", ""
        return "failed", f"did not end within {seconds:.0f} s:\n{said}"
    if code:
        return "failed", f"ended with exit code {code}:\n{said}"
    return "done", ""


def _take(rows: Path, result: PartResult, save: Callable[[], None]) -> None:
    """What a part has found since the last look."""
    found = records.read_rows(rows)
    new = found[len(result.rows) :]
    if new:
        result.rows = found
        save()
    for row in new:
        click.echo(f"  {report.MARKS[row.ok]:<6} {row.check}: {row.text}")


def _last_words(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace").strip()[-1500:]


def _files(
    output: Path, data: Path | None, val_annotations: Path | None, val_images: Path | None, *, few: bool
) -> dict[str, Any]:
    """Paths of the training and validation data, by the names of `Settings`; drawn and built where none are given."""
    if data is None:
        built, val = _sample(output / DATA, few=few)
    else:
        if val_annotations is None or val_images is None:
            raise click.UsageError("--data, --val-annotations and --val-images go together")
        built, val = data.absolute(), Input(val_annotations.absolute(), val_images.absolute())
    files = {
        "annotations": built / INSTANCES,
        "images": built / "images",
        "val_annotations": val.annotations,
        "val_images": val.images,
    }
    missing = [f"{name}: {path}" for name, path in files.items() if not path.exists()]
    if missing:
        raise DataError("expected data to train on and to validate on, found nothing at", missing)
    return {name: str(path) for name, path in files.items()}


def _sample(folder: Path, *, few: bool) -> tuple[Path, Input]:
    """The sample, drawn and built into `folder` unless it is there; `few` images of it."""
    sample, built = folder / "sample", folder / ("few" if few else "expanded")
    if not sample.is_dir():
        write_sample(sample)
    train = Input(sample / "annotations" / "instances_train.json", sample / "train")
    val = Input(sample / "annotations" / "instances_val.json", sample / "val")
    command = [sys.executable, "-m", "augment", "build", "--annotations", str(train.annotations), "--images"]
    command += [str(train.images), "--output", str(built), *(("--limit", str(FEW)) if few else ())]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"the sample cannot be built:\n{done.stderr.strip()}")
    return built, records.first_of(val, folder / "val-few.json", FEW_TO_VALIDATE) if few else val


def describe_machine(*, cpu: bool) -> dict[str, str]:
    found = [] if cpu else gpus()
    packages = versions()
    about = {"machine": kind(found), "system": platform.platform()}
    if found:
        about["driver"] = _driver()
    with contextlib.suppress(OSError):
        # Workers hand pictures over in it.
        about["/dev/shm"] = f"{shutil.disk_usage('/dev/shm').total / 1e9:.2f} GB"
    return about | packages | {"commit": commit() or _carried_commit() or "not a checkout"}


def _carried_commit() -> str:
    """The commit that a bundle was made of (scripts/bundle.py), where the code runs from one."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        project = json.loads((ROOT.parent / "bundle.json").read_bytes())["project"]
        return f"{project['commit']}{', changed since' if project['modified'] else ''} (carried in a bundle)"
    return ""


def _driver() -> str:
    query = ["nvidia-smi", "--query-gpu=driver_version,memory.total", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(query, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()[0]
    return "unknown"


if __name__ == "__main__":
    cli.run(main, "python -m benchmarks.gpu_check")
