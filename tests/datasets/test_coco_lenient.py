"""Whole files of other tools: what is repaired, what --skip-bad leaves out, and sizes that only the picture tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from datasets import checks, coco, respell
from datasets.checks import Leniency
from datasets.sources import Input, read_inputs, told_apart
from tests.protocols import Read, Refused

Document = dict[str, Any]


def test_an_export_with_ids_in_text_flat_polygons_and_a_category_twice(document: Document, read: Read) -> None:
    """As VGG's VIA 2 writes."""
    document["categories"].append(dict(document["categories"][0]))
    document["annotations"][0] |= {"image_id": "5", "segmentation": [10, 5, 30, 5, 30, 15, 10, 15]}

    found = read(document)

    assert [item.image_id for item in found.dataset.annotations] == [5, 5]
    assert len(found.dataset.categories) == len(document["categories"]) - 1
    assert found.repairs.counts() == {
        respell.NUMBER: 1,
        respell.FLAT_POLYGON: 1,
        checks.CATEGORY_REPEATED: 1,
    }
    assert found.repairs.places[checks.CATEGORY_REPEATED] == [f"$.categories[{len(document['categories']) - 1}]"]


def test_the_same_id_for_two_categories_is_refused(document: Document, refused: Refused) -> None:
    document["categories"].append({**document["categories"][0], "name": "another"})

    (problem,) = refused(document).problems

    assert ": expected an id of its own, found 1, which $.categories[0] has" in problem


def test_annotation_ids_that_others_have_are_numbered_anew(document: Document, read: Read) -> None:
    """By the largest id there is, whatever stands behind them."""
    first = document["annotations"][0]
    document["annotations"] = [{**first, "id": id_} for id_ in (7, 7, 3, 7, 90)]

    found = read(document)

    assert [item.id for item in found.dataset.annotations] == [7, 91, 3, 92, 90]
    assert found.repairs.places[checks.ID_TAKEN] == ["$.annotations[1]", "$.annotations[3]"]


ODD: list[tuple[str, str, Any]] = [
    ("images", "license", 1.0),
    ("images", "license", [1]),
    ("images", "date_captured", 1700000000.25),
    ("images", "coco_url", False),
    ("images", "flickr_url", {"a": 1}),
    ("categories", "supercategory", 0),
    ("categories", "supercategory", ["animal"]),
]


@pytest.mark.parametrize(("records", "key", "value"), ODD)
def test_what_decides_nothing_never_refuses_a_file(
    records: str, key: str, value: Any, document: Document, read: Read, tmp_path: Path
) -> None:
    document[records][0][key] = value

    found = read(document, strict=True).dataset

    assert getattr(getattr(found, records)[0], key) == value
    # And it is written as it was.
    coco.write(tmp_path / "again.json", found)
    assert json.loads((tmp_path / "again.json").read_bytes())[records][0][key] == value


def test_annotations_that_cannot_be_used_are_left_out_where_that_is_asked_for(document: Document, read: Read) -> None:
    good = document["annotations"][0]
    document["annotations"] = [
        good,
        {**good, "id": 1, "bbox": [30, 28, -24, -20], "segmentation": {"size": [1, 1], "counts": [1]}},
        {**good, "id": 2, "category_id": 77},
        {**good, "id": 3, "image_id": 66},
        {**good, "id": 4, "bbox": "wide"},
        {key: value for key, value in good.items() if key not in ("bbox", "segmentation")} | {"id": 5},
    ]

    found = read(document, leniency=Leniency(skip_bad=True))

    assert [item.id for item in found.dataset.annotations] == [good["id"]]
    places = found.repairs.places[checks.UNUSABLE]
    # Each counts once, with all that is wrong with it.
    assert [place.partition(":")[0].partition("]")[0] for place in places] == [
        f"$.annotations[{index}" for index in (1, 2, 3, 4, 5)
    ]
    assert ".segmentation.size: " in places[0]
    assert ".bbox: expected a width and height of at least 0" in places[0]


