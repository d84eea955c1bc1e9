"""The compiler against the bare work and against a hand-written script: `make bench`.

Every line runs in a process of its own, one after the other, on the same images with the same drawn variants. Compare
ratios within one run; seconds depend on the machine.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import figures
from benchmarks.figures import Figure
from benchmarks.measuring import ROOT, Cost, measure, repeat

QUALITY = 95
BOX = tuple[float, float, float, float]


class Job(NamedTuple):
    """One source with its drawn variants, (operation, window, transform, seed) each, and the chroma of its JPEGs."""

    path: str
    chroma: str
    boxes: list[BOX]
    variants: list[tuple[str, list[int] | None, str | None, int | None]]


@click.group()
def main() -> None:
    """Benchmarks of the augment stage."""


def photographs(command: Callable[..., None]) -> Callable[..., None]:
    """The options --annotations and --images, by default those of the sample."""

    @functools.wraps(command)
    def wrapped(annotations: tuple[Path, ...], images: tuple[Path, ...], **chosen: Any) -> None:
        command(
            annotations=annotations or (ROOT / "datasets/sample/annotations/instances_train.json",),
            images=images or (ROOT / "datasets/sample/train",),
            **chosen,
        )

    of_files = functools.partial(click.option, multiple=True, type=click.Path(path_type=Path))
    with_images = of_files("--images", help="Their folder.")(wrapped)
    decorated: Callable[..., None] = of_files("--annotations", help="Default: the sample's train set.")(with_images)
    return decorated


@main.command()
@photographs
@click.option("--count", default=600, show_default=True, help="Repeat the images under other ids to so many.")
@click.option("--rounds", default=1, show_default=True, help="Measure all lines so often, in turn; medians count.")
@figures.option
def run(
    annotations: tuple[Path, ...], images: tuple[Path, ...], count: int, rounds: int, json_path: Path | None
) -> None:
    """Measure bare, ours with 1 and 2 workers, and a user's script.

    \b
    Example:
      python benchmarks/bench_augment.py run --annotations instances_train.json --images train2017 --count 1000
    """
    with tempfile.TemporaryDirectory(prefix="bench-augment-") as name:
        folder = Path(name)
        data = repeat(annotations, images, count, folder / "data")
        jobs = folder / "jobs.json"
        draw_jobs(data, jobs)
        print(f"{count:,} sources, recipe expanded, {QUALITY} JPEG; {os.cpu_count()} cores\n")
        lines: dict[str, list[str]] = {
            "bare": [__file__, "bare", str(jobs)],
            "ours, 1 worker": build_command(data, 1),
            "ours, 2 workers": build_command(data, 2),
            "user's script": [__file__, "user", str(jobs)],
        }
        measured = [{what: in_empty(command, folder / "OUT") for what, command in lines.items()} for _ in range(rounds)]
    report(measured, count)
    figures.write(json_path, [ratio.figure for ratio in ratios(measured).values()])


# Variants of a source by each operation, of which a few cost little beside reading the source and writing its original.
VARIANTS = 4
OPERATIONS: dict[str, list[dict[str, Any]]] = {
    "original": [],
    "random_crop": [{"operation": "random_crop", "fraction": [0.6, 0.99]}] * VARIANTS,
    "paste": [{"operation": "paste", "count": VARIANTS}],
    "mosaic": [{"operation": "mosaic", "count": VARIANTS}],
    "erase": [{"operation": "erase", "count": VARIANTS}],
    "turn": [{"operation": "turn", "count": VARIANTS}],
}


@main.command()
@photographs
@click.option("--count", default=600, show_default=True, help="Repeat the images under other ids to so many.")
@click.option("--rounds", default=1, show_default=True, help="Measure all lines so often, in turn; medians count.")
@figures.option
def operations(
    annotations: tuple[Path, ...], images: tuple[Path, ...], count: int, rounds: int, json_path: Path | None
) -> None:
    """Measure a variant of each operation against a random crop: CPU of builds, less that of the originals alone.

    \b
    Example:
      python benchmarks/bench_augment.py operations --annotations instances_train.json --images train2017 --count 600
    """
    with tempfile.TemporaryDirectory(prefix="bench-augment-") as name:
        folder = Path(name)
        data = repeat(annotations, images, count, folder / "data")
        for operation, steps in OPERATIONS.items():
            recipe = {"name": operation, "operations": [{"operation": "original"}, *steps]}
            (folder / f"{operation}.yaml").write_text(json.dumps(recipe))
        measured = [
            {
                operation: in_empty([*build_command(data, 1), "--recipe", f"{folder / operation}.yaml"], folder / "OUT")
                for operation in OPERATIONS
            }
            for _ in range(rounds)
        ]
    print(f"{count:,} sources, {VARIANTS} variants of each; CPU of 1 worker\n")
    print(f"{'':<14}{'ms/variant':>12}{'x a crop':>10}{'lowest':>8}{'highest':>9}{'worker MB':>11}")
    found = []
    for operation in list(OPERATIONS)[1:]:
        costs = [(costs[operation].cpu - costs["original"].cpu) / count / VARIANTS * 1000 for costs in measured]
        crops = [(costs["random_crop"].cpu - costs["original"].cpu) / count / VARIANTS * 1000 for costs in measured]
        shares = [cost / crop for cost, crop in zip(costs, crops, strict=True)]
        most = 3.0 if operation in ("paste", "mosaic") else None
        found.append(Figure(f"{operation}: CPU of a variant / of a random crop", median(shares), most=most))
        memory = median(costs[operation].memory_first for costs in measured)
        print(
            f"{operation:<14}{median(costs):>12.2f}{median(shares):>10.2f}{min(shares):>8.2f}{max(shares):>9.2f}"
            f"{memory:>11.0f}"
        )
    figures.write(json_path, found)


@main.command()
@photographs
def chroma(annotations: tuple[Path, ...], images: tuple[Path, ...]) -> None:
    """Measure what writing a crop of 80 % as JPEG loses, by chroma subsampling and quality.

    \b
    Example:
      python benchmarks/bench_augment.py chroma --annotations instances_train.json --images train2017
    """
    import numpy as np

    from augment.compiler.inputs import Request, examined, prepare
    from augment.operations.crops import center_window
    from augment.recipe import load
    from datasets import images as image_files
    from datasets.sources import Input

    inputs = [Input(*pair) for pair in zip(annotations, images, strict=True)]
    prepared = prepare(Request(inputs, load("expanded")), map, lambda *_: None)
    found: dict[tuple[int, str], list[tuple[float, float, float]]] = {}
    for source in prepared.sources:
        reading = examined(source).reading
        whole = image_files.decode(image_files.read_file(source.path), reading)
        x0, y0, x1, y1 = center_window(0.8, source.image.width, source.image.height)
        crop = np.ascontiguousarray(whole[y0:y1, x0:x1])
        for quality, sampling in ((95, "420"), (95, "422"), (95, "444"), (90, "444")):
            start = time.process_time()
            data = bytes(image_files.encode_jpeg(crop, quality, chroma=sampling))  # type: ignore[arg-type]
            seconds = time.process_time() - start
            written = image_files.decode(data, image_files.examine(data, x1 - x0, y1 - y0))
            error = float(np.square(written.astype(np.float64) - crop).mean())
            found.setdefault((quality, sampling), []).append((len(data) / 1000, error, seconds * 1000))
    print(f"{len(prepared.sources):,} images\n")
    print(f"{'':<20}{'kB':>8}{'mean squared error':>20}{'worst image':>13}{'encode ms':>11}")
    for (quality, sampling), rows in found.items():
        sizes, errors, times = np.array(rows).T
        print(
            f"quality {quality}, {':'.join(sampling):<7}{sizes.mean():>8.0f}{errors.mean():>20.1f}{errors.max():>13.0f}"
            f"{times.mean():>11.2f}"
        )


class Ratio(NamedTuple):
    """The median over the rounds; two lines of a round ran one right after the other."""

    figure: Figure
    lowest: float
    highest: float


def ratios(rounds: list[dict[str, Cost]]) -> dict[str, Ratio]:
    """Name of a line -> its ratio to another."""
    bare, one, two, user = rounds[0]

    def of(
        what: str, above: str, below: str, kind: str, most: float | None = None, least: float | None = None
    ) -> Ratio:
        found = [getattr(costs[above], kind) / getattr(costs[below], kind) for costs in rounds]
        return Ratio(Figure(what, median(found), most=most, least=least), min(found), max(found))

    return {
        one: of("compiler, 1 worker: CPU / bare work", one, bare, "cpu", most=1.1),
        two: of("compiler: wall, 1 worker / 2 workers", one, two, "wall", least=1.85),
        user: of("compiler: CPU, a user's script / ours", user, one, "cpu", least=1.8),
    }


def report(rounds: list[dict[str, Cost]], sources: int) -> None:
    """Medians of all rounds."""
    found = ratios(rounds)
    print(f"{'':<18}{'CPU s':>9}{'wall s':>9}{'ms/source':>11}{'parent MB':>11}{'worker MB':>11}")
    for what in rounds[0]:
        cost = Cost(*map(median, zip(*(costs[what] for costs in rounds), strict=True)))
        note = ""
        if what in found:
            figure, lowest, highest = found[what]
            note = f"  {figure.what} {figure.text}, {lowest:.2f} to {highest:.2f} (goal {figure.goal})"
        print(
            f"{what:<18}{cost.cpu:>9.2f}{cost.wall:>9.2f}{1000 * cost.wall / sources:>11.2f}"
            f"{cost.memory_first:>11.0f}{cost.memory_other:>11.0f}{note}"
        )


def build_command(data: list[str], workers: int) -> list[str]:
    return ["-m", "augment", "build", *data, "--workers", str(workers), "--output", "OUT"]


def draw_jobs(data: list[str], target: Path) -> None:
    """Our build's variants of each source, for the other lines to render too."""
    from augment.compiler.inputs import Request, examined, prepare
    from augment.recipe import load
    from datasets import images
    from datasets.sources import Input

    paths = [Path(option) for option in data if not option.startswith("--")]
    inputs = [Input(*pair) for pair in zip(paths[::2], paths[1::2], strict=True)]
    prepared = prepare(Request(inputs, load("expanded")), map, lambda *_: None)
    jobs = [
        Job(
            str(source.path),
            images.chroma_of(images.read_file(source.path), examined(source).reading),
            [item.bbox for item in source.annotations],
            [
                (item.operation, list(item.window) if item.window else None, item.transform, item.seed)
                for item in planned
            ],
        )
        for source, planned in prepared.planned()
    ]
    target.write_text(json.dumps(jobs))


