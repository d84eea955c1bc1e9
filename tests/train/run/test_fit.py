"""Whole runs, small ones: what they write, and that a run that was killed ends with the weights of one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from datasets import coco, result_reading
from datasets.digests import sha256_file
from datasets.errors import DataError
from datasets.evaluation import evaluate
from datasets.sources import Input
from datasets.spec import input_of
from tests.protocols import Draw
from train.checkpoints import checkpoint
from train.run import best_results, fit, resume
from train.run.request import Request

ROOT = Path(__file__).parents[3]

# Seven of the drawn images have an object, so an epoch has 3.5 iterations of 2.
IMAGES = 7
SMALL = {
    "INPUT.MIN_SIZE_TRAIN": "[48, 64]",
    "INPUT.MAX_SIZE_TRAIN": "96",
    "INPUT.MIN_SIZE_TEST": "64",
    "INPUT.MAX_SIZE_TEST": "96",
    "SOLVER.IMS_PER_BATCH": "2",
    "SOLVER.EPOCHS": "3.0",
    "SOLVER.CHECKPOINT_PERIOD": "2",
    "DATALOADER.NUM_WORKERS": "0",
}


def overrides(**changed: str) -> tuple[str, ...]:
    """KEY VALUE pairs; a double underscore stands for a dot."""
    chosen = SMALL | {key.replace("__", "."): value for key, value in changed.items()}
    return tuple(part for pair in chosen.items() for part in pair)


@pytest.fixture(scope="module")
def spec(drawn: Input, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The drawn dataset as data by name: trained and validated on the same images."""
    path = tmp_path_factory.mktemp("spec") / "drawn.yaml"
    split = {"annotations": str(drawn.annotations), "images": str(drawn.images)}
    path.write_text(yaml.safe_dump({"about": "drawn for tests", "train": split, "val": split}), encoding="utf-8")
    return str(path)


def request(spec: str, output: Path, *, validation: Input | None = None, **changed: Any) -> Request:
    fields = {key: changed.pop(key) for key in ("resume", "allow_pretrained", "model") if key in changed}
    return Request(
        data=input_of(spec, "train"),
        output=output,
        schedule="sample",
        overrides=overrides(**changed),
        validation=validation,
        **{"model": "tiny", **fields},
    )


