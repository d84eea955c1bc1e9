"""Measure how much each of the 30 pixel transforms changes images, and draw them all on a sheet to look at.

python scripts/measure_transforms.py --annotations instances_train.json --images train --output docs/transforms.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from PIL import Image as PillowImage  # noqa: E402
from PIL import ImageDraw, ImageFont  # noqa: E402

from augment.operations import pixel  # noqa: E402
from augment.operations.transforms import PAPER_TRANSFORMS  # noqa: E402
from datasets import cli, images, options, outputs  # noqa: E402
from datasets.cli import Progress  # noqa: E402
from datasets.errors import DataError  # noqa: E402
from datasets.images import Pixels  # noqa: E402
from datasets.sources import Input, Source, read_checked  # noqa: E402

SAMPLE = ROOT / "datasets" / "sample"
SMALL_SIDE = 120
# Of the draws; a build's own are keyed by its recipe.
SEED = 2020

# What each does, at a shorter side of 480 px. [n]: where that differs from albumentations 2.0.8; see NOTES.
STRENGTHS = {
    "Blur": "box of 3, 5 or 7 px *",
    "CLAHE": "clip limit 1 to 4, 8 x 8 tiles",
    "ChannelDropout": "one channel becomes 0",
    "ChannelShuffle": "channels in another order",
    "Downscale": "blocks of 4 px * (2 px at least)",
    "Equalize": "histogram of each channel",
    "FancyPCA": "one colour is added: alpha 0.5 [1]",
    "GaussNoise": "normal, std 3.2 to 7.1 levels, a channel each [2]",
    "GaussianBlur": "sigma 0.8 to 1.4 px * [3]",
    "HueSaturationValue": "hue up to 40°, saturation 30, value 20 levels",
    "AdditiveNoise": "normal, std 2.6 to 12.8 levels, equal in all channels [4]",
    "Emboss": "alpha 0.2 to 0.5, strength 0.2 to 0.7",
    "Sharpen": "alpha 0.2 to 0.5, lightness 0.5 to 1",
    "ISONoise": "lightness Poisson, intensity 0.1 to 0.5; hue, std 0.4 to 9° [5]",
    "InvertImg": "255 - value",
    "ImageCompression": "JPEG of quality 30 to 80 [6]",
    "MedianBlur": "3, 5 or 7 px *",
    "MotionBlur": "a line of 2 to 7 px * [7]",
    "MultiplicativeNoise": "all values times 0.9 to 1.1",
    "Posterize": "4 bits a channel",
    "RGBShift": "each channel up to 20 levels up or down",
    "RandomBrightnessContrast": "up to 0.2 each",
    "RandomGamma": "0.8 to 1.2",
    "RandomRain": "a drop of 20 px * for a row of pixels; brightness 0.7 [8]",
    "RandomShadow": "one or two polygons at half the brightness",
    "RandomSnow": "dark pixels 2.5 times as light",
    "RandomSunFlare": "a sun that fades over 200 px *, 6 to 10 reflections [9]",
    "Solarize": "values from 128 are inverted",
    "ToGray": "weighted mean",
    "ToSepia": "matrix",
}

NOTES = (
    "FancyPCA: 2020 has alpha 0.1, at which no pixel changes by more than 2 levels in two of three draws. 2.0.8 "
    "multiplies where 2020 adds, and changes even less.",
    "GaussNoise: 2.0.8 has 51 to 112 levels; small objects vanish.",
    "GaussianBlur: OpenCV's sigma for kernels of 3 to 7 px. 2.0.8 has 0.5 to 3 px.",
    "AdditiveNoise: the successor of IAAAdditiveGaussianNoise. 2.0.8 adds one colour to the whole image.",
    "ISONoise: 2.0.8 counts levels and degrees in other units: white dots, and no colour.",
    "ImageCompression: both have quality 99 to 100, which nobody can see.",
    "MotionBlur: without the shifts of both, which move objects, but not their boxes.",
    "RandomRain: as many and as long drops as in 2020; 2.0.8 has a third of them, three times as long. 2020 also blurs "
    "the whole image by 7 px, which erases small objects and is left out.",
    "RandomSunFlare: 2020 has 400 px, a white disc over a third of an image of COCO. Reflections have a radius of 1 or "
    "8 px at a height of 480 px, as in 2020; 2.0.8 has 1 to 64 px, and more with the cube of the height.",
)

PAGE = """# The 30 pixel transforms

    {command}

