"""Reading annotation files: what is refused, by which place, and what is kept."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from datasets import coco
from datasets.errors import DataError
from tests.protocols import Read, Refused

Document = dict[str, Any]


def changed(document: Document, keys: tuple[str | int, ...], value: Any) -> Document:
    """The document with `value` at `keys`."""
    inner: Any = document
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return document


def test_a_right_document_is_read_without_repairs(document: Document, read: Read) -> None:
    dataset, repairs, *_ = read(document)

    assert dataset.info == document["info"]
    assert dataset.licenses == document["licenses"]
    assert [(item.id, item.name, item.supercategory) for item in dataset.categories] == [
        (1, "person", "person"),
        (18, "dog", None),
    ]
    assert [(item.id, item.file_name, item.width, item.height) for item in dataset.images] == [
        (5, "a.png", 40, 30),
        (9, "sub/b.png", 40, 30),
    ]
    assert [(item.id, item.image_id, item.category_id, item.bbox, item.area) for item in dataset.annotations] == [
        (100, 5, 18, (10, 5, 20, 10), 200),
        (101, 5, 1, (0, 0, 2, 30), 60),
    ]
    assert {id_: [item.id for item in items] for id_, items in dataset.annotations_by_image().items()} == {
        5: [100, 101],
        9: [],
    }
    assert repairs.counts() == {}


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_is_no_matter_and_the_checksum_is_that_of_the_file(
    bom: bytes, document: Document, read: Read
) -> None:
    data = bom + json.dumps(document).encode()

    found = read(data)

    assert len(found.dataset.images) == 2
    assert found.sha256 == hashlib.sha256(data).hexdigest()


# Where, what stands there, the place that the error names, and what it says was found.
WRONG_TYPES: list[tuple[tuple[str | int, ...], Any, str, str]] = [
    (("images", 1, "id"), True, "$.images[1].id", "found true"),
    (("images", 1, "id"), None, "$.images[1].id", "found null"),
    (("images", 1, "id"), 2**53 + 1, "$.images[1].id", f"found {2**53 + 1}"),
    (("images", 1, "id"), 10**30, "$.images[1].id", f"found {10**30}"),
    (("images", 1, "height"), 30.5, "$.images[1].height", "found 30.5"),
    (("images", 1, "file_name"), 5, "$.images[1].file_name", "found 5"),
    (("images", 1), "b.png", "$.images[1]", 'found "b.png"'),
    (("images",), {}, "$.images", "got `object`"),
    (("annotations",), None, "$.annotations", "got `null`"),
    (("annotations", 0, "id"), False, "$.annotations[0].id", "found false"),
    (("annotations", 0, "category_id"), True, "$.annotations[0].category_id", "found true"),
    (("annotations", 0, "category_id"), -(2**53) - 1, "$.annotations[0].category_id", f"found {-(2**53) - 1}"),
    (("annotations", 0, "bbox"), [1, 2, 3], "$.annotations[0].bbox", "found [1, 2, 3]"),
    (("annotations", 0, "bbox"), [1, 2, 3, 4, 5], "$.annotations[0].bbox", "found [1, 2, 3, 4, 5]"),
    (("annotations", 0, "iscrowd"), 2, "$.annotations[0].iscrowd", "found 2"),
    (("annotations", 0, "segmentation"), "x", "$.annotations[0].segmentation", 'found "x"'),
    (("annotations", 1, "segmentation", "counts", 1), 60.5, "$.annotations[1].segmentation.counts[1]", "found 60.5"),
    (("annotations", 1, "segmentation", "size"), [30], "$.annotations[1].segmentation.size", "found [30]"),
    (("categories", 1, "name"), None, "$.categories[1].name", "found null"),
]


@pytest.mark.parametrize(("keys", "value", "place", "found"), WRONG_TYPES)
def test_a_wrong_type_is_refused_by_its_place_with_what_was_expected_and_found(
    keys: tuple[str | int, ...], value: Any, place: str, found: str, document: Document, refused: Refused
) -> None:
    problem = refused(changed(document, keys, value)).problems[0]

    assert problem.startswith(f"{place}: Expected ")
    assert found in problem


@pytest.mark.parametrize(
    ("keys", "value", "problem"),
    [
        (("images", 1, "id"), 5, "$.images[1].id: expected an id of its own, found 5, which $.images[0] has"),
        (("categories", 1, "id"), 1, "$.categories[1].id: expected an id of its own, found 1"),
        (("annotations", 0, "image_id"), 6, "$.annotations[0].image_id: expected the id of an image, found 6"),
        (("annotations", 0, "category_id"), 2, "$.annotations[0].category_id: expected the id of a category, found 2"),
        (("annotations", 0, "bbox"), [10, 5, -20, 10], "$.annotations[0].bbox: expected a width and height of at leas"),
        (("annotations", 0, "bbox"), [10, 5, 32, 10], "$.annotations[0].bbox: expected [x, y, width, height] inside"),
        (("annotations", 1, "segmentation", "size"), [40, 30], "$.annotations[1].segmentation.size: expected [height,"),
        (("annotations", 1, "segmentation", "counts"), [1], "$.annotations[1].segmentation.counts: runs add up"),
        (("images", 1, "width"), 0, "$.images[1]: expected a width and height of at least 1 px, or a file that tells"),
        (("annotations", 0, "segmentation"), "x", "$.annotations[0].segmentation: Expected "),
    ],
)
def test_a_wrong_value_is_refused_by_its_place(
    keys: tuple[str | int, ...], value: Any, problem: str, document: Document, refused: Refused
) -> None:
    assert refused(changed(document, keys, value)).problems[0].startswith(problem)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("/etc/passwd", "is absolute"),
        ("\\share\\a.png", "is absolute"),
        ("C:\\a.png", "is absolute"),
        ("C:a.png", "is absolute"),
        ("../a.png", "climbs out"),
        ("sub/../../a.png", "climbs out"),
        ("sub\\..\\..\\a.png", "climbs out"),
        ("..", "climbs out"),
        ("", "is empty"),
        (".", "is empty"),
        ("a\0.png", "NUL"),
    ],
)
def test_a_file_name_that_leaves_the_image_folder_is_refused(
    name: str, why: str, document: Document, refused: Refused
) -> None:
    (problem,) = refused(changed(document, ("images", 0, "file_name"), name)).problems

    assert problem.startswith(f"$.images[0].file_name: expected a path inside the image folder, found {name!r}")
    assert why in problem


@pytest.mark.parametrize("name", ["images", "annotations", "categories"])
def test_a_missing_list_is_named(name: str, document: Document, refused: Refused) -> None:
    del document[name]

    (problem,) = refused(document).problems

    assert problem.startswith(f"$: expected the key '{name}', found only 'info', ")


@pytest.mark.parametrize(
    ("records", "key"),
    [("images", key) for key in ("id", "file_name")]
    + [("annotations", key) for key in ("id", "image_id", "category_id")]
    + [("categories", key) for key in ("id", "name")],
)
def test_a_missing_key_is_named_with_its_record(records: str, key: str, document: Document, refused: Refused) -> None:
    del document[records][1][key]

    problem = refused(document).problems[0]

    assert problem.startswith(f"$.{records}[1]: ")
    assert f"`{key}`" in problem


def test_an_empty_dataset_is_refused(refused: Refused) -> None:
    problems = refused({"images": [], "annotations": [], "categories": []}).problems

    assert problems == ["$.images: expected at least one, found none"]


def test_every_offender_is_listed_twenty_and_then_a_count(document: Document, refused: Refused) -> None:
    document["images"][1]["width"] = -1
    document["categories"].append({"id": 1, "name": "again"})
    document["annotations"] += [{"id": 200 + index, "image_id": 77} for index in range(30)]

    error = refused(document)

    assert error.headline.endswith(f": {1 + 1 + 30} problem(s) in the annotation file")
    assert error.problems[0].startswith("$.categories[2].id: ")
    assert error.problems[1].startswith("$.images[1]: ")
    assert [problem.split(":")[0] for problem in error.problems[2:]] == [f"$.annotations[{2 + n}]" for n in range(18)]
    assert str(error).endswith(f"... and {32 - 20} more")


@pytest.mark.parametrize(
    ("keys", "value", "place"),
    [
        (("images", 0, "width"), [40], "$.images[0].width: "),
        (("images", 0, "width"), -40, "$.images[0]: "),
        (("categories", 1, "name"), ["dog"], "$.categories[1].name: "),
    ],
)
def test_a_bad_record_is_one_offender_however_many_annotations_refer_to_it(
    keys: tuple[str | int, ...], value: Any, place: str, document: Document, refused: Refused
) -> None:
    (problem,) = refused(changed(document, keys, value)).problems

    assert problem.startswith(place)


def test_an_annotation_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: the annotation file cannot be read: No such file"):
        coco.read(tmp_path / "none.json")
    with pytest.raises(DataError, match="the annotation file cannot be read"):
        coco.read(tmp_path)


def test_braces_in_a_path_are_only_text(document: Document, tmp_path: Path) -> None:
    path = tmp_path / "{n} {a}" / "{}.json"
    path.parent.mkdir()
    path.write_text(json.dumps(changed(document, ("images", 1, "width"), 0)))

    with pytest.raises(DataError) as caught:
        coco.read(path)

    assert caught.value.headline == f"{path}: 1 problem(s) in the annotation file"
