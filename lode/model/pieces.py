"""Large batches of pictures, a few rows at a time: what a change makes on its way stays in the processor's cache."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import torch

_PIECE_NUMBERS = 1 << 18


def by_pieces(change: Callable[[torch.Tensor, slice], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """change(x[rows], rows) for slices of rows, joined. Turning pictures of 150 pixels takes half as long so; a GPU gets all at once."""
    rows = max(1, _PIECE_NUMBERS // max(1, x[0].numel()))
    if x.device.type != "cpu" or len(x) <= rows:
        return change(x, slice(None))
    return torch.cat([change(x[start : start + rows], slice(start, start + rows)) for start in range(0, len(x), rows)])


def planes(x: torch.Tensor) -> torch.Tensor:
    """Pictures (B, H, W, C) as a new float32 (B, C, H, W), where changes run along rows of one channel, several times faster."""
    return x.permute(0, 3, 1, 2).to(torch.float32, copy=True, memory_format=torch.contiguous_format)


def pixels(planes_BCHW: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The way back, to (B, H, W, C); bytes are rounded. The planes are changed in place."""
    if dtype == torch.uint8:
        planes_BCHW.add_(0.5)
    x = planes_BCHW.new_empty([planes_BCHW.shape[axis] for axis in (0, 2, 3, 1)], dtype=dtype)
    for channel in range(x.shape[3]):  # half the time of turning the axes round and then the type
        x[..., channel].copy_(planes_BCHW[:, channel])
    return x


def by_kinds(change: Callable[..., torch.Tensor], x: torch.Tensor, *asked: torch.Tensor) -> torch.Tensor:
    """change(x[rows], rows, *wanted) for rows (int64) of which the same is wanted (a bool for each `asked` (B,)), joined in their order.

    A GPU is asked for everything on all rows, because to look which ones it would have to wait: where a row asks for nothing, change
    must leave it as it is.
    """
    if x.device.type != "cpu":
        return change(x, torch.arange(len(x), device=x.device), *(True for _ in asked))
    kinds = torch.stack(asked, dim=1).tolist()
    order = sorted(range(len(x)), key=kinds.__getitem__)
    changed = torch.empty_like(x)
    for wanted, group in groupby(order, key=kinds.__getitem__):
        rows = torch.tensor(list(group))
        for some in rows.split(max(1, _PIECE_NUMBERS // max(1, x[0].numel()))):
            for row, own in zip(some.tolist(), change(x.index_select(0, some), some, *wanted), strict=True):
                changed[row].copy_(own)
    return changed