def command(spec: str, output: Path, *options: str, **changed: str) -> list[str]:
    return [
        *(sys.executable, "-m", "train", "fit", "--model", "tiny", "--schedule", "sample"),
        *("--data", spec, "--output", str(output), *options, *overrides(**changed)),
    ]


ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(arguments: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(arguments, env=ENVIRONMENT, capture_output=True, text=True, check=False, cwd=ROOT, **more)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def weights(output: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = checkpoint.read(output / checkpoint.LAST).content["model"]
    return found


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.fixture(scope="module")
def whole(spec: str, drawn: Input, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs, uninterrupted, without loader workers."""
    output = tmp_path_factory.mktemp("runs") / "whole"
    fit.fit(request(spec, output, validation=drawn))
    return output


def test_what_a_run_writes(whole: Path) -> None:
    names = {path.name for path in whole.iterdir() if not path.name.startswith("events.")}
    # 3 epochs of 3.5 iterations end after 3, 7 and 10.
    epochs = {checkpoint.epoch_name(epoch) for epoch in (1, 2, 3)}
    kept = {best_results.RESULTS, best_results.DATA}
    assert names == {"config.yaml", "metrics.json", ".lock", checkpoint.LAST, checkpoint.BEST, *kept, *epochs}
    assert [checkpoint.read(whole / checkpoint.epoch_name(epoch)).content["iteration"] for epoch in (1, 2, 3)] == [
        3,
        7,
        10,
    ]
    assert any(path.name.startswith("events.") for path in whole.iterdir())


def test_metrics_have_losses_rate_and_ap(whole: Path) -> None:
    lines = [json.loads(line) for line in (whole / "metrics.json").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [2, 6, 9]  # counted from 0
    for line in lines:
        assert {"total_loss", "loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"} <= line.keys()
        assert {"lr", "bbox/ap", "bbox/ap50", "time", "data_time"} <= line.keys()
        # Trained and measured on the same images.
        assert line["bbox/images_seen_in_training"] == 8


def kept_ap(output: Path) -> float:
    """The AP of the kept detections on the data that they name, in percent."""
    of = best_results.read_measured_on(output)
    assert of is not None
    found = result_reading.read(output / best_results.RESULTS)
    ap = evaluate(coco.read(Path(of.annotations)).dataset, found).ap
    assert ap is not None
    return 100 * ap


def test_the_detections_of_the_best_epoch_are_kept(whole: Path, drawn: Input) -> None:
    of = best_results.read_measured_on(whole)
    epoch, *_ = checkpoint.read(whole / checkpoint.LAST).content["best"]
    assert of is not None
    assert (of.epoch, Path(of.annotations), Path(of.images)) == (epoch, drawn.annotations, drawn.images)
    assert of.annotations_sha256 == sha256_file(drawn.annotations)
    # Persons: 1 + 2 + 1 + 1 + 9, without a crowd; cars: 1 + 1 + 1 + 9.
    assert of.trained_objects == {1: 14, 3: 12, 18: 0, 90: 1}
    lines = [json.loads(line) for line in (whole / "metrics.json").read_text().splitlines()]
    assert kept_ap(whole) == pytest.approx(max(line["bbox/ap"] for line in lines), abs=1e-9)


def test_a_checkpoint_says_where_it_comes_from(whole: Path, drawn: Input) -> None:
    content = checkpoint.read(whole / checkpoint.LAST).content
    assert content["lineage"] == {"pretrained": False, "from": "random weights", "seed": 0}
    assert content["categories"] == [[1, "person"], [3, "car"], [18, "dog"], [90, "toothbrush"]]
    assert content["data"]["annotations"] == drawn.annotations.name
    assert "NUM_CLASSES: 4" in content["config"]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_killed_run_goes_on_to_the_very_same_weights(spec: str, whole: Path, tmp_path: Path, workers: str) -> None:
    output = tmp_path / "killed"
    changed = {"DATALOADER__NUM_WORKERS": workers}
    process = subprocess.Popen(
        command(spec, output, **changed), env=ENVIRONMENT, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        deadline = time.monotonic() + 120
        while not (output / checkpoint.LAST).is_file():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    reached = checkpoint.read(output / checkpoint.LAST).content["iteration"]
    assert 0 < reached < 10
    done = run(command(spec, output, "--resume", **changed))
    assert done.returncode == 0, done.stderr
    assert f"going on from iteration {reached}" in done.stdout
    assert_same(weights(output), weights(whole))


def test_a_run_without_validation_has_no_best(spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit.fit(request(spec, tmp_path / "run", SOLVER__MAX_ITER="1"))
    assert not (tmp_path / "run" / checkpoint.BEST).exists()
    assert "no validation data" in capsys.readouterr().out


def test_resuming_a_complete_run_does_nothing(
    whole: Path, spec: str, drawn: Input, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (whole / checkpoint.LAST).read_bytes()
    fit.fit(request(spec, whole, validation=drawn, resume=True))
    assert "complete" in capsys.readouterr().out
    assert (whole / checkpoint.LAST).read_bytes() == before


def test_resuming_what_was_never_begun_begins_it(spec: str, tmp_path: Path) -> None:
    fit.fit(request(spec, tmp_path / "run", resume=True, SOLVER__MAX_ITER="1"))
    assert checkpoint.read(tmp_path / "run" / checkpoint.LAST).content["iteration"] == 1


def test_a_run_is_not_overwritten(whole: Path, spec: str) -> None:
    with pytest.raises(DataError, match="found a run; --resume continues it"):
        fit.fit(request(spec, whole))


def test_resuming_with_another_configuration_names_every_difference(whole: Path, spec: str) -> None:
    with pytest.raises(DataError) as caught:
        fit.fit(request(spec, whole, resume=True, SOLVER__BASE_LR="0.5", SEED="3"))
    assert caught.value.problems == ["SEED: was 0, is 3", "SOLVER.BASE_LR: was 0.24, is 0.5"]


def test_resuming_with_another_dataset_is_refused(whole: Path, draw: Draw, tmp_path: Path) -> None:
    # The same but for one image.
    other = draw(tmp_path / "other", only=(7, 3, 12, 20, 21, 30, 40))
    path = tmp_path / "other.yaml"
    split = {"annotations": str(other.annotations), "images": str(other.images)}
    path.write_text(yaml.safe_dump({"about": "other", "train": split}), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        fit.fit(request(str(path), whole, resume=True))
    assert "dataset, images: was 8, is 7" in caught.value.problems
    assert any(problem.startswith("dataset, annotations_sha256: was") for problem in caught.value.problems)


def test_what_computes_nothing_may_change_on_resume(whole: Path, spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    changed: dict[str, Any] = {
        "SOLVER__CHECKPOINT_PERIOD": "7",
        "SOLVER__MAX_TO_KEEP": "9",
        "MODEL__CHECKPOINT_ACTIVATIONS": "True",
    }
    fit.fit(request(spec, whole, resume=True, **changed))
    assert "complete" in capsys.readouterr().out


def test_accumulating_takes_the_same_images(spec: str, tmp_path: Path) -> None:
    """Two turns of one image each: not the same sums to the last bit as one turn of two, but as close as floats are."""
    for name, turns in (("one", "1"), ("two", "2")):
        # Everything is sampled, so that no random draw differs between the two.
        fit.fit(
            request(
                spec,
                tmp_path / name,
                SOLVER__MAX_ITER="1",
                SOLVER__ACCUMULATE=turns,
                SOLVER__WARMUP_EPOCHS="0.0",
                MODEL__RPN__BATCH_SIZE_PER_IMAGE="100000",
            )
        )
    before, one, two = (checkpoint.read(tmp_path / name / checkpoint.LAST).content for name in ("one", "one", "two"))
    key = "proposal_generator.rpn_head.conv.weight"
    assert before["iteration"] == 1
    # The RPN's loss is a mean over images; padding changes what the borders of a smaller image see.
    difference = (one["model"][key] - two["model"][key]).abs().max()
    assert difference < 1e-3


def test_a_divergence_keeps_the_last_good_checkpoint(spec: str, tmp_path: Path) -> None:
    output = tmp_path / "run"
    with pytest.raises(DataError, match="the training has diverged") as caught:
        fit.fit(
            request(spec, output, SOLVER__BASE_LR="1e12", SOLVER__WARMUP_EPOCHS="2.0", SOLVER__CHECKPOINT_PERIOD="1")
        )
    text = str(caught.value)
    assert "SOLVER.BASE_LR" in text
    assert "SOLVER.WARMUP_EPOCHS" in text
    kept = output / checkpoint.LAST
    assert kept.is_file() == (f"{kept}, is kept" in text)
    if kept.is_file():
        assert all(bool(torch.isfinite(tensor).all()) for tensor in weights(output).values())


def test_gradient_clipping_bounds_a_step(spec: str, tmp_path: Path) -> None:
    """Clipped by value at c, the first step moves no weight by more than lr (c + decay x weight)."""
    changed: dict[str, Any] = {"SOLVER__MAX_ITER": "1", "SOLVER__WARMUP_EPOCHS": "0.0", "SOLVER__BASE_LR": "8.0"}
    clip: dict[str, Any] = {"SOLVER__CLIP_GRADIENTS__ENABLED": "True", "SOLVER__CLIP_GRADIENTS__CLIP_VALUE": "1e-6"}
    fit.fit(request(spec, tmp_path / "run", **changed, **clip))
    from train import config
    from train.model.build import build_network

    cfg = config.from_text(checkpoint.read(tmp_path / "run" / checkpoint.LAST).content["config"], "run")
    first = build_network(cfg, seed=0).state_dict()
    after = weights(tmp_path / "run")
    lr = 8.0 * 2 / 16
    for name, tensor in first.items():
        bound = lr * (1e-6 + 1e-4 * tensor.abs()) + 1e-7 * (1 + tensor.abs())
        assert bool(((after[name] - tensor).abs() <= bound).all()), name
    assert not torch.equal(
        first["backbone.bottom_up.res2.0.conv1.weight"], after["backbone.bottom_up.res2.0.conv1.weight"]
    )


def test_a_batch_that_cannot_be_divided(spec: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"SOLVER.ACCUMULATE: expected a divisor of SOLVER.IMS_PER_BATCH 2, found 3"):
        fit.fit(request(spec, tmp_path / "run", SOLVER__ACCUMULATE="3"))
    assert not (tmp_path / "run").exists()


def test_box_only_data_trains_without_masks(draw: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = draw(tmp_path / "boxes", masks=False)
    path = tmp_path / "boxes.yaml"
    split = {"annotations": str(boxes.annotations), "images": str(boxes.images)}
    path.write_text(yaml.safe_dump({"about": "boxes", "train": split}), encoding="utf-8")
    fit.fit(request(str(path), tmp_path / "run", SOLVER__MAX_ITER="1"))
    assert "boxes only: no object has a segmentation, so there is no mask head" in capsys.readouterr().out
    assert not [name for name in weights(tmp_path / "run") if "mask_head" in name]
    with pytest.raises(DataError, match=r"MODEL\.MASK_ON asks for objects with a segmentation"):
        fit.fit(request(str(path), tmp_path / "masks", MODEL__MASK_ON="True"))


def test_pretrained_weights_are_refused_and_go_on_record(spec: str, whole: Path, tmp_path: Path) -> None:
    third_party = tmp_path / "foreign.pth"
    torch.save({"model": weights(whole)}, third_party)
    with pytest.raises(DataError, match="no pre-trained weights of any kind"):
        fit.fit(request(spec, tmp_path / "refused", MODEL__WEIGHTS=str(third_party), SOLVER__MAX_ITER="1"))
    allowed = tmp_path / "allowed"
    fit.fit(request(spec, allowed, MODEL__WEIGHTS=str(third_party), SOLVER__MAX_ITER="1", allow_pretrained=True))
    lineage = checkpoint.read(allowed / checkpoint.LAST).lineage
    assert lineage["pretrained"] is True
    assert lineage["allowed_by"] == "--allow-pretrained"
    ours = tmp_path / "ours"
    fit.fit(request(spec, ours, MODEL__WEIGHTS=str(whole / checkpoint.LAST), SOLVER__MAX_ITER="1"))
    lineage = checkpoint.read(ours / checkpoint.LAST).lineage
    assert lineage["pretrained"] is False
    (parent,) = lineage["parents"]
    assert parent["lineage"] == {"pretrained": False, "from": "random weights", "seed": 0}
    assert (parent["file"], parent["iteration"]) == (checkpoint.LAST, 10)


def test_a_signal_stops_after_a_step_and_saves(spec: str, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "stopped"
    # No other reason to save before the end of the first epoch.
    arguments = command(spec, output, SOLVER__CHECKPOINT_PERIOD="0", DATALOADER__NUM_WORKERS="2")
    process = subprocess.Popen(
        arguments,
        env=ENVIRONMENT,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("epoch"):
            # To the loader's workers as well; `timeout` does it twice.
            os.killpg(process.pid, signal.SIGTERM)
            time.sleep(0.1)
            os.killpg(process.pid, signal.SIGTERM)
            break
    rest, said = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, (lines, said)
    assert said == ""
    assert "all saved; --resume continues from there" in rest
    assert run(command(spec, output, "--resume", SOLVER__CHECKPOINT_PERIOD="0")).returncode == 0
    assert_same(weights(output), weights(whole))


def test_two_trainings_cannot_share_a_folder(spec: str, tmp_path: Path) -> None:
    output = tmp_path / "run"
    code = (
        "import sys, pathlib; from train.run.resume import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): print(); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, output],
        env=ENVIRONMENT,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(DataError, match="another training is writing it"):
            fit.fit(request(spec, output))
        other.kill()


def test_workers_of_a_killed_training_do_not_hold_its_folder(tmp_path: Path) -> None:
    """Loader workers are forked, and take some seconds to find that nobody is there."""
    code = """
import os, pathlib, sys, time
from train.run.resume import locked
with locked(pathlib.Path(sys.argv[1])):
    worker = os.fork()
    if worker == 0:
        time.sleep(60)
        os._exit(0)
    print(worker, flush=True)
    os.kill(os.getpid(), 9)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(command, env=ENVIRONMENT, cwd=ROOT, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        worker = int(killed.stdout.readline())
        killed.wait()
        with resume.locked(tmp_path / "run"):
            os.kill(worker, signal.SIGKILL)  # it was still there
    assert killed.returncode == -signal.SIGKILL


# Several processes have a GPU each, unless they are asked onto the CPU.
ON_CPU = {"MODEL__DEVICE": "cpu"}


def test_two_processes_train_and_evaluate(spec: str, tmp_path: Path) -> None:
    """gloo on a CPU. Two parts of one image each: the same batches as one process with two turns."""
    output = tmp_path / "two"
    done = run(command(spec, output, "--gpus", "2", "--val", spec, SOLVER__EPOCHS="1.0", **ON_CPU), timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "on 2 x CPU" in done.stdout
    # Said once, not by each.
    assert done.stdout.count("epoch 1: AP") == 1
    (line,) = (json.loads(line) for line in (output / "metrics.json").read_text().splitlines())
    # Of all images, by the first process.
    assert kept_ap(output) == pytest.approx(line["bbox/ap"], abs=1e-9)
    assert checkpoint.read(output / checkpoint.LAST).content["processes"] == 2


def test_an_error_in_one_process_is_one_error(spec: str, tmp_path: Path) -> None:
    done = run(
        command(spec, tmp_path / "run", "--gpus", "2", "--val", spec, SOLVER__BASE_LR="1e12", **ON_CPU), timeout=300
    )
    assert done.returncode == 1
    assert done.stderr.count("error: the training has diverged") == 1