def in_empty(command: list[str], output: Path) -> Cost:
    """The cost of a command with `output` as its OUT, or of a script of ours that gets it as its last argument."""
    set_aside(output)
    arguments = [str(output) if part == "OUT" else part for part in command]
    if arguments[0] != "-m":
        output.mkdir()
        arguments.append(str(output))
    return measure(arguments)


def set_aside(output: Path) -> None:
    """Rename an earlier output and empty its files.

    Deleting them would slow whatever is measured next: for minutes, ext4 passes over the inodes of files that were
    just deleted, one by one, for each new file.
    """
    if output.exists():
        aside = output.rename(output.with_name(f"{output.name}-{secrets.token_hex(4)}"))
        for path in aside.rglob("*"):
            if path.is_file():
                os.truncate(path, 0)


def transform_of(name: str, pixels: Any) -> Any:
    # Imports albumentations as a build does: without torch, which takes a second and half a GB.
    from augment.operations import pixel

    return pixel.transform(name, min(pixels.shape[:2]))


def settings_of(chroma: str) -> list[int]:
    """OpenCV's settings for a JPEG."""
    import cv2

    factor = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{chroma}")
    return [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]


def read_jobs(path: Path) -> list[Job]:
    return [Job(*job) for job in json.loads(path.read_text())]


