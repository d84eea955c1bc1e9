"""Checkpoint files: whole or not there, kept and forgotten, and whose files are read."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import pickle
import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from datasets.errors import DataError
from train.checkpoints import checkpoint


def content(**changed: Any) -> dict[str, Any]:
    """A small checkpoint's; in `tests/train/made.py` stands a real one's."""
    return {
        "model": {"weight": torch.arange(6.0).reshape(2, 3)},
        "config": "SEED: 0\n",
        "categories": [[1, "disc"], [34, "bolt"]],
        "lineage": {"pretrained": False, "from": "random weights", "seed": 0},
        "iteration": 3,
        **changed,
    }


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        checkpoint.read(path)
    return str(caught.value)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """What the operating system says in here of a file that grows beyond is what it says of a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "a.pth", content(best=(2, 0.25)))

    read = checkpoint.read(path)

    assert torch.equal(read.content["model"]["weight"], torch.arange(6.0).reshape(2, 3))
    rest = {key: value for key, value in read.content.items() if key != "model"}
    assert rest == {key: value for key, value in content(best=(2, 0.25)).items() if key != "model"} | {"scarcedet": 1}
    assert read.lineage == {"pretrained": False, "from": "random weights", "seed": 0}
    assert (read.path, read.sha256) == (path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert names(tmp_path) == ["a.pth"]


def test_the_state_of_a_run_is_plain_types(tmp_path: Path) -> None:
    network = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5, momentum=0.9)
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    path = checkpoint.save(
        tmp_path / "a.pth",
        content(
            model=network.state_dict(),
            optimizer=optimizer.state_dict(),
            scaler=torch.amp.GradScaler("cpu", enabled=True).state_dict(),
        ),
    )
    # Told to run no code of the file's, torch reads it all.
    read = torch.load(path, weights_only=True)
    again = torch.optim.SGD(nn.Linear(3, 2).parameters(), lr=1.0, momentum=0.9)
    again.load_state_dict(read["optimizer"])
    # The gradient of w * x + b, x = 1, is 1 everywhere.
    assert [state["momentum_buffer"].unique().tolist() for state in again.state.values()] == [[1.0], [1.0]]
    assert again.param_groups[0]["lr"] == 0.5
    assert read["scaler"]["scale"] == 2.0**16


@pytest.mark.parametrize("size", [0, 100, 5000, 2**16 + 1000])
def test_a_full_disk_leaves_what_was_there(size: int, tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "a.pth", content())
    before = path.read_bytes()
    with files_of_at_most(size), pytest.raises(DataError) as caught:
        checkpoint.save(path, content(model={str(at): torch.zeros(2**12) for at in range(8)}))
    assert str(caught.value) == f"{path}: the checkpoint cannot be written: {os.strerror(errno.EFBIG)}"
    assert path.read_bytes() == before
    assert names(tmp_path) == ["a.pth"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), RuntimeError("CUDA error")])
