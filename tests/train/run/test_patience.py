"""Early stopping: after which epoch a run ends, in all processes, and what --resume does then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from datasets.errors import DataError
from datasets.records import Annotation, Dataset
from datasets.sources import Input
from tests.train.conftest import SMALL, small_config
from tests.train.run.test_hooks import APS, Run, files, schedule
from train.checkpoints import checkpoint
from train.processes.launch import World, launch
from train.run import fit, patience, solver
from train.run.endings import NoBetterError
from train.run.request import Request

# isort: split
from detectron2.utils import comm


@pytest.mark.parametrize(
    ("epochs", "epoch", "best_epoch", "expected"),
    [
        (0, 99, 1, False),
        (1, 1, 1, False),
        (1, 2, 1, True),
        (3, 8, 6, False),
        (3, 9, 6, True),
        # Small data in large batches: epochs 8 and 9 ended with the same step as 10.
        (3, 10, 6, True),
        # No epoch has had an AP.
        (3, 2, 0, False),
        (3, 3, 0, True),
    ],
)
def test_when_a_run_is_over(epochs: int, epoch: int, best_epoch: int, expected: bool) -> None:
    assert patience.is_over(epochs, epoch, best_epoch) == expected


def plan(*overrides: str) -> list[str]:
    cfg = small_config("tiny", "SOLVER.EPOCHS", "56.0", "SOLVER.STEP_EPOCHS", "[40.0, 50.0]", *overrides)
    return patience.plan(cfg, solver.schedule_of(cfg, 100))


def test_the_plan_tells_what_it_will_do() -> None:
    assert plan() == []
    ends = "ends earlier after 40 epochs without a better AP (SOLVER.PATIENCE)"
    assert plan("SOLVER.PATIENCE", "40") == [ends]
    assert plan("SOLVER.PATIENCE", "1", "SOLVER.LR_SCHEDULE", "cosine") == [ends.replace("40 epochs", "1 epoch")]


def test_the_plan_warns_where_one_validation_would_end_the_run() -> None:
    cosine = ("SOLVER.LR_SCHEDULE", "cosine", "SOLVER.VALIDATE_EPOCHS", "6")
    assert len(plan("SOLVER.PATIENCE", "12", *cosine)) == 1
    assert plan("SOLVER.PATIENCE", "11", *cosine)[1:] == [
        "warning: SOLVER.PATIENCE 11 is less than two validations, one every 6 epochs (SOLVER.VALIDATE_EPOCHS): the "
        "first that is no better ends the run"
    ]


@pytest.mark.parametrize(
    ("overrides", "longest"),
    [
        ([], 40),  # before the first step
        (["SOLVER.STEP_EPOCHS", "[10.0, 50.0]"], 40),  # between them
        (["SOLVER.STEP_EPOCHS", "[12.5, 60.0]"], 12.5),  # the second never comes
        (["SOLVER.MAX_ITER", "1000"], 0),  # 20 epochs: nor does the first
        (["SOLVER.STEP_EPOCHS", "[]"], 0),
    ],
)
def test_a_patience_that_ends_before_the_next_step_of_the_rate_is_warned_of(
    overrides: list[str], longest: float
) -> None:
    lines = plan("SOLVER.PATIENCE", "9", *overrides)
    assert lines[1:] == (
        [
            f"warning: SOLVER.PATIENCE 9 is shorter than the {longest:g} epochs before a step of the learning rate "
            "(SOLVER.STEP_EPOCHS): AP often rises only after the next one"
        ]
        if longest
        else []
    )


def test_without_objects_to_find_it_is_refused() -> None:
    truth = Dataset(info={}, licenses=[], categories=[], images=[], annotations=[])
    crowd = Annotation(id=1, image_id=1, category_id=1, bbox=(0, 0, 1, 1), area=1, iscrowd=1)
    truth.annotations.append(crowd)
    patience.check_truth(0, truth)
    with pytest.raises(DataError, match=r"^SOLVER.PATIENCE: expected validation data with objects, found none"):
        patience.check_truth(1, truth)


def test_the_last_epoch_that_has_ended() -> None:
    # 4 iterations an epoch.
    assert [schedule().ended(done) for done in (0, 3, 4, 7, 8, 16)] == [0, 0, 1, 1, 2, 4]


def test_a_run_ends_after_the_epoch_that_exhausts_it_with_everything_saved(tmp_path: Path) -> None:
    """AP is best in epoch 2, and as good in epoch 3."""
    assert APS[2] == APS[3]
    run = Run(tmp_path, patience_epochs=1)
    with pytest.raises(
        NoBetterError, match=r"^ended after epoch 3: no better AP than that of epoch 2 for 1 epoch \(SOLVER.PATIENCE\)$"
    ):
        run.train()
    found = files(tmp_path)
    assert found["model_last.pth"] == found["model_epoch_0003.pth"] == (12, 12.0, [2, 0.3, 0, 0, -1.0, -1.0])
    assert found["model_best.pth"][0] == 8


def test_in_the_last_epoch_a_run_just_ends(tmp_path: Path) -> None:
    Run(tmp_path, patience_epochs=2).train()
    assert files(tmp_path)["model_last.pth"][0] == 16


def test_other_processes_do_as_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They know no AP, and would be out of patience after the first epoch."""
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    monkeypatch.setattr(comm, "all_gather", lambda mine: [False, mine])
    run = Run(tmp_path, patience_epochs=1)
    run.hook._evaluate = lambda _best: None
    run.train()
    monkeypatch.setattr(comm, "all_gather", lambda mine: [True, mine])
    with pytest.raises(NoBetterError):
        Run(tmp_path, patience_epochs=3).train()