def test_without_that_they_are_refused_and_it_is_named(document: Document, refused: Refused) -> None:
    document["annotations"][0]["bbox"] = [30, 28, -24, -20]

    assert str(refused(document, leniency=Leniency())).endswith(
        "--skip-bad leaves out annotations that cannot be used, and counts them."
    )
    # Not where the command has no such option, nor where it would not help.
    assert "--skip-bad" not in str(refused(document))
    document["annotations"][0]["bbox"] = [1, 1, 2, 2]
    document["images"][0]["file_name"] = "../a.png"
    assert "--skip-bad" not in str(refused(document, leniency=Leniency()))


def test_a_box_far_outside_names_the_option_that_clips_it(document: Document, read: Read, refused: Refused) -> None:
    document["annotations"][0] |= {"bbox": [-8, 5, 38, 10], "segmentation": None}

    assert "(within 1 px, or any with --clip-boxes)" in refused(document).problems[0]
    found = read(document, leniency=Leniency(clip_boxes=True))
    assert found.dataset.annotations[0].bbox == (0, 5, 30, 10)
    assert found.repairs.counts() == {checks.BOX_CLIPPED_FAR: 1}


@pytest.mark.parametrize("size", [{}, {"width": None, "height": None}, {"width": -1, "height": -1}, {"width": 0}])
def test_a_size_that_is_missing_is_read_from_the_file(size: dict[str, Any], document: Document, tmp_path: Path) -> None:
    """Upright, as pictures without a size in JSON are shown: the file is stored 30 wide and 40 high, and turned."""
    stored = PillowImage.fromarray(np.zeros((40, 30, 3), dtype=np.uint8))
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    stored.save(tmp_path / "a.jpg", exif=exif)
    document["images"] = [{"id": 5, "file_name": "a.jpg", **size}]
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document))

    found = coco.read(path, images=tmp_path)

    assert [(item.width, item.height) for item in found.dataset.images] == [(40, 30)]
    assert found.repairs.places == {checks.SIZE_FROM_FILE: ["$.images[0]"]}
    assert [(item.width, item.height) for item in coco.read_images(path, tmp_path).images] == [(40, 30)]


def test_a_size_that_nothing_tells_is_refused(document: Document, refused: Refused, tmp_path: Path) -> None:
    del document["images"][1]["width"]
    (tmp_path / "b.png").write_bytes(b"no picture")

    for folder in (None, tmp_path):
        (problem,) = refused(document, images=folder).problems
        assert problem.startswith(
            "$.images[1]: expected a width and height of at least 1 px, or a file that tells them"
        )


def written(folder: Path, document: Document) -> Input:
    folder.mkdir()
    (folder / "annotations.json").write_text(json.dumps(document))
    return Input(folder / "annotations.json", folder)


@pytest.mark.parametrize("categories", [True, False])
def test_pictures_without_objects_beside_others_are_data(categories: bool, document: Document, tmp_path: Path) -> None:
    """Such a file may come first, and may name no category."""
    background = {"images": document["images"], "annotations": [], "categories": document["categories"] * categories}
    inputs = [written(tmp_path / "background", background), written(tmp_path / "objects", document)]

    found = read_inputs(inputs)

    assert [len(source.annotations) for source in found.sources] == [0, 0, 2, 0]
    assert [item.id for item in found.categories] == [item["id"] for item in document["categories"]]
    assert found.warnings[0].startswith("annotations.json (input 1): no annotation that can be used")


def test_repairs_name_their_input_where_two_files_have_one_name(document: Document, tmp_path: Path) -> None:
    document["annotations"][0]["iscrowd"] = None
    inputs = [written(tmp_path / name, document) for name in ("train", "valid")]

    assert read_inputs(inputs).repairs.places[checks.CROWD_MISSING] == [
        "annotations.json (input 1) $.annotations[0]",
        "annotations.json (input 2) $.annotations[0]",
    ]
    assert told_apart(["a.json", "b.json"]) == ["a.json", "b.json"]