def test_an_end_in_the_middle_leaves_what_was_there(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoint.save(tmp_path / "a.pth", content())
    before = path.read_bytes()

    def half(_content: Any, file: Any) -> None:
        file.write(before[: len(before) // 2])
        raise error

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(type(error)) as caught:
        checkpoint.save(path, content())
    assert caught.value is error
    assert path.read_bytes() == before
    assert names(tmp_path) == ["a.pth"]


def test_what_cannot_be_pickled_is_a_bug_and_leaves_what_was_there(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "a.pth", content())
    before = path.read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError)):
        checkpoint.save(path, content(name=lambda: None))
    assert path.read_bytes() == before
    assert names(tmp_path) == ["a.pth"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none/a\.pth: the checkpoint cannot be written: No such file or directory"):
        checkpoint.save(tmp_path / "none" / "a.pth", content())


def test_what_a_killed_run_left_does_no_harm(tmp_path: Path) -> None:
    leftovers = [f"{name}.tmp" for name in (checkpoint.LAST, checkpoint.BEST, checkpoint.epoch_name(7))]
    for name in leftovers:
        (tmp_path / name).write_bytes(b"half a checkpoint")
    with pytest.raises(DataError):
        checkpoint.find_in_run(tmp_path)
    checkpoint.forget_old_epochs(tmp_path, 0)
    assert names(tmp_path) == sorted(leftovers)

    path = checkpoint.save(tmp_path / checkpoint.epoch_name(7), content(iteration=7))
    checkpoint.keep(path, checkpoint.BEST)
    checkpoint.keep(path, checkpoint.LAST)

    assert names(tmp_path) == sorted([checkpoint.LAST, checkpoint.BEST, checkpoint.epoch_name(7)])
    assert all(checkpoint.read(item).content["iteration"] == 7 for item in tmp_path.iterdir())


def test_a_checkpoint_is_kept_without_writing_it_again(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / checkpoint.epoch_name(1), content())
    kept = checkpoint.keep(path, checkpoint.BEST)
    assert kept == tmp_path / checkpoint.BEST
    assert kept.samefile(path)
    # Once more, which is nothing new.
    checkpoint.keep(path, checkpoint.BEST)
    assert kept.samefile(path)
    assert names(tmp_path) == [checkpoint.BEST, checkpoint.epoch_name(1)]
    # A new epoch under the old one's name leaves alone what was kept of that.
    checkpoint.save(path, content(iteration=9))
    assert checkpoint.read(kept).content["iteration"] == 3
    checkpoint.keep(path, checkpoint.BEST)
    assert checkpoint.read(kept).content["iteration"] == 9
    # It outlives the epoch that it was.
    path.unlink()
    assert checkpoint.read(kept).content["iteration"] == 9


def test_a_disk_that_cannot_link_gets_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    path = checkpoint.save(tmp_path / checkpoint.epoch_name(1), content())
    (tmp_path / checkpoint.BEST).write_bytes(b"old")
    kept = checkpoint.keep(path, checkpoint.BEST)
    assert kept.read_bytes() == path.read_bytes()
    assert not kept.samefile(path)

    # Half a copy is not kept, and what was there stays.
    with files_of_at_most(100), pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        checkpoint.keep(path, checkpoint.BEST)
    assert kept.read_bytes() == path.read_bytes()
    assert names(tmp_path) == [checkpoint.BEST, checkpoint.epoch_name(1)]


@pytest.mark.parametrize(
    ("max_to_keep", "expected"),
    [(0, []), (1, [12345]), (2, [10, 12345]), (3, [9, 10, 12345]), (4, [2, 9, 10, 12345]), (5, [2, 9, 10, 12345])],
)
def test_only_the_newest_epochs_stay(max_to_keep: int, expected: list[int], tmp_path: Path) -> None:
    others = [checkpoint.BEST, checkpoint.LAST, "model_epoch_0001.pth.tmp", "model_epoch_.pth", "config.yaml"]
    # As text, 9 would be newer than 10, and 0010 than 12345.
    for name in [*others, *(checkpoint.epoch_name(epoch) for epoch in (9, 2, 12345, 10))]:
        (tmp_path / name).touch()
    checkpoint.forget_old_epochs(tmp_path, max_to_keep)
    assert names(tmp_path) == sorted([*others, *map(checkpoint.epoch_name, expected)])


def test_the_best_of_a_run_is_found_else_its_last(tmp_path: Path) -> None:
    (tmp_path / checkpoint.epoch_name(1)).touch()
    with pytest.raises(DataError) as caught:
        checkpoint.find_in_run(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: expected the folder of a run with model_best.pth or model_last.pth, found no such file"
    )
    (tmp_path / checkpoint.LAST).touch()
    assert checkpoint.find_in_run(tmp_path) == tmp_path / checkpoint.LAST
    (tmp_path / checkpoint.BEST).touch()
    assert checkpoint.find_in_run(tmp_path) == tmp_path / checkpoint.BEST


def test_an_epoch_of_a_run_is_found_by_its_number_or_name(tmp_path: Path) -> None:
    for name in (checkpoint.epoch_name(7), checkpoint.epoch_name(12), checkpoint.LAST):
        (tmp_path / name).touch()
    assert checkpoint.find_in_run(tmp_path, "7") == tmp_path / "model_epoch_0007.pth"
    assert checkpoint.find_in_run(tmp_path, "0012") == tmp_path / "model_epoch_0012.pth"
    assert checkpoint.find_in_run(tmp_path, "last") == tmp_path / checkpoint.LAST
    for epoch, said in (
        (
            "8",
            "expected the checkpoint model_epoch_0008.pth, found epoch 7, epoch 12; a run keeps one every SOLVER.VAL",
        ),
        ("best", "expected the checkpoint model_best.pth, found epoch 7, epoch 12"),
        ("-1", "--epoch: expected a number, best or last, found -1"),
        ("newest", "--epoch: expected a number, best or last, found newest"),
        ("\u00b2", "--epoch: expected a number, best or last, found \u00b2"),
        ("9" * 5000, "expected a number"),
    ):
        with pytest.raises(DataError, match=said):
            checkpoint.find_in_run(tmp_path, epoch)
    with pytest.raises(DataError, match=r"expected the folder of a run with model_epoch_0001\.pth, found no such file"):
        checkpoint.find_in_run(tmp_path / "none", "1")


NO_CHECKPOINT = "expected a checkpoint, found a file that torch cannot load safely: "


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    cannot = "the checkpoint cannot be read: "
    assert refusal(tmp_path / "none.pth") == f"{tmp_path / 'none.pth'}: {cannot}No such file or directory"
    assert refusal(tmp_path) == f"{tmp_path}: {cannot}Is a directory"


def test_a_file_that_was_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "a.pth", content())
    data = path.read_bytes()
    for length in [*range(0, len(data), 50), len(data) - 1]:
        path.write_bytes(data[:length])
        assert refusal(path).startswith(f"{path}: {NO_CHECKPOINT}"), length


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_refused(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.pth"
        path.write_bytes(data)
        assert refusal(path).startswith(f"{path}: expected a checkpoint")


class Evil:
    """Unpickled, it runs a command."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("way", ["pickle", "torch", "old torch", "one of our own"])
def test_code_in_a_file_does_not_run(way: str, tmp_path: Path) -> None:
    path, mark = tmp_path / "a.pth", tmp_path / "mark"
    evil = content(name=Evil(mark))
    if way == "pickle":
        path.write_bytes(pickle.dumps(evil))
    elif way == "one of our own":
        checkpoint.save(path, evil)
    else:
        torch.save(evil, path, _use_new_zipfile_serialization=way == "torch")
    assert refusal(path).startswith(f"{path}: {NO_CHECKPOINT}")
    assert not mark.exists()
    # It would have run, read unsafely.
    if way == "pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert mark.exists()


@pytest.mark.parametrize(
    "theirs",
    [{"model": {"weight": torch.ones(2)}, "iteration": 90000}, {"weight": torch.ones(2)}, torch.ones(2), [1, 2], 5],
    ids=["Detectron2's", "only weights", "a tensor", "a list", "a number"],
)
def test_other_people_s_files_are_refused(theirs: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(theirs, path)
    assert refusal(path) == f"{path}: expected a checkpoint that this project made, found another file"


@pytest.mark.parametrize("number", [0, 2, "1", None])
def test_another_format_is_refused(number: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({**content(), checkpoint.MARK: number}, path)
    assert refusal(path) == f"{path}: expected checkpoint format 1, found {number!r}"


def test_missing_keys_are_named(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "a.pth", {"model": {}, "iteration": 1, "lineage": {}})
    assert refusal(path) == f"{path}: expected a whole checkpoint, found none of categories, config"
    for key in content():
        checkpoint.save(path, {name: value for name, value in content().items() if name != key})
        assert refusal(path) == f"{path}: expected a whole checkpoint, found none of {key}"


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"model": 5}, "model: expected tensors by name"),
        ({"model": {"x": 5}}, "model: expected tensors by name"),
        ({"categories": 5}, "categories: Expected `array`, got `int`"),
        ({"categories": [["a", "b"]]}, "categories: Expected `int`, got `str` - at `$[0][0]`"),
        ({"data": None}, "data: Expected `object`, got `null`"),
        ({"iteration": "3"}, "iteration: Expected `int`, got `str`"),
        ({"epoch": []}, "epoch: Expected `float`, got `array`"),
        ({"config": {}}, "config: Expected `str`, got `object`"),
        ({"code": "x"}, "code: Expected `array`, got `str`"),
    ],
)
def test_other_content_than_ours_is_one_error(changed: dict[str, Any], problem: str, tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "a.pth", content(**changed))
    with pytest.raises(DataError, match="expected a checkpoint that this project made, found other content") as caught:
        checkpoint.read(path)
    assert caught.value.problems == [problem]


class _Interrupted(io.BytesIO):
    """A file during whose writing somebody presses Ctrl-C a second time."""

    def write(self, data: Any) -> int:
        if self.tell() > 1000:
            raise KeyboardInterrupt
        return super().write(data)


def test_an_interrupted_save_is_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = checkpoint.save(tmp_path / checkpoint.LAST, {"model": {"a": torch.zeros(3)}})
    before = path.read_bytes()
    monkeypatch.setattr(Path, "open", lambda *_: _Interrupted())

    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(path, {"model": {"a": torch.zeros(10_000)}})

    monkeypatch.undo()
    assert path.read_bytes() == before
