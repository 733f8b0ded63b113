"""Max-pooling by two and relu in one, in bfloat16 on a processor: bits of floats are compared as whole numbers.

Floats above 0 are ordered as their bits are, and all others end at 0 here. Torch's own pooling looks at one number after the other, keeps
a 64-bit place for each, and fills a gradient with zeros before it writes to those places. In float32 it is not slower than this.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional


def pool_relu(h_BCHW: torch.Tensor, side: int) -> torch.Tensor:
    """`relu(max_pool2d(h, side))`, the same bits and the same gradient: of equal numbers the first one gets it.

    NaN stays where a whole square is NaN, as a wrong weight or pixel makes it; a single one counts as less or more than all others.
    """
    h_BHWC = h_BCHW.permute(0, 2, 3, 1)
    is_ours = h_BCHW.device.type == "cpu" and h_BCHW.dtype == torch.bfloat16 and not torch.compiler.is_compiling()
    if is_ours and side == 2 and min(h_BCHW.shape[2:]) > 1 and h_BHWC.is_contiguous():
        made: torch.Tensor = _PoolRelu.apply(h_BHWC)
        return made.permute(0, 3, 1, 2)
    # The largest of relus is the relu of the largest, and there are fewer left
    return functional.relu(functional.max_pool2d(h_BCHW, side) if side > 1 else h_BCHW)


class _PoolRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h_BHWC: torch.Tensor) -> torch.Tensor:
        height, width = (size // 2 * 2 for size in h_BHWC.shape[1:3])
        bits = h_BHWC.view(torch.int16)[:, :height, :width]
        left, right = bits[:, :, ::2], bits[:, :, 1::2]
        wider = torch.maximum(left, right)
        above, below = wider[:, ::2], wider[:, 1::2]
        y = torch.maximum(above, below).view(torch.bfloat16).relu_()
        if ctx.needs_input_grad[0]:
            # 1 where the second of two is larger: in place, because a comparison that makes bool is five times slower
            ctx.save_for_backward(y, right.clone().gt_(left), below.clone().gt_(above))
            ctx.shape = h_BHWC.shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: torch.Tensor) -> torch.Tensor:
        y, is_right, is_below = ctx.saved_tensors
        bits = torch.ops.aten.threshold_backward(d_y.contiguous(), y, 0).view(torch.int16)
        d_wider = torch.empty_like(is_right)
        _split(bits, is_below, d_wider[:, ::2], d_wider[:, 1::2])
        height, width = (size // 2 * 2 for size in ctx.shape[1:3])
        is_whole = (height, width) == tuple(ctx.shape[1:3])
        d_h = (torch.empty if is_whole else torch.zeros)(ctx.shape, dtype=torch.int16)
        inner = d_h[:, :height, :width]
        _split(d_wider, is_right, inner[:, :, ::2], inner[:, :, 1::2])
        return d_h.view(torch.bfloat16)


def _split(bits: torch.Tensor, is_second: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> None:
    """Each number to one of the two, 0 to the other."""
    torch.mul(bits, is_second, out=second)
    torch.sub(bits, second, out=first)
