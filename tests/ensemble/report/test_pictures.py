"""What is drawn over the pictures: found and missed objects, right and wrong detections, a submission's boxes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from datasets import coco_runs
from datasets.records import Category, Image
from datasets.results import Results
from ensemble import pipeline
from ensemble.report import pictures
from ensemble.report.images import Change, judged
from ensemble.report.pictures import Names
from tests.ensemble.files import categories, listing, write
from tests.ensemble.report import files

LEFT, RIGHT, CORNER = (2.0, 3.0, 20.0, 20.0), (30.0, 3.0, 20.0, 20.0), (0.0, 60.0, 10.0, 10.0)
IMAGE = Image(id=7, file_name="7.jpg", width=60, height=80)


def found(*rows: tuple[int, tuple[float, float, float, float], float], masks: list[bytes] | None = None) -> Results:
    """In image 7, of (category id, xywh, score)."""
    ids, boxes, scores = zip(*rows, strict=True)
    return Results(np.full(len(rows), 7), np.array(ids), np.array(boxes), np.array(scores), masks)


def annotation(id_: int, box: tuple[float, ...], iscrowd: int = 0) -> dict[str, object]:
    kind = {"category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": iscrowd}
    return {"id": id_, "image_id": 7, **kind}


def test_objects_are_found_or_missed_and_detections_right_or_wrong(tmp_path: Path) -> None:
    annotations = [annotation(1, LEFT), annotation(2, RIGHT), annotation(3, CORNER, iscrowd=1)]
    path = write(tmp_path / "val.json", listing(categories=categories(), annotations=annotations))
    truth = pipeline.read_images(path).truth
    assert truth is not None
    # The first in its place; one of another category; one in the ignored region.
    results = found((1, LEFT, 0.9), (3, RIGHT, 0.8), (1, CORNER, 0.7))
    seen, names = judged(truth, results, 0.5, 100), Names.of(truth.categories)
    objects = pictures.truth_shapes(truth, [0, 1, 2], seen, names)
    assert [(shape.kind, shape.about) for shape in objects] == [
        ("truth", "kind 1, annotated"),
        ("missed", "kind 1, missed"),
        ("ignored", "kind 1, ignored region"),
    ]
    detections = pictures.detection_shapes(IMAGE, seen, names)
    assert [(shape.kind, shape.about) for shape in detections] == [
        ("predicted", "kind 1 0.90"),
        ("wrong", "kind 3 0.80"),
    ]
    assert pictures.counted([*objects, *detections]) == "1 right, 1 wrong, 1 missed"

    place = [image.id for image in truth.images].index(7)
    (item,) = pictures.compared(truth, [Change(place, 0.2, 0.5)], seen, seen, ("a", "fusion"), tmp_path)
    assert item.words == {"effect": "helped", "category": "category1 category3"}
    assert [drawn.about for drawn in item.pictures] == [
        "a: F1 0.20; 1 right, 1 wrong, 1 missed",
        "fusion: F1 0.50; 1 right, 1 wrong, 1 missed",
    ]
    assert item.missing == "expected an image file, found none"


def test_a_submission_is_drawn_in_the_colours_of_its_categories(tmp_path: Path) -> None:
    folder = files.folder(tmp_path) / "images"
    names = [Category(id=id_, name=f"kind {id_}") for id_ in (18, 1, 3)]
    results = found((3, CORNER, 0.5), (18, (0.0, 0.0, 60.0, 60.0), 0.75), (3, CORNER, 0.625))
    nothing = Results(*(getattr(results, name)[:0] for name in ("image_ids", "category_ids", "boxes_xywh", "scores")))
    (empty,) = pictures.submitted([IMAGE], nothing, names, folder)
    (full,) = pictures.submitted([IMAGE], results, names, folder)
    assert (empty.pictures[0].about, empty.words, empty.missing) == ("nothing found", {"category": ""}, "")
    assert (full.pictures[0].about, full.words) == ("2 kind 3, 1 kind 18", {"category": "category3 category18"})
    # By the order of ids: 1, 3, 18.
    assert 'class="shape category-3"' in full.pictures[0].picture
    # The large box has room for its name; the label of the worse of two in one place is left out.
    assert ">kind 18 0.75</text>" in full.pictures[0].picture
    assert ">0.62</text>" in full.pictures[0].picture
    assert ">0.50</text>" not in full.pictures[0].picture


def test_masks_are_drawn_in_the_size_of_their_image_only() -> None:
    names = Names.of([Category(id=1, name="cup")])

    def outlines(height: int, width: int, *, masks: bool = True) -> int:
        rle = coco_runs.to_rle(coco_runs.from_windows([(2, 3, 22, 23)], height, width))
        mask = msgspec.json.encode({"size": rle.size, "counts": rle.counts})
        results = found((1, LEFT, 0.9), masks=[mask])
        return len(pictures.submitted_shape(results, 0, IMAGE, names, masks=masks).outlines)

    assert outlines(IMAGE.height, IMAGE.width) == 1
    assert outlines(IMAGE.width, IMAGE.height) == 0
    # Of an image whose size no file confirms.
    assert outlines(IMAGE.height, IMAGE.width, masks=False) == 0
    no_mask = found((1, LEFT, 0.9), masks=[b""])
    assert pictures.submitted_shape(no_mask, 0, IMAGE, names, masks=True).outlines == []


def test_a_category_that_the_list_lacks_is_called_by_its_id() -> None:
    assert Names.of([]).name(18) == "#18"
    assert Names.of([]).kind(18) == "category-5"
