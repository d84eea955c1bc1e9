"""SOLVER.LR_SCHEDULE cosine: the rates, and runs that an earlier version began under Detectron2's name for it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from datasets.sources import Input
from tests.train.conftest import SMALL, small_config
from tests.train.made import quiet
from train.checkpoints import checkpoint, lineage
from train.inference import predict
from train.inference.request import Request as PredictRequest
from train.run import fit, solver
from train.run.request import Request


def test_the_rate_falls_along_half_a_cosine() -> None:
    cfg = small_config("tiny", "SOLVER.LR_SCHEDULE", "cosine", "SOLVER.WARMUP_EPOCHS", "0.0", "SOLVER.EPOCHS", "4.0")
    schedule = solver.schedule_of(cfg, 100)
    rate = solver.learning_rates(cfg, schedule)
    # 100 x 4 / 2 = 200 iterations.
    assert [rate(at) for at in (0, 50, 100, 150, 200)] == pytest.approx(
        [schedule.learning_rate * (1 + math.cos(math.pi * part)) / 2 for part in (0, 0.25, 0.5, 0.75, 1)]
    )


@pytest.fixture(scope="module")
def earlier(drawn: Input, tmp_path_factory: pytest.TempPathFactory) -> Request:
    """A run of two of three steps whose checkpoint has the configuration as version 0.2 wrote it."""
    request = Request(
        model="tiny",
        data=drawn,
        output=tmp_path_factory.mktemp("runs") / "earlier",
        schedule="sample",
        overrides=(*SMALL, "SOLVER.LR_SCHEDULE", "cosine", "SOLVER.MAX_ITER", "3", "SOLVER.CHECKPOINT_PERIOD", "2"),
        resume=True,
    )
    fit.fit(request)
    path = request.output / checkpoint.LAST
    content = checkpoint.read(path).content
    settings = yaml.safe_load(content["config"])
    del settings["SOLVER"]["LR_SCHEDULE"], settings["SOLVER"]["PATIENCE"], settings["LOGGERS"]
    settings["SOLVER"]["LR_SCHEDULER_NAME"] = "WarmupCosineLR"
    # As if it had been killed before its last step.
    checkpoint.save(path, content | {"config": yaml.safe_dump(settings), "iteration": 2})
    return request


def test_a_run_of_an_earlier_version_predicts_and_shows_its_lineage(
    earlier: Request, drawn: Input, tmp_path: Path
) -> None:
    path = earlier.output / checkpoint.LAST
    output = tmp_path / "results.json"
    predict.predict(PredictRequest(path, drawn.annotations, drawn.images, output), quiet)
    assert output.is_file()
    assert lineage.describe(checkpoint.read(path))[-1] == "from scratch: yes"


def test_a_run_of_an_earlier_version_is_resumed(earlier: Request, capsys: pytest.CaptureFixture[str]) -> None:
    fit.fit(earlier)
    said = capsys.readouterr().out
    assert "then along half a cosine to 0 (SOLVER.STEP_EPOCHS and GAMMA have no effect)" in said
    assert "going on from iteration 2" in said
