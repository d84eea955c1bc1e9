"""Runs with what the paper did not have: all of it at once, and exact when they are resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from augment.operations.parameters import Mosaic, Paste, Pixel, RandomCrop, Recipe, TurnOver
from datasets.errors import DataError
from datasets.sources import Input
from tests.protocols import Draw
from tests.train.run.test_fit import assert_same, overrides
from train.checkpoints import checkpoint, lineage
from train.run import best_results, fit
from train.run.request import Request
from train.run.trainer import Trainer

RECIPE = Recipe(
    name="online",
    operations=(Pixel(), Paste(min_size=4, boxes=True), Mosaic(), TurnOver(), RandomCrop(fraction=(0.5, 0.9))),
)
ALL: dict[str, Any] = {
    "SOLVER__EPOCHS": "2.0",
    "INPUT__SCALE": "source",
    "INPUT__CANVAS": "72",
    "INPUT__SIZE_STEPS": "[[0, [40, 60]], [1, [60, 90]]]",
    "INPUT__ONLINE_OFF_EPOCHS": "1.0",
    "SOLVER__EMA": "0.9",
}


def request(data: Input, output: Path, *, online: Recipe | None = RECIPE, **changed: Any) -> Request:
    fields = {key: changed.pop(key) for key in ("resume", "validation") if key in changed}
    return Request("tiny", data, output, "sample", overrides(**changed), online=online, **fields)


class Killed(BaseException):
    """As if the process ended here."""


def test_a_killed_run_goes_on_to_the_very_same_weights(
    drawn: Input, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fit.fit(request(drawn, tmp_path / "whole", validation=drawn, **ALL))
    said = capsys.readouterr().out
    run_step = Trainer.run_step

    def killed_at_4(trainer: Trainer) -> None:
        if trainer.iter == 4:
            raise Killed
        run_step(trainer)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "run_step", killed_at_4)
        killed_run = request(drawn, tmp_path / "killed", validation=drawn, **ALL, DATALOADER__NUM_WORKERS="2")
        with pytest.raises(Killed):
            fit.fit(killed_run)
    fit.fit(request(drawn, tmp_path / "killed", validation=drawn, resume=True, **ALL))

    whole, killed = (checkpoint.read(tmp_path / name / checkpoint.LAST) for name in ("whole", "killed"))
    assert "going on from iteration 4" in capsys.readouterr().out
    assert_same(killed.content["model"], whole.content["model"])
    assert_same(killed.content["ema"], whole.content["ema"])
    # The AP of every epoch, too: it is that of the moving average.
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")
    for name in (best_results.RESULTS, best_results.DATA):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert "online: each epoch draws each image anew by the recipe online: pixel, paste, mosaic, turn" in said
    assert "paste and mosaic until 1 epochs before the end" in said
    assert "validated and predicted with the moving average of the weights" in said
    assert "shorter side [40, 60] from epoch 0, [60, 90] from epoch 1" in said
    described = "\n".join(lineage.describe(whole))
    assert "drawn online by online" in described
    for setting in ("SCALE source", "CANVAS 72", "ONLINE_OFF_EPOCHS 1.0"):
        assert f"beyond the paper INPUT.{setting}" in described


def metrics(run: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (run / "metrics.json").read_text().splitlines()]
    return [(line["iteration"], line["bbox/ap"]) for line in lines if "bbox/ap" in line]


def test_validation_uses_the_moving_average(drawn: Input, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def validate(network: torch.nn.Module, *_: Any) -> None:
        measured.append({name: tensor.clone() for name, tensor in network.state_dict().items()})

    monkeypatch.setattr(fit, "validate", validate)
    fit.fit(request(drawn, tmp_path / "run", online=None, validation=drawn, SOLVER__EMA="0.9", SOLVER__EPOCHS="1.0"))
    saved = checkpoint.read(tmp_path / "run" / checkpoint.LAST).content
    (weights,) = measured
    assert_same(weights, saved["ema"])
    assert any(not torch.equal(weights[name], saved["model"][name]) for name in weights)


def test_another_recipe_is_another_run(drawn: Input, tmp_path: Path) -> None:
    fit.fit(request(drawn, tmp_path / "run", SOLVER__MAX_ITER="1"))
    other = Recipe(name="other", operations=(Pixel(),))
    with pytest.raises(DataError) as caught:
        fit.fit(request(drawn, tmp_path / "run", online=other, resume=True, SOLVER__MAX_ITER="1"))
    (problem,) = caught.value.problems
    assert problem.startswith("--online: was online (parameters ")
    assert ", is other (parameters " in problem


def test_an_end_of_nothing_is_refused(drawn: Input, tmp_path: Path) -> None:
    for online in (None, Recipe(name="pixel", operations=(Pixel(),))):
        with pytest.raises(DataError, match=r"INPUT\.ONLINE_OFF_EPOCHS: goes with --online and a recipe with paste"):
            fit.fit(request(drawn, tmp_path / "run", online=online, INPUT__ONLINE_OFF_EPOCHS="2.0"))
    assert not (tmp_path / "run").exists()


def test_epochs_that_the_run_does_not_have_are_refused(drawn: Input, tmp_path: Path) -> None:
    changed: dict[str, Any] = {"INPUT__SIZE_STEPS": "[[0, [40, 60]], [9, [60, 90]]]", "INPUT__ONLINE_OFF_EPOCHS": "3.0"}
    with pytest.raises(DataError) as caught:
        fit.fit(request(drawn, tmp_path / "run", **changed))
    assert caught.value.problems == [
        "INPUT.SIZE_STEPS: expected epochs before the end of the run, 3 epochs, found 9",
        "INPUT.ONLINE_OFF_EPOCHS: expected less than the run's 3 epochs, found 3",
    ]


def test_a_scale_of_sources_needs_parts_of_images(drawn: Input, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"INPUT\.SCALE source is for parts of images, .* found whole images only"):
        fit.fit(request(drawn, tmp_path / "run", online=None, INPUT__SCALE="source"))


def test_variants_of_a_build_are_warned_of(
    built_crops: Input, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit.fit(request(built_crops, tmp_path / "run", SOLVER__MAX_ITER="1"))
    assert "warning: a build is made of variants already" in capsys.readouterr().out


def test_a_run_killed_in_its_first_checkpoint_begins_again(
    drawn: Input, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the first validation after two epochs, that one is the second's."""
    changed: dict[str, Any] = {"SOLVER__VALIDATE_EPOCHS": "2", "SOLVER__CHECKPOINT_PERIOD": "0"}
    run = request(drawn, tmp_path / "run", online=None, **changed)

    def killed(*_: Any) -> Path:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "keep", killed)
        with pytest.raises(Killed):
            fit.fit(run)
    assert [path.name for path in (tmp_path / "run").glob("*.pth")] == [checkpoint.epoch_name(2)]
    fit.fit(run._replace(resume=True))
    assert checkpoint.read(tmp_path / "run" / checkpoint.LAST).content["iteration"] == 10


