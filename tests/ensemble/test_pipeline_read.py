"""Reading annotation and results files: what is taken, and what is refused before anything is computed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.errors import DataError
from ensemble import pipeline
from ensemble.pipeline import Images, Model
from tests.ensemble.files import (
    CATEGORIES,
    SIZES,
    Record,
    annotated,
    categories,
    listing,
    predicted,
    unannotated,
    write,
)


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return pipeline.read_images(write(tmp_path / "test.json", unannotated()))


def refusal(images: Images, *paths: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        pipeline.read_models(paths, images)
    return caught.value


def detection(box: list[float], **changed: Any) -> Record:
    return {"image_id": 7, "category_id": 1, "bbox": box, "score": 0.5, **changed}


@pytest.mark.parametrize(
    ("content", "known"),
    [
        (unannotated(), CATEGORIES),
        (unannotated() | {"annotations": []}, CATEGORIES),
        (listing(), ()),
        (listing(categories=[], annotations=[]), ()),
    ],
)
def test_a_file_without_objects_lists_images_and_maybe_categories(
    content: Record, known: tuple[int, ...], tmp_path: Path
) -> None:
    path = write(tmp_path / "test.json", content)

    found = pipeline.read_images(path)

    assert (found.path, found.truth) == (path, None)
    assert {image.id: (image.width, image.height) for image in found.images} == SIZES
    assert tuple(category.id for category in found.categories) == known


def test_a_file_with_objects_is_something_to_compare_with(tmp_path: Path) -> None:
    found = pipeline.read_images(write(tmp_path / "val.json", annotated()))

    assert found.truth is not None
    assert len(found.truth.annotations) == 4 * (len(SIZES) - 1)
    assert found.images == found.truth.images


def test_lists_without_names_and_categories_are_enough_for_results(tmp_path: Path) -> None:
    """As LVIS has them, whose images have an address instead of a file name."""
    images = [{"id": id_, "coco_url": "http://...", "width": w, "height": h} for id_, (w, h) in SIZES.items()]

    found = pipeline.read_images(write(tmp_path / "test.json", {"images": images, "annotations": [{"id": 1}]}))

    assert [(image.id, image.file_name) for image in found.images] == [(id_, "") for id_ in SIZES]
    assert (found.categories, found.truth) == ([], None)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (predicted(1), "expected a COCO dataset, a JSON object"),
        ({"categories": categories()}, "not a COCO dataset"),
        ({**annotated(), "categories": [{"id": 1}]}, "1 problem(s) in the annotation file"),
        ({**annotated(), "images": annotated()["images"][1:]}, "4 problem(s) in the annotation file"),
        ("{", "not valid JSON"),
    ],
)
def test_a_bad_annotation_file_is_refused(content: Any, found: str, tmp_path: Path) -> None:
    path = write(tmp_path / "val.json", content)

    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: {re.escape(found)}"):
        pipeline.read_images(path)


def test_models_are_read_in_the_order_given_and_know_their_place(images: Images, tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{seed}.json", predicted(seed, per_image=seed)) for seed in (5, 2)]

    first, second = pipeline.read_models(paths, images)

    assert [first.path, second.path] == paths
    # Four images have something in them.
    assert (len(first.detections), len(second.detections)) == (5 * 4, 2 * 4)
    assert (set(first.detections.models.tolist()), set(second.detections.models.tolist())) == ({0}, {1})


def keys(model: Model) -> list[Any]:
    """Of each detection: image, category, corners, score."""
    found = model.detections
    return [
        *zip(
            found.image_ids.tolist(),
            found.category_ids.tolist(),
            found.boxes_xyxy.tolist(),
            found.scores.tolist(),
            strict=True,
        )
    ]


def test_detections_are_joined_by_image_id_whatever_their_order(images: Images, tmp_path: Path) -> None:
    records = predicted(1)
    shuffled = [records[at] for at in np.random.default_rng(0).permutation(len(records))]

    (model,) = pipeline.read_models([write(tmp_path / "a.json", records)], images)
    (other,) = pipeline.read_models([write(tmp_path / "b.json", shuffled)], images)

    # By image and falling score; x + width and y + height are exact.
    assert keys(model) == [
        (item["image_id"], item["category_id"], [x, y, x + width, y + height], item["score"])
        for item in sorted(records, key=lambda item: (item["image_id"], -item["score"]))
        for x, y, width, height in [item["bbox"]]
    ]
    assert keys(other) == keys(model)


def test_no_results_are_refused(images: Images) -> None:
    assert str(refusal(images)) == "expected at least one results file, found none; name each by --results"


def test_the_same_file_twice_is_refused_by_any_name(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = (write(tmp_path / name, predicted(1)) for name in ("a.json", "b.json"))
    link, folder = tmp_path / "link.json", tmp_path / "folder"
    link.symlink_to(path)
    folder.symlink_to(tmp_path, target_is_directory=True)
    monkeypatch.chdir(tmp_path)

    for again in (path, link, folder / "a.json", folder / ".." / tmp_path.name / "a.json", Path("a.json")):
        error = refusal(images, path, other, again)
        assert error.headline == "expected different results files, found some twice"
        assert error.problems == [str(again)]
    assert refusal(images, path, other, path, other, path).problems == [str(path), str(other), str(path)]


def test_equal_files_of_two_models_are_not_the_same_file(images: Images, tmp_path: Path) -> None:
    paths = [write(tmp_path / name, predicted(1)) for name in ("a.json", "b.json")]

    assert [len(model.detections) for model in pipeline.read_models(paths, images)] == [48, 48]


def test_ids_that_the_annotation_file_lacks_are_named_by_their_first_places(images: Images, tmp_path: Path) -> None:
    box = [1.0, 2.0, 30.0, 40.0]
    records = [
        detection(box),
        detection(box, image_id=8),
        detection(box, category_id=2),
        detection(box, image_id=8),
        detection(box, image_id=-7),
    ]
    good, bad = write(tmp_path / "good.json", predicted(1)), write(tmp_path / "bad.json", records)

    assert str(refusal(images, good, bad)).splitlines() == [
        f"{bad}: 3 id(s) that {images.path} does not have",
        "  $[1].image_id: expected the id of an image, found 8 (2 detection(s))",
        "  $[4].image_id: expected the id of an image, found -7 (1 detection(s))",
        "  $[2].category_id: expected the id of a category, found 2 (1 detection(s))",
        "If these are positions in the list of categories, from 0: --category-ids contiguous0",
    ]


def test_any_category_will_do_where_the_file_has_none(tmp_path: Path) -> None:
    images = pipeline.read_images(write(tmp_path / "test.json", listing()))
    box = [1.0, 2.0, 30.0, 40.0]

    (model,) = pipeline.read_models([write(tmp_path / "a.json", [detection(box, category_id=12345)])], images)

    assert model.detections.category_ids.tolist() == [12345]
    bad = write(tmp_path / "b.json", [detection(box, image_id=8)])
    assert refusal(images, bad).problems == ["$[0].image_id: expected the id of an image, found 8 (1 detection(s))"]


@pytest.mark.parametrize("box", [[0.75, 0.5, 0.25, 1.001], [1.5, 0.0, 0.001, 1.0], [1.501, 0.5, 0.0, 0.0]])
def test_one_box_beyond_that_shows_that_they_are_pixels(box: list[float], images: Images, tmp_path: Path) -> None:
    records = [detection([0.0, 0.0, 1.0, 1.0]), detection(box)]

    assert len(pipeline.read_models([write(tmp_path / "a.json", records)], images)[0].detections) == 2


def test_a_model_without_any_detection_is_none_of_that(images: Images, tmp_path: Path) -> None:
    (model,) = pipeline.read_models([write(tmp_path / "a.json", [])], images)

    assert len(model.detections) == 0


def test_coordinates_that_no_image_could_have_are_refused_with_their_places(images: Images, tmp_path: Path) -> None:
    boxes = [[-1e9, 0.0, 1e9, 5.0], [1e308, 0.0, 1e308, 5.0], [0.0, 0.0, 5.0, 5.0], [0.0, -1.5e9, 5.0, 5.0]]
    path = write(tmp_path / "a.json", [detection(box) for box in boxes])

    assert str(refusal(images, path)).splitlines() == [
        f"{path}: 2 problem(s) in the results file",
        "  $[1].bbox: expected coordinates of up to 1e+09 px, found [1e+308, 0.0, 1e+308, 5.0]",
        "  $[3].bbox: expected coordinates of up to 1e+09 px, found [0.0, -1500000000.0, 5.0, 5.0]",
    ]
