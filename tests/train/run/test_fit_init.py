"""Runs that go on from another run's weights: on more categories, with other loss weights; and what they have seen."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from datasets import provenance
from datasets.digests import sha256_file
from datasets.errors import DataError
from datasets.seen import SeenImages
from datasets.sources import Input
from datasets.spec import input_of
from tests.protocols import Draw
from tests.train.made import quiet
from tests.train.run.test_fit import overrides
from train.checkpoints import checkpoint, lineage
from train.inference.predict import predict
from train.inference.request import Request as PredictRequest
from train.run import fit
from train.run.request import Request

# Persons and cars have the most objects; dogs have none.
TOP = "top:2"


def describe(folder: Path, source: Input) -> str:
    """The dataset as data by name."""
    path = folder / "data.yaml"
    split = {"annotations": str(source.annotations), "images": str(source.images)}
    path.write_text(yaml.safe_dump({"about": "drawn", "train": split, "val": split}), encoding="utf-8")
    return str(path)


def train(data: str, output: Path, **more: Any) -> dict[str, Any]:
    """One iteration, unless it says otherwise; the last checkpoint's content."""
    named = {key: more.pop(key) for key in ("init", "categories", "validation", "resume") if key in more}
    schedule = more.pop("schedule", "sample")
    pairs = overrides(**{"SOLVER__MAX_ITER": "1", **more})
    fit.fit(
        Request(model="tiny", data=input_of(data, "train"), output=output, schedule=schedule, overrides=pairs, **named)
    )
    return checkpoint.read(output / checkpoint.LAST).content


@pytest.fixture(scope="module")
def data(drawn: Input, tmp_path_factory: pytest.TempPathFactory) -> str:
    return describe(tmp_path_factory.mktemp("data"), drawn)


