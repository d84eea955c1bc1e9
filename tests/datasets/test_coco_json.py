"""Reading annotation files: bytes that are no JSON or odd JSON, which keys are kept, and what --strict refuses."""

from __future__ import annotations

import copy
import gzip
import json
from typing import Any

import pytest

from datasets import checks, respell
from tests.protocols import Read, Refused

Document = dict[str, Any]

PROVENANCE = {
    "source_input": 0,
    "source_id": 3,
    "source_file_name": "a.png",
    "operation": "crop",
    "window": [0, 0, 40, 30],
    "transform": "blur",
    "seed": 12,
}


def test_a_file_cut_short_anywhere_is_refused_with_its_size(document: Document, refused: Refused) -> None:
    data = json.dumps(document).encode()

    for length in [*range(0, len(data), 17), len(data) - 1]:
        error = refused(data[:length])

        assert error.headline.endswith(": not valid JSON")
        assert f"the file has {length:,} bytes" in error.problems[0]
        assert "column" in error.problems[0]


@pytest.mark.parametrize("content", [b"not json", b"{'images': []}", b"{} {}", b"\xff\x00", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_json_is_refused(content: bytes, refused: Refused) -> None:
    assert refused(content).headline.endswith(": not valid JSON")


@pytest.mark.parametrize("content", [b"[]", b"5", b"null", b'"text"'])
def test_json_that_is_no_object_is_refused(content: bytes, refused: Refused) -> None:
    assert "expected a COCO dataset, a JSON object" in refused(content).headline


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (gzip.compress(b"{}", mtime=0), "a file compressed by gzip; unpack it first: gunzip FILE"),
        ("{}".encode("utf-16"), "UTF-16; convert it first: iconv -f UTF-16 -t UTF-8 FILE"),
        (b"PK\x03\x04", "a zip archive; unpack it first: unzip FILE"),
    ],
)
def test_json_in_another_form_is_refused_with_the_way_out(content: bytes, what: str, refused: Refused) -> None:
    assert refused(content).headline.endswith(f": expected JSON in UTF-8, found {what}")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_boxes_that_are_not_finite_are_left_out_and_masks_dropped(value: str, document: Document, read: Read) -> None:
    """Python's json writes what JSON has no name for."""
    outline = [[10, 5, 30, 5, 30, 12345.5]]
    document["annotations"].append({**copy.deepcopy(document["annotations"][0]), "id": 102, "segmentation": outline})
    document["annotations"][0]["bbox"][2] = 12345.5
    document["annotations"][1]["area"] = 12345.5

    found = read(json.dumps(document).replace("12345.5", value).encode())

    assert [item.id for item in found.dataset.annotations] == [101, 102]
    assert found.dataset.annotations[0].area == 60  # that of its mask, 2 x 30
    assert found.dataset.annotations[1].segmentation is None
    assert found.repairs.places[respell.NOT_FINITE] == ["$.annotations[0]"]
    assert found.repairs.places[checks.AREA_MISSING] == ["$.annotations[1]"]
    assert found.repairs.places[respell.MASK_NOT_FINITE] == ["$.annotations[2]"]


def odd(document: Document, old: str, new: bytes) -> bytes:
    data = json.dumps(document).encode()
    assert old.encode() in data
    return data.replace(old.encode(), new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a.png", b"\xff.png"),
        ("person", b"\xc3("),
        ("made by hand", b"\xff"),
        ("CC BY 2.0", b"\xff"),
        ("a.png", rb"\ud800.png"),
        ("a.png", rb"\x.png"),
    ],
)
def test_text_that_is_no_unicode_is_refused(old: str, new: bytes, document: Document, refused: Refused) -> None:
    refused(odd(document, old, new))


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ('"bbox": [10, 5, 20, 10]', b'"bbox": [10, 5, 20, "x"], "bbox": 5', "$.annotations[0]"),
        ('"area": 200', b'"area": "x", "area": "y"', "$.annotations[0]"),
        ('"id": 100', b'"id": ' + b"1" * 5000, "$.annotations[0].id"),
        ('"id": 100', b'"id": -' + b"9" * 5000, "$.annotations[0].id"),
    ],
    ids=["key twice", "key twice, both wrong", "5,000 digits", "-5,000 digits"],
)
def test_odd_json_with_a_wrong_type_is_refused_by_its_place(
    old: str, new: bytes, place: str, document: Document, refused: Refused
) -> None:
    (problem,) = refused(odd(document, old, new)).problems

    assert problem.startswith(place)
    assert len(problem) < 300


