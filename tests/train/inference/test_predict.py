"""From a checkpoint and images to a results file, and everything that is refused before a model is built."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image as PillowImage

from augment.operations import tiles
from datasets import provenance, result_reading
from datasets.boxes import xywh_to_xyxy
from datasets.errors import DataError
from datasets.results import Results
from datasets.sample import THINGS
from tests.conftest import picture
from tests.train.made import content, quiet, tiny_config, write_list
from train import precision
from train.checkpoints import checkpoint
from train.data import shared_memory
from train.inference import detect, tiling
from train.inference.predict import Predicted, predict
from train.inference.request import RAW, Request
from train.model.build import build_network

ROOT = Path(__file__).parents[3]
CATEGORIES = [(thing.id, thing.name) for thing in THINGS]

# Height and width; the ids have gaps and no order.
SIZES = {31: (64, 72), 4: (90, 64), 17: (50, 50)}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny model that knows the sample's 8 categories and has learnt nothing of them."""
    cfg = tiny_config(len(CATEGORIES))
    path = tmp_path_factory.mktemp("run") / checkpoint.LAST
    return checkpoint.save(path, content(build_network(cfg, seed=0), cfg, CATEGORIES))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three pictures and, beside it, a file that lists them and says nothing else."""
    folder = tmp_path_factory.mktemp("test") / "images"
    folder.mkdir()
    for id_, (height, width) in SIZES.items():
        PillowImage.fromarray(picture(width, height, id_)).save(folder / f"{id_}.png")
    write_list(folder.parent / "images.json", SIZES)
    return folder


class Run(Protocol):
    """run("KEY", "VALUE", raw=True): the results that are read back from the file that `predict` wrote."""

    def __call__(self, *overrides: str, **changed: Any) -> Results: ...


@pytest.fixture
def run(weights: Path, images: Path, tmp_path: Path) -> Run:
    """run("KEY", "VALUE", raw=True): the results that are read back from the file that `predict` wrote."""

    def run(*overrides: str, **changed: Any) -> Results:
        given: dict[str, Any] = {
            "checkpoint": weights,
            "annotations": images.parent / "images.json",
            "images": images,
            "output": tmp_path / "results.json",
            "overrides": overrides,
            **changed,
        }
        predict(Request(**given), quiet)
        return result_reading.read(given["output"])

    return run


def of_image(found: Results, id_: int) -> npt.NDArray[np.float64]:
    """(n, 6) category, xywh, score of an image's detections; the best first."""
    at = found.image_ids == id_
    table = np.column_stack([found.category_ids[at], found.boxes_xywh[at], found.scores[at]])
    return best_first(table)


