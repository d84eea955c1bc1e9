"""How near the compiler is to the bare work, and how far ahead of a hand-written script: `make bench`.

Every line runs in a process of its own, one after the other, on the same images with the same drawn variants. Ratios
within one run are what counts; seconds depend on the machine.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import click

ROOT = Path(__file__).resolve().parent.parent
QUALITY = 95
BOX = tuple[float, float, float, float]


class Job(NamedTuple):
    """One source with its drawn variants: (operation, window, transform, seed) each."""

    path: str
    boxes: list[BOX]
    variants: list[tuple[str, list[int] | None, str | None, int | None]]


class Cost(NamedTuple):
    """Seconds of CPU and of the clock, and the peak resident memory of the process itself in MB."""

    cpu: float
    wall: float
    memory: float


@click.group()
def main() -> None:
    """Benchmarks of the augment stage."""


@main.command()
@click.option("--annotations", multiple=True, type=click.Path(path_type=Path), help="Default: the sample's train set.")
@click.option("--images", multiple=True, type=click.Path(path_type=Path))
@click.option("--times", default=10, show_default=True, help="Repeat the images under other ids.")
@click.option("--rounds", default=1, show_default=True, help="Measure each line so often; the fastest counts.")
def run(annotations: tuple[Path, ...], images: tuple[Path, ...], times: int, rounds: int) -> None:
    """Measure bare, ours with 1 and 2 workers, and a user's script.

    \b
    Example:
      python benchmarks/bench_augment.py run --annotations instances_train.json --images train2017 --times 10
    """
    annotations = annotations or (ROOT / "datasets/sample/annotations/instances_train.json",)
    images = images or (ROOT / "datasets/sample/train",)
    with tempfile.TemporaryDirectory(prefix="bench-augment-") as name:
        folder = Path(name)
        once = blow_up(annotations, images, 1, folder / "once")
        data = blow_up(annotations, images, times, folder / "many")
        jobs = folder / "jobs.json"
        sources = draw_jobs(data, jobs)
        print(f"{sources:,} sources, recipe expanded, {QUALITY} JPEG; {os.cpu_count()} cores\n")
        lines: dict[str, list[str]] = {
            "bare": [__file__, "bare", str(jobs)],
            "ours, 1 worker": build_command(data, 1),
            "ours, 2 workers": build_command(data, 2),
            "user's script": [__file__, "user", str(jobs)],
        }
        costs = {what: best(command, folder, rounds) for what, command in lines.items()}
        costs_once = best(build_command(once, 2), folder, 1)
    report(costs, costs_once, sources, sources // times)


def report(costs: dict[str, Cost], once: Cost, sources: int, sources_once: int) -> None:
    bare, one, two, user = costs.values()
    notes = {
        "bare": "",
        "ours, 1 worker": f"CPU {one.cpu / bare.cpu:.2f} x bare (goal <= 1.15)",
        "ours, 2 workers": f"{one.wall / two.wall:.2f} x faster than 1 worker (goal >= 1.8)",
        "user's script": f"CPU {user.cpu / one.cpu:.2f} x ours (goal >= 1.8), {user.cpu / bare.cpu:.2f} x bare",
    }
    print(f"{'':<18}{'CPU s':>9}{'wall s':>9}{'ms/source':>11}")
    for what, cost in costs.items():
        # With 2 workers the CPU seconds are spread over processes that nobody waits for.
        cpu = "" if what == "ours, 2 workers" else f"{cost.cpu:.2f}"
        print(f"{what:<18}{cpu:>9}{cost.wall:>9.2f}{1000 * cost.wall / sources:>11.2f}  {notes[what]}")
    growth = (two.memory - once.memory) * 1000 / max(1, sources - sources_once)
    print(
        f"\nparent's peak memory: {once.memory:.0f} MB at {sources_once:,} sources, {two.memory:.0f} MB at "
        f"{sources:,}; {growth:.1f} kB per source image"
    )


def blow_up(annotations: tuple[Path, ...], images: tuple[Path, ...], times: int, folder: Path) -> list[str]:
    """Write each annotation file `times` over under other ids; returns the options that name the inputs."""
    folder.mkdir()
    options = []
    for index, (path, image_folder) in enumerate(zip(annotations, images, strict=True)):
        document = json.loads(path.read_bytes())
        step_image = 1 + max(image["id"] for image in document["images"])
        step = 1 + max(annotation["id"] for annotation in document["annotations"])
        repeated = {
            **document,
            "images": [
                {**item, "id": item["id"] + n * step_image} for n in range(times) for item in document["images"]
            ],
            "annotations": [
                {**item, "id": item["id"] + n * step, "image_id": item["image_id"] + n * step_image}
                for n in range(times)
                for item in document["annotations"]
            ],
        }
        target = folder / f"instances_{index}.json"
        target.write_text(json.dumps(repeated))
        options += ["--annotations", str(target), "--images", str(image_folder)]
    return options


def build_command(data: list[str], workers: int) -> list[str]:
    return ["-m", "augment", "build", *data, "--workers", str(workers), "--output", "OUT"]


def draw_jobs(data: list[str], target: Path) -> int:
    """What our build will make of each source, for the other lines to make too; returns the number of sources."""
    from augment.prepare import Request, prepare
    from augment.recipe import load
    from datasets.sources import Input

    paths = [Path(option) for option in data if not option.startswith("--")]
    inputs = [Input(*pair) for pair in zip(paths[::2], paths[1::2], strict=True)]
    prepared = prepare(Request(inputs, load("expanded")), map, lambda *_: None)
    jobs = [
        Job(
            str(source.path),
            [item.bbox for item in source.annotations],
            [
                (item.operation, list(item.window) if item.window else None, item.transform, item.seed)
                for item in planned
            ],
        )
        for source, planned in prepared.planned()
    ]
    target.write_text(json.dumps(jobs))
    return len(jobs)


def best(command: list[str], folder: Path, rounds: int) -> Cost:
    """Run `command` in a fresh interpreter and an empty OUT each time; the round with the least CPU counts."""
    return min((measure(command, folder) for _ in range(rounds)), key=lambda cost: cost.cpu)


def measure(command: list[str], folder: Path) -> Cost:
    output = folder / "OUT"
    shutil.rmtree(output, ignore_errors=True)
    arguments = [str(output) if part == "OUT" else part for part in command]
    if arguments[0] != "-m":
        output.mkdir()
        arguments.append(str(output))
    peak = folder / "peak.txt"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_ALBUMENTATIONS_UPDATE": "1", "PEAK_FILE": str(peak)}
    environment.update({f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")})
    # What the line before wrote must not be written to the disk at this one's cost.
    os.sync()
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, __file__, "measured", "--", *arguments], env=environment, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with exit code {process.returncode}")
    return Cost(usage.ru_utime + usage.ru_stime, time.perf_counter() - start, int(peak.read_text()) / 1000)


@main.command(hidden=True)
@click.argument("arguments", nargs=-1)
def measured(arguments: tuple[str, ...]) -> None:
    """Run `-m MODULE ...` or `FILE ...` in this process, and note its peak memory in kB.

    The kernel's figure for a child would do, had it not begun with the memory of the process that started it.
    """
    is_module = arguments[0] == "-m"
    sys.argv = list(arguments[1:] if is_module else arguments)
    try:
        if is_module:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        status = Path("/proc/self/status").read_text()
        peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
        Path(os.environ["PEAK_FILE"]).write_text(peak)


def transform_of(name: str) -> Any:
    import albumentations

    from augment.transforms import SETTINGS

    return getattr(albumentations, name)(p=1.0, **SETTINGS[name])


def read_jobs(path: Path) -> list[Job]:
    return [Job(*job) for job in json.loads(path.read_text())]


@main.command(hidden=True)
@click.argument("jobs", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
def bare(jobs: Path, output: Path) -> None:
    """The work itself in a straight line: decode once, the drawn transforms, encodes, writes; no labels, no checks."""
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    transforms: dict[str, Any] = {}
    count = 0
    for path, _, variants in read_jobs(jobs):
        data = Path(path).read_bytes()
        # BGR, OpenCV's own order: only the transform needs RGB.
        pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        for operation, window, name, seed in variants:
            count += 1
            target = output / f"{count}.jpg"
            if operation == "original":
                target.write_bytes(data)
                continue
            image = pixels if window is None else pixels[window[1] : window[3], window[0] : window[2]]
            if name is not None:
                if name not in transforms:
                    transforms[name] = transform_of(name)
                transforms[name].set_random_seed(seed)
                changed = transforms[name](image=cv2.cvtColor(image, cv2.COLOR_BGR2RGB))["image"]
                image = cv2.cvtColor(changed, cv2.COLOR_RGB2BGR)
            target.write_bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes())


@main.command(hidden=True)
@click.argument("jobs", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
def user(jobs: Path, output: Path) -> None:
    """What people write by hand: for every variant read the image, call a Compose with its boxes, write the image."""
    import albumentations
    import cv2

    cv2.setNumThreads(1)
    composed: dict[str, Any] = {}
    count = 0
    for path, boxes, variants in read_jobs(jobs):
        for operation, window, name, seed in variants:
            count += 1
            target = output / f"{count}.jpg"
            if operation == "original":
                shutil.copyfile(path, target)
                continue
            compose = compose_with(albumentations, composed, window, name)
            compose.set_random_seed(seed or 0)
            read: Any = cv2.imread(path)
            image = cv2.cvtColor(read, cv2.COLOR_BGR2RGB)
            changed = compose(image=image, bboxes=boxes, labels=list(range(len(boxes))))
            bgr = cv2.cvtColor(changed["image"], cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(target), bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def compose_with(library: Any, made: dict[str, Any], window: list[int] | None, name: str | None) -> Any:
    """A Compose of one transform; those without a window are made once."""
    if name is not None and name in made:
        return made[name]
    step = transform_of(name) if name is not None else library.Crop(*(window or (0, 0, 1, 1)), p=1.0)
    boxes = library.BboxParams(format="coco", label_fields=["labels"], min_visibility=0.5, clip=True)
    compose = library.Compose([step], bbox_params=boxes)
    if name is not None:
        made[name] = compose
    return compose


if __name__ == "__main__":
    main()
