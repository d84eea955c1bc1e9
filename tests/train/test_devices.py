"""Which device a process gets, and the errors where it is not there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from datasets.errors import DataError
from tests.train.conftest import small_config
from train import devices
from train.devices import Gpus

NONE = Gpus(0, "no driver was found")


@pytest.mark.parametrize(
    ("wanted", "gpus", "processes", "size", "problem"),
    [
        ("cpu", NONE, 8, 16, None),
        ("cpu", Gpus(1), 8, 8, None),
        ("auto", NONE, 1, 1, None),
        ("auto", Gpus(1), 1, 1, None),
        ("auto", Gpus(8), 8, 8, None),
        ("cuda", Gpus(8), 8, 16, None),
        ("cuda", NONE, 1, 1, "expected a GPU, found none: no driver was found; for the CPU, say MODEL.DEVICE cpu"),
        ("auto", NONE, 8, 8, "expected 8 GPU(s) here, found none: no driver was found"),
        ("auto", NONE, 1, 2, "expected 1 GPU(s) here, found none: no driver was found"),
        ("auto", Gpus(4), 8, 8, "--gpus: expected at most 4 on this machine, found 8"),
        ("cuda", Gpus(4), 8, 16, "--gpus: expected at most 4 on this machine, found 8"),
    ],
)
def test_what_cannot_be_had_is_named(wanted: str, gpus: Gpus, processes: int, size: int, problem: str | None) -> None:
    found = devices.problem(wanted, gpus, processes, size)
    assert (found is None) == (problem is None)
    assert problem is None or (found or "").startswith(problem)


def test_a_card_that_torch_counts_and_cannot_use_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.cuda.is_available` and `device_count` ask the driver alone."""

    def fail() -> None:
        raise RuntimeError("CUDA unknown error - this may be due to an incorrectly set up environment.\nMore lines.")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "init", fail)
    reason = "CUDA unknown error - this may be due to an incorrectly set up environment"
    assert devices.find_gpus() == Gpus(0, reason)
    with pytest.raises(DataError, match=f"MODEL.DEVICE cuda: expected a GPU, found none: {reason}; for the CPU"):
        devices.device_of(small_config("tiny", "MODEL.DEVICE", "cuda"))


def test_the_cpu_is_not_asked_about_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Gpus:
        raise AssertionError

    monkeypatch.setattr(devices, "find_gpus", fail)
    assert devices.device_of(small_config("tiny", "MODEL.DEVICE", "cpu")) == torch.device("cpu")


def test_a_gpu_that_goes_unused_unasked_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(devices, "find_gpus", lambda: NONE)
    monkeypatch.setattr(devices, "DRIVER", tmp_path / "version")
    assert devices.unused_gpu(cpu, "auto") is None  # there is none
    (tmp_path / "version").touch()
    assert devices.unused_gpu(cpu, "cpu") is None
    assert devices.unused_gpu(torch.device("cuda"), "auto") is None
    assert "torch finds no GPU (no driver was found)" in (devices.unused_gpu(cpu, "auto") or "")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.47 GiB."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("CUDA error: out of memory"), False),
    ],
)
def test_a_full_gpu_is_known_by_what_torch_and_its_libraries_say(error: Exception, expected: bool) -> None:
    assert devices.is_full(error) == expected
