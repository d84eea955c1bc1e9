"""Reading what a file says of its images: annotations and categories may be missing, images are checked as ever."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datasets import coco
from datasets.coco import ReadImages
from datasets.errors import DataError
from tests.protocols import Read

Document = dict[str, Any]
ReadOnly = Callable[[Document], ReadImages]


@pytest.fixture
def read_images(tmp_path: Path) -> ReadOnly:
    """read_images(document): writes the file and reads its images."""

    def read_images(document: Document) -> ReadImages:
        path = tmp_path / "test.json"
        path.write_text(json.dumps(document))
        return coco.read_images(path)

    return read_images


def test_images_categories_and_checksum_are_those_that_read_finds(
    document: Document, read: Read, read_images: ReadOnly
) -> None:
    dataset, _, sha256, _ = read(document)

    assert read_images(document) == ReadImages(dataset.images, dataset.categories, sha256, annotated=True)
    assert sha256 == hashlib.sha256(json.dumps(document).encode()).hexdigest()


@pytest.mark.parametrize("annotations", ["missing", [], None, 5, [{"id": 1, "image_id": "unknown"}], ["x"]])
def test_annotations_are_not_looked_at(annotations: Any, document: Document, read_images: ReadOnly) -> None:
    document["annotations"] = annotations
    if annotations == "missing":
        del document["annotations"]

    assert [image.id for image in read_images(document).images] == [5, 9]


@pytest.mark.parametrize("empty", [True, False])
def test_categories_may_be_missing_or_none(empty: bool, document: Document, read_images: ReadOnly) -> None:
    document["categories"] = []
    if not empty:
        del document["categories"]

    found = read_images(document)

    assert (len(found.images), found.categories) == (2, [])


def test_images_alone_are_enough(document: Document, read_images: ReadOnly) -> None:
    images, categories, _, annotated = read_images({"images": document["images"]})

    assert not annotated
    assert [(image.id, image.file_name, image.width, image.height) for image in images] == [
        (5, "a.png", 40, 30),
        (9, "sub/b.png", 40, 30),
    ]
    assert categories == []


def test_images_there_must_be(document: Document, read_images: ReadOnly) -> None:
    with pytest.raises(DataError) as caught:
        read_images(document | {"images": []})
    assert caught.value.problems == ["$.images: expected at least one, found none"]

    del document["images"]
    with pytest.raises(DataError) as caught:
        read_images(document)
    assert caught.value.headline.endswith("test.json: not a COCO dataset")
    (problem,) = caught.value.problems
    assert problem.startswith("$: expected the key 'images', found only 'info', ")


def test_every_bad_record_is_named_by_its_place(document: Document, read_images: ReadOnly) -> None:
    document["images"][0] |= {"file_name": "../a.png", "width": 0}
    document["images"].append(document["images"][1])
    document["categories"][1]["name"] = None

    with pytest.raises(DataError) as caught:
        read_images(document)

    assert caught.value.headline.endswith("test.json: 4 problem(s) in the annotation file")
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [
        "$.categories[1].name",
        "$.images[0]",
        "$.images[0].file_name",
        "$.images[2].id",
    ]


@pytest.mark.parametrize("categories", [None, {}, "x"])
def test_categories_that_are_no_list_are_refused(categories: Any, document: Document, read_images: ReadOnly) -> None:
    with pytest.raises(DataError) as caught:
        read_images(document | {"categories": categories})

    assert caught.value.problems[0].startswith("$.categories: Expected `array`")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: the annotation file cannot be read: No such file"):
        coco.read_images(tmp_path / "none.json")


def test_a_results_file_is_no_annotation_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("[]")

    with pytest.raises(DataError, match="expected a COCO dataset, a JSON object: Expected `object`, got `array`"):
        coco.read_images(path)


@pytest.mark.parametrize(("text", "annotated"), [("[ ]", False), ("null", False), ("[ {}]", True), ("5", False)])
def test_whether_there_are_annotations_is_told(text: str, annotated: bool, document: Document, tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    images = json.dumps(document["images"])
    path.write_text(f'{{"annotations": {text}, "images": {images}}}')

    assert coco.read_images(path).annotated == annotated
