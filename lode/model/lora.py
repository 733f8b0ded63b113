"""Low-rank adapters: a frozen linear layer with a small trained product beside it.

LoRA (Hu 2021, arXiv 2106.09685): W' = W + s up down, where `up` starts at 0, so that training starts from the checkpoint itself.
DoRA (Liu 2024, arXiv 2402.09353): W' = m (W + s up down) / |W + s up down|, a norm for each row, through which no gradient goes
(section 4.3). The same arithmetic and first values as the package peft; `lode/model/language/adapters.py` writes its files.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional


class LoraLinear(nn.Module):
    """`base` frozen, plus the adapter. down: (rank, inputs), up: (outputs, rank), magnitude of DoRA: (outputs,).

    dropout: share of the adapter's inputs set to 0 in training. rank_stabilized: s is alpha / sqrt(rank) instead of alpha / rank
    (Kalajdzievski 2023, arXiv 2312.03732). decomposed: DoRA.
    """

    def __init__(
        self,
        base: nn.Linear,
        *,
        rank: int,
        alpha: float,
        dropout: float,
        rank_stabilized: bool = False,
        decomposed: bool = False,
    ) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.rank, self.alpha, self.dropout, self.rank_stabilized = rank, alpha, dropout, rank_stabilized
        self.factor = alpha / (math.sqrt(rank) if rank_stabilized else rank)
        self.original: torch.Tensor | None = None
        """The base's weight while another is in its place (`merge`); not part of the state."""
        weight = base.weight
        # What is trained has float32's small steps, also beside a base in 16 bits
        dtype = torch.float32 if weight.dtype in (torch.bfloat16, torch.float16) else weight.dtype
        self.down = nn.Parameter(torch.empty(rank, base.in_features, dtype=dtype, device=weight.device))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank, dtype=dtype, device=weight.device))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.magnitude = nn.Parameter(self._norms()) if decomposed else None
        self.train(base.training)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.original is not None:
            alone: torch.Tensor = self.base(x)
            return alone
        seen = functional.dropout(x, self.dropout) if self.dropout and self.training else x
        if self.magnitude is None:
            plain: torch.Tensor = self.base(x)
            return plain + self._added(seen).to(plain.dtype)
        plain = functional.linear(x, self.base.weight)
        dropped = plain if seen is x else functional.linear(seen, self.base.weight)
        gain = (self.magnitude / self._norms()).to(plain.dtype)
        told = plain + (gain - 1) * dropped + gain * self._added(seen).to(plain.dtype)
        return told if self.base.bias is None else told + self.base.bias.to(told.dtype)

    @torch.no_grad()
    def weight(self) -> torch.Tensor:
        """W', in the base's dtype: what a plain layer needs to give the same."""
        changed = self._sum()
        if self.magnitude is not None:
            changed *= (self.magnitude / torch.linalg.vector_norm(changed, dim=1))[:, None]
        return changed.to(self.base.weight.dtype)

    @torch.no_grad()
    def merge(self) -> None:
        """Put W' in place of W, which is kept: a forward pass then costs what the base alone costs."""
        if self.original is None:
            merged, self.original = self.weight(), self.base.weight.detach().clone()
            self.base.weight.copy_(merged)

    @torch.no_grad()
    def unmerge(self) -> None:
        """Put W back, bit for bit."""
        if self.original is not None:
            self.base.weight.copy_(self.original)
            self.original = None

    def _added(self, x: torch.Tensor) -> torch.Tensor:
        """What the adapter adds: s up down x."""
        if not torch.is_autocast_enabled(x.device.type):
            x = x.to(self.down.dtype)
        return functional.linear(functional.linear(x, self.down), self.up) * self.factor

    def _sum(self) -> torch.Tensor:
        """W + s up down."""
        weight = self.base.weight if self.original is None else self.original
        return torch.addmm(weight.to(self.up.dtype), self.up, self.down, alpha=self.factor)

    @torch.no_grad()
    def _norms(self) -> torch.Tensor:
        """|W + s up down| of each row, in full precision also under autocast."""
        if self.up.is_meta:  # only counted, and autocast knows no such device
            return self.up.new_empty(len(self.up))
        with torch.autocast(self.up.device.type, enabled=False):
            return torch.linalg.vector_norm(self._sum(), dim=1)


def fold(module: nn.Module) -> None:
    """Undo `adapt`, in place, keeping what was learnt: each adapter's W' is in the plain layer, which costs what it cost before."""
    found = [(parent, name, child) for parent in module.modules() for name, child in parent.named_children()]
    for parent, name, child in found:
        if isinstance(child, LoraLinear):
            child.merge()
            setattr(parent, name, child.base)


def adapt(module: nn.Module, *, rank: int, alpha: float, dropout: float) -> None:
    """Freeze a module and put an adapter beside every linear layer in it, in place."""
    module.requires_grad_(False)
    found = [(parent, name, child) for parent in module.modules() for name, child in parent.named_children()]
    for parent, name, child in found:
        if isinstance(child, nn.Linear):
            setattr(parent, name, LoraLinear(child, rank=rank, alpha=alpha, dropout=dropout))
