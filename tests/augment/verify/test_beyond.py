"""Verifying what other pictures have lent: labels, donors on record, and what is changed in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from augment.verify.dataset import Verified
from datasets.errors import DataError
from datasets.source_digests import read_source_digests
from datasets.sources import Input
from tests.augment.beyond import BEYOND
from tests.protocols import Draw, Edit, Make

Check = Callable[[Path], Verified]
Faults = Callable[[Path], list[str]]
Read = Callable[[Path], dict[str, Any]]


@pytest.mark.parametrize("more", [{"limit": 1}, {"limit": 5}, {"link": True}])
def test_builds_with_options_are_good(draw: Draw, make: Make, check: Check, tmp_path: Path, more: Any) -> None:
    make(draw(tmp_path / "data"), tmp_path / "out", BEYOND, **more)
    assert check(tmp_path / "out").labels_verified


def test_builds_of_boxes_and_of_two_inputs_are_good(draw: Draw, make: Make, check: Check, tmp_path: Path) -> None:
    boxes = draw(tmp_path / "boxes", masks=False)
    make([boxes, draw(tmp_path / "few", only=(7, 12))], tmp_path / "out", BEYOND)
    assert check(tmp_path / "out").labels_verified


def test_every_donor_is_found_again_from_its_record(built: Callable[[str], Path], drawn: Input, read: Read) -> None:
    """In the input: source, annotation, scale, flip and place; and each pasted label names its donor."""
    dataset = read(built("beyond"))
    source = json.loads(drawn.annotations.read_bytes())
    images = {image["id"]: image for image in source["images"]}
    objects = {item["id"]: item for item in source["annotations"]}
    pasted = 0
    for image in dataset["images"]:
        donors = image.get("donors", [])
        assert bool(donors) == (image["operation"] in ("paste", "mosaic"))
        labels = [item for item in dataset["annotations"] if item["image_id"] == image["id"]]
        foreign = {(item["source_image_id"], item["source_annotation_id"]) for item in labels if "source_input" in item}
        if image["operation"] == "paste":
            pasted += len(foreign)
            listed = {(donor["source_id"], donor["source_annotation_id"]) for donor in donors}
            assert foreign <= listed
            for donor in donors:
                item = objects[donor["source_annotation_id"]]
                assert item["image_id"] == donor["source_id"] != image["source_id"]
        for donor in donors:
            x0, y0, x1, y1 = donor["window"]
            left, top, right, bottom = donor["region"]
            owner = images[donor["source_id"]]
            assert 0 <= x0 < x1 <= owner["width"]
            assert 0 <= y0 < y1 <= owner["height"]
            assert 0 <= left < right <= image["width"]
            assert 0 <= top < bottom <= image["height"]
        if image["operation"] == "mosaic":
            assert len(donors) == 4
            assert {key[0] for key in foreign} <= {donor["source_id"] for donor in donors}
    assert pasted > 10


def test_every_donor_counts_as_seen(built: Callable[[str], Path], read: Read) -> None:
    """What training has seen is read from sources.jsonl, which has a line for each donor."""
    folder = built("beyond")
    seen = {(line.input, line.id) for line in read_source_digests(folder / "sources.jsonl")}
    donors = {(d["source_input"], d["source_id"]) for image in read(folder)["images"] for d in image.get("donors", [])}
    assert donors
    assert donors <= seen


def pasted_of(document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """An image with a pasted object, and the object's label."""
    images = {image["id"]: image for image in document["images"]}
    label = next(
        item
        for item in document["annotations"]
        if images[item["image_id"]]["operation"] == "paste" and "source_image_id" in item and not item["iscrowd"]
    )
    return images[label["image_id"]], label


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda image, _: image["donors"][0].update(flip=not image["donors"][0].get("flip", False)), "donors"),
        (lambda image, _: image["donors"][0].update(scale=0.123), "donors"),
        (lambda image, _: image["donors"][0].update(region=[0, 0, 10**9, 10**9]), "donors"),
        (lambda image, _: image["donors"][0].update(source_id=10**9), "donors"),
        (lambda image, _: image["donors"].append(dict(image["donors"][0])), "donors"),
        (lambda image, _: image.pop("donors"), "donors"),
        (lambda _, label: label.update(source_image_id=label["source_image_id"] + 1), "expected it dropped, found it"),
        (lambda _, label: label.update(area=label["area"] + 1), ": expected area "),
        (lambda _, label: label.update(category_id=90 if label["category_id"] != 90 else 1), ": expected category_id "),
        (lambda _, label: label.pop("source_input"), "expected it dropped, found it"),
    ],
)
def test_what_is_changed_in_a_paste_is_found(
    copied: Callable[[str], Path], faults: Faults, edit: Edit, change: Callable[[Any, Any], Any], expected: str
) -> None:
    folder = copied("beyond")
    name = ""

    def changed(document: dict[str, Any]) -> None:
        nonlocal name
        image, label = pasted_of(document)
        name = image["file_name"]
        change(image, label)

    edit(folder, changed)
    found = [fault for fault in faults(folder) if not fault.startswith("manifest.json counts")]
    assert found
    assert all(fault.startswith(f"images/{name}: ") for fault in found)
    assert any(expected in fault for fault in found)


