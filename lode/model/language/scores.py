"""Attention of short rows on a processor in bfloat16, with all scores held: there torch's kernel makes its products in another way.

One Zen 5 core, forward and backward, 8 x 256 positions, 6 heads of 64: 21 ms, torch's flash kernel 37 ms (in float32 as well); 12 x 64
positions, 4 heads of 32: 1.4 ms against 6.0 ms. From 1,024 positions on the scores no longer fit into the caches and flash is as fast.

Legend: B rows, T positions, H query heads, G key/value heads, R = H / G, K head width, N = B G, S = R T.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from lode.model.language.contracts import Look

MOST_POSITIONS = 512
"""Of longer rows the scores would take more memory than they save time."""


def suits(q_BTHK: torch.Tensor, k_BTGK: torch.Tensor, look: Look) -> bool:
    """Whether `attention` is the faster way: bfloat16 on a processor, short rows, outside of the compiler, and a gradient wanted."""
    short = q_BTHK.shape[1] == k_BTGK.shape[1] <= MOST_POSITIONS
    plain = (
        q_BTHK.dtype == k_BTGK.dtype == torch.bfloat16 and q_BTHK.device.type == "cpu" and look.softcap is None and not look.dropout
    )
    return short and plain and torch.is_grad_enabled() and not torch.compiler.is_compiling()


def attention(q_BTHK: torch.Tensor, k_BTGK: torch.Tensor, v_BTGK: torch.Tensor, mask: torch.Tensor, scale: float) -> torch.Tensor:
    """softmax(scale * q k' + mask) v, (B, T, H, K). mask: what is added, (T, T) or (B, 1, T, T)."""
    made: torch.Tensor = _Attention.apply(q_BTHK, k_BTGK, v_BTGK, mask, scale)
    return made


class _Attention(torch.autograd.Function):
    """Keeps the probabilities in bfloat16; sums are float32 inside the products and the softmax."""

    @staticmethod
    def forward(
        ctx: Any, q_BTHK: torch.Tensor, k_BTGK: torch.Tensor, v_BTGK: torch.Tensor, mask: torch.Tensor, scale: float
    ) -> torch.Tensor:
        groups, heads = k_BTGK.shape[2], q_BTHK.shape[2]
        q_NSK, k_NTK, v_NTK = _stacked(q_BTHK, groups), _stacked(k_BTGK, groups), _stacked(v_BTGK, groups)
        with torch.autocast("cpu", enabled=False):
            score_NST = torch.baddbmm(_spread(mask, len(q_NSK), groups, heads), q_NSK, k_NTK.transpose(1, 2), alpha=scale)
            p_NST = torch._softmax(score_NST, -1, False)
            made_NSK = torch.bmm(p_NST, v_NTK)
        ctx.save_for_backward(q_NSK, k_NTK, v_NTK, p_NST)
        ctx.scale, ctx.shapes = scale, (q_BTHK.shape, k_BTGK.shape)
        return _apart(made_NSK, q_BTHK.shape, groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_BTHK: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q_NSK, k_NTK, v_NTK, p_NST = ctx.saved_tensors
        q_shape, k_shape = ctx.shapes
        groups = k_shape[2]
        with torch.autocast("cpu", enabled=False):
            d_NSK = _stacked(d_BTHK, groups)
            d_v = torch.bmm(p_NST.transpose(1, 2), d_NSK)
            d_p = torch.bmm(d_NSK, v_NTK.transpose(1, 2))
            d_score = torch._softmax_backward_data(d_p, p_NST, -1, p_NST.dtype).mul_(ctx.scale)
            d_q, d_k = torch.bmm(d_score, k_NTK), torch.bmm(d_score.transpose(1, 2), q_NSK)
        return _apart(d_q, q_shape, groups), _apart(d_k, k_shape, groups), _apart(d_v, k_shape, groups), None, None


def _stacked(x_BTHK: torch.Tensor, groups: int) -> torch.Tensor:
    """(N, S, K): the queries of the heads that share keys stand below one another."""
    rows, length, heads, width = x_BTHK.shape
    x = x_BTHK.view(rows, length, groups, heads // groups, width) if heads != groups else x_BTHK.unsqueeze(3)
    return x.permute(0, 2, 3, 1, 4).reshape(rows * groups, heads // groups * length, width)


def _apart(x_NSK: torch.Tensor, shape: torch.Size, groups: int) -> torch.Tensor:
    """Back to (B, T, H, K)."""
    rows, length, heads, width = shape
    return x_NSK.view(rows, groups, heads // groups, length, width).permute(0, 3, 1, 2, 4).reshape(shape)


def _spread(mask: torch.Tensor, number: int, groups: int, heads: int) -> torch.Tensor:
    """The mask of every stack, as a view where it is the same for all rows."""
    times = heads // groups
    if mask.ndim == 2:
        return mask.repeat(times, 1).expand(number, -1, -1)
    rows, _, length, keys = mask.shape
    return mask.expand(rows, groups * times, length, keys).reshape(number, times * length, keys)
