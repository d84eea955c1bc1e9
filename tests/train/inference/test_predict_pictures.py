"""Pictures in, pictures out: folders without an annotation file, masks in the results, drawings, CPU processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from datasets import coco, coco_runs, result_reading
from datasets.errors import DataError
from datasets.results import Results
from tests.conftest import picture
from tests.train.made import content, quiet, tiny_config, write_list
from train.checkpoints import checkpoint
from train.inference.predict import predict, predict_and_report
from train.inference.request import Request
from train.model.build import build_network

ROOT = Path(__file__).parents[3]
CATEGORIES = [(3, "disc"), (7, "猫")]
# (height, width) by name.
SIZES = {"a.png": (64, 72), "sub/b.jpg": (90, 130), "z.png": (50, 50)}
# So that there are few detections, with scores of all sizes between.
FEW = ("TEST.DETECTIONS_PER_IMAGE", "12")


def made(path: Path, *overrides: str) -> Path:
    cfg = tiny_config(len(CATEGORIES), *overrides)
    return checkpoint.save(path, content(build_network(cfg, seed=0), cfg, CATEGORIES))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny model that has learnt nothing."""
    return made(tmp_path_factory.mktemp("run") / checkpoint.LAST)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "images"
    for seed, (name, (height, width)) in enumerate(SIZES.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        PillowImage.fromarray(picture(width, height, seed)).save(folder / name)
    (folder / "notes.txt").write_text("text")
    return folder


@pytest.fixture
def request_(weights: Path, images: Path, tmp_path: Path) -> Request:
    return Request(weights, None, images, tmp_path / "results.json", overrides=FEW)


def run(request: Request) -> Results:
    predict(request, quiet)
    return result_reading.read(request.output)


def test_a_folder_is_enough(request_: Request, tmp_path: Path) -> None:
    done = predict(request_, quiet)
    assert done is not None
    assert (done.images, done.detections) == (3, 36)
    assert done.notes == ("left out: 1 files that are no JPEG or PNG (1 .txt)",)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "results.images.json",
        "results.json",
        "results.provenance.json",
    ]
    dataset = coco.read(tmp_path / "results.images.json").dataset
    assert {item.file_name: (item.height, item.width) for item in dataset.images} == SIZES
    assert [item.id for item in dataset.images] == [1, 2, 3]
    assert [(item.id, item.name) for item in dataset.categories] == CATEGORIES
    found = result_reading.read(request_.output)
    assert np.unique(found.image_ids).tolist() == [1, 2, 3]
    # The list is an annotation file that makes the same results.
    again = request_._replace(annotations=tmp_path / "results.images.json", output=tmp_path / "again.json")
    predict(again, quiet)
    assert again.output.read_bytes() == request_.output.read_bytes()
    assert not (tmp_path / "again.images.json").exists()


def test_the_list_of_images_is_no_input_that_is_written_over(request_: Request, tmp_path: Path) -> None:
    listed = tmp_path / "results.images.json"
    listed.write_bytes(request_.checkpoint.read_bytes())
    with pytest.raises(DataError) as caught:
        predict(request_._replace(checkpoint=listed), quiet)
    assert f"it is written together with {listed}: would replace an input" in str(caught.value)


