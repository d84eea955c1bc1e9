"""python -m datasets sample | check | subset | evaluate"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from datasets import cli, options
from datasets.errors import DataError

if TYPE_CHECKING:
    from datasets.checks import Leniency
    from datasets.options import AskedFor
    from datasets.sources import Input

# Heavy imports are inside the commands: `--help` must answer at once.


@options.group
def main() -> None:
    """Draw, check and subset COCO datasets, and evaluate results.

    \b
    Example:
      python -m datasets sample --output datasets/sample
      python -m datasets check --annotations instances_train.json --images train2017
      python -m datasets subset --annotations instances_train.json --count 50 --output train-50.json
      python -m datasets evaluate --annotations instances_val.json --results results.json
    """


@main.command(short_help="Draw the sample dataset.")
@click.option("--output", type=options.PATH, required=True, help="New or empty folder.")
def sample(output: Path) -> None:
    """Draw the sample dataset: 60 training, 20 validation and 20 test images of eight kinds of things.

    \b
    Example:
      python -m datasets sample --output datasets/sample
    """
    from datasets.sample import SPLITS, write_sample

    write_sample(output)
    click.echo(f"{output}: " + ", ".join(f"{split.name} {split.images}" for split in SPLITS) + " images")


@main.command(short_help="Check annotation files and their images.")
@options.inputs
@click.option("--strict", is_flag=True, help="Make every repair of the input an error.")
@click.option("--thorough", is_flag=True, help="Decode every image whole, which finds all damage and takes longer.")
@options.leniency
@options.json_output
def check(inputs: list[Input], strict: bool, thorough: bool, leniency: Leniency, as_json: bool) -> None:
    """Check annotation files and their images as every stage reads them. Writes nothing; exit 1 if refused.

    \b
    Example:
      python -m datasets check --annotations instances_train.json --images train2017 --thorough
    """
    from datasets.sources import read_checked

    with cli.progress_bar() as progress:
        read = read_checked(inputs, strict=strict, progress=progress, thorough=thorough, leniency=leniency)
    objects = [item for source in read.sources for item in source.annotations]
    document = {
        "images": len(read.sources),
        "annotations": len(objects),
        "crowds": sum(item.iscrowd for item in objects),
        "with_segmentation": sum(item.segmentation is not None for item in objects),
        "categories": len(read.categories),
        "categories_present": len({item.category_id for item in objects}),
        "repairs": read.repairs.places,
        "skipped": [{"id": item.id, "file_name": item.file_name, "why": item.why} for item in read.skipped],
        "warnings": read.warnings,
    }
    if as_json:
        click.echo(json.dumps(document, indent=1, ensure_ascii=False))
        return
    cli.show(
        f"good: {document['images']:,} images, {document['annotations']:,} annotations ({document['crowds']:,} crowds, "
        f"{document['with_segmentation']:,} with segmentation), {document['categories_present']:,} of "
        f"{document['categories']:,} categories present",
        *read.repairs.lines(),
        *cli.skipped_lines(read),
        *cli.warning_lines(read.warnings),
    )


@main.command(short_help="Draw a number of images: seeded, nested subsets.")
@options.images_of("train", files_needed=False, about="Their folder, for image sizes that the file lacks.")
@click.option("--count", type=click.IntRange(1), required=True, help="Images to draw.")
@click.option("--seed", default=0, show_default=True, help="Of the order in which images are drawn.")
@click.option("--include-empty", is_flag=True, help="Draw images without an object, or with crowds alone, too.")
@click.option("--output", type=options.PATH, required=True, help="Annotation file to write.")
def subset(images: AskedFor, count: int, seed: int, include_empty: bool, output: Path) -> None:
    """Write an annotation file of COUNT images, for measurements by the number of images. Image files stay where they
    are, and all categories are kept.

    An image's place in the draw depends on the seed and its id alone, so 25 images are among the 50 of the same seed.

    \b
    Example:
      python -m datasets subset --annotations instances_train.json --count 50 --output train-50.json
    """
    from datasets import coco, outputs, subsets, suspicions
    from datasets.build_layout import build_of

    annotations, folder, *_ = images.resolved()
    target = outputs.file_to_write(output, [annotations])
    if build_of(annotations) is not None:
        raise DataError(
            f"{annotations}: expected a file of original images, found one of a build, whose images are variants of "
            "each other; draw a subset of what it was built from, and build that"
        )
    whole, repairs, *_ = coco.read(annotations, images=folder)
    drawn = subsets.first(whole, count, seed, name=str(annotations), include_empty=include_empty)
    coco.write(target, drawn)
    cli.show(
        f"{output}: {len(drawn.images):,} of {len(whole.images):,} images, {len(drawn.annotations):,} annotations",
        *repairs.lines(),
        *cli.warning_lines(suspicions.find(drawn.annotations, drawn.categories)),
    )


@main.command(short_help="Show COCO's AP and AR of a results file.")
@options.images_of("val", files_needed=False, about="Their folder, so that --trained-on knows them by content too.")
@click.option("--results", type=options.PATH, required=True, help="COCO results file: a JSON list of detections.")
@options.trained_on
@click.option(
    "--category-ids",
    "--categories",
    "numbering",
    type=click.Choice(["ids", "contiguous0", "contiguous1"]),
    default="ids",
    show_default=True,
    help="How the results number the categories: by id, or by position from 0 or 1.",
)
@click.option(
    "--max-dets", type=click.IntRange(1), default=100, show_default=True, help="Detections of a category in an image."
)
@click.option("--masks", is_flag=True, help="Compare masks instead of boxes.")
@click.option("--per-category", is_flag=True, help="Show the AP of every category too.")
@click.option("--errors", is_flag=True, help="Show the kinds of errors, and what each costs, too.")
@click.option("--confusion", is_flag=True, help="Show which categories are taken for others, too.")
@click.option(
    "--compare",
    type=options.PATH,
    metavar="OTHER.json",
    help="Show the difference from the AP of OTHER.json, with its interval, too.",
)
@options.json_output
def evaluate(
    images: AskedFor,
    results: Path,
    trained_on: tuple[Path, ...],
    numbering: str,
    max_dets: int,
    masks: bool,
    per_category: bool,
    errors: bool,
    confusion: bool,
    compare: Path | None,
    as_json: bool,
) -> None:
    """Show COCO's average precision (AP) and recall (AR) of boxes, or masks, in percent; "-" where there is no object
    to find. Of polygons, what leaves the image by more than a pixel is cut off first.

    --json prints fractions.

    Objects and boxes are measured as they are written; nothing is clipped. Results may name images by file name or stem
    and categories by name. Those that `python -m train predict` wrote say which images had been trained on; that stands
    next to every AP.

    --errors tells them apart as TIDE does (Bolya et al., 2020), at an IoU of 0.5. The interval of --compare is that of
    a paired bootstrap over the images.

    \b
    Example:
      python -m datasets evaluate --annotations instances_val.json --results results.json
      python -m datasets evaluate --data bccd --split val --results new.json --errors --confusion --compare old.json
      python -m datasets evaluate --annotations instances_val.json --results results.json --masks
    """
    import msgspec

    from datasets import coco, evaluated_results, evaluation, plausibility, provenance, seen
    from datasets.build_layout import build_of
    from datasets.evaluated_analysis import Asked, analysed
    from datasets.result_names import Numbering

    if masks and (errors or confusion or compare):
        raise click.UsageError("--errors, --confusion and --compare are of boxes; leave --masks out")
    annotations, folder, *_ = images.resolved()
    is_build = build_of(annotations) is not None
    dataset, repairs, *_ = coco.read(
        annotations, provenance=is_build, as_written=True, masks=masks, images=folder if masks else None
    )
    numbered = msgspec.convert(numbering, Numbering)
    detections, spellings, ids = evaluated_results.read(results, dataset, annotations, numbered)
    asked = Asked(errors, confusion, compare)
    analyses = analysed(asked, dataset, detections, results, annotations, numbered, max_dets)
    known = provenance.read(results, provenance.declared_training(trained_on, dataset.images, folder), ids)
    seen_count = len(known.seen & {image.id for image in dataset.images})
    note = seen.seen_note(seen_count, len(dataset.images))
    evaluated = evaluation.evaluate(
        dataset, detections, name=str(results), truth=str(annotations), max_dets=max_dets, masks=masks
    )
    odd = plausibility.against_objects(dataset, detections)
    document = {
        "images": len(dataset.images),
        "images_without_detections": len({image.id for image in dataset.images} - set(detections.image_ids.tolist())),
        "detections": len(detections),
        "images_seen_in_training": seen_count if seen_count or not known.doubt else None,
        **({"iou_type": "segm"} if masks else {}),
        **evaluated.numbers(),
        **({"per_category": evaluation.category_rows(evaluated, dataset)} if per_category else {}),
        **analyses.document,
        "repairs": repairs.places,
        "repairs_of_results": spellings.places,
        "notes": odd,
    }
    if as_json:
        click.echo(json.dumps(document, indent=1, ensure_ascii=False))
        return
    lines = [
        *evaluation.summary_table(evaluated, note),
        *(["", *evaluation.categories_table(evaluated, dataset, note)] if per_category else []),
        *analyses.lines,
        "",
        f"{document['images']:,} images, {document['images_without_detections']:,} of them without a detection; "
        f"{document['detections']:,} detections" + ("; masks are compared" if masks else ""),
        *repairs.lines(),
        *(f"{results.name}: {line}" for line in spellings.brief()),
        *(f"note: {text}" for text in odd),
        *provenance.notes([(results, known)]),
    ]
    cli.show(*lines)


if __name__ == "__main__":
    cli.run(main, "python -m datasets")
