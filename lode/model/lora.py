"""Low-rank adapters (LoRA): a frozen linear layer with a small trained product beside it.

Hu 2021, arXiv 2106.09685: y = W x + (alpha / rank) * up(down(x)); `up` starts at 0, so that training starts from the checkpoint itself.
The same arithmetic and first values as the package peft; the tensors lie in the artifact with all others.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional


class LoraLinear(nn.Module):
    """`base` frozen, plus the adapter. dropout: share of the adapter's inputs set to 0 in training."""

    def __init__(self, base: nn.Linear, *, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.empty(rank, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.factor = alpha / rank
        self.dropout = dropout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = functional.dropout(x, self.dropout) if self.dropout and self.training else x
        return self.base(x) + functional.linear(functional.linear(seen, self.down), self.up) * self.factor


def adapt(module: nn.Module, *, rank: int, alpha: float, dropout: float) -> None:
    """Freeze a module and put an adapter beside every linear layer in it, in place."""
    module.requires_grad_(False)
    found = [(parent, name, child) for parent in module.modules() for name, child in parent.named_children()]
    for parent, name, child in found:
        if isinstance(child, nn.Linear):
            setattr(parent, name, LoraLinear(child, rank=rank, alpha=alpha, dropout=dropout))
