"""Mixed precision: what is chosen where, and group norm in 16 bits against torch's in 32."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional

from datasets.errors import DataError
from tests.train.conftest import small_config
from train import precision
from train.data.mapper import TrainingMapper
from train.data.read import TrainingData
from train.data.sampler import Key
from train.model.build import build_network
from train.precision import MixedGroupNorm, MixedROIAlign, Precision, choose, has_bf16, load_scaler, precision_of

# isort: split
from detectron2.layers import ROIAlign
from detectron2.utils.events import EventStorage

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
BF16, FP16 = Precision(torch.bfloat16, "cpu"), Precision(torch.float16, "cpu")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flags\t\t: fpu sse2 avx512f avx512_bf16\n", True),
        ("processor\t: 0\nflags\t\t: fpu amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd bf16 i8mm\n", True),
        ("flags\t\t: fpu sse2 avx2\n", False),
        ("model name\t: with avx512_bf16 in its name\n", False),
        ("", False),
    ],
)
def test_bf16_is_read_off_the_instructions_of_a_cpu(text: str, expected: bool) -> None:
    assert has_bf16(text) == expected


@pytest.mark.parametrize(
    ("wanted", "flags", "expected", "reason"),
    [
        ("bf16", "flags : avx512_bf16", BF16, ""),
        ("bf16", "flags : avx2", Precision(), "this CPU has no bf16 instructions; computing in float32"),
        ("fp16", "flags : avx512_bf16", Precision(), "fp16 is for GPUs; computing in float32"),
        ("auto", "flags : avx512_bf16", BF16, ""),
        ("auto", "flags : avx2", Precision(), "this CPU has no bf16 instructions; computing in float32"),
    ],
)
def test_a_cpu_computes_in_what_it_has(
    wanted: str, flags: str, expected: Precision, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_cpu_info", lambda: flags)
    chosen, said = choose(wanted, CPU)
    assert chosen == expected
    assert said.startswith(reason)
    assert bool(said) == bool(reason)


@pytest.mark.parametrize(("capability", "is_refused"), [((7, 5), True), ((8, 0), False), ((9, 0), False)])
def test_bf16_is_refused_on_a_gpu_that_would_imitate_it(
    capability: tuple[int, int], is_refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a card")
    assert choose("fp16", CUDA) == (Precision(torch.float16, "cuda"), "")
    assert choose("auto", CUDA) == (Precision(torch.float16 if is_refused else torch.bfloat16, "cuda"), "")
    if is_refused:
        with pytest.raises(DataError, match=r"SOLVER.AMP.DTYPE: expected fp16, .* \(a card\), found bf16"):
            choose("bf16", CUDA)
    else:
        assert choose("bf16", CUDA) == (Precision(torch.bfloat16, "cuda"), "")


def test_a_run_says_why_it_is_not_in_mixed_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(precision, "_cpu_info", str)
    assert precision_of(small_config("tiny"), CPU, said.append) == Precision()
    assert said == []
    asked = small_config("tiny", "SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", "bf16")
    assert precision_of(asked, CPU, said.append) == Precision()
    assert said == ["SOLVER.AMP: this CPU has no bf16 instructions; computing in float32"]


def test_only_fp16_scales_the_loss() -> None:
    found = {one.name: (one.scales_loss, one.scaler().is_enabled()) for one in (Precision(), BF16, FP16)}
    assert found == {"fp32": (False, False), "bf16": (False, False), "fp16": (True, True)}


def test_a_scaler_without_a_state_starts_fresh() -> None:
    """A run that asked for fp16 where torch saw no GPU stored an empty state, which a scaler refuses."""
    said: list[str] = []
    scaler = FP16.scaler()
    load_scaler(scaler, Precision().scaler().state_dict(), said.append)
    assert scaler.get_scale() == 2.0**16
    assert said == ["mixed precision begins here: the run was in float32 so far"]

    half = FP16.scaler()
    half.scale(torch.zeros(()))
    half.update(2.0**10)
    load_scaler(scaler, half.state_dict(), said.append)
    assert scaler.get_scale() == 2.0**10
    # And back, on a machine without a GPU.
    load_scaler(Precision().scaler(), half.state_dict(), said.append)
    assert len(said) == 1


def norms(channels: int, groups: int, seed: int) -> tuple[nn.GroupNorm, nn.GroupNorm]:
    """torch's and ours, with the same random weights."""
    noise = torch.Generator().manual_seed(seed)
    plain, ours = nn.GroupNorm(groups, channels), nn.GroupNorm(groups, channels)
    for name in ("weight", "bias"):
        values = torch.randn(channels, generator=noise)
        for module in (plain, ours):
            getattr(module, name).data.copy_(values)
    BF16.prepare(ours)
    return plain, ours