@pytest.fixture(scope="module")
def few(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on two of the four categories."""
    output = tmp_path_factory.mktemp("runs") / "few"
    train(data, output, categories=TOP)
    return output


def test_a_subset_is_trained_on_and_the_rest_is_on_record(few: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = checkpoint.read(few / checkpoint.LAST).content
    assert content["categories"] == [[1, "person"], [3, "car"]]
    assert content["data"]["left_out"] == [[18, "dog"], [90, "toothbrush"]]
    assert "NUM_CLASSES: 2" in content["config"]
    assert content["model"]["roi_heads.box_predictor.cls_score.weight"].shape[0] == 3
    capsys.readouterr()


def test_a_subset_is_measured_on_itself(data: str, drawn: Input, tmp_path: Path, capsys: Any) -> None:
    train(data, tmp_path / "run", categories=TOP, validation=drawn)
    out = capsys.readouterr().out
    assert "  2 of 4 categories: person, car\n  objects of the others are background" in out
    assert "AP is that of the 2 categories that are trained on" in out


def test_then_all_categories_from_its_weights(data: str, few: Path, tmp_path: Path, capsys: Any) -> None:
    content = train(data, tmp_path / "all", init=few)
    out = capsys.readouterr().out
    assert "  2 categories there, 4 here: predictors start fresh" in out
    log = (tmp_path / "all" / fit.INIT_LOG).read_text(encoding="utf-8").splitlines()
    assert {line.split(": ")[1].split(" [")[0] for line in log} == content["model"].keys()
    fresh = [line for line in log if not line.startswith("taken over: ")]
    assert len(fresh) == 6
    assert all(line.startswith("as drawn, of other categories: roi_heads.") for line in fresh)
    assert f"{len(log) - 6} of {len(log)} tensors taken over" in out
    (parent,) = content["lineage"]["parents"]
    assert parent["sha256"] == checkpoint.read(few / checkpoint.LAST).sha256
    assert parent["data"]["left_out"] == [[18, "dog"], [90, "toothbrush"]]
    assert lineage.doubts("a.pth", content["lineage"]) == []


def test_the_weights_are_those_of_the_parent_before_the_first_step(data: str, few: Path, tmp_path: Path) -> None:
    # Nothing moves but by a rate next to nothing.
    content = train(data, tmp_path / "all", init=few / checkpoint.LAST, SOLVER__BASE_LR="1e-12")
    theirs = checkpoint.read(few / checkpoint.LAST).content["model"]
    for name in ("backbone.bottom_up.res5.1.conv2.weight", "roi_heads.box_head.fc1.weight"):
        assert torch.allclose(content["model"][name], theirs[name], atol=1e-9, rtol=1e-5), name


def test_resuming_with_other_categories_is_refused(data: str, few: Path) -> None:
    with pytest.raises(DataError) as caught:
        train(data, few, categories="top:1", resume=True)
    assert "dataset, categories: was [[1, 'person'], [3, 'car']], is [[1, 'person']]" in caught.value.problems
    with pytest.raises(DataError) as caught:
        train(data, few, resume=True)
    assert any(problem.startswith("dataset, left_out: was ") for problem in caught.value.problems)


def test_either_init_or_weights(data: str, few: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected either --init or MODEL\.WEIGHTS, found both"):
        train(data, tmp_path / "run", init=few, MODEL__WEIGHTS="a.pth")
    with pytest.raises(DataError, match="expected the folder of a run"):
        train(data, tmp_path / "run", init=tmp_path)


def test_a_schedule_of_fine_tuning_needs_weights(data: str, few: Path, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(DataError, match="schedule finetune-cls needs trained weights: expected --init RUN"):
        train(data, tmp_path / "run", schedule="finetune-cls")
    assert not (tmp_path / "run").exists()
    train(data, tmp_path / "run", schedule="sample-finetune-cls", init=few, categories=TOP)
    assert "losses: loss_cls x 1.2, loss_mask x 0.3" in capsys.readouterr().out
    # The same categories: nothing starts fresh.
    log = (tmp_path / "run" / fit.INIT_LOG).read_text(encoding="utf-8").splitlines()
    assert log
    assert all(line.startswith("taken over: ") for line in log)


def test_what_was_seen_goes_into_the_checkpoint_and_down_the_line(
    draw: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """First one image, then another; measured on both, and on a third that is the first under another name."""
    sources = {name: draw(tmp_path / name, only=only) for name, only in (("first", (7,)), ("second", (3,)))}
    parent = tmp_path / "parent"
    train(describe(tmp_path / "first", sources["first"]), parent)
    both = draw(tmp_path / "both", only=(3, 7, 12))
    document = json.loads(both.annotations.read_bytes())
    for image in document["images"]:
        # By their ids, none of them is known.
        image["id"] += 1000
    for item in document["annotations"]:
        item["image_id"] += 1000
    both.annotations.write_text(json.dumps(document), encoding="utf-8")

    content = train(describe(tmp_path / "second", sources["second"]), tmp_path / "child", init=parent, validation=both)

    seen = SeenImages.from_plain(content["seen"], "child")
    names = {7: "tall.jpg", 3: "sub/wide.jpg"}
    assert seen.images == {(id_, name, sha256_file(both.images / name)) for id_, name in names.items()}
    out = capsys.readouterr().out
    assert "2 of them are seen" in out
    assert "AP50 0.0  seen in training: 2 of 3 images" in out

    output = tmp_path / "results.json"
    done = predict(PredictRequest(tmp_path / "child" / checkpoint.LAST, both.annotations, both.images, output), quiet)
    assert done is not None
    assert done.seen == 2
    known = provenance.read(output)
    assert known.seen == {1003, 1007}
    assert known.recorded is not None
    (made_by,) = known.recorded.models
    assert (made_by.model, made_by.from_scratch) == ("tiny", True)


def test_a_subset_s_model_predicts_on_files_with_all_categories(few: Path, drawn: Input, tmp_path: Path) -> None:
    request = PredictRequest(few / checkpoint.LAST, drawn.annotations, drawn.images, tmp_path / "results.json")
    done = predict(request, quiet)
    assert done is not None
    assert done.seen == 8
    known = provenance.read(request.output)
    assert known.recorded is not None
    assert known.recorded.models[0].not_trained_on == ("dog", "toothbrush")
    document = json.loads(drawn.annotations.read_bytes())
    document["categories"] = document["categories"][:2]
    other = tmp_path / "two.json"
    other.write_text(json.dumps({"images": document["images"], "categories": document["categories"]}))
    # Those it trained on alone are another dataset's.
    with pytest.raises(DataError) as caught:
        predict(request._replace(annotations=other), quiet)
    assert len(caught.value.problems) == 2


def test_a_run_goes_on_without_the_one_that_it_was_started_from(data: str, few: Path, tmp_path: Path) -> None:
    """Nothing of the parent is needed any more: it may be gone, lie elsewhere, or not be named at all."""
    parent, output = tmp_path / "parent", tmp_path / "run"
    shutil.copytree(few, parent)
    train(data, output, init=parent, SOLVER__MAX_ITER="1")
    # As if it had been stopped: the same run, one iteration of more.
    content = checkpoint.read(output / checkpoint.LAST).content
    config = content["config"].replace("MAX_ITER: 1", "MAX_ITER: 2")
    checkpoint.save(output / checkpoint.LAST, {**content, "config": config})
    shutil.rmtree(parent)

    for iterations, init in (("2", parent), ("2", None), ("2", tmp_path / "elsewhere")):
        found = train(data, output, resume=True, SOLVER__MAX_ITER=iterations, **({"init": init} if init else {}))
        assert found["iteration"] == 2
        assert found["lineage"] == content["lineage"]
    # To begin with, it must be there.
    with pytest.raises(DataError, match="parent: expected the folder of a run or a checkpoint file, found neither"):
        train(data, tmp_path / "new", init=parent, resume=True)


def test_left_over_epochs_are_not_taken_for_a_new_run_s(data: str, tmp_path: Path) -> None:
    for epoch in (1, 2):
        (tmp_path / checkpoint.epoch_name(epoch)).write_bytes(b"")
    with pytest.raises(DataError, match="found checkpoints without the last one") as caught:
        train(data, tmp_path, resume=True)
    assert caught.value.problems == [checkpoint.epoch_name(2)]
    # What a run leaves that was killed while it wrote its first epoch.
    (tmp_path / checkpoint.epoch_name(2)).unlink()
    assert train(data, tmp_path, resume=True)["iteration"] == 1


def test_the_best_ap_keeps_what_it_was_measured_on(data: str, drawn: Input, tmp_path: Path, capsys: Any) -> None:
    """Trained on what it is measured on; resumed without validation, it still says so."""
    output = tmp_path / "run"
    content = train(data, output, validation=drawn)
    assert content["best"][2:4] == (8, 8)
    config = content["config"].replace("MAX_ITER: 1", "MAX_ITER: 2")
    checkpoint.save(output / checkpoint.LAST, {**content, "config": config})
    capsys.readouterr()
    train(data, output, resume=True, SOLVER__MAX_ITER="2")
    assert re.search(r"best AP .*: 95 % over 8 images\), seen in training in epoch 1", capsys.readouterr().out)
