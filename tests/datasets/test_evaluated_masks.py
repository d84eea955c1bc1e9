"""AP of masks: pycocotools is the oracle; missing masks and those of another size are refused."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PillowImage
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from datasets import coco
from datasets.__main__ import main
from datasets.errors import DataError
from datasets.evaluation import METRICS, evaluate
from datasets.results import Results
from tests.command_line import Ended, in_shell

HEIGHT, WIDTH = 150, 200
EXPECTED = "expected a mask, polygons or runs, found"


def ellipse(x: float, y: float, width: float, height: float) -> npt.NDArray[np.uint8]:
    """(HEIGHT, WIDTH) of 0 and 1"""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    inside = ((columns - x - width / 2) / width) ** 2 + ((rows - y - height / 2) / height) ** 2 <= 0.25
    return np.asfortranarray(inside, dtype=np.uint8)


def runs(bitmap: npt.NDArray[np.uint8]) -> dict[str, Any]:
    rle = coco_mask.encode(bitmap)
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def plain(bitmap: npt.NDArray[np.uint8]) -> dict[str, Any]:
    """Uncompressed, as COCO's crowds are."""
    flat = np.concatenate([[0], bitmap.reshape(-1, order="F"), [2]])
    edges = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], edges]))
    return {"size": [HEIGHT, WIDTH], "counts": counts.tolist()}


