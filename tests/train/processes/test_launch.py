"""Several processes: what they know of each other, and how an error of one ends all."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch
from torch import distributed

from datasets.errors import DataError
from train.processes import signals
from train.processes.launch import World, launch


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
        (World(machines=2, url="10.0.0.1"), "--dist-url: expected tcp://HOST:PORT, found 10.0.0.1"),
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


def note_world(folder: Path) -> None:
    """What a process knows of the others; then it leaves work that nobody waits for, as a last validation may."""
    from detectron2.utils import comm

    groups = comm._get_global_gloo_group.cache_info().currsize
    everyone = comm.all_gather(comm.get_rank())
    name = f"{comm.get_rank()}-{comm.get_local_rank()}-{comm.get_world_size()}"
    (folder / name).write_text(f"{everyone}, {groups} group for results")
    distributed.all_reduce(torch.ones(1), async_op=True)


def test_two_processes_know_of_each_other_and_end_well(tmp_path: Path) -> None:
    """The group that results are exchanged in is open before the first step, where trouble should show."""
    launch(note_world, World(processes=2, device="cpu"), tmp_path)
    expected = "[0, 1], 1 group for results"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"0-0-2": expected, "1-1-2": expected}


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU, or several")
def test_gpus_that_are_not_there_do_not_become_processes_on_the_cpu(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected 2 GPU.*, found none: .*MODEL.DEVICE cpu"):
        launch(note_process, World(processes=2), tmp_path)
    assert list(tmp_path.iterdir()) == []


def fail_in_the_third(how: str, folder: Path) -> None:
    import torch
    from detectron2.utils import comm
    from torch import distributed

    if comm.get_rank() == 0:
        # A checkpoint of which the last bytes are still to be written when another one fails.
        with signals.SAVING:
            (folder / "begun").touch()
            time.sleep(0.5)
            (folder / "saved").touch()
        time.sleep(600)
    while not (folder / "begun").exists():
        time.sleep(0.01)
    if comm.get_rank() == 2:
        if how == "killed":
            os.kill(os.getpid(), 9)
        if how == "bug":
            raise ZeroDivisionError("a bug of ours")
        raise DataError("the third has failed", [f"problem {at}" for at in range(3000)])
    # What breaks where another one is gone.
    distributed.all_reduce(torch.ones(1))


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("error", "the third has failed"),
        ("killed", r"ended with exit code -9 \(-9: killed"),
        ("bug", "1"),
    ],
)
def test_the_error_of_one_ends_all(how: str, expected: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    begun = time.monotonic()
    with pytest.raises((DataError, SystemExit), match=expected) as caught:
        launch(fail_in_the_third, World(processes=4, device="cpu"), how, tmp_path)
    # Far less than the 60 seconds for each that used to be waited, more than four starts take under load.
    assert time.monotonic() - begun < 45
    if how == "error":
        assert isinstance(caught.value, DataError)
        assert len(caught.value.problems) == 3000
    # A file that was being written is whole.
    assert (tmp_path / "saved").exists()
    said = capfd.readouterr().err
    assert said.count("Traceback") == (1 if how == "bug" else 0), said
    assert ("ZeroDivisionError: a bug of ours" in said) == (how == "bug")
