"""The average of epochs: each number the mean, and a checkpoint that says what it was made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from datasets.errors import DataError
from datasets.seen import SeenImages
from tests.train.made import LINEAGE, content, quiet, tiny_config, weights_config, write_list
from train import config
from train.checkpoints import average, checkpoint, lineage
from train.model.build import build_network

Weights = dict[str, torch.Tensor]
SEEN = {5: SeenImages([(1, "a.jpg", None)]), 6: SeenImages([(2, "b.jpg", None)])}


def save(run: Path, epoch: int, network: torch.nn.Module, cfg: Any, **changed: Any) -> Weights:
    seen = SEEN.get(epoch, SeenImages()).plain()
    made = content(network, cfg, iteration=10 * epoch, epoch=float(epoch), seen=seen, **changed)
    checkpoint.save(run / checkpoint.epoch_name(epoch), made)
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Epochs 5, 6 and 7 of a run, each drawn from a seed of its own."""
    folder = tmp_path_factory.mktemp("run")
    cfg = weights_config(1)
    for epoch in (5, 6, 7):
        save(folder, epoch, build_network(cfg, seed=epoch), cfg)
    return folder


def test_each_number_is_the_mean(run: Path, tmp_path: Path) -> None:
    path = average.average(run, [5, 6, 7], tmp_path / "a.pth")
    parts = [checkpoint.read(run / checkpoint.epoch_name(epoch)).content["model"] for epoch in (5, 6, 7)]
    found = checkpoint.read(path).content["model"]
    assert found.keys() == parts[0].keys()
    for name, tensor in found.items():
        mean = (parts[0][name].double() + parts[1][name].double() + parts[2][name].double()) / 3
        assert torch.equal(tensor, mean.to(tensor.dtype)), name
        assert tensor.dtype == parts[0][name].dtype