# Nothing is learnt at this rate: AP is 0 in the first epoch, and never better. Epochs end after 3, 7 and 10 iterations.
HOPELESS = {"SOLVER.BASE_LR": "1e-12", "SOLVER.EPOCHS": "3.0"}


def request(drawn: Input, output: Path, *, validated: bool = True, **changed: str) -> Request:
    settings = HOPELESS | {"SOLVER.PATIENCE": "1"} | {key.replace("__", "."): value for key, value in changed.items()}
    return Request(
        model="tiny",
        data=drawn,
        output=output,
        schedule="sample",
        overrides=(*SMALL, *(part for pair in settings.items() for part in pair)),
        validation=drawn if validated else None,
        resume=True,
    )


def iteration(output: Path) -> int:
    return int(checkpoint.read(output / checkpoint.LAST).content["iteration"])


def test_without_validation_it_is_refused_before_anything_is_read(drawn: Input, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^SOLVER.PATIENCE: expected validation data \(--val, or "):
        fit.fit(request(drawn, tmp_path / "run", validated=False))
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def ended(drawn: Input, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed right after the checkpoint of its last epoch."""
    output = tmp_path_factory.mktemp("runs") / "ended"

    def killed(*_: Any) -> None:
        if iteration(output) == 7:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "forget_old_epochs", killed)
        with pytest.raises(KeyboardInterrupt):
            fit.fit(request(drawn, output))
    return output


def test_a_run_that_ended_early_is_complete(ended: Path, drawn: Input, capsys: pytest.CaptureFixture[str]) -> None:
    before = (ended / checkpoint.LAST).read_bytes()
    fit.fit(request(drawn, ended))
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"{ended}: this run is complete: no better AP than that of epoch 1 for 1 epoch (SOLVER.PATIENCE); with a "
        "larger one it goes on; nothing to do"
    )
    assert (ended / checkpoint.LAST).read_bytes() == before


def test_a_run_says_that_it_ends_early_and_how_noisy_ap_is(
    drawn: Input, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit.fit(request(drawn, tmp_path))
    *_, early, last = capsys.readouterr().out.splitlines()
    assert early == "ended after epoch 2: no better AP than that of epoch 1 for 1 epoch (SOLVER.PATIENCE)"
    assert "done; best AP 0.0 (0.0 to 0.0: 95 % over 8 images), seen in training in epoch 1" in last
    assert iteration(tmp_path) == 7
    # The last epoch's numbers are there.
    assert [text.count('"bbox/ap"') for text in (tmp_path / "metrics.json").read_text().splitlines()] == [1, 1]


def test_a_longer_patience_goes_on_to_the_very_same_weights(drawn: Input, ended: Path, tmp_path: Path) -> None:
    fit.fit(request(drawn, tmp_path / "whole", SOLVER__PATIENCE="0"))
    fit.fit(request(drawn, ended, SOLVER__PATIENCE="2"))
    ours, theirs = (checkpoint.read(run / checkpoint.LAST).content for run in (ended, tmp_path / "whole"))
    assert ours["iteration"] == theirs["iteration"] == 10
    assert all(torch.equal(ours["model"][name], tensor) for name, tensor in theirs["model"].items())


def test_two_processes_end_after_the_same_step(drawn: Input, tmp_path: Path) -> None:
    request_of_two: Any = request(drawn, tmp_path / "two", MODEL__DEVICE="cpu")
    launch(fit.fit, World(processes=2, device="cpu"), request_of_two)
    assert iteration(tmp_path / "two") == 7
