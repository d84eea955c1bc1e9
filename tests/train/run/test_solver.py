"""The optimiser on a CPU: one pass, the same steps."""

from __future__ import annotations

import pytest
import torch

from tests.train.conftest import small_config
from train.model.build import build_network
from train.run import solver

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("clipped", ["False", "True"])
def test_steps_of_one_pass_are_those_of_four(clipped: str) -> None:
    """With momentum, weight decay, and Detectron2's clipping around it."""
    cfg = small_config("tiny", "SOLVER.CLIP_GRADIENTS.ENABLED", clipped)
    found = []
    for device in (CUDA, CPU):
        network = build_network(cfg, seed=0)
        optimizer = solver.optimizer_of(cfg, network, solver.schedule_of(cfg, 100))
        solver.fuse(optimizer, device)
        noise = torch.Generator().manual_seed(0)
        for _ in range(3):
            for parameter in network.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=noise)
            optimizer.step()
        found.append([parameter.detach() for parameter in network.parameters()])
    assert all(torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6) for theirs, ours in zip(*found, strict=True))


def test_a_state_from_a_cpu_is_not_fused_elsewhere() -> None:
    cfg = small_config("tiny")
    network = build_network(cfg, seed=0)
    saved = solver.optimizer_of(cfg, network, solver.schedule_of(cfg, 100))
    solver.fuse(saved, CPU)
    loaded = solver.optimizer_of(cfg, network, solver.schedule_of(cfg, 100))
    loaded.load_state_dict(saved.state_dict())
    assert {group["fused"] for group in loaded.param_groups} == {True}
    solver.fuse(loaded, CUDA)
    assert {group["fused"] for group in loaded.param_groups} == {None}