writes this page. Strengths are those of albumentations 0.4.6, of July 2020, which the paper used; numbers in brackets
say where albumentations 2.0.8, which draws them, has others, or where 2020's had to be changed. Lengths with a star
shrink with images whose shorter side is below 480 px, COCO's, down to a 3 px kernel; they do not grow.

What cannot be told from its source, because no value differs by more than 2 levels, is drawn again, up to seven times:
the identity among ChannelShuffle's orders, or a MultiplicativeNoise of 1.001. What cannot change, such as ToGray of a
grey image, stays as it is.

Measured on {about}, {draws} draws of each: as they are, and shrunk to a shorter side of {small} px. The change of a
draw is the mean absolute difference to its source, in levels of 0 to 255. The table has the median of all draws, their
5th and 95th percentile, and the share without effect: those in which no value differs by more than 2 levels.

| | strength | median | 5 to 95 % | no effect | at {small} px: median | 5 to 95 % | no effect |
|---|---|--:|--:|--:|--:|--:|--:|
{rows}

{notes}
"""


class Change(NamedTuple):
    """How much draws of one transform change their sources: mean absolute differences in levels; shares of 1."""

    low: float
    median: float
    high: float
    without_effect: float


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--annotations", type=options.PATH, multiple=True, help="COCO annotation file; may be repeated.")
@click.option("--images", type=options.PATH, multiple=True, help="Image folder of each annotation file.")
@click.option("--about", default="the drawn sample", show_default=True, help="What the images are, for the page.")
@click.option("--draws", type=click.IntRange(1), default=3, show_default=True, help="Of each transform, an image.")
@click.option("--output", type=options.PATH, help="Page to write; else the table is printed.")
@click.option("--sheet", type=options.PATH, help="Picture to write instead: each transform, a row.")
@click.option("--width", default=320, show_default=True, help="Of each picture on the sheet, in pixels.")
def main(
    annotations: tuple[Path, ...],
    images: tuple[Path, ...],
    about: str,
    draws: int,
    output: Path | None,
    sheet: Path | None,
    width: int,
) -> None:
    """Measure the pixel transforms on images, the sample's by default, and write the page or a sheet.

    \b
    Example:
      python scripts/measure_transforms.py --annotations F --images D --output docs/transforms.md
      python scripts/measure_transforms.py --annotations F --images D --sheet sheet.png
    """
    if len(annotations) != len(images):
        raise click.UsageError("expected one --images for each --annotations")
    inputs = [Input(*pair) for pair in zip(annotations, images, strict=True)] or [sample()]
    read = [path for item in inputs for path in item]
    targets = {path: outputs.file_to_write(path, read) for path in (output, sheet) if path is not None}
    with cli.progress_bar() as progress:
        sources = read_checked(inputs, strict=False, progress=progress).sources
        if not sources:
            raise DataError(f"{inputs[0].annotations}: expected images, found none")
        if sheet is not None:
            draw_sheet(sources, width).save(targets[sheet])
            click.echo(f"{sheet}: {len(PAPER_TRANSFORMS)} transforms")
        if sheet is not None and output is None:
            return
        whole, small = measure(sources, draws, progress)
    if output is None:
        cli.show(*table(whole, small))
        return
    targets[output].write_text(page(about, draws, whole, small, len(inputs)), encoding="utf-8")
    click.echo(f"{output}: {len(sources)} images, {draws} draws of {len(PAPER_TRANSFORMS)} transforms")


def sample() -> Input:
    if not SAMPLE.is_dir():
        raise DataError(f"{SAMPLE}: expected the sample, found none; `python -m datasets sample --output {SAMPLE}`")
    return Input(SAMPLE / "annotations" / "instances_train.json", SAMPLE / "train")


def measure(sources: Sequence[Source], draws: int, progress: Progress) -> tuple[dict[str, Change], dict[str, Change]]:
    """The changes of each transform: on images as they are, and on the same at SMALL_SIDE."""
    whole: dict[str, list[Drawn]] = {name: [] for name in PAPER_TRANSFORMS}
    small: dict[str, list[Drawn]] = {name: [] for name in PAPER_TRANSFORMS}
    for index, source in enumerate(sources):
        pixels = decode(source)
        for found, shown in ((whole, pixels), (small, shrink(pixels, SMALL_SIDE))):
            for name, seeds in seeds_of(index, draws):
                found[name] += [compare(pixel.apply(name, seed, shown), shown) for seed in seeds]
        progress("drawing", index + 1, len(sources))
    return {name: summed_up(found) for name, found in whole.items()}, {
        name: summed_up(found) for name, found in small.items()
    }


class Drawn(NamedTuple):
    """One draw against its source: the mean absolute difference, and whether anything can be seen of it."""

    change: float
    seen: bool


def compare(drawn: Pixels, source: Pixels) -> Drawn:
    return Drawn(float(cv2.norm(drawn, source, cv2.NORM_L1)) / source.size, pixel.differs(drawn, source))


def summed_up(found: Sequence[Drawn]) -> Change:
    low, median, high = np.percentile([item.change for item in found], (5, 50, 95)).tolist()
    return Change(low, median, high, sum(not item.seen for item in found) / len(found))


def seeds_of(index: int, draws: int) -> Iterator[tuple[str, list[int]]]:
    """The name and the seeds of every transform for one image."""
    for number, name in enumerate(PAPER_TRANSFORMS):
        yield name, np.random.SeedSequence((SEED, index, number)).generate_state(draws).tolist()


def decode(source: Source) -> Pixels:
    assert source.examined is not None, "read_checked"
    try:
        return images.decode(images.read_file(source.path), source.examined.reading)
    except ValueError as error:
        raise DataError(f"{source.path}: {error}") from None


def shrink(pixels: Pixels, side: int) -> Pixels:
    """An image with a shorter side of `side` px, or as it is where it is smaller."""
    scale = min(1.0, side / min(pixels.shape[:2]))
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def page(about: str, draws: int, whole: dict[str, Change], small: dict[str, Change], inputs: int) -> str:
    read = " ".join(["--annotations F --images D"] * inputs)
    chosen = f"--about '{about}' --draws {draws}"
    command = f"python scripts/measure_transforms.py {read} {chosen} --output docs/transforms.md"
    notes = "\n".join(f"{number}. {note}" for number, note in enumerate(NOTES, start=1))
    rows = "\n".join(table(whole, small))
    return PAGE.format(command=command, about=about, draws=draws, small=SMALL_SIDE, rows=rows, notes=notes)


def table(whole: dict[str, Change], small: dict[str, Change]) -> list[str]:
    return [
        f"| {name} | {STRENGTHS[name]} | {' | '.join((*cells(whole[name]), *cells(small[name])))} |"
        for name in PAPER_TRANSFORMS
    ]


def cells(change: Change) -> tuple[str, str, str]:
    share = f"{change.without_effect:.1%}".replace("%", " %")
    return f"{change.median:.1f}", f"{change.low:.1f} to {change.high:.1f}", share


def draw_sheet(sources: Sequence[Source], width: int) -> PillowImage.Image:
    """A row for each transform: an image, three draws of it, and one of it at SMALL_SIDE, enlarged."""
    rows = [
        titled_row(name, decode(sources[number * len(sources) // len(PAPER_TRANSFORMS)]), seeds, width)
        for number, (name, seeds) in enumerate(seeds_of(0, 3))
    ]
    sheet = PillowImage.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), "white")
    tops = [sum(row.height for row in rows[:number]) for number in range(len(rows))]
    for row, top in zip(rows, tops, strict=True):
        sheet.paste(row, (0, top))
    return sheet


def titled_row(name: str, pixels: Pixels, seeds: Iterable[int], width: int) -> PillowImage.Image:
    small = shrink(pixels, SMALL_SIDE)
    first, second, third = (pixel.apply(name, seed, pixels) for seed in seeds)
    enlarged = [small, pixel.apply(name, next(iter(seeds)), small)]
    shown = [fit(image, width) for image in (pixels, first, second, third, *enlarged)]
    row = PillowImage.new("RGB", (len(shown) * (width + 6), shown[0].height + 24), "white")
    for column, image in enumerate(shown):
        row.paste(image, (column * (width + 6), 20))
    ImageDraw.Draw(row).text((4, 2), f"{name}: {STRENGTHS[name]}", fill="black", font=ImageFont.load_default(size=13))
    return row


def fit(pixels: Pixels, width: int) -> PillowImage.Image:
    """An image at `width`; enlarged by whole pixels, so that what is small is seen as it is."""
    picture = PillowImage.fromarray(pixels)
    enlarges = picture.width < width
    way = PillowImage.Resampling.NEAREST if enlarges else PillowImage.Resampling.LANCZOS
    return picture.resize((width, round(picture.height * width / picture.width)), way)


if __name__ == "__main__":
    cli.run(main, "python scripts/measure_transforms.py")
