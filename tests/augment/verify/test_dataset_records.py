"""Verifying records: a change that somebody made and signed with good digests is found by the recipe's own rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from augment.executors.local import executor
from augment.verify.dataset import verify
from datasets.errors import DataError
from tests.protocols import Edit

Dataset = dict[str, Any]
Faults = Callable[[Path], list[str]]


def image_of(dataset: Dataset, source: int, operation: str) -> dict[str, Any]:
    return next(i for i in dataset["images"] if (i["source_id"], i["operation"]) == (source, operation))


def annotation_of(dataset: Dataset, source: int, operation: str) -> dict[str, Any]:
    """The first annotation of an image, which is no crowd."""
    id_ = image_of(dataset, source, operation)["id"]
    found: dict[str, Any] = next(a for a in dataset["annotations"] if (a["image_id"], a["iscrowd"]) == (id_, 0))
    return found


# What to change in the annotation file of `everything`, and the image that must be named.
CHANGES: dict[str, tuple[Callable[[Dataset], Any], int, str]] = {
    "a moved box": (lambda d: annotation_of(d, 40, "center_crop")["bbox"].__setitem__(2, 3.5), 40, "center_crop"),
    "a box of an original": (lambda d: annotation_of(d, 40, "original")["bbox"].__setitem__(2, 3.5), 40, "pixel"),
    "iscrowd": (lambda d: annotation_of(d, 40, "random_crop").update(iscrowd=1), 40, "random_crop"),
    "a category": (lambda d: annotation_of(d, 40, "random_crop").update(category_id=18), 40, "random_crop"),
    "an area": (lambda d: annotation_of(d, 7, "pixel").update(area=99), 7, "pixel"),
    "a polygon": (lambda d: annotation_of(d, 7, "pixel")["segmentation"][0].__setitem__(0, 6), 7, "pixel"),
    "no mask": (lambda d: annotation_of(d, 7, "pixel").pop("segmentation"), 7, "pixel"),
    "a removed object": (lambda d: d["annotations"].remove(annotation_of(d, 7, "pixel")), 7, "pixel"),
    "an added object": (
        lambda d: d["annotations"].append({**annotation_of(d, 7, "pixel"), "id": 9999, "source_annotation_id": 9999}),
        *(7, "pixel"),
    ),
    "an object twice": (lambda d: d["annotations"].append({**annotation_of(d, 7, "pixel"), "id": 9999}), 7, "pixel"),
    "an object of another image": (
        lambda d: annotation_of(d, 7, "pixel").update(image_id=image_of(d, 7, "original")["id"]),
        *(7, "pixel"),
    ),
    "a window": (lambda d: image_of(d, 12, "center_crop")["window"].__setitem__(0, 0), 12, "center_crop"),
    "a transform": (lambda d: image_of(d, 12, "pixel").update(transform="RandomFog"), 12, "pixel"),
    "a seed": (lambda d: image_of(d, 31, "copy").update(seed=1), 31, "copy"),
    "an operation": (lambda d: image_of(d, 31, "copy").update(operation="pixel"), 31, "copy"),
    "a source": (lambda d: image_of(d, 30, "pixel").update(source_id=7), 30, "original"),
    "a source's name": (lambda d: image_of(d, 30, "pixel").update(source_file_name="b.jpg"), 30, "pixel"),
    "a licence": (lambda d: image_of(d, 30, "center_crop").update(license=2), 30, "center_crop"),
    "an attribution": (lambda d: image_of(d, 30, "center_crop").pop("flickr_url"), 30, "center_crop"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_was_signed_is_found_by_the_rule(
    copied: Callable[[str], Path], faults: Faults, edit: Edit, change: str
) -> None:
    folder = copied("everything")
    act, source, operation = CHANGES[change]
    name = image_of(json.loads((folder / "annotations" / "instances.json").read_bytes()), source, operation)[
        "file_name"
    ]
    edit(folder, act)
    assert any(name in fault for fault in faults(folder))


def test_a_record_twice_is_found(copied: Callable[[str], Path], faults: Faults, edit: Edit) -> None:
    folder = copied("balanced")
    edit(folder, lambda d: d["images"].append({**d["images"][-1], "id": 9999}))
    name = image_of(json.loads((folder / "annotations" / "instances.json").read_bytes()), 40, "original")["file_name"]
    assert f"images/{name}: expected one image record, found several" in faults(folder)


def test_an_id_twice_is_found(copied: Callable[[str], Path], faults: Faults, edit: Edit) -> None:
    folder = copied("balanced")
    edit(folder, lambda d: d["annotations"][3].update(id=1))
    assert any("$.annotations[3].id" in fault for fault in faults(folder))


def test_a_whole_source_that_is_gone_is_found(copied: Callable[[str], Path], faults: Faults, edit: Edit) -> None:
    folder = copied("expanded")

    def forget(dataset: Dataset) -> None:
        gone = [image for image in dataset["images"] if image["source_id"] == 30]
        for image in gone:
            (folder / "images" / image["file_name"]).unlink()
        dataset["images"] = [image for image in dataset["images"] if image not in gone]

    edit(folder, forget)
    assert "manifest.json counts.images: expected 42, found 48" in faults(folder)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda m: m["counts"].update(images=7), "counts.images: expected 52, found 7"),
        (
            lambda m: m["counts"]["operations"]["pixel"].update(kept=0),
            "counts.operations.pixel.kept: expected 27, found 0",
        ),
        (lambda m: m["counts"]["boxes_per_category"][0].update(before=0), "before: expected 14, found 0"),
        (lambda m: m.pop("counts"), "counts.images"),
        (lambda m: m["recipe"].update(seed=1), "window"),
        (lambda m: m["recipe"]["labels"].update(min_visible=0.9), "expected iscrowd 1, found 0"),
    ],
)
def test_a_manifest_that_was_changed_is_found(
    copied: Callable[[str], Path], faults: Faults, edit: Edit, change: Callable[[Dataset], Any], place: str
) -> None:
    folder = copied("everything")
    edit(folder, change, "manifest.json")
    assert any(place in fault for fault in faults(folder))


def test_an_object_that_is_gone_from_every_image_is_found(
    copied: Callable[[str], Path], faults: Faults, edit: Edit
) -> None:
    folder = copied("expanded")

    def forget(dataset: Dataset) -> None:
        dataset["annotations"] = [item for item in dataset["annotations"] if item["source_annotation_id"] != 700]

    edit(folder, forget)
    assert "manifest.json counts.operations.original.kept: expected 26, found 27" in faults(folder)


def test_annotations_out_of_order_or_of_no_image_are_found(copied: Callable[[str], Path], faults: Faults) -> None:
    folder = copied("expanded")
    path = folder / "annotations" / "instances.json"
    lines = path.read_text().splitlines(keepends=True)
    first = lines.index('],"annotations":[\n') + 1
    # The first annotation of image 1 behind one of a later image, and one of an image that there is not.
    later = next(n for n in range(first, len(lines)) if '"image_id":1,' not in lines[n])
    lines.insert(later, lines.pop(first))
    lines[-2] = lines[-2].replace('"image_id":', '"image_id":9')
    path.write_text("".join(lines))
    found = faults(folder)
    number = later - first
    assert any(f"$.annotations[{number}].id: expected one above" in fault for fault in found)
    assert any("].image_id: expected annotations in the order of the images, found one of image 9" in f for f in found)


def test_a_file_laid_out_otherwise_is_named(copied: Callable[[str], Path], sign: Callable[[Path], None]) -> None:
    folder = copied("balanced")
    path = folder / "annotations" / "instances.json"
    path.write_text(json.dumps(json.loads(path.read_bytes())))
    sign(folder)
    with executor("serial") as run, pytest.raises(DataError, match=r"instances\.json line 1: expected a whole line"):
        verify(folder, run, lambda *_: None)
