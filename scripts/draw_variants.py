"""Draw a source image and its variants with their boxes, to look at what a build did.

python scripts/draw_variants.py OUT --source-id 7 --output sheet.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from datasets import build_layout

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from PIL import Image as PillowImage  # noqa: E402
from PIL import ImageDraw, ImageFont, ImageOps  # noqa: E402

from augment.operations.parameters import OPERATION_NAMES, Mosaic, Original, Paste  # noqa: E402
from datasets import cli, coco, outputs  # noqa: E402
from datasets.boxes import clip_xyxy, xywh_to_xyxy  # noqa: E402
from datasets.errors import DataError  # noqa: E402
from datasets.masks import rle_to_mask  # noqa: E402
from datasets.records import Annotation, Image, Rle  # noqa: E402

COLORS = {"kept": (0, 200, 0), "pasted": (40, 110, 255), "ignored": (255, 170, 0), "dropped": (255, 40, 40)}
TITLE_HEIGHT = 22
# Opacity of masks, out of 255.
SHADE = 45


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--source-id", type=int, help="Draw all variants of this image: its id in the input.")
@click.option("--source-input", type=int, default=0, show_default=True, help="Which of several inputs.")
@click.option("--operation", type=click.Choice(OPERATION_NAMES), help="Draw variants of this operation ...")
@click.option("--count", type=click.IntRange(1), default=24, show_default=True, help="... so many, of all evenly.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Picture file to write.")
@click.option("--width", default=320, show_default=True, help="Of each picture on the sheet, in pixels.")
@click.option("--columns", type=click.IntRange(1), default=3, show_default=True, help="Of the sheet.")
def main(
    dataset: Path,
    source_id: int | None,
    source_input: int,
    operation: str | None,
    count: int,
    output: Path,
    width: int,
    columns: int,
) -> None:
    """Draw variants with their labels: kept boxes green, pasted ones blue with the picture that they come from, ignored
    ones orange, dropped ones red; masks shaded, quarters of a mosaic outlined.

    \b
    Example:
      python scripts/draw_variants.py datasets/sample-expanded --source-id 7 --output sheet.png
      python scripts/draw_variants.py out/scarce --operation paste --count 24 --columns 4 --output pasted.png
    """
    if (source_id is None) == (operation is None):
        raise click.UsageError("give either --source-id or --operation")
    target = outputs.file_to_write(output, [dataset])
    read = coco.read(dataset / build_layout.INSTANCES, provenance=True).dataset
    annotations = read.annotations_by_image()
    images = [item for item in read.images if (item.source_input, item.source_id) == (source_input, source_id)]
    wanted = f"variants of source {source_id} of input {source_input}"
    if operation is not None:
        everything = [item for item in read.images if item.operation == operation]
        images = (
            [everything[at * len(everything) // count] for at in range(count)]
            if len(everything) > count
            else everything
        )
        wanted = f"variants of the operation {operation}"
    if not images:
        raise DataError(f"{dataset}: expected {wanted}, found none")
    originals = {(item.source_input, item.source_id): item for item in read.images if item.operation == Original.name}
    pictures = []
    for image in images:
        original = originals.get((image.source_input, image.source_id))
        source = annotations[original.id] if original is not None else []
        pictures.append(
            draw(dataset / build_layout.IMAGES / image.file_name, image, annotations[image.id], source, width)
        )
    sheet(pictures, columns).save(target)
    click.echo(f"{output}: {len(pictures)} pictures")


def draw(path: Path, image: Image, shown: list[Annotation], source: list[Annotation], width: int) -> PillowImage.Image:
    """One image, scaled to `width`, with a title; `source` are the original's annotations."""
    scale = width / image.width
    with PillowImage.open(path) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    picture = picture.resize((width, round(image.height * scale)), PillowImage.Resampling.LANCZOS)
    for item in shown:
        shade(picture, item, scale, COLORS[kind_of(item, image)])
    pen = ImageDraw.Draw(picture)
    for item in shown:
        x, y, w, h = (value * scale for value in item.bbox)
        color = COLORS[kind_of(item, image)]
        pen.rectangle((x, y, x + w, y + h), outline=color, width=2)
        if item.source_image_id is not None:
            label = f"{item.source_image_id}/{item.source_annotation_id}"
            pen.text((x + 2, y), label, fill=color, stroke_width=1, stroke_fill="white", font=font(10))
    if image.operation == Mosaic.name:
        for donor in image.donors:
            pen.rectangle([value * scale for value in donor.region], outline="white", width=2)
    for x0, y0, x1, y1 in dropped(image, shown, source):
        pen.rectangle((x0 * scale, y0 * scale, x1 * scale, y1 * scale), outline=COLORS["dropped"], width=2)
    titled = PillowImage.new("RGB", (width, picture.height + TITLE_HEIGHT), "white")
    titled.paste(picture, (0, TITLE_HEIGHT))
    ImageDraw.Draw(titled).text((4, 4), title_of(image), fill="black", font=font(12))
    return titled


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def kind_of(item: Annotation, image: Image) -> str:
    if item.iscrowd:
        return "ignored"
    return "pasted" if image.operation == Paste.name and item.source_image_id is not None else "kept"


def title_of(image: Image) -> str:
    drawn = (image.transform, image.window, image.turn and f"{image.turn.degrees} {'m' * image.turn.mirrored}")
    return " ".join(str(part) for part in (image.source_id, image.operation, *drawn) if part)


def dropped(image: Image, shown: list[Annotation], source: list[Annotation]) -> list[list[float]]:
    """The visible parts of boxes that the variant dropped, `xyxy` in its own pixels; boxes outside are omitted.

    Not those of mosaics, whose quarters are of other sources.
    """
    if image.window is None and image.operation != Paste.name:
        return []
    present = {item.source_annotation_id for item in shown if item.source_image_id is None}
    missing = [item.bbox for item in source if item.source_annotation_id not in present]
    window = image.window or (0, 0, image.width, image.height)
    boxes = clip_xyxy(xywh_to_xyxy(missing), window) - (window[:2] * 2)
    return [box for box in boxes.tolist() if box[2] > box[0] and box[3] > box[1]]


def shade(picture: PillowImage.Image, item: Annotation, scale: float, color: tuple[int, int, int]) -> None:
    """Tint an object's mask."""
    if item.segmentation is None:
        return
    mask = PillowImage.new("L", picture.size, 0)
    if isinstance(item.segmentation, Rle):
        mask = PillowImage.fromarray(rle_to_mask(item.segmentation) * SHADE).resize(picture.size)
    else:
        pen = ImageDraw.Draw(mask)
        for polygon in item.segmentation:
            pen.polygon([value * scale for value in polygon.tolist()], fill=SHADE)
    picture.paste(PillowImage.new("RGB", picture.size, color), (0, 0), mask)


def sheet(pictures: list[PillowImage.Image], columns: int) -> PillowImage.Image:
    """The images in rows, on white."""
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    heights = [max(picture.height for picture in row) + 6 for row in rows]
    whole = PillowImage.new("RGB", (columns * (pictures[0].width + 6), sum(heights)), "white")
    for row, top in zip(rows, [sum(heights[:index]) for index in range(len(rows))], strict=True):
        for column, picture in enumerate(row):
            whole.paste(picture, (column * (picture.width + 6), top))
    return whole


if __name__ == "__main__":
    cli.run(main, "python scripts/draw_variants.py")
