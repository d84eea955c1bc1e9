"""The moving average of the weights: exact, resumed, validated and predicted with."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from datasets.errors import DataError
from tests.train.made import LINEAGE, content, tiny_config, weights_config
from train.checkpoints import checkpoint, lineage, weights
from train.checkpoints.checkpoint import EMA, Loaded
from train.checkpoints.weights import Parent
from train.model.build import build_network
from train.run import ema


def network() -> nn.Module:
    """A layer with weights, and a norm with statistics and a counter."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def steps(count: int) -> list[dict[str, torch.Tensor]]:
    """The weights after each of some steps."""
    drawn = torch.Generator().manual_seed(1)
    states = []
    for number in range(count):
        state = {
            name: torch.randn(tensor.shape, generator=drawn) if tensor.is_floating_point() else torch.tensor(number)
            for name, tensor in network().state_dict().items()
        }
        states.append(state)
    return states


def averaged(states: list[dict[str, torch.Tensor]], decay: float, first: int = 0, kept: Any = None) -> nn.Module:
    model = network()
    average = ema.average_of(model, decay, None)
    assert average is not None
    if kept is not None:
        average.module.load_state_dict(kept)
    hook = ema.EmaHook(average, model)
    for iteration, state in enumerate(states, start=first):
        model.load_state_dict(state)
        hook.trainer = SimpleNamespace(iter=iteration)
        hook.after_step()
    module: nn.Module = average.module
    return module


def decay_at(iteration: int, most: float) -> float:
    return min(most, 1 - math.pow(1 + iteration, -0.75))


def test_it_is_the_average_of_a_plain_loop() -> None:
    states = steps(40)
    found = averaged(states, 0.9).state_dict()
    for name, tensor in found.items():
        expected = states[0][name].double()
        for iteration, state in enumerate(states[1:], start=1):
            decay = decay_at(iteration, 0.9)
            expected = decay * expected + (1 - decay) * state[name].double()
        if tensor.is_floating_point():
            assert torch.allclose(tensor.double(), expected, atol=1e-6), name
        else:
            assert int(tensor) == 39  # a counter is the last one


def test_it_is_torch_s_own_with_the_same_decay() -> None:
    states, model = steps(40), network()
    # torch counts the averaged models from 1 when it averages.
    oracle = AveragedModel(
        model,
        avg_fn=lambda old, new, count: (
            torch.lerp(old, new, 1 - decay_at(int(count), 0.9)) if old.is_floating_point() else new
        ),
        use_buffers=True,
    )
    for state in states:
        model.load_state_dict(state)
        oracle.update_parameters(model)
    found = averaged(states, 0.9).state_dict()
    for name, tensor in oracle.module.state_dict().items():
        assert torch.allclose(found[name].double(), tensor.double(), atol=1e-6), name


@pytest.mark.parametrize(
    ("iteration", "decay"), [(0, 0.0), (1, 1 - 2**-0.75), (463, 0.99), (10_000, 0.999), (10**6, 0.999)]
)
def test_the_decay_grows_to_its_value(iteration: int, decay: float) -> None:
    average = ema.average_of(network(), 0.999, None)
    assert average is not None
    assert average.get_decay(iteration + 1) == pytest.approx(decay, abs=2e-5)


def test_a_resumed_average_is_the_same_to_the_bit() -> None:
    states = steps(30)
    whole = averaged(states, 0.95).state_dict()
    half = averaged(states[:13], 0.95).state_dict()
    resumed = averaged(states[13:], 0.95, first=13, kept=half).state_dict()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []


def test_without_a_decay_there_is_none() -> None:
    assert ema.average_of(network(), 0.0, None) is None
    assert ema.content(None) == {}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose moving average is drawn from another seed."""
    cfg = weights_config(1, "SOLVER.EMA", "0.99")
    made = content(build_network(cfg, seed=1), cfg, ema=build_network(cfg, seed=2).state_dict())
    return checkpoint.save(tmp_path_factory.mktemp("ema") / "model_last.pth", made)


def test_a_checkpoint_without_its_average_is_refused() -> None:
    cfg = weights_config(1)
    bare = Loaded(Path("runs/a.pth"), content(build_network(cfg, seed=1), cfg), "")
    with pytest.raises(DataError, match=r"runs/a\.pth: expected the moving average of the weights too"):
        ema.average_of(build_network(cfg, seed=3), 0.99, bare)


def test_an_average_goes_on_from_a_checkpoint(saved: Path) -> None:
    cfg, loaded = weights_config(1), checkpoint.read(saved)
    average = ema.average_of(build_network(cfg, seed=3), 0.99, loaded)
    assert average is not None
    kept = average.module.state_dict()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in loaded.content[EMA].items())


def test_predictions_and_descendants_use_the_average(saved: Path) -> None:
    loaded = checkpoint.read(saved)
    assert loaded.weights_to_use is loaded.content[EMA]
    child = build_network(weights_config(1), seed=4)
    expected = {name: tensor.clone() for name, tensor in loaded.content[EMA].items()}

    start = weights.start(child, Parent(saved, loaded), seed=0, categories=[(1, "disc")])

    assert all(torch.equal(tensor, expected[name]) for name, tensor in child.state_dict().items())
    assert start.notes[-1] == "  of the moving average of its weights (SOLVER.EMA)"
    assert start.lineage["parents"][0][EMA] is True
    described = lineage.describe(Loaded(Path("a.pth"), {"lineage": start.lineage, "name": "tiny"}, "0" * 64))
    assert any(line.strip() == "started from the moving average of" for line in described)
    assert "  beyond the paper SOLVER.EMA 0.99" in [line.removeprefix("    ") for line in described]


def test_a_checkpoint_without_an_average_has_its_weights_alone() -> None:
    cfg = weights_config(1)
    made = content(build_network(cfg, seed=1), cfg)
    assert Loaded(Path("a.pth"), made, "").weights_to_use is made["model"]


def test_an_average_that_is_no_tensors_is_refused(tmp_path: Path) -> None:
    cfg = weights_config(1)
    path = checkpoint.save(tmp_path / "a.pth", content(build_network(cfg, seed=1), cfg, ema={"a": 1}))
    with pytest.raises(DataError, match="found other content") as caught:
        checkpoint.read(path)
    assert caught.value.problems == ["ema: expected tensors by name"]


def test_the_average_can_be_validated_in_the_middle_of_a_training() -> None:
    """A copy of the whole network that detects; the trained one stays in training."""
    model = build_network(tiny_config(1), seed=0)
    average = ema.average_of(model, 0.99, None)
    assert average is not None
    with torch.no_grad():
        (found,) = average.module([{"image": torch.zeros(3, 64, 64, dtype=torch.uint8), "height": 64, "width": 64}])
    assert found["instances"].image_size == (64, 64)
    assert model.training


def test_lineage_of_random_weights_is_unchanged() -> None:
    assert lineage.descent(Loaded(Path("a.pth"), {"lineage": LINEAGE}, "0"))["parents"][0].keys() == {
        "file",
        "sha256",
        "lineage",
    }
