"""Draw data of the challenge's size from COCO 2017: training and validation from train2017, val2017 as the test set.

python scripts/draw_split.py --coco datasets/coco --output datasets/coco-small
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from datasets import cli, coco
from datasets.errors import DataError
from datasets.staging import staging
from datasets.subsets import shuffled, subset

TRAIN, VAL = 5873, 4946


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--coco", "folder", type=click.Path(path_type=Path), required=True, help="Has annotations/ in it.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="New or empty folder.")
@click.option("--train", default=TRAIN, show_default=True, help="Training images.")
@click.option("--val", default=VAL, show_default=True, help="Validation images.")
@click.option("--seed", default=0, show_default=True)
def main(folder: Path, output: Path, train: int, val: int, seed: int) -> None:
    """Write OUTPUT/annotations/instances_{train,val,test}.json; images stay where they are.

    Only images with annotations are drawn. An image's place in the draw depends on the seed and its id alone.

    \b
    Example:
      python scripts/draw_split.py --coco datasets/coco --output datasets/coco-small
    """
    output = output.resolve()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DataError(f"{output}: expected a new or empty folder, found something in it")
    whole = coco.read(folder / "annotations" / "instances_train2017.json").dataset
    test = coco.read(folder / "annotations" / "instances_val2017.json").dataset
    order = shuffled({item.image_id for item in whole.annotations}, seed)
    if len(order) < train + val:
        raise DataError(f"{folder}: expected at least {train + val:,} images with annotations, found {len(order):,}")
    parts = {
        "train": subset(whole, order[:train]),
        "val": subset(whole, order[train : train + val]),
        "test": test,
    }
    with staging(output) as staged:
        (staged / "annotations").mkdir()
        for name, part in parts.items():
            coco.write(staged / "annotations" / f"instances_{name}.json", part)
    for name, part in parts.items():
        click.echo(f"{name}: {len(part.images):,} images, {len(part.annotations):,} annotations")


if __name__ == "__main__":
    cli.run(main, "python scripts/draw_split.py")
