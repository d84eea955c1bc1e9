"""Going on with a run in several processes, which must all find the same one."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets.errors import DataError
from tests.train.made import content, weights_config
from train.checkpoints import checkpoint
from train.model.build import build_network
from train.processes.launch import World, launch
from train.run.resume import Found, check_found, differences_between, find_in_all

RUN = Path("run")
THERE = Found("node-a", 6, "0123456789abcdef")


@pytest.mark.parametrize("found", [[THERE], [THERE, THERE], [Found("node-a", None), Found("node-b", None)]])
def test_the_same_everywhere(found: list[Found]) -> None:
    check_found(RUN, found)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (Found("node-b", None), "process 1 on node-b: no run"),
        (Found("node-b", 4, "fedcba9876543210"), "process 1 on node-b: iteration 4 (SHA-256 fedcba987654)"),
        # Another run that came as far.
        (Found("node-b", 6, "fedcba9876543210"), "process 1 on node-b: iteration 6 (SHA-256 fedcba987654)"),
    ],
)
def test_another_one_elsewhere_is_named(other: Found, said: str) -> None:
    with pytest.raises(DataError, match=r"run/model_last.pth: expected the same file on every machine") as caught:
        check_found(RUN, [THERE, other])
    assert caught.value.problems == ["process 0 on node-a: iteration 6 (SHA-256 0123456789ab)", said]
    assert "or copy this file from machine 0 to the others" in str(caught.value)


def test_what_one_cannot_read_ends_all() -> None:
    with pytest.raises(DataError, match=r"^no checkpoint$"):
        check_found(RUN, [THERE, Found("node-b", None, error=DataError("no checkpoint"))])


def test_what_is_given_to_processes_must_be_the_same() -> None:
    mine = {"SEED": 0, "dataset, images": 7}
    assert differences_between([("node-a", mine), ("node-b", dict(mine))]) == []
    assert differences_between([("node-a", mine), ("node-b", {"SEED": 1}), ("node-a", mine)]) == [
        "SEED: 0 on node-a, 1 in process 1 on node-b",
        "dataset, images: 7 on node-a, None in process 1 on node-b",
    ]


def look(folder: Path) -> None:
    """In a folder of its own, as on a machine without a common disk."""
    from detectron2.utils import comm

    try:
        find_in_all(folder / str(comm.get_rank()), resume=True)
    except DataError as error:
        (folder / f"{comm.get_rank()}.txt").write_text(str(error))
        # Nobody leaves before all have said it.
        comm.synchronize()
        raise


def test_processes_that_find_different_runs_refuse_before_the_first_step(tmp_path: Path) -> None:
    cfg = weights_config(1)
    run = {"scaler": {}, "best": [0, -1.0], "epoch": 1.0, "seen": None, "code": []}
    (tmp_path / "0").mkdir()
    checkpoint.save(tmp_path / "0" / checkpoint.LAST, content(build_network(cfg), cfg) | run)

    with pytest.raises(DataError, match="expected the same file on every machine"):
        launch(look, World(processes=2, device="cpu"), tmp_path)

    for rank in range(2):
        said = (tmp_path / f"{rank}.txt").read_text()
        assert said.count("process 0 on") == said.count("iteration 3 ") == 1
        assert said.count("process 1 on") == said.count(": no run") == 1
