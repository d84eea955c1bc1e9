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

from datasets import cli, coco, outputs  # noqa: E402
from datasets.boxes import clip_xyxy, xywh_to_xyxy  # noqa: E402
from datasets.errors import DataError  # noqa: E402
from datasets.masks import rle_to_mask  # noqa: E402
from datasets.records import Annotation, Image, Rle  # noqa: E402

COLORS = {"kept": (0, 200, 0), "ignored": (255, 170, 0), "dropped": (255, 40, 40)}
TITLE_HEIGHT = 22
# Opacity of masks, out of 255.
SHADE = 45
COLUMNS = 3


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--source-id", type=int, required=True, help="Id of the image in the input.")
@click.option("--source-input", type=int, default=0, show_default=True, help="Which of several inputs.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Picture file to write.")
@click.option("--width", default=320, show_default=True, help="Of each picture on the sheet, in pixels.")
def main(dataset: Path, source_id: int, source_input: int, output: Path, width: int) -> None:
    """Draw all variants of one source: kept boxes green, ignored ones orange, dropped ones red, masks shaded.

    \b
    Example:
      python scripts/draw_variants.py datasets/sample-expanded --source-id 7 --output sheet.png
    """
    target = outputs.file_to_write(output, [dataset])
    read = coco.read(dataset / build_layout.INSTANCES, provenance=True).dataset
    annotations = read.annotations_by_image()
    images = [item for item in read.images if (item.source_input, item.source_id) == (source_input, source_id)]
    if not images:
        raise DataError(f"{dataset}: expected variants of source {source_id} of input {source_input}, found none")
    source = annotations[images[0].id]
    pictures = [
        draw(dataset / build_layout.IMAGES / image.file_name, image, annotations[image.id], source, width)
        for image in images
    ]
    sheet(pictures).save(target)
    click.echo(f"{output}: {len(pictures)} pictures")


def draw(path: Path, image: Image, shown: list[Annotation], source: list[Annotation], width: int) -> PillowImage.Image:
    """One image, scaled to `width`, with a title; `source` are the original's annotations."""
    scale = width / image.width
    with PillowImage.open(path) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    picture = picture.resize((width, round(image.height * scale)), PillowImage.Resampling.LANCZOS)
    for item in shown:
        shade(picture, item, scale, COLORS["ignored" if item.iscrowd else "kept"])
    pen = ImageDraw.Draw(picture)
    for item in shown:
        x, y, w, h = (value * scale for value in item.bbox)
        pen.rectangle((x, y, x + w, y + h), outline=COLORS["ignored" if item.iscrowd else "kept"], width=2)
    for x0, y0, x1, y1 in dropped(image, shown, source):
        pen.rectangle((x0 * scale, y0 * scale, x1 * scale, y1 * scale), outline=COLORS["dropped"], width=2)
    titled = PillowImage.new("RGB", (width, picture.height + TITLE_HEIGHT), "white")
    titled.paste(picture, (0, TITLE_HEIGHT))
    title = " ".join(str(part) for part in (image.operation, image.transform or "", image.window or "") if part)
    ImageDraw.Draw(titled).text((4, 4), title, fill="black", font=ImageFont.load_default(size=12))
    return titled


def dropped(image: Image, shown: list[Annotation], source: list[Annotation]) -> list[list[float]]:
    """The visible parts of boxes that the variant dropped, `xyxy` in its own pixels; boxes outside are omitted."""
    if image.window is None:
        return []
    present = {item.source_annotation_id for item in shown}
    missing = [item.bbox for item in source if item.source_annotation_id not in present]
    boxes = clip_xyxy(xywh_to_xyxy(missing), image.window) - (image.window[:2] * 2)
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


def sheet(pictures: list[PillowImage.Image]) -> PillowImage.Image:
    """The images in rows, on white."""
    rows = [pictures[start : start + COLUMNS] for start in range(0, len(pictures), COLUMNS)]
    heights = [max(picture.height for picture in row) + 6 for row in rows]
    whole = PillowImage.new("RGB", (COLUMNS * (pictures[0].width + 6), sum(heights)), "white")
    for row, top in zip(rows, [sum(heights[:index]) for index in range(len(rows))], strict=True):
        for column, picture in enumerate(row):
            whole.paste(picture, (column * (picture.width + 6), top))
    return whole


if __name__ == "__main__":
    cli.run(main, "python scripts/draw_variants.py")
