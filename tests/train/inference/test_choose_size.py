"""Choosing the test size of a run by AP, from measurement to what `predict` then does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from datasets import coco, provenance
from datasets.errors import DataError
from datasets.evaluation import evaluate
from datasets.results import Results
from datasets.sources import Input
from tests.command_line import in_shell
from tests.protocols import Draw
from tests.train.made import content, quiet, tiny_config
from train.__main__ import main
from train.checkpoints import checkpoint
from train.inference import detect, test_size
from train.inference.choose_size import Choice, choose
from train.model.build import build_network

ROOT = Path(__file__).parents[3]
CATEGORIES = [(1, "person"), (3, "car"), (18, "dog"), (90, "toothbrush")]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of a model that has learnt nothing; 64 px at test."""
    cfg = tiny_config(len(CATEGORIES))
    folder = tmp_path / "run"
    folder.mkdir()
    checkpoint.save(folder / checkpoint.LAST, content(build_network(cfg, seed=0), cfg, CATEGORIES))
    return folder


@pytest.fixture
def filled(drawn: Input, tmp_path: Path) -> Input:
    """The drawn images, each filled by an object of every category: a model that has learnt nothing finds some."""
    document = json.loads(drawn.annotations.read_text(encoding="utf-8"))
    document["annotations"] = [
        {
            "id": 10 * at + number,
            "image_id": item["id"],
            "category_id": id_,
            "bbox": [0, 0, item["width"], item["height"]],
            "area": item["width"] * item["height"],
            "iscrowd": 0,
        }
        for at, item in enumerate(document["images"])
        for number, (id_, _) in enumerate(CATEGORIES)
    ]
    path = tmp_path / "filled.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return Input(path, drawn.images)


def found_at(best: int, truth: Input) -> Any:
    """Detections that are the objects themselves at one size, and of two thirds of the images at others."""

    def detections(_network: nn.Module, cfg: Any, *_: Any) -> Results:
        dataset = coco.read(truth.annotations).dataset
        items = [item for item in dataset.annotations if not item.iscrowd]
        if best != cfg.INPUT.MIN_SIZE_TEST:
            items = items[::2]
        return Results(
            image_ids=np.array([item.image_id for item in items]),
            category_ids=np.array([item.category_id for item in items]),
            boxes_xywh=np.array([item.bbox for item in items]),
            scores=np.ones(len(items)),
        )

    return detections


def test_the_best_size_is_written_into_the_run(run: Path, drawn: Input, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "detect_in_all", found_at(48, drawn))
    found = choose(Choice(run, run / checkpoint.LAST, drawn, (32, 48, 64)), quiet)
    assert found is not None
    written = test_size.read(run)
    assert written == found.size
    assert (written.shorter, written.longest) == (48, 96)  # 128 x 48 / 64
    assert written.ap[48] == 1.0
    assert written.ap[32] == written.ap[64] < 1
    assert found.table()[2] == "               48 px   100.0 (100.0 to 100.0) the best"
    assert found.table()[3].startswith(f"               64 px   {100 * written.ap[64]:>5.1f} (")
    assert found.table()[3].endswith(" as configured")


def test_the_configured_size_is_always_compared_with(run: Path, drawn: Input, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "detect_in_all", found_at(64, drawn))
    found = choose(Choice(run, run / checkpoint.LAST, drawn, (48,)), quiet)
    assert found is not None
    assert found.size.shorter == 64
    assert found.size.ap.keys() == {48, 64}


def test_where_nothing_is_found_nothing_is_chosen(run: Path, drawn: Input, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "detect_in_all", lambda *_: detect.join([empty()]))
    with pytest.raises(DataError, match="found AP 0 at every size, so that none is better; nothing was written"):
        choose(Choice(run, run / checkpoint.LAST, drawn), quiet)
    assert test_size.read(run) is None


def empty() -> Results:
    return Results(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0))