def best_first(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    ordered: npt.NDArray[np.float64] = rows[np.lexsort((rows[:, 1], rows[:, 0], -rows[:, 5]))]
    return ordered


def overlaps(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The IoU of each two boxes of the same category."""
    boxes = xywh_to_xyxy(rows[:, 1:5])
    inter = np.maximum(
        np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(boxes[:, None, :2], boxes[None, :, :2]), 0
    ).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    pairs = np.triu(rows[:, None, 0] == rows[None, :, 0], k=1)
    return np.asarray((inter / (area[:, None] + area[None, :] - inter))[pairs], dtype=np.float64)


def test_a_file_that_only_lists_images_is_enough(run: Run, tmp_path: Path) -> None:
    found = run()
    # In the order of the list.
    assert list(dict.fromkeys(found.image_ids.tolist())) == list(SIZES)
    assert set(found.category_ids.tolist()) <= {id_ for id_, _ in CATEGORIES}
    # Classes beyond the fourth have ids that no class has: 8, 13, 21, 34.
    assert max(found.category_ids.tolist()) > len(CATEGORIES)
    for id_, (height, width) in SIZES.items():
        rows = of_image(found, id_)
        assert 0 < len(rows) <= 100
        assert (rows[:, 1:3] >= 0).all()
        assert (rows[:, 1:3] + rows[:, 3:5] <= np.array([width, height]) + 0.001).all()
        assert (overlaps(rows) <= 0.5 + 1e-3).all()
    falling = [found.scores[found.image_ids == id_] for id_ in SIZES]
    assert all((np.diff(scores) <= 0).all() for scores in falling)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "results.provenance.json"]


def test_it_says_what_it_did(weights: Path, images: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    request = Request(weights, images.parent / "images.json", images, tmp_path / "deep" / "er" / "results.json")
    done = predict(request, lambda *stage: told.append(stage))
    found = result_reading.read(request.output)
    assert done == Predicted(images=3, detections=len(found), without=0, seen=0)
    assert told == [("checking images", 3, 3), *(("predicting", at, 3) for at in (1, 2, 3))]
    # The same once more, to the byte.
    before = request.output.read_bytes()
    predict(request, quiet)
    assert request.output.read_bytes() == before
    # Of nine classes, none gets nearly everything.
    few = request._replace(overrides=("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.99"))
    assert predict(few, quiet) == Predicted(images=3, detections=0, without=3, seen=0)
    assert len(result_reading.read(few.output)) == 0


def test_evaluate_scores_it(images: Path, run: Run, tmp_path: Path) -> None:
    objects = [
        {"id": id_, "image_id": id_, "category_id": 34, "bbox": [5, 5, 30, 30], "area": 900, "iscrowd": 0}
        for id_ in SIZES
    ]
    named = [{"id": id_, "name": name} for id_, name in CATEGORIES]
    annotations = write_list(tmp_path / "val.json", SIZES, annotations=objects, categories=named)
    found = run(annotations=annotations, images=images)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "datasets", "evaluate", "--json", "--annotations", str(annotations)),
            *("--results", str(tmp_path / "results.json")),
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    document = json.loads(done.stdout)
    counts = [document[key] for key in ("images", "images_without_detections", "detections")]
    assert counts == [3, 0, len(found)]
    assert 0 <= document["ap"] < 0.5


def test_raw_keeps_what_soft_nms_wants(run: Run) -> None:
    plain, raw = run(), run(raw=True)
    assert len(raw) > len(plain)
    assert raw.scores.min() >= RAW["MODEL.ROI_HEADS.SCORE_THRESH_TEST"] == 0.001
    for id_ in SIZES:
        rows = of_image(raw, id_)
        assert len(of_image(plain, id_)) <= 100 < len(rows) <= 300
        assert 0.5 < overlaps(rows).max() <= 0.9 + 1e-3
    # What is said last counts.
    assert np.unique(run("TEST.DETECTIONS_PER_IMAGE", "5", raw=True).image_ids, return_counts=True)[1].max() == 5


ONE_SIZE = ("TEST.AUG.MIN_SIZES", "[64]", "TEST.AUG.MAX_SIZE", "128", "TEST.AUG.FLIP", "False")


def test_tta_in_the_one_size_of_the_test_is_the_plain_prediction(run: Run) -> None:
    plain, augmented = run(), run(*ONE_SIZE, tta=True)
    for id_ in SIZES:
        ours, theirs = of_image(augmented, id_), of_image(plain, id_)
        np.testing.assert_array_equal(ours[:, 0], theirs[:, 0])
        # Both round to 0.001.
        np.testing.assert_allclose(ours[:, 1:], theirs[:, 1:], atol=0.0021)


def test_tta_in_more_sizes_finds_something_else(run: Run) -> None:
    one, more = run(*ONE_SIZE, tta=True), run(*ONE_SIZE, "TEST.AUG.MIN_SIZES", "[64, 96]", tta=True)
    assert of_image(one, 31).tolist() != of_image(more, 31).tolist()
    assert 0 < len(of_image(more, 31)) <= 100


def test_tta_of_a_mirrored_image_gives_mirrored_boxes(run: Run, tmp_path: Path) -> None:
    """In its own size, so that what is mirrored is the same to the pixel."""
    height, width = 64, 100
    pixels = picture(width, height, 5)
    for id_, seen in {1: pixels, 2: pixels[:, ::-1]}.items():
        PillowImage.fromarray(np.ascontiguousarray(seen)).save(tmp_path / f"{id_}.png")
    annotations = write_list(tmp_path / "both.json", {1: (height, width), 2: (height, width)})
    given: dict[str, Any] = {"annotations": annotations, "images": tmp_path, "output": tmp_path / "results.json"}

    def mirrored(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        turned = rows.copy()
        turned[:, 1] = width - rows[:, 1] - rows[:, 3]
        return best_first(turned)

    flipping = run(*ONE_SIZE, "TEST.AUG.FLIP", "True", tta=True, **given)
    first, second = of_image(flipping, 1), of_image(flipping, 2)
    assert len(first) > 10
    np.testing.assert_allclose(mirrored(first), second, atol=0.0021)
    # It is the flip that does it.
    plain = run(*ONE_SIZE, tta=True, **given)
    assert mirrored(of_image(plain, 1)).tolist() != of_image(plain, 2).tolist()


def test_mixed_precision_is_asked_for_and_goes_on_record(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(precision, "_cpu_info", lambda: "flags : avx512_bf16")
    wide, narrow = run(), run(amp="bf16", output=tmp_path / "bf16.json")
    assert len(wide) > 0
    assert len(narrow) > 0
    # bf16 has 8 bits of digits: not the same scores, and not far from them.
    assert sorted(wide.scores[:10]) != sorted(narrow.scores[:10])
    assert narrow.scores.max() == pytest.approx(wide.scores.max(), rel=0.2)
    known = provenance.read(tmp_path / "bf16.json").recorded
    assert known is not None
    assert known.models[0].settings == ("SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", "bf16")


def test_a_run_in_mixed_precision_is_predicted_in_float32(run: Run, tmp_path: Path) -> None:
    """As it was validated."""
    found = []
    for amp in ("True", "False"):
        cfg = tiny_config(len(CATEGORIES), "SOLVER.AMP.ENABLED", amp, "SOLVER.AMP.DTYPE", "bf16")
        path = checkpoint.save(tmp_path / f"{amp}.pth", content(build_network(cfg, seed=0), cfg, CATEGORIES))
        found.append(run(checkpoint=path).scores.tolist())
    assert found[0] == found[1]


def test_memory_that_runs_out_is_one_error(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: Any, **__: Any) -> Results:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nAnd more.")

    monkeypatch.setattr(detect, "detect", fail)
    first = r"^CUDA out of memory. Tried to allocate 2.00 GiB.\n"
    with pytest.raises(DataError, match=first + r".*--amp fp16; a smaller INPUT.MIN_SIZE_TEST \(was 64\)"):
        run()
    with pytest.raises(DataError, match=r"Try: a smaller TEST.AUG.MIN_SIZES \(was "):
        run("SOLVER.AMP.ENABLED", "True", tta=True)
    assert not (tmp_path / "results.json").exists()


def test_tiles_that_images_fit_into_change_nothing(run: Run, tmp_path: Path) -> None:
    for tta in (False, True):
        run(*(ONE_SIZE if tta else ()), tta=tta)
        whole = (tmp_path / "results.json").read_bytes()
        assert len(run(*(ONE_SIZE if tta else ()), tta=tta, tile=90, output=tmp_path / "tiled.json")) > 0
        assert (tmp_path / "tiled.json").read_bytes() == whole


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `images`: of 144 x 120 px, of three repeated pictures, and one that fits into a tile."""
    folder = tmp_path_factory.mktemp("large") / "images"
    folder.mkdir()
    cells = [picture(48, 40, seed) for seed in range(3)]
    rows = [np.hstack(cells[at:] + cells[:at]) for at in range(3)]
    PillowImage.fromarray(np.vstack(rows)).save(folder / "5.png")
    PillowImage.fromarray(picture(64, 50, 7)).save(folder / "2.png")
    write_list(folder.parent / "images.json", {5: (120, 144), 2: (50, 64)})
    return folder


def test_each_tile_is_predicted_as_an_image_of_its_own(run: Run, large: Path, tmp_path: Path) -> None:
    """All boxes of the merged file are those of images that were cut by hand, moved."""
    windows = tiles.grid(144, 120, 64, 0.2)
    pixels = np.asarray(PillowImage.open(large / "5.png"))
    for id_, (x0, y0, x1, y1) in enumerate(windows):
        PillowImage.fromarray(pixels[y0:y1, x0:x1]).save(tmp_path / f"{id_}.png")
    cut = run(
        annotations=write_list(tmp_path / "cut.json", dict.fromkeys(range(len(windows)), (64, 64))), images=tmp_path
    )
    corners = np.array([(*windows[id_][:2], 0, 0) for id_ in cut.image_ids])
    expected = np.column_stack([cut.category_ids, cut.boxes_xywh + corners, cut.scores])

    listed = {"annotations": large.parent / "images.json", "images": large}
    found = run(tile=64, **listed)

    rows = of_image(found, 5)
    assert len(rows) == 100
    # Sides are rounded to 0.001 before and after they are moved.
    assert (np.abs(rows[:, None] - expected).max(axis=2).min(axis=1) < 0.0021).all()
    assert (np.diff(found.scores[found.image_ids == 5]) <= 0).all()
    # Beyond the first tile, and none beyond the image.
    ends = rows[:, 1:3] + rows[:, 3:5]
    assert (ends <= np.array([144, 120]) + 0.001).all()
    assert (ends.max(axis=0) > np.array([64, 64])).all()
    # What fits into a tile is as without.
    assert of_image(found, 2).tolist() == of_image(run(**listed), 2).tolist()


def test_tiles_go_on_record_and_progress_counts_images(weights: Path, large: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    request = Request(weights, large.parent / "images.json", large, tmp_path / "results.json", tile=64, raw=True)
    done = predict(request, lambda *stage: told.append(stage))
    assert done is not None
    assert (done.images, done.without) == (2, 0)
    assert told[-2:] == [("predicting", 1, 2), ("predicting", 2, 2)]
    recorded = provenance.read(request.output).recorded
    assert recorded is not None
    assert recorded.models[0].settings == ("--tile", "64", "--overlap", "0.2")
    # Workers hand over whole images; the file is the same.
    before = request.output.read_bytes()
    predict(request._replace(overrides=("DATALOADER.NUM_WORKERS", "2")), quiet)
    assert request.output.read_bytes() == before


def test_tta_of_tiles_finds_boxes_all_over_the_image(run: Run, large: Path) -> None:
    found = run(
        *ONE_SIZE, "TEST.AUG.FLIP", "True", tta=True, tile=64, annotations=large.parent / "images.json", images=large
    )
    rows = of_image(found, 5)
    ends = rows[:, 1:3] + rows[:, 3:5]
    assert len(rows) == 100
    assert (ends <= np.array([144, 120]) + 0.001).all()
    assert (ends.max(axis=0) > np.array([64, 64])).all()


def test_raw_boxes_are_merged_across_tiles_as_others_are(
    run: Run, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thresholds: list[float] = []
    limits: list[int] = []
    merge = tiling.merge

    def seen(*given: Any, iou_threshold: float, limit: int) -> Any:
        thresholds.append(iou_threshold)
        limits.append(limit)
        return merge(*given, iou_threshold=iou_threshold, limit=limit)

    monkeypatch.setattr(tiling, "merge", seen)
    listed: dict[str, Any] = {"annotations": large.parent / "images.json", "images": large, "tile": 64}
    run(**listed)
    raw = of_image(run(raw=True, **listed), 5)
    # 0.5 is the configuration's. Within a tile, boxes overlap by more.
    assert overlaps(raw).max() > 0.5
    run("MODEL.ROI_HEADS.NMS_THRESH_TEST", "0.7", raw=True, **listed)
    assert thresholds == [0.5, 0.5, 0.7]
    assert limits == [100, 300, 300]


def test_tiles_need_shared_memory_for_whole_images(run: Run, large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[shared_memory.Load] = []
    monkeypatch.setattr(shared_memory, "check", lambda given, _workers: loads.extend(given))
    listed = {"annotations": large.parent / "images.json", "images": large}
    run(**listed)
    run(tile=64, **listed)
    # At a shorter side of 64: 50 x 64 is larger then, at 64 x 82, than 120 x 144 at 64 x 77.
    assert loads == [shared_memory.Load(1, 3 * 64 * 82), shared_memory.Load(1, 3 * 120 * 144)]


def test_the_moving_average_predicts_unless_it_is_declined(run: Run, tmp_path: Path) -> None:
    cfg = tiny_config(len(CATEGORIES), "SOLVER.EMA", "0.99")
    plain, average = (build_network(cfg, seed=seed) for seed in (0, 1))
    paths = {
        name: checkpoint.save(tmp_path / f"{name}.pth", content(network, cfg, CATEGORIES, **more))
        for name, network, more in (
            ("plain", plain, {}),
            ("average", average, {}),
            ("both", plain, {checkpoint.EMA: average.state_dict()}),
        )
    }
    scores = {name: run(checkpoint=path).scores.tolist() for name, path in paths.items()}
    declined = run(checkpoint=paths["both"], ema=False).scores.tolist()

    assert scores["both"] == scores["average"] != scores["plain"]
    assert declined == scores["plain"]
    written = json.loads(provenance.path_of(tmp_path / "results.json").read_text(encoding="utf-8"))
    assert written["models"][0]["settings"] == ["--no-ema"]
