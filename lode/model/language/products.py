"""Faster arithmetic for decoders on processors, equal up to rounding: matrix products, root-mean-square norms, rotations.

Torch sends float32 products to MKL, which on other makers' chips reaches less than half of what oneDNN does (AMD Zen 5, one thread,
2048 x 384 x 1024: 102 against 230 GFLOP/s; bfloat16 goes to oneDNN anyway). Norms and rotations made of torch's own operations read
and write memory three times as often as they need. Elsewhere (GPU, compiler, bfloat16, divided tensors) torch's operations are used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

_LEAST_ROWS, _LEAST_PRODUCTS = 4, 1 << 20
"""Smaller products are faster in torch's own way: oneDNN takes 11 us to begin (measured)."""
_LARGE_WEIGHT = 1 << 18
"""From this size on oneDNN reads weights faster, so that it wins for one row too (512 x 1408: 457 us, MKL 653; a busy machine)."""


class Linear(nn.Linear):
    """`nn.Linear`, faster in float32 on a processor."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.weight, self.bias)


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`torch.nn.functional.linear`: (..., K) times the transposed (M, K) plus (M,)."""
    if not _goes_to_onednn(x, weight):
        return functional.linear(x, weight, bias)
    if not torch.is_grad_enabled():
        return _onednn(x, weight, bias)
    made: torch.Tensor = _Linear.apply(x, weight, bias)
    return made


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """`a @ b` of two matrices, without gradients; either may be a transposed view."""
    return _onednn(a, b.t()) if _goes_to_onednn(a, b) else torch.mm(a, b)


def rms_norm(x: torch.Tensor, weight_D: torch.Tensor, eps: float) -> torch.Tensor:
    """`torch.nn.functional.rms_norm` over the last axis."""
    if x.dtype == torch.bfloat16 and x.device.type == "cpu" and not torch.is_grad_enabled() and not _is_traced():
        wide = x.float()
        return torch.mul(wide, _rate(wide, eps)).mul_(weight_D).to(x.dtype)
    if not (_is_plain(x) and _is_plain(weight_D)):
        return functional.rms_norm(x, weight_D.shape, weight_D, eps)
    if not torch.is_grad_enabled():
        return torch.mul(x, _rate(x, eps)).mul_(weight_D)
    made: torch.Tensor = _RmsNorm.apply(x, weight_D, eps)
    return made


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Both halves of the last axis turned against one another: x (..., T, N, K); cos, sin (..., T, 1, K / 2) without gradients."""
    if x.device.type == "cpu" and not _is_traced():
        if not torch.is_grad_enabled():
            return _turned(x, cos, sin, 1.0)
        made: torch.Tensor = _Rotate.apply(x, cos, sin)
        return made
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def product_dtype(x: torch.Tensor) -> torch.dtype:
    """What a linear layer gives for `x` here: autocast's type where it is on."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _is_plain(x: torch.Tensor) -> bool:
    """A float32 tensor in this process's own memory, outside of the compiler."""
    ours = x.device.type == "cpu" and x.dtype == torch.float32 and not hasattr(x, "full_tensor")
    return ours and not _is_traced()


def _is_traced() -> bool:
    return torch.compiler.is_compiling()


def _goes_to_onednn(x: torch.Tensor, weight: torch.Tensor) -> bool:
    rows = x.numel() // max(x.shape[-1], 1)
    large = rows >= _LEAST_ROWS and rows * weight.numel() >= _LEAST_PRODUCTS
    if not large and weight.numel() < _LARGE_WEIGHT:
        return False
    return _is_plain(x) and _is_plain(weight) and not torch.is_autocast_enabled("cpu") and torch.backends.mkldnn.is_available()


def _onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """X times the transposed weight; both may be transposed views."""
    made: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return made


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        d_NM, x_NK = d_y.reshape(-1, d_y.shape[-1]), x.reshape(-1, x.shape[-1])
        d_x = _onednn(d_NM, weight.t()).view(x.shape) if ctx.needs_input_grad[0] else None
        d_weight = _onednn(d_NM.t(), x_NK.t()) if ctx.needs_input_grad[1] else None
        return d_x, d_weight, d_NM.sum(dim=0) if ctx.needs_input_grad[2] else None


def _rate(x: torch.Tensor, eps: float) -> torch.Tensor:
    """(mean(x^2) + eps)^-1/2, (..., 1)."""
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()


class _RmsNorm(torch.autograd.Function):
    """y = x * w * r with r = (mean(x^2) + eps)^-1/2; dx = r * (dy * w - x * r^2 / D * sum(dy * w * x))."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight_D: torch.Tensor, eps: float) -> torch.Tensor:
        rate = _rate(x, eps)
        ctx.save_for_backward(x, weight_D, rate)
        return torch.mul(x, rate).mul_(weight_D)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight_D, rate = ctx.saved_tensors
        width = x.shape[-1]
        both_ND = (d_y * x).view(-1, width)
        d_weight = torch.mv(both_ND.t(), rate.view(-1)) if ctx.needs_input_grad[1] else None
        share = torch.mv(both_ND, weight_D).view(rate.shape).mul_(rate.square().mul_(rate)).div_(-width)
        d_x = torch.mul(d_y, weight_D).mul_(rate).addcmul_(x, share)
        return d_x, d_weight, None


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin, 1.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        return _turned(d_y, cos, sin, -1.0), None, None


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, way: float) -> torch.Tensor:
    """Turned forwards (way 1) or back (-1), written once."""
    made = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    (first, second), (one, other) = x.chunk(2, dim=-1), made.chunk(2, dim=-1)
    torch.mul(first, cos, out=one).addcmul_(second, sin, value=-way)
    torch.mul(second, cos, out=other).addcmul_(first, sin, value=way)
    return made
