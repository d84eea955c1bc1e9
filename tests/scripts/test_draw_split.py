"""scripts/draw_split.py: seeded, disjoint, of the asked size, and nothing written where it cannot be done."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from datasets import coco
from datasets.errors import DataError

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "draw_split.py"))


def write_coco(folder: Path, name: str, images: int) -> None:
    """`images` images, every tenth without an annotation."""
    document = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": 10, "height": 10} for n in range(images)],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "bbox": [0, 0, 5, 5], "area": 25, "iscrowd": 0}
            for n in range(images)
            if n % 10
        ],
        "categories": [{"id": 1, "name": "thing"}],
    }
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    (folder / "annotations" / f"instances_{name}.json").write_text(json.dumps(document))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_coco(tmp_path / "coco", "train2017", 100)
    write_coco(tmp_path / "coco", "val2017", 20)
    return tmp_path / "coco"


def draw(folder: Path, output: Path, **options: Any) -> str:
    chosen = {"train": 40, "val": 30, **options}
    arguments = [part for name, value in chosen.items() for part in (f"--{name}", str(value))]
    command = ["--coco", str(folder), "--output", str(output), *arguments]
    result = CliRunner().invoke(SCRIPT["main"], command, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def ids(output: Path, name: str) -> set[int]:
    read = coco.read(output / "annotations" / f"instances_{name}.json").dataset
    assert {item.image_id for item in read.annotations} <= {image.id for image in read.images}
    return {image.id for image in read.images}


def test_splits_have_the_asked_sizes_and_share_no_image(folder: Path, tmp_path: Path) -> None:
    printed = draw(folder, tmp_path / "out")
    train, val = ids(tmp_path / "out", "train"), ids(tmp_path / "out", "val")
    assert (len(train), len(val), len(ids(tmp_path / "out", "test"))) == (40, 30, 20)
    assert not train & val
    assert not any(image % 10 == 0 for image in train | val), "images without annotations are not drawn"
    assert "train: 40 images, 40 annotations" in printed


def test_the_same_seed_draws_the_same_images_and_another_seed_others(folder: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        draw(folder, tmp_path / name, seed=seed)
    files = [(tmp_path / name / "annotations" / "instances_train.json").read_bytes() for name in "abc"]
    assert files[0] == files[1] != files[2]


def test_too_few_images_are_refused_and_nothing_is_written(folder: Path, tmp_path: Path) -> None:
    # 90 of the 100 images have annotations.
    with pytest.raises(DataError, match="expected at least 91 images with annotations, found 90"):
        draw(folder, tmp_path / "out", train=61, val=30)
    assert not (tmp_path / "out").exists()


def test_an_output_in_use_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="expected a new or empty folder"):
        draw(folder, tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"
