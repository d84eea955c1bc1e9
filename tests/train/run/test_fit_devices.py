"""What a run says and does of the device it is on: memory that runs out, mixed precision that comes and goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from datasets.errors import DataError
from datasets.sources import Input
from tests.train.conftest import SMALL
from train import precision
from train.checkpoints import checkpoint
from train.precision import Precision
from train.run import fit
from train.run.request import Request
from train.run.trainer import DivergedError, Trainer


@pytest.fixture
def request_(drawn: Input, tmp_path: Path) -> Request:
    """A run of two iterations."""
    return Request("tiny", drawn, tmp_path / "run", "sample", (*SMALL, "SOLVER.MAX_ITER", "2"))


def with_keys(request: Request, *overrides: str, **changed: Any) -> Request:
    return request._replace(overrides=(*request.overrides, *overrides), **changed)


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception, at: int) -> None:
    """The step `at` (from 0) of every trainer raises `error`."""
    step = Trainer.run_step

    def run_step(self: Trainer) -> None:
        if self.iter == at:
            raise error
        step(self)

    monkeypatch.setattr(Trainer, "run_step", run_step)


# As torch says it.
FULL = torch.cuda.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 2.47 GiB. GPU 0 has a total capacity of 11.63 GiB of "
    "which 1.20 GiB is free.\n"
    "Including non-PyTorch memory, this process has 10.4 GiB memory in use."
)


def test_memory_that_runs_out_is_one_error_with_the_remedies(
    request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, FULL, at=1)
    with pytest.raises(DataError) as caught:
        fit.fit(with_keys(request_, "SOLVER.CHECKPOINT_PERIOD", "1"))
    text = str(caught.value)
    assert text.startswith("CUDA out of memory. Tried to allocate 2.47 GiB. GPU 0 has a total capacity of 11.63 GiB")
    assert "non-PyTorch" not in text
    # A checkpoint is there, and this key may change.
    assert "MODEL.CHECKPOINT_ACTIVATIONS True (continues with --resume)" in text
    assert "SOLVER.ACCUMULATE 2, one image a turn (was 2)" in text
    assert "SOLVER.AMP.ENABLED True" in text
    assert "smaller images (INPUT.MIN_SIZE_TRAIN, was [64, 80])" in text


def test_only_what_is_left_to_try_is_named(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, FULL, at=0)
    keys = ("SOLVER.ACCUMULATE", "2", "MODEL.CHECKPOINT_ACTIVATIONS", "True", "SOLVER.AMP.ENABLED", "True")
    with pytest.raises(DataError) as caught:
        fit.fit(with_keys(request_, *keys))
    assert "Try, one after the other: smaller images (INPUT.MIN_SIZE_TRAIN, was [64, 80])." in str(caught.value)


@pytest.mark.parametrize(("dtype", "names_amp"), [("fp16", True), ("bf16", False), (None, False)])
def test_a_divergence_in_fp16_names_mixed_precision(
    dtype: str | None, names_amp: bool, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, DivergedError("iteration 1: loss_cls nan"), at=0)
    keys = ("SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", dtype) if dtype else ()
    with pytest.raises(DataError, match="the training has diverged: iteration 1: loss_cls nan") as caught:
        fit.fit(with_keys(request_, *keys))
    assert ("SOLVER.AMP.DTYPE bf16" in str(caught.value)) == names_amp
    assert "a lower SOLVER.BASE_LR" in str(caught.value)


def test_fp16_begins_in_a_run_that_found_no_gpu_before(
    request_: Request, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its checkpoint has an empty scaler, which torch's refuses to load."""
    amp = ("SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", "fp16")
    keys = (*amp, "SOLVER.CHECKPOINT_PERIOD", "1", "MODEL.DEVICE", "cpu")
    failing(monkeypatch, DataError("stopped here"), at=1)
    with pytest.raises(DataError, match="stopped here"):
        fit.fit(with_keys(request_, *keys))
    last = request_.output / checkpoint.LAST
    assert checkpoint.read(last).content["scaler"] == {}
    assert "SOLVER.AMP: fp16 is for GPUs; computing in float32" in capsys.readouterr().out

    monkeypatch.undo()
    monkeypatch.setattr(fit, "precision_of", lambda *_: Precision(torch.float16, "cpu"))
    fit.fit(with_keys(request_, *keys, resume=True))
    content = checkpoint.read(last).content
    assert content["iteration"] == 2
    assert content["scaler"]["scale"] <= 2.0**16
    assert "mixed precision begins here: the run was in float32 so far" in capsys.readouterr().out


def test_a_run_in_bf16_goes_on_bit_by_bit(request_: Request, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(precision, "_cpu_info", lambda: "flags : avx512_bf16")
    # No more work than need be: a CPU without such instructions imitates them.
    small = ("SOLVER.IMS_PER_BATCH", "1", "MODEL.MASK_ON", "False", "INPUT.MIN_SIZE_TRAIN", "[32, 48]")
    keys = (*small, "SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", "bf16", "SOLVER.CHECKPOINT_PERIOD", "1")
    fit.fit(with_keys(request_, *keys))
    with monkeypatch.context() as once:
        failing(once, DataError("stopped here"), at=1)
        with pytest.raises(DataError, match="stopped here"):
            fit.fit(with_keys(request_, *keys, output=tmp_path / "again"))
    fit.fit(with_keys(request_, *keys, output=tmp_path / "again", resume=True))
    whole = checkpoint.read(request_.output / checkpoint.LAST).content
    resumed = checkpoint.read(tmp_path / "again" / checkpoint.LAST).content
    assert whole["iteration"] == resumed["iteration"] == 2
    assert all(torch.equal(tensor, resumed["model"][name]) for name, tensor in whole["model"].items())
    assert {tensor.dtype for tensor in whole["model"].values()} == {torch.float32}
