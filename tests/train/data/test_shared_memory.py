"""Shared memory that is too small for loader workers is found before torch waits for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets.errors import DataError
from tests.train.conftest import small_config
from train.data import shared_memory
from train.data.read import TrainingData
from train.data.shared_memory import (
    TARGETS,
    Load,
    check,
    free,
    inference_load,
    problem,
    training_load,
    whole_images_load,
)

MIB = 2**20
# As in the paper: batches of 8, 1800 x 2400 px.
PAPER = Load(8, 3 * 1800 * 2400)


def test_all_workers_are_ahead_while_a_batch_is_in_use() -> None:
    assert PAPER.needed(4) == (2 * 4 + 1) * 8 * (12_960_000 + TARGETS)
    # Without workers, nothing is handed over.
    assert PAPER.needed(0) == 0


def test_too_little_is_named_with_what_helps() -> None:
    # 9 x 8 x (12,960,000 + 24,576) bytes are 891.6 MiB; with 0 workers nothing is needed.
    assert problem([PAPER], 4, 1, 64 * MIB) == (
        "/dev/shm: expected 892 MiB for the images that 4 loader workers prepare ahead, found 64 MiB free. In a "
        "container, `docker run --shm-size=1g` or `--ipc=host` gives more; else say DATALOADER.NUM_WORKERS 0"
    )


def test_as_many_workers_as_fit_are_named() -> None:
    # 5 x 8 x 12,984,576 bytes with 2 workers: 495.3 MiB, with 3: 693.5 MiB.
    assert (problem([PAPER], 4, 1, 500 * MIB) or "").endswith("else say DATALOADER.NUM_WORKERS 2")


def test_processes_of_a_machine_share_it() -> None:
    assert problem([PAPER], 4, 1, 900 * MIB) is None
    assert "of each of 2 processes" in (problem([PAPER], 4, 2, 900 * MIB) or "")


def test_workers_of_the_training_wait_through_a_validation() -> None:
    assert problem([PAPER, Load(1, 3 * 1800 * 2400)], 4, 1, 900 * MIB) is not None


def test_a_system_without_it_is_not_refused(tmp_path: Path) -> None:
    assert free(tmp_path / "none") is None
    assert problem([PAPER], 4, 1, None) is None


def test_pictures_have_the_size_that_they_are_resized_to(drawn_data: TrainingData) -> None:
    shorter, longest = 80, 128  # of tests/train/conftest.py
    cfg = small_config()
    largest = training_load(cfg, drawn_data.records, 2).image_bytes
    assert 3 * shorter * shorter <= largest <= 3 * shorter * longest
    assert 3 * 64 * 64 <= inference_load(cfg, drawn_data.records).image_bytes <= 3 * 64 * 128
    sizes = [3 * record.height * record.width for record in drawn_data.records]
    assert whole_images_load(drawn_data.records).image_bytes == max(sizes)


def test_a_full_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "free", lambda _folder: MIB)
    with pytest.raises(DataError, match="/dev/shm: expected 892 MiB"):
        check([PAPER], 4)
    check([PAPER], 0)
