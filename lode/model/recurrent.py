"""Steps read one after another, in both directions, for the encoders `lstm` and `gru`; and how vectors of steps become one.

Padding changes nothing: the backward direction reads each row from its own last step, and no state of a padded step is looked at.
Rows are turned round by a gather, not packed: the fused kernels of CPUs (4x faster than packed ones, one Zen 5 core) and of GPUs apply,
and the host never waits for lengths. Shape letters: B batch, T steps, D width.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from lode.core.types import TensorSpec

Pool = Literal["last", "max", "mean"]
_CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


def first_always(keep_BT: torch.Tensor) -> torch.Tensor:
    """The same mask with the first step of rows that have none: a mean or a softmax over nothing is not a number."""
    start_BT = torch.zeros_like(keep_BT)
    start_BT[:, 0] = ~keep_BT.any(dim=1)
    return keep_BT | start_BT


def masked_mean(h_BTD: torch.Tensor, keep_BT: torch.Tensor) -> torch.Tensor:
    """Mean over the kept steps, (B, D)."""
    weight_BT1 = keep_BT.unsqueeze(2).to(h_BTD.dtype)
    return (h_BTD * weight_BT1).sum(dim=1) / weight_BT1.sum(dim=1)


def masked_max(h_BTD: torch.Tensor, keep_BT: torch.Tensor) -> torch.Tensor:
    """Largest value of each channel over the kept steps, (B, D)."""
    return h_BTD.masked_fill(~keep_BT.unsqueeze(2), torch.finfo(h_BTD.dtype).min).amax(dim=1)


def drop_codes(tokens_BT: torch.Tensor, share: float) -> torch.Tensor:
    """A share of the tokens replaced by 1, the code of unknown ones; padding stays."""
    lost_BT = (torch.rand(tokens_BT.shape, device=tokens_BT.device) < share) & (tokens_BT != 0)
    return tokens_BT.masked_fill(lost_BT, 1)


class Recurrent(nn.Module):
    """Codes (B, T) or series (B, T, C) -> vectors of the steps (B, T, width), and pooled (B, width)."""

    def __init__(
        self, spec: TensorSpec, cell: str, *, embedding: int, width: int, depth: int, directions: int, dropout: float,
        unknown: float, pool: str,
    ) -> None:  # fmt: skip
        super().__init__()
        codes = spec.cardinality
        self.table_VD = None if codes is None else nn.Parameter(torch.randn(codes, embedding) * embedding**-0.5)
        size = spec.shape[1] if codes is None else embedding
        self.layers = nn.ModuleList()
        for _ in range(depth):
            self.layers.append(nn.ModuleList(_direction(cell, size, width) for _ in range(directions)))
            size = width * directions
        self.cell_width, self.width = width, size
        self.dropout, self.unknown, self.pool = dropout, unknown, pool

    def steps(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors of the steps (B, T, width), and which steps are real (B, T): all up to a row's last one."""
        h_BTD, keep_BT = self._embedded(x)
        place_T = torch.arange(keep_BT.shape[1], device=x.device)
        length_B = torch.where(keep_BT, place_T + 1, 1).amax(dim=1)
        real_BT = place_T < length_B[:, None]
        # Each row's steps from its last to its first, its padding left in place: the same order undoes it
        turned_BT = torch.where(real_BT, length_B[:, None] - 1 - place_T, place_T)
        for number, layer in enumerate(self.layers):
            # Of a series nothing is dropped before the first layer: a value of three that is 0 now and then is another series
            h_BTD = _both_ways(layer, self._drop(h_BTD) if number or self.table_VD is not None else h_BTD, turned_BT)
        return h_BTD, real_BT

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, width)."""
        h_BTD, real_BT = self.steps(x)
        if self.pool == "mean":
            h_BD = masked_mean(h_BTD, real_BT)
        elif self.pool == "max":
            h_BD = masked_max(h_BTD, real_BT)
        else:
            h_BD = self._last(h_BTD, real_BT)
        return self._drop(h_BD)

    def _embedded(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.table_VD is None:
            finite_BTC = torch.isfinite(x)
            return x.masked_fill(~finite_BTC, 0.0), finite_BTC[:, :, 0]
        keep_BT = x != 0
        tokens_BT = drop_codes(x, self.unknown) if self.training and self.unknown else x
        return functional.embedding(tokens_BT, self.table_VD), keep_BT

    def _last(self, h_BTD: torch.Tensor, real_BT: torch.Tensor) -> torch.Tensor:
        """What each direction holds when it has read everything: forward at the last step, backward at the first."""
        row_B = torch.arange(len(h_BTD), device=h_BTD.device)
        ahead_BD = h_BTD[row_B, real_BT.sum(dim=1) - 1, : self.cell_width]
        return torch.cat((ahead_BD, h_BTD[:, 0, self.cell_width :]), dim=1)

    def _drop(self, h: torch.Tensor) -> torch.Tensor:
        return functional.dropout(h, self.dropout) if self.dropout and self.training else h


def _direction(cell: str, size: int, width: int) -> nn.Module:
    """One direction of one layer. Orthogonal steps, and an open forget gate (Jozefowicz 2015): what came early is kept at first."""
    layer = _CELLS[cell](size, width, batch_first=True)
    for first in range(0, len(layer.weight_hh_l0), width):
        nn.init.orthogonal_(layer.weight_hh_l0.data[first : first + width])
    nn.init.xavier_uniform_(layer.weight_ih_l0)
    nn.init.zeros_(layer.bias_ih_l0)
    nn.init.zeros_(layer.bias_hh_l0)
    if cell == "lstm":
        nn.init.ones_(layer.bias_ih_l0.data[width : 2 * width])
    return layer


def _both_ways(directions: Any, h_BTD: torch.Tensor, turned_BT: torch.Tensor) -> torch.Tensor:
    ahead_BTD = directions[0](h_BTD)[0]
    if len(directions) == 1:
        return ahead_BTD
    back_BTD = _turned(directions[1](_turned(h_BTD, turned_BT))[0], turned_BT)
    return torch.cat((ahead_BTD, back_BTD), dim=2)


def _turned(h_BTD: torch.Tensor, order_BT: torch.Tensor) -> torch.Tensor:
    return h_BTD.gather(1, order_BT.unsqueeze(2).expand(-1, -1, h_BTD.shape[2]))
