"""Masks: carried along byte for byte as long as boxes are a model's own, dropped where boxes are averaged."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from datasets import results
from ensemble import pipeline
from ensemble.pipeline import Images
from ensemble.recipe import FuseNms, FuseSoftNms, Fusion, Nms, Nmw, NoSuppression, Recipe, SoftNms, Suppression, Wbf
from ensemble.recipe import Model as Named
from tests.ensemble.files import Record, masked, predicted, unannotated, write

Key = tuple[Any, ...]
Masks = dict[Key, bytes | None]

DROPPED = "masks are dropped, since the boxes of several models are averaged"
OWN: list[tuple[Suppression, Fusion]] = [
    (NoSuppression(), FuseNms(iou_threshold=0.5)),
    (NoSuppression(), FuseSoftNms(sigma=0.5, score_threshold=0.05)),
    (Nms(iou_threshold=0.6), FuseNms(class_agnostic=True, iou_threshold=0.4)),
    (SoftNms(sigma=0.5, score_threshold=0.05), FuseSoftNms(kind="linear", score_threshold=0.05)),
]


@pytest.fixture
def bare(tmp_path: Path) -> Images:
    return pipeline.read_images(write(tmp_path / "test.json", unannotated()))


def key(record: Record) -> Key:
    return record["image_id"], record["category_id"], *record["bbox"]


def spelled(name: str, count: int) -> list[str]:
    """A mask for each detection, no two alike, spaced and spelled as no writer of ours would; every fifth has none."""
    masks = [
        f'{{"size":[ 9,{at}e0 ],\n"counts" : "{name}\\u00e9é{at}"}}' if at % 2 else f"[[{at}, 1.50,2 ]]"
        for at in range(count)
    ]
    return [mask if at % 5 else "" for at, mask in enumerate(masks)]


def file_of(path: Path, seed: int) -> tuple[Path, Masks]:
    """A model's results with masks, and what they are by their boxes."""
    records = predicted(seed)
    masks = spelled(path.stem, len(records))
    found = {key(item): mask.encode() or None for item, mask in zip(records, masks, strict=True)}
    assert len(found) == len(records)
    return write(path, masked(records, masks)), found


def run(images: Images, chosen: Recipe, *paths: Path) -> tuple[Masks, list[str]]:
    """The masks that are written, and the notes."""
    done = pipeline.run(pipeline.read_models(paths, images), images, chosen)
    output = images.path.with_name("out.json")
    results.write(output, done.results)
    found: Masks = {}
    for raw in msgspec.json.decode(output.read_bytes(), type=list[dict[str, msgspec.Raw]]):
        mask = raw.pop("segmentation", None)
        record = {name: json.loads(bytes(value)) for name, value in raw.items()}
        found[key(record)] = None if mask is None else bytes(mask)
    assert len(found) == len(done.results)
    return found, done.notes


@pytest.mark.parametrize(("suppress", "fuse"), OWN)
def test_masks_go_with_their_boxes(suppress: Suppression, fuse: Fusion, bare: Images, tmp_path: Path) -> None:
    (first, of_first), (second, of_second) = (file_of(tmp_path / f"{name}.json", at) for at, name in enumerate("ab"))
    assert not set(of_first) & set(of_second)

    found, notes = run(bare, Recipe(suppress=suppress, fuse=fuse), first, second)

    assert found == {at: mask for at, mask in (of_first | of_second).items() if at in found}
    for given in (of_first, of_second):
        # Some boxes of each model are left, with masks and without, and some are not.
        assert {mask is None for at, mask in given.items() if at in found} == {True, False}
    assert len(found) < len(of_first) + len(of_second)
    assert DROPPED not in notes


@pytest.mark.parametrize("fuse", [Wbf(), Nmw()])
def test_masks_are_dropped_and_said_so_where_boxes_are_averaged(fuse: Fusion, bare: Images, tmp_path: Path) -> None:
    with_masks, _ = file_of(tmp_path / "a.json", 1)
    without = write(tmp_path / "b.json", predicted(2))

    for paths in ((without, with_masks), (with_masks, without)):
        found, notes = run(bare, Recipe(fuse=fuse), *paths)
        assert set(found.values()) == {None}
        assert DROPPED in notes
    assert DROPPED not in run(bare, Recipe(fuse=fuse), without, write(tmp_path / "c.json", predicted(3)))[1]


@pytest.mark.parametrize("fuse", [Wbf(), Nmw(), FuseNms(), FuseSoftNms()])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_model_alone_keeps_its_masks(place: int, fuse: Fusion, bare: Images, tmp_path: Path) -> None:
    files = [file_of(tmp_path / f"{at}.json", at) for at in range(3)]
    named = [Named(results=path.name, weight=float(at == place)) for at, (path, _) in enumerate(files)]

    found, notes = run(bare, Recipe(models=tuple(named), suppress=NoSuppression(), fuse=fuse), *(f for f, _ in files))

    assert found == files[place][1]
    assert DROPPED not in notes


@pytest.mark.parametrize("place", [0, 1, 2])
def test_masks_are_right_beside_a_model_that_is_left_out(place: int, bare: Images, tmp_path: Path) -> None:
    files = [file_of(tmp_path / f"{at}.json", at) for at in range(3)]
    named = [Named(results=path.name, weight=float(at != place)) for at, (path, _) in enumerate(files)]
    keep_all = Recipe(models=tuple(named), suppress=NoSuppression(), fuse=FuseNms(iou_threshold=1))

    found, _ = run(bare, keep_all, *(path for path, _ in files))

    left, right = (masks for at, (_, masks) in enumerate(files) if at != place)
    assert found == left | right


def test_a_model_may_have_masks_and_another_none(bare: Images, tmp_path: Path) -> None:
    with_masks, masks = file_of(tmp_path / "a.json", 1)
    records = predicted(2)
    without = write(tmp_path / "b.json", records)

    found, _ = run(bare, Recipe(suppress=NoSuppression(), fuse=FuseNms(iou_threshold=1)), without, with_masks)

    assert found == masks | {key(item): None for item in records}


def test_no_mask_is_made_where_there_was_none(bare: Images, tmp_path: Path) -> None:
    found, notes = run(bare, Recipe(fuse=FuseNms()), *(write(tmp_path / f"{n}.json", predicted(n)) for n in (1, 2)))

    assert set(found.values()) == {None}
    assert DROPPED not in notes


def test_equal_boxes_with_other_masks_do_not_depend_on_the_order_of_the_file(bare: Images, tmp_path: Path) -> None:
    twin = {"image_id": 7, "category_id": 1, "bbox": [1.0, 2.0, 30.0, 40.0], "score": 0.5}
    written = []
    for masks in (["[[1]]", "[[2]]", ""], ["", "[[2]]", "[[1]]"], ["[[2]]", "", "[[1]]"]):
        path = write(tmp_path / "twins.json", masked([twin] * 3, masks))
        (model,) = pipeline.read_models([path], bare)
        # The first keeps its score, the second is decayed by it, and the third by both.
        written.append(pipeline.run([model], bare, Recipe(suppress=SoftNms(sigma=1, score_threshold=0))).results)

    # Their IoU is 1. Without a mask comes first, then the masks in the order of their bytes.
    scores = [0.5, 0.5 * math.exp(-1), 0.5 * math.exp(-1) ** 2]
    for found in written:
        assert found.scores.tolist() == [round(score, 6) for score in scores]
        assert found.segmentations == [b"", b"[[1]]", b"[[2]]"]
