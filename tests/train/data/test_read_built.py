"""Datasets that `augment build` made: read for training here, and by Detectron2's own reader."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.build_layout import INSTANCES, MANIFEST
from datasets.sources import Input
from datasets.spec import input_of
from tests.protocols import Draw
from train import compat  # noqa: F401 - before detectron2
from train.data.read import TrainingData, read_training, read_validation

# isort: split
from detectron2.data import MetadataCatalog
from detectron2.data.datasets.coco import load_coco_json
from detectron2.data.detection_utils import check_image_size, read_image
from detectron2.structures import BoxMode

ROOT = Path(__file__).resolve().parents[3]


def build(source: Input, output: Path, *options: str) -> Path:
    """`python -m augment build` in another process: training knows augment by its files only."""
    command = [sys.executable, "-W", "ignore", "-m", "augment", "build", "--workers", "1", "--executor", "serial"]
    paths = ["--annotations", str(source.annotations), "--images", str(source.images), "--output", str(output)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_ALBUMENTATIONS_UPDATE": "1"}
    done = subprocess.run([*command, *paths, *options], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="module")
def built(drawn: Input, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The expanded recipe on the drawn dataset: six of each image. Read-only."""
    return build(drawn, tmp_path_factory.mktemp("built") / "expanded", "--recipe", "expanded")


@pytest.fixture(scope="module")
def data(built: Path) -> TrainingData:
    return read_training(input_of(str(built), "train"), keep_empty=False, masks=None, progress=None)


@pytest.fixture(scope="module")
def document(built: Path) -> dict[str, Any]:
    return dict(json.loads((built / INSTANCES).read_bytes()))


def test_a_built_dataset_is_trained_on_whole(data: TrainingData, document: dict[str, Any]) -> None:
    kept = Counter(item["image_id"] for item in document["annotations"] if not item["iscrowd"])
    crowds = Counter(item["image_id"] for item in document["annotations"] if item["iscrowd"])

    assert data.masks
    assert [item.image_id for item in data.records] == [item["id"] for item in document["images"] if kept[item["id"]]]
    assert {item.image_id: int(item.ignored.sum()) for item in data.records} == {id_: crowds[id_] for id_ in kept}
    assert data.histogram.sum() == kept.total()
    left_out = 6 * 8 - len(kept)
    assert left_out >= 6  # the image without objects, six times
    assert f"; {left_out} without a kept object left out (" in data.notes[0]


def test_the_files_of_a_built_dataset_are_as_large_as_they_are_said_to_be(built: Path) -> None:
    done: list[int] = []

    read_training(
        input_of(str(built), "train"), keep_empty=True, masks=None, progress=lambda _what, at, _of: done.append(at)
    )

    assert done[-1] == 6 * 8


def test_detectron2_reads_a_built_dataset_as_we_do(built: Path, document: dict[str, Any]) -> None:
    theirs = load_coco_json(str(built / INSTANCES), str(built / "images"), "coco_built_by_augment")
    mine = read_training(input_of(str(built), "train"), keep_empty=True, masks=None, progress=None)

    assert len(theirs) == len(mine.records) == 6 * 8
    assert MetadataCatalog.get("coco_built_by_augment").thing_classes == mine.categories.names
    assert sum(len(item["annotations"]) for item in theirs) == len(document["annotations"]) > 0
    records = {record.image_id: record for record in mine.records}
    for item in theirs:
        record = records[item["image_id"]]
        assert (record.path, record.width, record.height) == (item["file_name"], item["width"], item["height"])
        boxes = [BoxMode.convert(one["bbox"], one["bbox_mode"], BoxMode.XYXY_ABS) for one in item["annotations"]]
        np.testing.assert_allclose(record.boxes_xyxy, np.array(boxes).reshape(-1, 4), rtol=1e-6)
        assert record.classes.tolist() == [one["category_id"] for one in item["annotations"]]
        assert record.ignored.tolist() == [bool(one["iscrowd"]) for one in item["annotations"]]
        for outline, one in zip(record.polygons, item["annotations"], strict=True):
            if not one["iscrowd"]:
                assert [polygon.tolist() for polygon in outline] == one["segmentation"]
    # There are crowds, and objects that a crop cut so far that they are ignored.
    ignored = sum(int(record.ignored.sum()) for record in mine.records)
    assert ignored == sum(one["iscrowd"] for item in theirs for one in item["annotations"]) > 2


def test_detectron2_reads_the_images_of_a_built_dataset(built: Path) -> None:
    for item in load_coco_json(str(built / INSTANCES), str(built / "images"), None):
        check_image_size(item, read_image(item["file_name"], "BGR"))


def test_validation_images_that_a_build_was_made_of_are_seen(
    draw: Draw, drawn: Input, data: TrainingData, tmp_path: Path
) -> None:
    assert len(data.seen.images) == 8

    found = read_validation(drawn, data, progress=None)

    assert "  8 of them are seen: " in found.notes[1]
    part = read_validation(draw(tmp_path, only=(31, 40)), data, progress=None)
    assert "  2 of them are seen: " in part.notes[1]


def test_images_that_no_build_was_made_of_are_not_seen(draw: Draw, built: Path, tmp_path: Path) -> None:
    part = build(draw(tmp_path / "part", only=(7, 3)), tmp_path / "built", "--recipe", "balanced")
    data = read_training(input_of(str(part), "train"), keep_empty=False, masks=None, progress=None)
    # A build numbers its images from 1, so that only what they were made of tells them from others.
    assert {item.image_id for item in data.records} & {7, 3, 12}

    apart = read_validation(draw(tmp_path / "apart", only=(12, 40)), data, progress=None)
    built_too = read_validation(input_of(str(built), "train"), data, progress=None)

    assert len(apart.notes) == 1
    # Validated on another build, images 3 and 7 are seen six times each.
    assert "  12 of them are seen: " in built_too.notes[1]


def test_the_identity_of_a_build_changes_with_its_manifest(built: Path, data: TrainingData, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(built, tmp_path / "copy"))
    assert _identity(copy) == data.identity
    assert data.identity["manifest_sha256"] is not None
    document = json.loads((copy / MANIFEST).read_bytes())

    (copy / MANIFEST).write_text(json.dumps({**document, "note": "another"}))

    changed = _identity(copy)
    assert {key for key in changed if changed[key] != data.identity[key]} == {"manifest_sha256"}
    (copy / MANIFEST).unlink()
    assert _identity(copy)["manifest_sha256"] is None


def _identity(folder: Path) -> dict[str, Any]:
    return read_training(input_of(str(folder), "train"), keep_empty=False, masks=None, progress=None).identity
