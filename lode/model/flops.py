"""Floating-point operations of a forward pass, counted while it runs; a multiply and an add are two.

torch's own counter says the same (a test compares them), but its first use loads torch._dynamo, which takes over a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class FlopCounter(TorchFunctionMode):
    """Counts matrix products, convolutions, attention and recurrent layers of the code inside `with FlopCounter() as counter:`."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        count = _COUNTS.get(func)
        if count is not None:
            self.total += count(result, args)
        return result


class TrainingFlops(FlopCounter):
    """Counts what the way back will do too: as much again for each factor of a product that a gradient flows to.

    Pictures and numbers need no gradient, so that a first layer costs twice its forward pass, every other one three times.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        count = _COUNTS.get(func)
        if count is not None:
            factors = args[:2] if func not in (torch.lstm, torch.gru) else (args[0], args[2][0])
            self.total += count(result, args) * (1 + sum(int(factor.requires_grad) for factor in factors))
        return result


def _linear(result: torch.Tensor, args: tuple) -> int:
    return 2 * result.numel() * args[1].shape[1]


def _convolution(result: torch.Tensor, args: tuple) -> int:
    return 2 * result.numel() * math.prod(args[1].shape[1:])


def _matmul(result: torch.Tensor, args: tuple) -> int:
    return 2 * result.numel() * args[0].shape[-1]


def _baddbmm(result: torch.Tensor, args: tuple) -> int:
    return 2 * result.numel() * args[1].shape[-1]


def _attention(result: torch.Tensor, args: tuple) -> int:
    query, key, value = args[:3]
    return 2 * math.prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])


def _recurrent(result: tuple[torch.Tensor, ...], args: tuple) -> int:
    """Each step of each row multiplies with every matrix once; result, args: as of torch.lstm on a batch (or torch.gru)."""
    steps = result[0].shape[0] * result[0].shape[1]
    return sum(2 * steps * weight.numel() for weight in args[2] if weight.dim() == 2)


_COUNTS: dict[Any, Callable[[Any, tuple], int]] = {
    functional.linear: _linear,
    functional.conv1d: _convolution,
    functional.conv2d: _convolution,
    torch.matmul: _matmul,
    torch.bmm: _matmul,
    torch.baddbmm: _baddbmm,
    functional.scaled_dot_product_attention: _attention,
    torch.lstm: _recurrent,
    torch.gru: _recurrent,
}
