"""What stands between the products of an MLP, by the names that `Shape.activation` has.

On processors torch's tanh-GELU takes as long as a product of the MLP (1.3 ns a number, and again for its gradient): here it is a
logistic curve, and the gradient is made on the way forward, while everything is in the caches (half of the time, both ways together).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

_RATE = 2.0 * math.sqrt(2.0 / math.pi)
_CUBIC = 0.044715
_LEAST_NUMBERS = 1 << 14
"""Fewer are done before the first of several operations has begun."""
_RUN_NUMBERS = 1 << 17
"""So many at a time: what a core's caches hold in float32, twice."""


def activation_of(word: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The function that `Shape.activation` names."""
    return _ACTIVATIONS[word]


def gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    """`functional.gelu(x, approximate="tanh")`, equal up to rounding."""
    if torch.compiler.is_compiling() or not (_is_on_processor(x) and x.requires_grad and torch.is_grad_enabled()):
        return functional.gelu(x, approximate="tanh")
    made: torch.Tensor = _GeluTanh.apply(x)
    return made


def _is_on_processor(x: torch.Tensor) -> bool:
    is_large = x.dtype in (torch.float32, torch.bfloat16) and x.numel() >= _LEAST_NUMBERS
    return is_large and x.device.type == "cpu" and not hasattr(x, "full_tensor")


class _GeluTanh(torch.autograd.Function):
    """(1 + tanh(z / 2)) / 2 is the logistic curve s of z, so that gelu(x) = x s with z = a x + b x^3, a = 2 sqrt(2 / pi), b = 0.044715 a.

    Its slope is s + x z' s (1 - s), with x z' = a x + 3 b x^3 = 3 (z - 2 a x / 3). In float32 whatever x is; only the slope is kept.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        x_N = x.reshape(-1)
        made_N, slope_N = torch.empty_like(x_N), torch.empty_like(x_N)
        rate = torch.full((1,), _RATE)
        for x_R, made_R, slope_R in zip(*(each.split(_RUN_NUMBERS) for each in (x_N, made_N, slope_N)), strict=True):
            x_R = x_R.float()
            z_R = torch.addcmul(rate, x_R, x_R, value=_RATE * _CUBIC).mul_(x_R)
            s_R = torch.sigmoid(z_R)
            made_R.copy_(x_R * s_R)
            z_R.sub_(x_R, alpha=2.0 / 3.0 * _RATE)
            slope_R.copy_(s_R.add_(torch.ops.aten.sigmoid_backward(z_R, s_R), alpha=3.0))
        ctx.save_for_backward(slope_N.view(x.shape))
        return made_N.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_made: torch.Tensor) -> torch.Tensor:
        (slope,) = ctx.saved_tensors
        return d_made * slope


def _relu_squared(x: torch.Tensor) -> torch.Tensor:
    return functional.relu(x).square()


_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": functional.gelu,
    "gelu_tanh": gelu_tanh,
    "silu": functional.silu,
    "relu_squared": _relu_squared,
}