def drawn(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An annotation file and results: polygons, runs and crowds, and ellipses near and far from them."""
    rng = np.random.default_rng(seed)
    annotations, detections = [], []
    for at in range(int(rng.integers(3, 25))):
        width, height = (rng.choice([12, 40, 110]) * (0.5 + rng.random(2) / 2)).tolist()
        x, y = (rng.random(2) * (WIDTH - width - 1, HEIGHT - height - 1)).tolist()
        bitmap = ellipse(x, y, width, height)
        crowd = int(rng.random() < 0.2)
        corners = [x, y + height / 2, x + width / 2, y, x + width, y + height / 2, x + width / 2, y + height]
        segmentation = plain(bitmap) if crowd else [corners] if rng.random() < 0.7 else runs(bitmap)
        item = {
            "image_id": int(rng.choice([4, 7])),
            "category_id": int(rng.choice([1, 5])),
            "segmentation": segmentation,
        }
        box = {"bbox": [x, y, width, height], "area": float(bitmap.sum()), "iscrowd": crowd}
        annotations.append({"id": at + 1, **item, **box})
        for _ in range(int(rng.integers(0, 4))):
            moved = np.array([x, y, width, height]) + rng.normal(0, 4, 4)
            moved[2:] = np.maximum(moved[2:], 2)
            found = {"segmentation": runs(ellipse(*moved)), "score": round(rng.random(), 2)}
            # Boxes that say nothing about the masks.
            detections.append({**item, **found, "bbox": [0, 0, 3, 3]})
    document = {
        "images": [{"id": id_, "file_name": f"{id_}.png", "width": WIDTH, "height": HEIGHT} for id_ in (7, 4)],
        "categories": [{"id": 1, "name": "disc"}, {"id": 5, "name": "ring"}],
        "annotations": annotations,
    }
    return document, detections


def oracle(document: dict[str, Any], detections: list[dict[str, Any]]) -> dict[str, Any]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = json.loads(json.dumps(document))
        truth.createIndex()
        without_boxes = [{key: value for key, value in item.items() if key != "bbox"} for item in detections]
        evaluation = COCOeval(truth, truth.loadRes(without_boxes), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    numbers = zip(METRICS, evaluation.stats, strict=True)
    return {key: None if value == -1 else float(value) for key, value in numbers}


def dataset_of(document: dict[str, Any], folder: Path) -> Any:
    path = folder / "instances.json"
    path.write_text(json.dumps(document))
    return coco.read(path, as_written=True, masks=True).dataset


def results_of(detections: list[dict[str, Any]]) -> Results:
    return Results(
        np.array([item["image_id"] for item in detections], dtype=np.int64),
        np.array([item["category_id"] for item in detections], dtype=np.int64),
        np.array([item["bbox"] for item in detections], dtype=np.float64).reshape(-1, 4),
        np.array([item["score"] for item in detections], dtype=np.float64),
        [msgspec.json.encode(item["segmentation"]) if "segmentation" in item else b"" for item in detections],
    )


@pytest.mark.parametrize("seed", range(12))
def test_all_twelve_numbers_are_those_of_pycocotools(seed: int, tmp_path: Path) -> None:
    document, detections = drawn(seed)
    assert detections
    found = evaluate(dataset_of(document, tmp_path), results_of(detections), masks=True)
    assert found.numbers() == pytest.approx(oracle(document, detections), abs=1e-12)
    # Boxes are something else.
    assert evaluate(dataset_of(document, tmp_path), results_of(detections)).ap == 0


def test_polygons_of_detections_are_masks_too(tmp_path: Path) -> None:
    document, _ = drawn(3)
    objects = [item for item in document["annotations"] if not item["iscrowd"]]
    found = [{**item, "score": 0.5} for item in objects]
    assert evaluate(dataset_of(document, tmp_path), results_of(found), masks=True).ap == pytest.approx(1)


def test_nothing_found_is_0(tmp_path: Path) -> None:
    document, _ = drawn(3)
    assert evaluate(dataset_of(document, tmp_path), results_of([]), masks=True).ap == 0


def test_objects_without_masks_are_named(tmp_path: Path) -> None:
    document, detections = drawn(0)
    items = document["annotations"]
    del items[0]["segmentation"]
    items[1]["segmentation"] = []
    items[2]["segmentation"] = plain(np.zeros((HEIGHT, WIDTH), dtype=np.uint8)) | {"size": [WIDTH, HEIGHT]}
    with pytest.raises(DataError) as caught:
        evaluate(dataset_of(document, tmp_path), results_of(detections), truth="val.json", masks=True)
    assert str(caught.value) == "\n".join(
        [
            "val.json: 3 object(s) whose masks cannot be compared",
            "  $.annotations[0].segmentation: expected a mask, polygons or runs, found none that can be used",
            "  $.annotations[1].segmentation: expected a mask, polygons or runs, found none that can be used",
            "  $.annotations[2].segmentation: expected runs of the image's 150 x 200 px (height x width), "
            "found 200 x 150",
            "Objects without masks are compared by their boxes.",
        ]
    )


@pytest.mark.parametrize(
    ("segmentation", "problem"),
    [
        (None, f"{EXPECTED} none"),
        ([], f"{EXPECTED} none"),
        ("text", f'{EXPECTED} "text"'),
        ({"size": [HEIGHT, WIDTH], "counts": [5]}, f'{EXPECTED} {{"size":[150,200],"counts":[5]}}'),
        ({"size": [HEIGHT, WIDTH], "counts": "zzzz"}, f'{EXPECTED} {{"size":[150,200],"counts":"zzzz"}}'),
        ({"size": [2, 3], "counts": [6]}, "expected runs of the image's 150 x 200 px (height x width), found 2 x 3"),
    ],
)
def test_detections_without_good_masks_are_named(segmentation: Any, problem: str, tmp_path: Path) -> None:
    document, detections = drawn(0)
    detections[1]["segmentation"] = segmentation
    with pytest.raises(DataError) as caught:
        evaluate(dataset_of(document, tmp_path), results_of(detections), name="r.json", masks=True)
    assert caught.value.headline == "r.json: 1 detection(s) whose masks cannot be compared"
    assert caught.value.problems == [f"$[1].segmentation: {problem}"]
    assert "predict --masks" in caught.value.advice


def shell(document: dict[str, Any], detections: list[dict[str, Any]], folder: Path, *options: str) -> Ended:
    (folder / "instances.json").write_text(json.dumps(document))
    (folder / "results.json").write_text(json.dumps(detections))
    files = ("--annotations", folder / "instances.json", "--results", folder / "results.json")
    return in_shell(main, "python -m datasets", "evaluate", *files, *options)


def test_the_command_compares_masks(tmp_path: Path) -> None:
    document, detections = drawn(5)
    code, out, err = shell(document, detections, tmp_path, "--masks", "--json")
    assert (code, err) == (0, "")
    printed = json.loads(out)
    assert printed["iou_type"] == "segm"
    assert {key: printed[key] for key in METRICS} == pytest.approx(oracle(document, detections), abs=1e-12)
    assert "detections; masks are compared\n" in shell(document, detections, tmp_path, "--masks").out
    assert "iou_type" not in json.loads(shell(document, detections, tmp_path, "--json").out)


def test_the_command_refuses_results_without_masks(tmp_path: Path) -> None:
    document, detections = drawn(5)
    for item in detections:
        del item["segmentation"]
    code, out, err = shell(document, detections, tmp_path, "--masks")
    assert (code, out) == (1, "")
    path = tmp_path / "results.json"
    assert err.startswith(f"error: {path}: {len(detections)} detection(s) whose masks cannot be compared\n  $[0].segm")


def test_a_short_polygon_beside_others_is_left_out_as_in_training(tmp_path: Path) -> None:
    document, _ = drawn(3)
    objects = [item for item in document["annotations"] if not item["iscrowd"]]
    found = [{**item, "score": 0.5} for item in objects]
    polygon = [10, 10, 60, 10, 60, 60, 10, 60]
    objects[0]["segmentation"] = [polygon, [1, 2, 3, 4]]
    found[0] = {**found[0], "segmentation": [polygon]}
    assert evaluate(dataset_of(document, tmp_path), results_of(found), masks=True).ap == pytest.approx(1)


def test_sizes_that_the_file_lacks_come_from_the_images(tmp_path: Path) -> None:
    document, detections = drawn(5)
    for item in document["images"]:
        (tmp_path / "images").mkdir(exist_ok=True)
        PillowImage.new("RGB", (item["width"], item["height"])).save(tmp_path / "images" / item["file_name"])
    whole = shell(document, detections, tmp_path, "--masks", "--json")
    del document["images"][1]["width"], document["images"][1]["height"]
    found = shell(document, detections, tmp_path, "--masks", "--json", "--images", str(tmp_path / "images"))
    assert found.code == whole.code == 0
    one, other = json.loads(found.out), json.loads(whole.out)
    # But for the repair.
    assert one.pop("repairs") != other.pop("repairs")
    assert one == other


def test_images_of_unknown_size_have_no_masks(tmp_path: Path) -> None:
    document, detections = drawn(5)
    del document["images"][1]["width"]
    assert shell(document, detections, tmp_path).code == 0
    code, _, err = shell(document, detections, tmp_path, "--masks")
    assert code == 1
    assert "$.images[1]" in err