@main.command(hidden=True)
@click.argument("jobs", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
def bare(jobs: Path, output: Path) -> None:
    """The bare work: decode once, the drawn transforms, encode, write; no labels, no checks."""
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    count = 0
    for path, chroma, _, variants in read_jobs(jobs):
        data = Path(path).read_bytes()
        # BGR, OpenCV's native order: only transforms need RGB.
        pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        for operation, window, name, seed in variants:
            count += 1
            target = output / f"{count}.jpg"
            if operation == "original":
                target.write_bytes(data)
                continue
            image = pixels if window is None else pixels[window[1] : window[3], window[0] : window[2]]
            if name is not None:
                transform = transform_of(name, image)
                transform.set_random_seed(seed)
                changed = transform(image=cv2.cvtColor(image, cv2.COLOR_BGR2RGB))["image"]
                image = cv2.cvtColor(changed, cv2.COLOR_RGB2BGR)
            target.write_bytes(cv2.imencode(".jpg", image, settings_of(chroma))[1].tobytes())


@main.command(hidden=True)
@click.argument("jobs", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
def user(jobs: Path, output: Path) -> None:
    """What people write by hand: for every variant read the image, call a Compose with its boxes, write the image."""
    import cv2

    import augment.operations.pixel  # noqa: F401  (imports albumentations without torch)

    import albumentations  # isort: skip

    cv2.setNumThreads(1)
    composed: dict[tuple[str, int], Any] = {}
    count = 0
    for path, chroma, boxes, variants in read_jobs(jobs):
        for operation, window, name, seed in variants:
            count += 1
            target = output / f"{count}.jpg"
            if operation == "original":
                shutil.copyfile(path, target)
                continue
            read: Any = cv2.imread(path)
            compose = compose_with(albumentations, composed, window, name, read)
            compose.set_random_seed(seed or 0)
            image = cv2.cvtColor(read, cv2.COLOR_BGR2RGB)
            changed = compose(image=image, bboxes=boxes, labels=list(range(len(boxes))))
            bgr = cv2.cvtColor(changed["image"], cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(target), bgr, settings_of(chroma))


def compose_with(
    library: Any, made: dict[tuple[str, int], Any], window: list[int] | None, name: str | None, pixels: Any
) -> Any:
    """A Compose of one transform; those without a window are cached by the image's shorter side."""
    key = (name or "", min(pixels.shape[:2]))
    if name is not None and key in made:
        return made[key]
    step = transform_of(name, pixels) if name is not None else library.Crop(*(window or (0, 0, 1, 1)), p=1.0)
    boxes = library.BboxParams(format="coco", label_fields=["labels"], min_visibility=0.5, clip=True)
    compose = library.Compose([step], bbox_params=boxes)
    if name is not None:
        made[key] = compose
    return compose


if __name__ == "__main__":
    main()