@given(
    st.sampled_from([torch.bfloat16, torch.float16]),
    st.tuples(st.integers(0, 3), st.sampled_from([1, 4, 8]), st.integers(1, 6), st.integers(2, 6)),
    st.integers(1, 8),
    st.integers(0, 99),
)
def test_group_norm_in_16_bits_is_that_in_32_rounded(
    dtype: torch.dtype, shape: tuple[int, int, int, int], per_group: int, seed: int
) -> None:
    """Of the same input, to the bit, forward and backward; so its sums and statistics were not rounded."""
    images, groups, height, width = shape
    plain, ours = norms(groups * per_group, groups, seed)
    noise = torch.Generator().manual_seed(seed)
    size = (images, groups * per_group, height, width)
    # Far from 0, where a mean that was rounded to 8 bits would show.
    given = (20 + torch.randn(size, generator=noise)).to(dtype).requires_grad_()
    wide = given.detach().float().requires_grad_()
    slope = torch.randn(size, generator=noise).to(dtype)

    expected, found = plain(wide), ours(given)
    expected.backward(slope.float())
    found.backward(slope)

    assert found.dtype == dtype
    assert torch.equal(found, expected.to(dtype))
    assert given.grad is not None
    assert wide.grad is not None
    assert torch.equal(given.grad, wide.grad.to(dtype))
    for name in ("weight", "bias"):
        assert torch.equal(getattr(ours, name).grad, getattr(plain, name).grad)


def test_float32_is_left_to_torch() -> None:
    plain, ours = norms(8, 4, 0)
    given = torch.randn(2, 8, 5, 5)
    assert torch.equal(ours(given), plain(given))
    assert ours(given).dtype == torch.float32


def kept_for_backward(run: Callable[[], torch.Tensor]) -> int:
    """Bytes of distinct tensors that the backward pass of `run` would need."""
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        result = run()
    assert result.requires_grad
    return sum(kept.values())


def test_nothing_wide_is_kept_of_a_convolution_a_norm_and_a_relu() -> None:
    """The convolution's input, its output, what the norm gave (which is the ReLU's result too): 16 bits each."""
    _, norm = norms(64, 32, 0)
    convolution = nn.Conv2d(64, 64, 3, padding=1, bias=False)
    given = torch.randn(1, 64, 40, 40).bfloat16().requires_grad_()
    pixels = 64 * 40 * 40

    def run() -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return functional.relu_(norm(convolution(given)))

    small = 2 * 64 * 64 * 9 + 4 * (64 + 2 * 32)  # the kernel; the norm's weight, means and deviations
    assert kept_for_backward(run) == 3 * 2 * pixels + small


def test_names_and_weights_stay_as_they_were() -> None:
    plain = build_network(small_config("tiny"), seed=0)
    prepared = build_network(small_config("tiny"), seed=0)
    BF16.prepare(prepared)
    kinds = {type(module) for module in prepared.modules() if isinstance(module, nn.GroupNorm)}
    assert kinds == {MixedGroupNorm}
    assert plain.state_dict().keys() == prepared.state_dict().keys()
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in prepared.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_boxes_are_pooled_where_they_are(dtype: torch.dtype) -> None:
    """bf16 numbers above 1,024 are 8 apart: rounded, this box of 4 x 4 px has no height."""
    box = torch.tensor([[0.0, 1027, 1100, 1031, 1104]])
    assert box.bfloat16()[0, 2] == box.bfloat16()[0, 4]
    features = torch.randn(1, 8, 300, 300, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    wide = features.detach().float().requires_grad_()
    align = ROIAlign(7, 0.25, 0, aligned=True)
    expected = align(wide, box)
    holder = nn.ModuleList([align])
    Precision(dtype, "cpu").prepare(holder)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = holder[0](features, box)
    found.sum().backward()
    expected.sum().backward()

    assert found.dtype == dtype
    assert torch.equal(found, expected.to(dtype))
    assert features.grad is not None
    assert wide.grad is not None
    assert torch.equal(features.grad, wide.grad.to(dtype))
    # Float32 is left to Detectron2.
    assert torch.equal(holder[0](wide, box), expected)


def test_every_roi_align_of_a_model_is_replaced() -> None:
    network = build_network(small_config("tiny-cascade"), seed=0)
    before = [module for module in network.modules() if isinstance(module, ROIAlign)]
    BF16.prepare(network)
    assert before
    assert {type(module) for module in before} == {MixedROIAlign}


def test_nothing_is_prepared_for_float32() -> None:
    network = build_network(small_config("tiny"), seed=0)
    Precision().prepare(network)
    assert {type(module) for module in network.modules() if isinstance(module, nn.GroupNorm)} == {nn.GroupNorm}


def test_losses_in_bf16_are_near_those_in_float32(drawn_data: TrainingData) -> None:
    """8 bits of a number's digits are left; a whole network multiplies the error."""
    cfg = small_config("tiny-cascade", "MODEL.ROI_HEADS.NUM_CLASSES", str(len(drawn_data.categories)))
    mapper = TrainingMapper(cfg, masks=True, seed=0)
    batch = [mapper(drawn_data.records[index], Key(0, index)) for index in (0, 1)]
    found = {}
    for chosen in (Precision(), BF16):
        network = build_network(cfg, seed=0)
        chosen.prepare(network)
        torch.manual_seed(0)
        with EventStorage(), chosen.autocast():
            losses = network(batch)
        sum(losses.values()).backward()
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        assert all(bool(gradient.isfinite().all()) for gradient in gradients)
        assert {gradient.dtype for gradient in gradients} == {torch.float32}
        found[chosen.name] = {name: float(loss.detach()) for name, loss in losses.items()}
    assert found["bf16"] == pytest.approx(found["fp32"], rel=0.1, abs=0.02)