@pytest.mark.parametrize(
    ("operation", "key", "value"),
    [
        ("turn", "turn", {"mirrored": False, "degrees": 0}),
        ("erase", "erased", {"unit": 7, "square": 3, "left": 0, "top": 0}),
        ("tile", "window", [0, 0, 40, 40]),
    ],
)
def test_what_is_changed_in_other_records_is_found(
    copied: Callable[[str], Path], faults: Faults, edit: Edit, operation: str, key: str, value: Any
) -> None:
    folder = copied("beyond")

    def changed(document: dict[str, Any]) -> None:
        image = next(image for image in document["images"] if image["operation"] == operation and image[key] != value)
        image[key] = value

    edit(folder, changed)
    assert any(f": {key}" in fault for fault in faults(folder))


def test_originals_that_are_not_those_of_the_build_are_one_fault(
    copied: Callable[[str], Path], faults: Faults, edit: Edit
) -> None:
    """A mask that changes is another donor: nothing can be drawn again."""
    folder = copied("beyond")

    def changed(document: dict[str, Any]) -> None:
        originals = {image["id"] for image in document["images"] if image["operation"] == "original"}
        item = next(item for item in document["annotations"] if item["image_id"] in originals and not item["iscrowd"])
        item["category_id"] = 90 if item["category_id"] != 90 else 1

    edit(folder, changed)
    (fault,) = faults(folder)
    assert fault.startswith("manifest.json donors_sha256: expected ")
    assert fault.endswith("so nothing was drawn again, and no label compared")


def test_a_build_without_donors_has_no_digest_of_them(built: Callable[[str], Path]) -> None:
    manifests = {name: json.loads((built(name) / "manifest.json").read_bytes()) for name in ("beyond", "expanded")}
    assert len(manifests["beyond"]["donors_sha256"]) == 64
    assert "donors_sha256" not in manifests["expanded"]


def test_another_picture_is_another_list_of_donors(draw: Draw, make: Make, tmp_path: Path) -> None:
    found = set()
    for only in ((7, 12, 20), (7, 12, 20, 31), (7, 12)):
        out = tmp_path / f"out{len(only)}"
        make(draw(tmp_path / f"data{len(only)}", only=only), out, BEYOND)
        found.add(json.loads((out / "manifest.json").read_bytes())["donors_sha256"])
    assert len(found) == 3


def test_a_limit_takes_donors_from_within_it(draw: Draw, make: Make, check: Check, read: Read, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(draw(tmp_path / "data"), out, msgspec.structs.replace(BEYOND, name="some"), limit=4)
    images = read(out)["images"]
    sources = {image["source_id"] for image in images}
    assert len(sources) == 4
    assert {donor["source_id"] for image in images for donor in image.get("donors", [])} <= sources
    assert check(out).labels_verified


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: d["images"][0].update(width=10**30), "expected"),
        (lambda d: d["images"][0].update(width=10**9), "expected a width and height of 1 to 65,500 px"),
        (lambda d: d["images"][0].update(width=0), "expected a width and height of 1 to 65,500 px"),
        (lambda d: d["images"][0].update(source_id=10**30), "source_id"),
        (lambda d: d["images"][0].update(source_input=10**30), "source_input"),
        (lambda d: d["images"][0].update(source_input=-1), "source_input"),
        (lambda d: d["annotations"][0].update(source_annotation_id=10**30), "source_annotation_id"),
        (lambda d: d["annotations"][0].update(id=10**30), "$.annotations[0]"),
        (lambda d: d["images"][1].update(donors=[{}]), "donors"),
        (lambda d: d["images"][1].update(turn={"mirrored": False, "degrees": 45}), "turn"),
        (lambda d: d["images"][1].update(erased={"unit": 0, "square": 0, "left": 0, "top": 0}), "erased"),
        (lambda d: d["images"][1].update(window=[-5, -5, 10**12, 3]), "window"),
    ],
)
@pytest.mark.parametrize("name", ["beyond", "expanded"])
def test_numbers_that_cannot_be_are_faults_and_no_traceback(
    copied: Callable[[str], Path], faults: Faults, edit: Edit, name: str, change: Callable[[Any], Any], expected: str
) -> None:
    folder = copied(name)
    edit(folder, change)
    assert any(expected in fault for fault in faults(folder))


@pytest.mark.parametrize("line", [b'{"id": 1,,},\n', b'{"id":\n', b'{"id": 1, "file_name": "\\ud800"},\n'])
@pytest.mark.parametrize("after", [b'"images":[\n', b'"annotations":[\n'])
def test_a_line_that_is_no_json_is_a_fault(
    copied: Callable[[str], Path], check: Check, sign: Callable[[Path], None], line: bytes, after: bytes
) -> None:
    folder = copied("beyond")
    path = folder / "annotations" / "instances.json"
    path.write_bytes(path.read_bytes().replace(after, after + line, 1))
    sign(folder)
    with pytest.raises(DataError):
        check(folder)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: m.update(counts=[1]), "counts"),
        (lambda m: m.update(counts="x"), "counts"),
        (lambda m: m.update(limit="x"), "limit"),
        (lambda m: m.update(donors_sha256=5), "donors_sha256"),
        (lambda m: m.update(donors_sha256="0" * 64), "donors_sha256: expected none"),
    ],
)
def test_a_manifest_of_other_types_is_a_fault(
    copied: Callable[[str], Path], check: Check, edit: Edit, change: Callable[[Any], Any], expected: str
) -> None:
    folder = copied("expanded")
    edit(folder, change, "manifest.json")
    with pytest.raises(DataError, match=expected):
        check(folder)