def test_what_cannot_be_read_is_left_out_and_told(
    request_: Request, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes((images / "a.png").read_bytes())
    (folder / "b.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1 problem\(s\) in the image files"):
        predict(request_._replace(images=folder), quiet)
    predict_and_report(request_._replace(images=folder, skip_bad=True))
    assert capsys.readouterr().out.splitlines()[1:] == [
        "skipped: 1 images whose files cannot be used",
        f"  {folder / 'b.png'}: expected a JPEG or PNG file, found something else or a damaged head",
    ]


TTA = ("TEST.AUG.MIN_SIZES", "[64]", "TEST.AUG.MAX_SIZE", "128", "TEST.AUG.FLIP", "False")


@pytest.mark.parametrize("changed", [{}, {"tile": 70, "overlap": 0.2}, {"tta": True, "tile": 100}], ids=str)
def test_masks_are_in_the_results_and_change_nothing_else(
    changed: dict[str, Any], request_: Request, tmp_path: Path
) -> None:
    request_ = request_._replace(overrides=(*FEW, *(TTA if "tta" in changed else ())), **changed)
    plain, masked = run(request_), run(request_._replace(masks=True, output=tmp_path / "masked.json"))
    assert plain.segmentations is None
    assert masked.segmentations is not None
    for field in ("image_ids", "category_ids", "boxes_xywh", "scores"):
        assert np.array_equal(getattr(plain, field), getattr(masked, field))
    sizes = list(SIZES.values())
    covered = 0
    rows = zip(masked.image_ids.tolist(), masked.boxes_xywh, masked.segmentations, strict=True)
    for image_id, (x, y, width, height), text in rows:
        rle = json.loads(text)
        assert tuple(rle["size"]) == sizes[image_id - 1]
        bitmap = coco_runs.to_bitmap({"size": rle["size"], "counts": rle["counts"].encode()})
        # In its box, to the pixel.
        y0, y1, x0, x1 = int(y), int(np.ceil(y + height)), int(x), int(np.ceil(x + width))
        assert bitmap.sum() == bitmap[y0:y1, x0:x1].sum()
        covered += int(bitmap.sum())
    assert covered > 0


def test_without_a_mask_head_masks_are_refused_and_boxes_drawn(request_: Request, tmp_path: Path) -> None:
    boxes_only = made(tmp_path / "boxes.pth", "MODEL.MASK_ON", "False")
    with pytest.raises(DataError) as caught:
        predict(request_._replace(checkpoint=boxes_only, masks=True), quiet)
    assert str(caught.value).startswith(f"--masks: expected a model with a mask head, found none in {boxes_only}")
    assert "leave --masks out" in str(caught.value)
    predict(request_._replace(checkpoint=boxes_only, draw=tmp_path / "drawn", draw_score=0.0), quiet)
    assert len(list((tmp_path / "drawn").rglob("*.*"))) == 3


def pixels(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(PillowImage.open(path).convert("RGB"))


def test_drawing_changes_no_result(request_: Request, tmp_path: Path) -> None:
    plain = run(request_)
    before = request_.output.read_bytes()
    middle = float(np.median(plain.scores))
    done = predict(request_._replace(draw=tmp_path / "drawn", draw_score=middle), quiet)
    assert done is not None
    assert done.notes[1:] == (
        f"{tmp_path / 'drawn'}: 3 pictures with the {(plain.scores >= middle).sum()} detections of scores from "
        f"{middle:g} on",
        "drawn by id, for want of letters: 猫 is #7",
    )
    assert request_.output.read_bytes() == before
    drawn = tmp_path / "drawn"
    assert sorted(str(path.relative_to(drawn)) for path in drawn.rglob("*.*")) == sorted(SIZES)
    # A score that none has: the same pictures, enlarged.
    bare = predict(request_._replace(draw=tmp_path / "bare", draw_score=1.0), quiet)
    assert bare is not None
    highest = f"the highest is {plain.scores.max():.2f}: give a lower --draw-score"
    assert bare.notes[1] == f"{tmp_path / 'bare'}: 3 pictures with the 0 detections of scores from 1 on; {highest}"
    assert (pixels(tmp_path / "bare" / "a.png") != pixels(drawn / "a.png")).any()
    with pytest.raises(DataError, match="expected a new or empty folder"):
        predict(request_._replace(draw=drawn), quiet)


def test_the_images_of_a_list_are_drawn_too(request_: Request, images: Path, tmp_path: Path) -> None:
    PillowImage.open(images / "z.png").save(tmp_path / "5.png")
    listed = write_list(tmp_path / "list.json", {5: SIZES["z.png"]})
    given = request_._replace(annotations=listed, images=tmp_path, draw=tmp_path.parent / f"{tmp_path.name} drawn")
    assert given.draw is not None
    given.draw.mkdir()
    predict(given, quiet)
    assert [path.name for path in given.draw.iterdir()] == ["5.png"]


def test_no_drawing_is_left_where_prediction_fails(request_: Request, images: Path, tmp_path: Path) -> None:
    """A file that only decoding finds bad."""
    folder = tmp_path / "images"
    folder.mkdir()
    data = bytearray((images / "a.png").read_bytes())
    (folder / "a.png").write_bytes(data)
    at = data.index(b"IDAT") + 4
    data[at : at + 40] = bytes(40)
    (folder / "b.png").write_bytes(data)
    with pytest.raises(DataError, match=r"b.png: "):
        predict(request_._replace(images=folder, draw=tmp_path / "drawn"), quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_several_processes_make_the_same_files(request_: Request, tmp_path: Path) -> None:
    """Each takes every second picture, one of the three in tiles, and draws it; the order is the same."""
    request_ = request_._replace(masks=True, draw=tmp_path / "one", draw_score=0.2, tile=80)
    predict(request_, quiet)
    files = ("--weights", request_.checkpoint, "--images", request_.images, "--output", tmp_path / "two.json")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "train", "predict", *map(str, files), "--masks", "--draw", str(tmp_path / "two")),
            *("--draw-score", "0.2", "--tile", "80", "--processes", "2", *FEW),
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    written = f"{tmp_path / 'two.json'}: 36 detections in 3 images, 0 without any; by {request_.checkpoint}\n"
    assert done.stdout.startswith(written)
    for ending in (".json", ".images.json"):
        assert (tmp_path / f"two{ending}").read_bytes() == (tmp_path / f"results{ending}").read_bytes()
    for name in SIZES:
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["one", "two"]
