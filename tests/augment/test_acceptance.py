"""Other people's tools read what a build writes: pycocotools, hotcoco, supervision, and Detectron2 by its rules."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from tests.augment.beyond import BEYOND
from tests.protocols import Draw, Make

Read = Callable[[Path], dict[str, Any]]

# pycocotools 2.0 returns an array type that numpy 2 complains about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(params=["everything", "beyond", "boxes only", "boxes only, beyond"])
def folder(
    request: pytest.FixtureRequest,
    built: Callable[[str], Path],
    draw: Draw,
    make: Make,
    tmp_path: Path,
) -> Path:
    if not request.param.startswith("boxes only"):
        return built(request.param)
    chosen = BEYOND if request.param.endswith("beyond") else "everything"
    return make(draw(tmp_path / "data", masks=False), tmp_path / "out", chosen).output


def test_pycocotools_loads_it_and_decodes_every_mask(folder: Path) -> None:
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(folder / "annotations" / "instances.json"))
    assert sorted(coco.getCatIds()) == [1, 3, 18, 90]
    for annotation in coco.dataset["annotations"]:
        image = coco.imgs[annotation["image_id"]]
        if "segmentation" not in annotation:
            continue
        mask = coco.annToMask(annotation)
        assert mask.shape == (image["height"], image["width"])
        x, y, width, height = annotation["bbox"]
        rows, columns = np.nonzero(mask)
        # A mask lies in its box, but for the pixels that the box's border cuts.
        assert rows.min() >= y - 1
        assert columns.min() >= x - 1
        assert rows.max() < y + height + 1
        assert columns.max() < x + width + 1


@pytest.mark.parametrize("name", ["everything", "beyond"])
def test_areas_are_those_of_the_masks(built: Callable[[str], Path], read: Read, name: str) -> None:
    dataset = read(built(name))
    images = {image["id"]: image for image in dataset["images"]}
    for annotation in dataset["annotations"]:
        image, segmentation = images[annotation["image_id"]], annotation["segmentation"]
        size = image["height"], image["width"]
        runs = segmentation
        if isinstance(segmentation, list):
            runs = coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
        elif isinstance(segmentation["counts"], list):
            runs = coco_mask.frPyObjects(segmentation, *size)
        pixels, sides = int(coco_mask.area(runs)), annotation["bbox"][2] + annotation["bbox"][3]
        # Rasterising moves an outline by half a pixel at most.
        assert abs(pixels - annotation["area"]) <= sides + 1


def test_hotcoco_loads_it(folder: Path, read: Read) -> None:
    import hotcoco

    coco = hotcoco.COCO(str(folder / "annotations" / "instances.json"))
    dataset = read(folder)
    assert sorted(coco.get_img_ids()) == [image["id"] for image in dataset["images"]]
    assert sorted(coco.get_ann_ids()) == [annotation["id"] for annotation in dataset["annotations"]]


@pytest.mark.parametrize("force_masks", [True, False])
def test_supervision_loads_it(folder: Path, read: Read, force_masks: bool) -> None:
    supervision: Any = pytest.importorskip("supervision", reason="it comes with setup.cfg's extra `draw`")

    dataset = read(folder)
    loaded = supervision.DetectionDataset.from_coco(
        images_directory_path=str(folder / "images"),
        annotations_path=str(folder / "annotations" / "instances.json"),
        force_masks=force_masks,
    )
    assert loaded.classes == ["person", "car", "dog", "toothbrush"]
    found = {Path(path).name: len(detections) for path, _, detections in loaded}
    objects = [annotation["image_id"] for annotation in dataset["annotations"]]
    assert found == {image["file_name"]: objects.count(image["id"]) for image in dataset["images"]}


def detectron2_records(dataset: dict[str, Any]) -> list[dict[str, Any]]:
    """What Detectron2 v0.6 demands of a dataset, from detectron2/data/datasets/coco.py, load_coco_json.

    Restated, with its assertions, since the package itself has no wheels. pycocotools' index groups the annotations.
    """
    category_ids = sorted(category["id"] for category in dataset["categories"])
    id_map = {category: number for number, category in enumerate(category_ids)}
    by_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in dataset["images"]}
    for annotation in dataset["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    ids = [annotation["id"] for annotations in by_image.values() for annotation in annotations]
    assert len(set(ids)) == len(ids), "Annotation ids are not unique!"
    records = []
    for image in sorted(dataset["images"], key=lambda image: int(image["id"])):
        objects = []
        for annotation in by_image[image["id"]]:
            assert annotation["image_id"] == image["id"]
            assert annotation.get("ignore", 0) == 0, '"ignore" in COCO json file is not supported.'
            keys = ("iscrowd", "bbox", "category_id")
            item: dict[str, Any] = {key: annotation[key] for key in keys if key in annotation}
            assert len(item["bbox"]) == 4, "found a bounding box without four numbers"
            segmentation = annotation.get("segmentation")
            if segmentation:
                if isinstance(segmentation, dict):
                    if isinstance(segmentation["counts"], list):
                        segmentation = coco_mask.frPyObjects(segmentation, *segmentation["size"])
                else:
                    valid = [polygon for polygon in segmentation if len(polygon) % 2 == 0 and len(polygon) >= 6]
                    assert valid == segmentation, "found a polygon that Detectron2 would leave out"
                item["segmentation"] = segmentation
            item["category_id"] = id_map[annotation["category_id"]]
            objects.append(item)
        records.append({**image, "annotations": objects})
    return records


def test_detectron2_s_rules_hold(folder: Path, read: Read) -> None:
    dataset = read(folder)
    records = detectron2_records(dataset)
    assert len(records) == len(dataset["images"])
    assert sum(len(record["annotations"]) for record in records) == len(dataset["annotations"])
    for record in records:
        for item in record["annotations"]:
            if isinstance(item.get("segmentation"), dict):
                assert item["segmentation"]["size"] == [record["height"], record["width"]]


def test_it_is_plain_json_without_nan(folder: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads((folder / "annotations" / "instances.json").read_text(encoding="utf-8"), parse_constant=refuse)
