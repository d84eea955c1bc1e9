"""python -m datasets sample | check | evaluate"""

from __future__ import annotations

import json
from pathlib import Path

import click

from datasets import terminal
from datasets.errors import DataError

# Heavy imports stand inside the commands: `--help` must answer at once.

PATH = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Draw and check COCO datasets, and evaluate results.

    \b
    Example:
      python -m datasets sample --output datasets/sample
      python -m datasets check --annotations instances_train.json --images train2017
      python -m datasets evaluate --annotations instances_val.json --results results.json
    """


@main.command()
@click.option("--output", type=PATH, required=True, help="New or empty folder.")
def sample(output: Path) -> None:
    """Draw the sample dataset: 60 training, 20 validation and 20 test images of eight kinds of shapes.

    \b
    Example:
      python -m datasets sample --output datasets/sample
    """
    from datasets.sample import SPLITS, write_sample

    write_sample(output)
    click.echo(f"{output}: " + ", ".join(f"{split.name} {split.images}" for split in SPLITS) + " images")


@main.command()
@click.option("--annotations", type=PATH, multiple=True, required=True, help="COCO annotation file; may be repeated.")
@click.option(
    "--images", type=PATH, multiple=True, required=True, help="Image folder of the annotation file before it."
)
@click.option("--strict", is_flag=True, help="Make every repair an error.")
@click.option("--thorough", is_flag=True, help="Decode every picture whole, which finds all damage and takes longer.")
@terminal.with_options(*terminal.leniency_options())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with the place of every repair.")
def check(
    annotations: tuple[Path, ...],
    images: tuple[Path, ...],
    strict: bool,
    thorough: bool,
    clip_boxes: bool,
    skip_bad: bool,
    follow_links: bool,
    as_json: bool,
) -> None:
    """Check annotation files and their images as every stage reads them. Writes nothing; exit 1 if refused.

    \b
    Example:
      python -m datasets check --annotations instances_train.json --images train2017 --thorough
    """
    from datasets.checks import Leniency
    from datasets.sources import Input, read_checked

    paths = [Input(*pair) for pair in terminal.pairs(annotations, images)]
    with terminal.progress_bar() as progress:
        leniency = Leniency(clip_boxes, skip_bad, follow_links)
        inputs = read_checked(paths, strict=strict, progress=progress, thorough=thorough, leniency=leniency)
    objects = [item for source in inputs.sources for item in source.annotations]
    document = {
        "images": len(inputs.sources),
        "annotations": len(objects),
        "crowds": sum(item.iscrowd for item in objects),
        "with_segmentation": sum(item.segmentation is not None for item in objects),
        "categories": len(inputs.categories),
        "categories_present": len({item.category_id for item in objects}),
        "repairs": inputs.repairs.places,
        "skipped": [{"id": item.id, "file_name": item.file_name, "why": item.why} for item in inputs.skipped],
        "warnings": inputs.warnings,
    }
    if as_json:
        click.echo(json.dumps(document, indent=1, ensure_ascii=False))
        return
    terminal.show(
        f"good: {document['images']:,} images, {document['annotations']:,} annotations ({document['crowds']:,} crowds, "
        f"{document['with_segmentation']:,} with segmentation), {document['categories_present']:,} of "
        f"{document['categories']:,} categories present",
        *inputs.repairs.lines(),
        *terminal.skipped_lines(inputs),
        *terminal.warning_lines(inputs.warnings),
    )


@main.command()
@click.option("--annotations", type=PATH, required=True, help="COCO annotation file.")
@click.option("--results", type=PATH, required=True, help="COCO results file: a JSON list of detections.")
@click.option(
    "--trained-on", type=PATH, multiple=True, help="What the model was trained on: a built folder, a COCO file."
)
@click.option("--images", type=PATH, help="The images, so that --trained-on knows them by their content too.")
@click.option(
    "--categories",
    type=click.Choice(["ids", "contiguous0", "contiguous1"]),
    default="ids",
    show_default=True,
    help="How the results number the categories: by id, or by position from 0 or 1.",
)
@click.option(
    "--max-dets", type=click.IntRange(1), default=100, show_default=True, help="Detections of a category in an image."
)
@click.option("--per-category", is_flag=True, help="Show the AP of every category too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with fractions instead of percents.")
def evaluate(
    annotations: Path,
    results: Path,
    trained_on: tuple[Path, ...],
    images: Path | None,
    categories: str,
    max_dets: int,
    per_category: bool,
    as_json: bool,
) -> None:
    """Show COCO's average precision (AP) and recall (AR) of boxes in percent; "-" where there is no object to find.

    Objects and boxes are measured as they are written; nothing is clipped. Results may name images by file name or stem
    and categories by name. Those that `python -m train predict` wrote say which images had been trained on; that stands
    next to every AP.

    \b
    Example:
      python -m datasets evaluate --annotations instances_val.json --results results.json
    """
    import msgspec

    from datasets import coco, evaluation, plausibility, provenance, seen
    from datasets.origins import build_of
    from datasets.result_names import Names, Numbering
    from datasets.results import check_ids, read_numbered

    dataset, repairs, *_ = coco.read(annotations, provenance=build_of(annotations) is not None, as_written=True)
    category_ids = [item.id for item in dataset.categories]
    names = Names(dataset.images, dataset.categories)
    found, spellings = read_numbered(results, names, msgspec.convert(categories, Numbering), category_ids)
    check_ids(results, found, [image.id for image in dataset.images], category_ids, annotations)
    if plausibility.are_fractions(found):
        raise DataError(f"{results}: {plausibility.FRACTIONS}")
    known = provenance.read(results, provenance.told(trained_on, dataset.images, images))
    seen_count = len(known.seen & {image.id for image in dataset.images})
    remark = seen.remark(seen_count, len(dataset.images))
    evaluated = evaluation.evaluate(dataset, found, name=str(results), max_dets=max_dets)
    odd = plausibility.against_objects(dataset, found)
    document = {
        "images": len(dataset.images),
        "images_without_detections": len({image.id for image in dataset.images} - set(found.image_ids.tolist())),
        "detections": len(found),
        "images_seen_in_training": seen_count if seen_count or not known.doubt else None,
        **evaluated.numbers(),
        **({"per_category": evaluation.category_rows(evaluated, dataset)} if per_category else {}),
        "repairs": repairs.places,
        "repairs_of_results": spellings.places,
        "notes": odd,
    }
    if as_json:
        click.echo(json.dumps(document, indent=1, ensure_ascii=False))
        return
    lines = [
        *evaluation.summary_table(evaluated, remark),
        *(["", *evaluation.categories_table(evaluated, dataset, remark)] if per_category else []),
        "",
        f"{document['images']:,} images, {document['images_without_detections']:,} of them without a detection; "
        f"{document['detections']:,} detections",
        *repairs.lines(),
        *(f"{results.name}: {line}" for line in spellings.brief()),
        *(f"note: {text}" for text in odd),
        *provenance.notes([(results, known)]),
    ]
    terminal.show(*lines)


if __name__ == "__main__":
    terminal.run(main, "python -m datasets")