def test_objects_without_masks_train_their_boxes(
    draw: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = draw(tmp_path / "some")
    document = json.loads(source.annotations.read_text(encoding="utf-8"))
    for item in document["annotations"][::2]:
        item.pop("segmentation")
    source.annotations.write_text(json.dumps(document), encoding="utf-8")
    fit.fit(request(source, tmp_path / "run", online=None, SOLVER__MAX_ITER="2"))
    assert "have no segmentation, and train their boxes only" in capsys.readouterr().out
    trained = checkpoint.read(tmp_path / "run" / checkpoint.LAST).content["model"]
    assert [name for name in trained if "mask_head" in name]
    assert all(bool(torch.isfinite(tensor).all()) for tensor in trained.values())


def test_a_crop_without_its_source_has_no_scale(built_crops: Input, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"INPUT\.SCALE source needs the size of the picture") as caught:
        fit.fit(request(built_crops, tmp_path / "run", online=None, INPUT__SCALE="source"))
    assert len(caught.value.problems) == 8
    assert "Have `original` in the recipe" in str(caught.value)


@pytest.fixture
def built_crops(drawn: Input, tmp_path: Path) -> Input:
    """A build of nothing but crops."""
    from tests.augment.conftest import make_build

    recipe = Recipe(name="crops", operations=(RandomCrop(fraction=(0.9, 0.9)),))
    folder = tmp_path / "crops"
    make_build(drawn, folder, recipe)
    return Input(folder / "annotations/instances.json", folder / "images")