def test_memory_that_runs_out_is_one_error(run: Path, drawn: Input, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Results:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")

    monkeypatch.setattr(detect, "detect_in_all", full)
    with pytest.raises(DataError, match="too small for images of 64 px; nothing was written") as caught:
        choose(Choice(run, run / checkpoint.LAST, drawn, (64, 96)), quiet)
    assert str(caught.value).startswith("CUDA out of memory. Tried to allocate 9 GiB.")


def test_two_processes_measure_the_same(run: Path, filled: Input) -> None:
    command = [
        *(sys.executable, "-m", "train", "choose-size", str(run), "--annotations", str(filled.annotations)),
        *("--images", str(filled.images), "--sizes", "64", "--processes", "2"),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    two = test_size.read(run)
    one = choose(Choice(run, run / checkpoint.LAST, filled, (64,)), quiet)
    assert one is not None
    assert two == one.size


def test_ap_is_what_evaluate_gives_of_predictions_at_that_size(run: Path, filled: Input, tmp_path: Path) -> None:
    """Measured twice: by choose-size, and by predict and evaluate."""
    from train.inference.predict import predict
    from train.inference.request import Request

    found = choose(Choice(run, run / checkpoint.LAST, filled, (64, 96)), quiet)
    assert found is not None
    for size, longest in ((64, 128), (96, 192)):
        output = tmp_path / f"{size}.json"
        keys = ("INPUT.MIN_SIZE_TEST", str(size), "INPUT.MAX_SIZE_TEST", str(longest))
        predict(Request(run / checkpoint.LAST, *filled, output, overrides=keys), quiet)
        from datasets import result_reading

        evaluated = evaluate(coco.read(filled.annotations).dataset, result_reading.read(output))
        assert evaluated.ap is not None
        assert found.size.ap[size] == pytest.approx(evaluated.ap, abs=1e-6)


def test_categories_that_were_not_trained_do_not_count(
    run: Path, drawn: Input, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = tiny_config(1)
    left_out = {"left_out": [list(pair) for pair in CATEGORIES[1:]], "manifest_sha256": None}
    made = content(build_network(cfg, seed=0), cfg, CATEGORIES[:1], data=left_out)
    checkpoint.save(run / checkpoint.LAST, made)
    perfect = found_at(64, drawn)

    def persons(*arguments: Any) -> Results:
        results = perfect(*arguments)
        return detect.taken(results, results.category_ids == 1)

    monkeypatch.setattr(detect, "detect_in_all", persons)
    found = choose(Choice(run, run / checkpoint.LAST, drawn, (64,)), quiet)
    assert found is not None
    assert found.size.ap == {64: 1.0}


def test_images_without_objects_have_no_best_size(run: Path, draw: Draw, tmp_path: Path) -> None:
    empty = draw(tmp_path / "empty", only=(30,))
    with pytest.raises(DataError, match="expected objects to find, by which sizes are compared, found none"):
        choose(Choice(run, run / checkpoint.LAST, empty, (64,)), quiet)
    assert test_size.read(run) is None


def test_keys_that_predict_would_not_have_are_refused(run: Path, drawn: Input) -> None:
    keys = ("INPUT.MIN_SIZE_TEST", "64", "TEST.DETECTIONS_PER_IMAGE", "3", "DATALOADER.NUM_WORKERS", "0")
    with pytest.raises(DataError, match="choose-size measures what `predict` does without keys of its own") as caught:
        choose(Choice(run, run / checkpoint.LAST, drawn, overrides=keys), quiet)
    assert caught.value.problems == [
        "INPUT.MIN_SIZE_TEST: --sizes names the sizes that are tried",
        "TEST.DETECTIONS_PER_IMAGE: would not hold in `predict`",
    ]


def test_predict_uses_it_and_says_so(run: Path, drawn: Input, tmp_path: Path) -> None:
    cli = partial(in_shell, main, "python -m train")
    sha256 = checkpoint.read(run / checkpoint.LAST).sha256
    test_size.write(
        run,
        test_size.TestSize(
            shorter=48, longest=96, ap={48: 0.5}, checkpoint=checkpoint.LAST, sha256=sha256, images=8, seen=0
        ),
    )
    output = tmp_path / "results.json"
    asked = ("predict", "--run", run, "--annotations", drawn.annotations, "--images", drawn.images, "--output", output)

    def settings(*more: object) -> tuple[int, str, tuple[str, ...]]:
        code, _, err = cli(*asked, *more)
        (made_by,) = json.loads(provenance.path_of(output).read_text(encoding="utf-8"))["models"]
        return code, err, tuple(made_by["settings"])

    code, err, used = settings()
    assert code == 0
    assert "predicting at 48 px, AP 50.0 on 8 images with model_last.pth, which `choose-size` found best" in err
    assert used == ("INPUT.MIN_SIZE_TEST", "48", "INPUT.MAX_SIZE_TEST", "96")
    # A size on the command line comes first, and --tta has sizes of its own.
    assert settings("INPUT.MIN_SIZE_TEST", "56")[2] == ("INPUT.MIN_SIZE_TEST", "56")
    assert settings("--tta", "TEST.AUG.MIN_SIZES", "[48]", "TEST.AUG.MAX_SIZE", "96")[2][:1] == ("TEST.AUG.MIN_SIZES",)


def test_a_size_of_other_weights_is_not_used(run: Path, drawn: Input, tmp_path: Path) -> None:
    cli = partial(in_shell, main, "python -m train")
    test_size.write(
        run,
        test_size.TestSize(
            shorter=48, longest=96, ap={48: 0.5}, checkpoint=checkpoint.BEST, sha256="0" * 64, images=8, seen=0
        ),
    )
    output = tmp_path / "results.json"
    asked = ("predict", "--run", run, "--annotations", drawn.annotations, "--images", drawn.images, "--output", output)
    code, _, err = cli(*asked)
    assert code == 0
    assert "note: `choose-size` measured model_best.pth as it was then; its size is not used" in err
    assert json.loads(provenance.path_of(output).read_text(encoding="utf-8"))["models"][0]["settings"] == []