# Python 3.12 reads the 1,200 that its predecessors refuse.
@pytest.mark.parametrize(("depth", "inside"), [(100_000, b"1"), (100_000, b"NaN"), (1200, b"NaN")])
def test_json_too_deep_to_read_is_refused(depth: int, inside: bytes, document: Document, refused: Refused) -> None:
    refused(odd(document, '"made by hand"', b"[" * depth + inside + b"]" * depth))


def test_cocos_own_keys_of_an_image_are_kept_and_others_dropped(document: Document, read: Read) -> None:
    own = {"license": 4, "flickr_url": "http://f/1", "coco_url": "http://c/1", "date_captured": "2013-11-14 11:18:45"}
    document["images"][0] |= own | {"weather": "rain", "tags": [{}]}
    document["annotations"][0] |= {"keypoints": [1, 2, 3], "note": "x"}
    document["categories"][0]["color"] = "red"
    document["extra"] = {"a": 1}

    dataset = read(document).dataset

    image = dataset.images[0]
    assert {key: getattr(image, key) for key in own} == own
    assert not hasattr(image, "weather")
    assert not hasattr(dataset.annotations[0], "keypoints")
    assert not hasattr(dataset.categories[0], "color")


def test_what_augment_says_of_a_source_is_read_only_on_request(document: Document, read: Read) -> None:
    document["images"][0] |= PROVENANCE
    document["annotations"][0]["source_annotation_id"] = 70

    plain, full = read(document).dataset, read(document, provenance=True).dataset

    assert {key: getattr(plain.images[0], key) for key in PROVENANCE} == dict.fromkeys(PROVENANCE)
    assert {key: getattr(full.images[0], key) for key in PROVENANCE} == PROVENANCE | {"window": (0, 0, 40, 30)}
    assert plain.annotations[0].source_annotation_id is None
    assert full.annotations[0].source_annotation_id == 70


def test_the_same_key_of_another_tool_with_another_meaning_does_no_harm(document: Document, read: Read) -> None:
    document["images"][0] |= {"source_id": "abc", "window": "left", "seed": [1]}
    document["annotations"][0]["source_annotation_id"] = "7f3e"

    assert len(read(document).dataset.annotations) == 2


def test_odd_or_missing_info_and_licences_make_a_dataset_none_the_worse(document: Document, read: Read) -> None:
    document |= {"info": [1], "licenses": "CC"}
    odd = read(document).dataset
    del document["info"], document["licenses"]
    missing = read(document).dataset

    assert (odd.info, odd.licenses) == (missing.info, missing.licenses) == ({}, [])


REPAIRED: dict[str, dict[str, Any]] = {
    checks.BOX_CLIPPED: {"bbox": [-1, 0, 10, 10]},
    checks.ZERO_AREA: {"bbox": [5, 5, 0, 10]},
    checks.SHORT_POLYGON: {"segmentation": [[10, 5, 30, 5, 30, 15, 10, 15], [1, 1, 2, 2]]},
    checks.AREA_MISSING: {"area": None},
    checks.CROWD_MISSING: {"iscrowd": None},
}


@pytest.mark.parametrize("kind", REPAIRED)
def test_what_is_repaired_is_counted_and_listed_and_an_error_when_strict(
    kind: str, document: Document, read: Read, refused: Refused
) -> None:
    document["annotations"][0] |= REPAIRED[kind]

    assert read(document).repairs.counts() == {kind: 1}
    (place,) = read(document).repairs.places[kind]
    assert place.startswith("$.annotations[0]")

    error = refused(document, strict=True)
    assert error.headline.endswith(": 1 problem(s) that --strict does not repair")
    assert error.problems == [f"{place}: {kind}"]


@pytest.mark.parametrize("key", ["area", "iscrowd"])
def test_an_absent_area_or_iscrowd_is_repaired_like_null(key: str, document: Document, read: Read) -> None:
    del document["annotations"][0][key]

    assert sum(read(document).repairs.counts().values()) == 1


def test_a_right_document_is_right_for_strict_too(document: Document, read: Read) -> None:
    assert read(document, strict=True).repairs.counts() == {}


def test_strict_lists_twenty_repairs_and_counts_the_others(document: Document, refused: Refused) -> None:
    last = document["annotations"][0]
    document["annotations"] += [{**last, "id": 200 + index, "iscrowd": None} for index in range(25)]

    error = refused(document, strict=True)

    assert (len(error.problems), error.count) == (20, 25)


@pytest.mark.parametrize("segmentation", [[], [[]], None, "absent"])
def test_annotations_without_segmentation_are_read(segmentation: Any, document: Document, read: Read) -> None:
    document["annotations"][0]["segmentation"] = segmentation
    if segmentation == "absent":
        del document["annotations"][0]["segmentation"]

    found = read(document, strict=True)

    assert found.dataset.annotations[0].segmentation is None
