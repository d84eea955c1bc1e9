"""What a run is trained and measured on: located, read, checked, counted, and told from any other data."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.checks import Leniency
from datasets.errors import DataError
from datasets.sources import Input
from tests.protocols import Draw
from train.data.read import TrainingData, read_training, read_validation


def training(source: Input, *, keep_empty: bool = False, masks: bool | None = None) -> TrainingData:
    return read_training(source, keep_empty=keep_empty, masks=masks, progress=None)


def notes_of(data: TrainingData) -> list[str]:
    """The notes but for warnings, which small data give reason for."""
    return [note for note in data.notes if not note.startswith("warning: ")]


def edit(source: Input, change: Callable[[dict[str, Any]], object]) -> Input:
    document = json.loads(source.annotations.read_text(encoding="utf-8"))
    change(document)
    source.annotations.write_text(json.dumps(document), encoding="utf-8")
    return source


def bare(*ids: int) -> Callable[[dict[str, Any]], None]:
    """Take the segmentation of these annotations away."""

    def change(document: dict[str, Any]) -> None:
        for item in document["annotations"]:
            if item["id"] in ids:
                del item["segmentation"]

    return change


def test_records_are_the_images_of_the_file_in_its_order(drawn: Input) -> None:
    data = training(drawn, keep_empty=True)

    # tests/conftest.py, DRAWINGS
    assert [(item.image_id, item.width, item.height) for item in data.records] == [
        (7, 60, 80),
        (3, 160, 120),
        (12, 90, 71),
        (20, 64, 100),
        (21, 100, 64),
        (30, 75, 75),
        (31, 97, 83),
        (40, 120, 120),
    ]
    assert data.tall.tolist() == [True, False, False, True, False, False, False, False]
    assert data.categories.pairs() == [(1, "person"), (3, "car"), (18, "dog"), (90, "toothbrush")]
    assert data.histogram.tolist() == [5 + 9, 3 + 9, 0, 1]
    assert {(id_, name) for id_, name, _ in data.seen.images} == {
        (7, "tall.jpg"),
        (3, "sub/wide.jpg"),
        (12, "grey.jpg"),
        (20, "upright.jpg"),
        (21, "exif to ignore.jpg"),
        (30, "empty.jpg"),
        (31, "größe.png"),
        (40, "many.jpg"),
    }
    assert notes_of(data) == [
        f"training: 8 images of {drawn.annotations}",
        "  27 objects, 2 ignored regions that cost no loss",
        "  of each category: person 14, car 12, toothbrush 1, dog 0",
    ]


def test_images_without_a_kept_object_are_left_out_and_counted(draw: Draw, tmp_path: Path) -> None:
    def crowds_only(document: dict[str, Any]) -> None:
        for item in document["annotations"]:
            item["iscrowd"] = item["iscrowd"] or int(item["image_id"] == 12)

    source = edit(draw(tmp_path, only=(7, 12, 30, 3)), crowds_only)

    data = training(source)

    assert [item.image_id for item in data.records] == [7, 3]
    assert data.tall.tolist() == [True, False]
    assert notes_of(data)[0] == (
        f"training: 2 images of {source.annotations}; 2 without a kept object left out "
        "(DATALOADER.FILTER_EMPTY_ANNOTATIONS False keeps them)"
    )
    # 2 of image 7 and 2 of image 3 with its crowd; the others' crowds went with them.
    assert notes_of(data)[1] == "  4 objects, 1 ignored regions that cost no loss"
    assert [item.image_id for item in training(source, keep_empty=True).records] == [7, 3, 12, 30]


@pytest.mark.parametrize("keep_empty", [False, True])
def test_nothing_to_train_on_is_refused(draw: Draw, tmp_path: Path, keep_empty: bool) -> None:
    def crowds_only(document: dict[str, Any]) -> None:
        document["annotations"] = [item for item in document["annotations"] if item["iscrowd"]]

    source = edit(draw(tmp_path, only=(3, 30)), crowds_only)

    with pytest.raises(DataError, match=r"expected objects to train on, found none but crowds$") as caught:
        training(source, keep_empty=keep_empty)
    assert str(caught.value).startswith(str(source.annotations))


def test_masks_are_trained_where_every_object_has_one(drawn: Input) -> None:
    data = training(drawn)

    assert data.masks
    assert not any("mask" in note for note in notes_of(data))
    assert all(
        bool(outline) != ignored
        for item in data.records
        for outline, ignored in zip(item.polygons, item.ignored, strict=True)
    )


def test_without_a_single_mask_there_is_no_mask_head(draw: Draw, tmp_path: Path) -> None:
    data = training(draw(tmp_path, only=(7, 3), masks=False))

    assert not data.masks
    assert notes_of(data)[3:] == ["  boxes only: no object has a segmentation, so there is no mask head"]
    assert [len(item.boxes_xyxy) for item in data.records] == [2, 3]


def test_objects_without_a_mask_among_others_are_counted(draw: Draw, tmp_path: Path) -> None:
    data = training(edit(draw(tmp_path, only=(7, 3)), bare(700, 301)))

    assert data.masks
    assert data.unmasked
    assert notes_of(data)[3:] == ["  2 of 4 objects have no segmentation, and train their boxes only"]
    outlined = {item.image_id: [bool(outline) for outline in item.polygons] for item in data.records}
    assert outlined == {7: [False, True], 3: [True, False, False]}  # the last of image 3 is a crowd


def test_masks_that_some_objects_have_may_be_left_out(draw: Draw, tmp_path: Path) -> None:
    data = training(edit(draw(tmp_path, only=(7, 3)), bare(700, 301)), masks=False)

    assert (data.masks, data.unmasked) == (False, False)
    assert notes_of(data)[3:] == [
        "  2 of 4 objects have no segmentation, and no mask is trained, as MODEL.MASK_ON False asks for"
    ]


def test_a_crowd_without_a_segmentation_takes_no_mask_head_away(draw: Draw, tmp_path: Path) -> None:
    assert training(edit(draw(tmp_path, only=(7, 3)), bare(302))).masks


def test_masks_that_are_asked_for_must_be_there(draw: Draw, tmp_path: Path) -> None:
    source = draw(tmp_path, only=(7, 3), masks=False)

    with pytest.raises(DataError) as caught:
        training(source, masks=True)
    assert str(caught.value) == (
        f"{source.annotations}: MODEL.MASK_ON asks for objects with a segmentation, none of 4 has one"
    )


def test_masks_that_are_not_wanted_are_left_out(drawn: Input) -> None:
    data = training(drawn, masks=False)

    assert not data.masks
    assert notes_of(data)[-1] == "  no mask head, as MODEL.MASK_ON False asks for"
    assert all(outline == () for item in data.records for outline in item.polygons)


def test_repairs_are_told(draw: Draw, tmp_path: Path) -> None:
    def overhang(document: dict[str, Any]) -> None:
        document["annotations"][0]["bbox"] = [0, 0, 60.5, 80]

    data = training(edit(draw(tmp_path, only=(7,)), overhang))

    assert notes_of(data)[-1] == "repaired: 1 x box up to 1 px outside the image, clipped"


def test_image_files_are_looked_at_where_progress_is_shown(draw: Draw, tmp_path: Path) -> None:
    source = draw(tmp_path, only=(7, 3, 21))
    seen: list[tuple[str, int, int]] = []
    data = read_training(source, keep_empty=False, masks=None, progress=lambda *done: seen.append(done))
    assert seen == [("checking images", 3, 3), *(("reading images", at, 3) for at in (1, 2, 3))]
    assert data.seen.digests == {sha256(path.read_bytes()).hexdigest() for path in source.images.rglob("*.*g")}
    assert notes_of(data)[-1].startswith("repaired: 1 x EXIF orientation that the annotations do not follow")
    (source.images / "tall.jpg").write_bytes(b"")

    for read in (
        lambda: read_training(source, keep_empty=False, masks=None, progress=lambda *_: None),
        lambda: read_validation(source, data, progress=lambda *_: None),
    ):
        with pytest.raises(DataError) as caught:
            read()
        assert caught.value.problems == [f"{source.images / 'tall.jpg'}: expected a JPEG or PNG file, found 0 bytes"]
    # Not by every process of a run, and not twice.
    assert len(training(source).records) == 3
    assert training(source).seen.digests == set()


def test_validation_has_all_images_and_no_outlines(drawn: Input, drawn_data: TrainingData) -> None:
    found = read_validation(drawn, drawn_data, progress=None)

    assert [item.image_id for item in found.records] == [7, 3, 12, 20, 21, 30, 31, 40]
    assert [image.id for image in found.truth.images] == [7, 3, 12, 20, 21, 30, 31, 40]
    document = json.loads(drawn.annotations.read_text(encoding="utf-8"))
    assert [(item.id, item.category_id, list(item.bbox), item.iscrowd) for item in found.truth.annotations] == [
        (item["id"], item["category_id"], item["bbox"], item["iscrowd"]) for item in document["annotations"]
    ]
    assert all(item.segmentation is None for item in found.truth.annotations)
    assert np.concatenate([item.classes for item in found.records]).max() == 3


def test_validation_on_other_categories_is_refused_with_every_difference(
    draw: Draw, tmp_path: Path, drawn_data: TrainingData
) -> None:
    def rename(document: dict[str, Any]) -> None:
        document["categories"][0]["name"] = "human"
        document["categories"][2]["id"] = 19

    source = edit(draw(tmp_path, only=(7,)), rename)

    with pytest.raises(DataError, match="expected the same category ids and names, found differences") as caught:
        read_validation(source, drawn_data, progress=None)
    assert caught.value.problems == [
        f"the training data has 1 'person', {source.annotations} has not",
        f"the training data has 18 'dog', {source.annotations} has not",
        f"{source.annotations} has 1 'human', the training data has not",
        f"{source.annotations} has 19 'dog', the training data has not",
    ]


def test_validation_images_that_were_trained_on_are_counted(draw: Draw, tmp_path: Path) -> None:
    data = training(draw(tmp_path / "train", only=(7, 3, 12)))
    overlapping = draw(tmp_path / "both", only=(3, 12, 40))

    assert read_validation(overlapping, data, progress=None).notes == [
        f"validation: 3 images of {overlapping.annotations}",
        "  2 of them are seen: the training data holds them or what was made of them, so AP says little about new "
        "images",
    ]


def test_new_validation_images_are_not_called_seen(draw: Draw, tmp_path: Path) -> None:
    def rename(document: dict[str, Any]) -> None:
        document["images"][0]["file_name"] = "another.jpg"  # the id of image 7 under another name

    data = training(draw(tmp_path / "train", only=(7, 3, 12)))
    apart = edit(draw(tmp_path / "val", only=(7, 40, 31)), rename)

    assert read_validation(apart, data, progress=None).notes == [f"validation: 3 images of {apart.annotations}"]


def test_the_identity_of_raw_data_is_its_annotation_file(draw: Draw, tmp_path: Path) -> None:
    first, copy = draw(tmp_path / "a", only=(7, 3)), draw(tmp_path / "b", only=(7, 3))
    before = training(first).identity

    assert before["manifest_sha256"] is None
    assert before["annotations"] == "annotations.json"
    assert before["images"] == 2
    assert before["categories"] == [[1, "person"], [3, "car"], [18, "dog"], [90, "toothbrush"]]
    # Wherever it lies, and however it is read.
    assert training(copy, keep_empty=True, masks=False).identity == before
    edit(copy, lambda document: document["annotations"][0].update(bbox=[5, 5, 20, 59]))
    after = training(copy).identity
    assert {key for key in after if after[key] != before[key]} == {"annotations_sha256"}


def with_a_box_far_outside(document: dict[str, Any]) -> None:
    item = document["annotations"][0]
    document["annotations"].append({**item, "id": 9000, "bbox": [-5, 0, 15, 10], "segmentation": [[0, 0, 9, 0, 9, 9]]})


def test_what_is_asked_for_beyond_repairs_is_told_and_makes_other_data(draw: Draw, tmp_path: Path) -> None:
    """A run that goes on must be asked for the same."""
    source = edit(draw(tmp_path), with_a_box_far_outside)
    with pytest.raises(DataError, match="or any with --clip-boxes"):
        training(source)

    found = read_training(
        source, keep_empty=False, masks=None, progress=None, leniency=Leniency(clip_boxes=True, skip_bad=True)
    )

    assert "repaired: 1 x box more than 1 px outside the image, clipped (--clip-boxes)" in found.notes
    assert (found.identity["clip_boxes"], found.identity["skip_bad"]) == (True, True)
    assert "clip_boxes" not in training(draw(tmp_path / "good")).identity


def test_warnings_are_told_before_a_training(draw: Draw, tmp_path: Path) -> None:
    assert "warning: annotations.json: 1 of 4 categories have no object: dog" in training(draw(tmp_path)).notes
