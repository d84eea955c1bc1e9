"""Several processes: what they know of each other, and how an error of one ends all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from datasets.errors import DataError
from train.launch import World, launch


@pytest.mark.parametrize(
    ("world", "problem"),
    [
        (World(), None),
        (World(processes=8), None),
        (World(processes=8, machines=2, machine=1, url="tcp://10.0.0.1:29500"), None),
        (
            World(machines=2, machine=2, url="tcp://10.0.0.1:29500"),
            "--rank: expected 0 to 1 with --machines 2, found 2",
        ),
        (World(machine=1), "--rank: expected 0 to 0 with --machines 1, found 1"),
        (World(machines=2), "--dist-url: expected the address of machine 0 (tcp://10.0.0.1:29500)"),
    ],
)
def test_a_world_that_cannot_be_is_named(world: World, problem: str | None) -> None:
    found = world.problem()
    assert (found is None) == (problem is None)
    assert problem is None or (found or "").startswith(problem)
    assert world.size == world.processes * world.machines


def test_such_a_world_is_refused() -> None:
    with pytest.raises(DataError, match="--rank"):
        launch(print, World(machine=1))


def note_process(folder: Path) -> None:
    (folder / str(os.getpid())).touch()


def test_one_process_is_this_one(tmp_path: Path) -> None:
    launch(note_process, World(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [str(os.getpid())]


def note_rank(folder: Path) -> None:
    from detectron2.utils import comm

    everyone = comm.all_gather(comm.get_rank())
    (folder / f"{comm.get_rank()}-{comm.get_local_rank()}-{comm.get_world_size()}").write_text(str(everyone))


def test_two_processes_know_of_each_other(tmp_path: Path) -> None:
    launch(note_rank, World(processes=2, device="cpu"), tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"0-0-2": "[0, 1]", "1-1-2": "[0, 1]"}


def note_groups(folder: Path) -> None:
    from detectron2.utils import comm

    opened = comm._get_global_gloo_group.cache_info().currsize
    (folder / str(comm.get_rank())).write_text(str(opened))


def test_the_group_that_results_are_exchanged_in_is_opened_before_the_first_step(tmp_path: Path) -> None:
    launch(note_groups, World(processes=2, device="cpu"), tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"0": "1", "1": "1"}


def leave_work_behind(folder: Path) -> None:
    """Exchange something that nobody waits for, as a run's last validation may."""
    import torch
    from torch import distributed

    distributed.all_reduce(torch.ones(1), async_op=True)
    (folder / str(distributed.get_rank())).touch()


def test_processes_end_well_whatever_threads_still_hold(tmp_path: Path) -> None:
    launch(leave_work_behind, World(processes=2, device="cpu"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU, or several")
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_gpus_that_are_not_there_do_not_become_processes_on_the_cpu(device: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected 2 GPU.*, found none: .*MODEL.DEVICE cpu"):
        launch(note_process, World(processes=2, device=device), tmp_path)
    assert list(tmp_path.iterdir()) == []
