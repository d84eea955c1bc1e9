"""Mixed precision: the dtype of forward passes; group norm that keeps it, RoIAlign with float32 boxes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from datasets.errors import DataError
from train import compat  # noqa: F401 - before detectron2

# isort: split
from detectron2.layers import ROIAlign

# As SOLVER.AMP.DTYPE names them, besides auto.
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
# Linux' names of x86 (AVX-512, AMX) and ARM instructions that multiply in bf16.
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
CPU_INFO = Path("/proc/cpuinfo")


class Precision(NamedTuple):
    """The dtype of forward passes on a device of kind `device` ("cuda" or "cpu"); None is float32."""

    dtype: torch.dtype | None = None
    device: str = "cpu"

    @property
    def name(self) -> str:
        """fp32, fp16 or bf16."""
        return next((name for name, dtype in DTYPES.items() if dtype == self.dtype), "fp32")

    @property
    def scales_loss(self) -> bool:
        """fp16 needs loss scaling, or its smallest gradients would become 0; bf16 has the range of float32."""
        return self.dtype == torch.float16

    def autocast(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.dtype is None else torch.autocast(self.device, dtype=self.dtype)

    def scaler(self) -> torch.amp.GradScaler:
        return torch.amp.GradScaler(self.device, enabled=self.scales_loss)

    def prepare(self, network: nn.Module) -> None:
        """Replace layers of `network` that need it for this precision; float32 changes nothing."""
        if self.dtype is None:
            return
        for module in network.modules():
            if type(module) in REPLACED:
                module.__class__ = REPLACED[type(module)]


FLOAT32 = Precision()


def choose(wanted: str, device: torch.device) -> tuple[Precision, str]:
    """The precision for `wanted` (fp16, bf16 or auto) on `device`, and the reason where it is float32 instead; else "".

    `auto` is bf16 where the device has it, else fp16 on a GPU. Raises DataError for bf16 on a GPU without it.
    """
    if device.type == "cuda":
        has = torch.cuda.get_device_capability(device)[0] >= 8
        if wanted == "auto":
            wanted = "bf16" if has else "fp16"
        if wanted == "bf16" and not has:
            raise DataError(
                "SOLVER.AMP.DTYPE: expected fp16, since this GPU has no bf16 instructions "
                f"({torch.cuda.get_device_name(device)}), found bf16"
            )
        return Precision(DTYPES[wanted], "cuda"), ""
    if wanted == "fp16":
        return FLOAT32, "fp16 is for GPUs; computing in float32 (SOLVER.AMP.DTYPE bf16 is for CPUs too)"
    if not has_bf16(_cpu_info()):
        return FLOAT32, "this CPU has no bf16 instructions; computing in float32"
    return Precision(torch.bfloat16, "cpu"), ""


def has_bf16(cpu_info: str) -> bool:
    """Whether a CPU multiplies in bf16, from the text of /proc/cpuinfo."""
    lines = (line.partition(":") for line in cpu_info.splitlines())
    return any(
        not BF16_FLAGS.isdisjoint(flags.split()) for name, _, flags in lines if name.strip() in ("flags", "Features")
    )


def _cpu_info() -> str:
    try:
        return CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


class MixedGroupNorm(nn.GroupNorm):
    """Group norm of fp16 or bf16 activations with output of the same dtype; sums and statistics are float32.

    torch's autocast computes group norm in float32 and returns float32, so that every activation is kept twice, in both
    dtypes, and again in the wider one by the following layer: mixed precision would need more memory than float32.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the parent's name
        if input.dtype not in DTYPES.values():
            return super().forward(input)
        normed: torch.Tensor = _GroupNorm.apply(input, self.weight, self.bias, self.num_groups, self.eps)
        return normed


class MixedROIAlign(ROIAlign):  # type: ignore[misc]
    """RoIAlign of 16-bit features with float32 boxes; the output has the features' dtype.

    Detectron2 rounds boxes to the features' dtype. In bf16, coordinates above 1,024 px are 8 px apart, which moves
    small boxes off their objects or removes them.
    """

    def forward(self, input: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the parent's name
        if input.dtype not in DTYPES.values():
            wide: torch.Tensor = super().forward(input, rois)
            return wide
        with torch.autocast(input.device.type, enabled=False):
            pooled: torch.Tensor = super().forward(input.float(), rois.float())
        return pooled.to(input.dtype)


REPLACED: dict[type[nn.Module], type[nn.Module]] = {nn.GroupNorm: MixedGroupNorm, ROIAlign: MixedROIAlign}


class _GroupNorm(torch.autograd.Function):
    """Keeps the 16-bit input for the backward pass, and in float32 only the statistics: two numbers per group."""

    @staticmethod
    def forward(
        ctx: Any,
        activations: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        groups: int,
        eps: float,
    ) -> torch.Tensor:
        batch, channels = activations.shape[:2]
        pixels = activations.shape[2:].numel()
        normed, mean, inverse_deviation = torch.native_group_norm(
            activations.float().contiguous(), weight, bias, batch, channels, pixels, groups, eps
        )
        ctx.save_for_backward(activations, weight, mean, inverse_deviation)
        ctx.groups = groups
        return normed.to(activations.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        activations, weight, mean, inverse_deviation = ctx.saved_tensors
        batch, channels = activations.shape[:2]
        pixels = activations.shape[2:].numel()
        of_input, of_weight, of_bias = torch.ops.aten.native_group_norm_backward(
            gradient.float().contiguous(),
            activations.float().contiguous(),
            mean,
            inverse_deviation,
            weight,
            batch,
            channels,
            pixels,
            ctx.groups,
            list(ctx.needs_input_grad[:3]),
        )
        narrow = None if of_input is None else of_input.to(activations.dtype)
        return narrow, of_weight, of_bias, None, None


def precision_of(cfg: Any, device: torch.device, say: Callable[[str], None]) -> Precision:
    """The precision that SOLVER.AMP asks for; float32, with a note, where the device lacks it. Raises DataError."""
    if not cfg.SOLVER.AMP.ENABLED:
        return Precision()
    chosen, reason = choose(cfg.SOLVER.AMP.DTYPE, device)
    if reason:
        say(f"SOLVER.AMP: {reason}")
    return chosen


def load_scaler(scaler: torch.amp.GradScaler, state: dict[str, Any], say: Callable[[str], None]) -> None:
    """Restore the loss scale of a checkpoint; a new one where the run had none so far.

    A run that asked for fp16 on a machine without a GPU was in float32.
    """
    if scaler.is_enabled() and not state:
        say("mixed precision begins here: the run was in float32 so far")
        return
    scaler.load_state_dict(state)