def test_the_order_makes_no_difference_and_the_files_stay(run: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    one, other = (average.average(run, epochs, tmp_path / "a.pth") for epochs in ([5, 6], [6, 5]))
    first = checkpoint.read(one).content["model"]
    second = checkpoint.read(other).content["model"]
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_it_says_what_it_was_made_of(run: Path, tmp_path: Path) -> None:
    loaded = checkpoint.read(average.average(run, [5, 6], tmp_path / "a.pth"))
    assert loaded.lineage["averaged"] == [
        {
            "file": f"model_epoch_000{epoch}.pth",
            "sha256": checkpoint.read(run / f"model_epoch_000{epoch}.pth").sha256,
            "iteration": 10 * epoch,
        }
        for epoch in (5, 6)
    ]
    # What they have in common stands there once.
    (last,) = loaded.lineage["parents"]
    assert (last["file"], last["epoch"], last["lineage"]) == ("model_epoch_0006.pth", 6.0, LINEAGE)
    assert lineage.doubts("a.pth", loaded.lineage) == []
    assert "the average of" in "\n".join(lineage.describe(loaded))
    # All that any of them has seen.
    assert SeenImages.from_plain(loaded.content["seen"], "a.pth") == SEEN[5].joined(SEEN[6])
    assert not {"optimizer", "scaler", "best"} & loaded.content.keys()


def test_the_average_of_pretrained_weights_is_pretrained(tmp_path: Path) -> None:
    cfg = weights_config(1)
    for epoch in (1, 2):
        third_party = lineage.third_party(Path("R-50.pkl"), "0" * 64)
        save(tmp_path, epoch, build_network(cfg, seed=epoch), cfg, lineage=third_party)
    loaded = checkpoint.read(average.average(tmp_path, [1, 2], tmp_path / "a.pth"))
    assert lineage.is_pretrained(loaded.lineage)
    assert len(lineage.doubts("a.pth", loaded.lineage)) == 1


def test_counters_are_those_of_the_last_epoch(tmp_path: Path) -> None:
    cfg = weights_config(1, "MODEL.RESNETS.NORM", "BN")
    for epoch in (1, 2):
        network = build_network(cfg, seed=epoch)
        for name, buffer in network.named_buffers():
            if name.endswith("num_batches_tracked"):
                buffer.fill_(100 * epoch)
        save(tmp_path, epoch, network, cfg)
    found = checkpoint.read(average.average(tmp_path, [1, 2], tmp_path / "a.pth")).content["model"]
    counters = [tensor for name, tensor in found.items() if name.endswith("num_batches_tracked")]
    assert counters
    assert {int(tensor) for tensor in counters} == {200}
    assert average.has_batch_norm(found)


def test_it_predicts_like_any_checkpoint(tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    from train.inference.predict import predict
    from train.inference.request import Request

    cfg = tiny_config(1)
    for epoch in (1, 2):
        save(tmp_path, epoch, build_network(cfg, seed=epoch), cfg)
    path = average.average(tmp_path, [1, 2], tmp_path / average.name_of([1, 2]))
    Image.fromarray(np.zeros((64, 64, 3), dtype=np.uint8)).save(tmp_path / "1.png")
    listed = write_list(tmp_path / "images.json", {1: (64, 64)})
    done = predict(Request(path, listed, tmp_path, tmp_path / "results.json"), quiet)
    assert done is not None
    assert done.images == 1
    assert not average.has_batch_norm(checkpoint.read(path).content["model"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("50-56", list(range(50, 57))), ("41,54", [41, 54]), ("3,1-2, 2", [1, 2, 3]), ("7", [7]), ("0041", [41])],
)
def test_epochs_as_they_are_written(text: str, expected: list[int]) -> None:
    assert average.epochs_of(text) == expected


@pytest.mark.parametrize("text", ["", "a", "3-1", "0", "1-", "-1", "1--2", "1;2", "1-999999999", "\u00b2", "1,,2"])
def test_what_are_no_epochs(text: str) -> None:
    with pytest.raises(DataError, match="expected epochs as in 50-56 or 41,54, found"):
        average.epochs_of(text)


def test_epochs_that_are_not_there_are_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        average.average(run, [4, 5, 8, 9, 10], tmp_path / "a.pth")
    assert str(caught.value) == (
        f"{run}: expected the checkpoints of 5 epochs, found 5-7; missing are 4, 8-10. A run keeps one every "
        "SOLVER.VALIDATE_EPOCHS epochs, the newest SOLVER.MAX_TO_KEEP of them"
    )
    with pytest.raises(DataError, match="expected two or more to average, found 1"):
        average.average(run, [5], tmp_path / "a.pth")
    with pytest.raises(DataError, match="found none; missing are 1-2"):
        average.average(tmp_path / "none", [1, 2], tmp_path / "a.pth")
    assert list(tmp_path.iterdir()) == []


def test_epochs_of_different_runs_are_not_averaged(tmp_path: Path) -> None:
    first = weights_config(1)
    save(tmp_path, 1, build_network(first, seed=0), first)
    other = weights_config(1, "SOLVER.BASE_LR", "0.5", "SOLVER.MAX_TO_KEEP", "9")
    save(tmp_path, 2, build_network(other, seed=0), other)
    with pytest.raises(DataError, match="expected an epoch of the same run") as caught:
        average.average(tmp_path, [1, 2], tmp_path / "a.pth")
    # What a resumed run may change is no difference.
    assert caught.value.problems == [f"SOLVER.BASE_LR: was {first.SOLVER.BASE_LR}, is 0.5"]
    save(tmp_path, 2, build_network(first, seed=0), first, categories=[[2, "ring"]])
    with pytest.raises(DataError) as caught:
        average.average(tmp_path, [1, 2], tmp_path / "a.pth")
    assert caught.value.problems == ["other categories"]
    save(tmp_path, 2, build_network(first, seed=0), first, data={"manifest_sha256": "0"}, lineage=lineage.root(3))
    with pytest.raises(DataError) as caught:
        average.average(tmp_path, [1, 2], tmp_path / "a.pth")
    assert caught.value.problems == ["other data", "other lineage"]


@pytest.mark.parametrize("name", [checkpoint.LAST, checkpoint.BEST, checkpoint.epoch_name(5)])
def test_an_average_takes_no_name_of_the_run_s_own(name: str, run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected another name for the average"):
        average.average(run, [5, 6], tmp_path / name)


def test_names_of_averages() -> None:
    assert average.name_of(range(50, 57)) == "model_average_50-56.pth"
    assert average.name_of([41, 54]) == "model_average_41_54.pth"
    assert {"SOLVER.MAX_TO_KEEP"} <= config.FREE_ON_RESUME


def test_of_a_run_with_a_moving_average_the_weights_themselves_are_averaged(tmp_path: Path) -> None:
    cfg = weights_config(1, "SOLVER.EMA", "0.99")
    for epoch in (1, 2):
        save(tmp_path, epoch, build_network(cfg, seed=epoch), cfg, ema=build_network(cfg, seed=9).state_dict())
    found = checkpoint.read(average.average(tmp_path, [1, 2], tmp_path / "a.pth"))
    one, two = (build_network(cfg, seed=epoch).state_dict() for epoch in (1, 2))
    assert checkpoint.EMA not in found.content
    assert checkpoint.EMA not in found.lineage["parents"][0]
    for name, tensor in found.weights_to_use.items():
        mean = ((one[name].double() + two[name].double()) / 2).to(tensor.dtype)
        assert torch.equal(tensor, mean), name
