"""A trunk that is several networks at once, sharing almost all weights; their mean predicts better than one network does.

TabM (Gorishniy 2025, arXiv 2410.24210), after BatchEnsemble (Wen 2020, arXiv 2002.06715): each member scales what goes into and comes
out of every shared linear layer by vectors of its own. Shape letters: B batch, M members, D width, K scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from lode.model.blocks import ACTIVATIONS, norm_layer


class MemberMlp(nn.Module):
    """`blocks.Mlp` for every member: (B, D_in) -> (B, M, width)."""

    def __init__(self, width_in: int, widths: Sequence[int], members: int, *, dropout: float, norm: str, activation: str) -> None:
        super().__init__()
        sizes = [width_in, *widths[:-1]]
        self.linears = nn.ModuleList(nn.Linear(low, high, bias=False) for low, high in zip(sizes, widths, strict=True))
        # Members differ by the signs that they give to their inputs; everything behind starts alike
        signs = torch.randint(0, 2, (members, width_in)).float() * 2.0 - 1.0
        starts = [signs] + [torch.ones(members, size) for size in sizes[1:]]
        self.scales_in = nn.ParameterList(nn.Parameter(start) for start in starts)
        self.scales_out = nn.ParameterList(nn.Parameter(torch.ones(members, size)) for size in widths)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(members, size)) for size in widths)
        norms = [norm_layer(norm, width) for width in widths]
        self.norms = nn.ModuleList(layer for layer in norms if layer is not None)
        self.width = widths[-1]
        self.dropout = dropout
        self.activate = ACTIVATIONS[activation]

    def forward(self, h_BD: torch.Tensor) -> torch.Tensor:
        h_BMD = h_BD.unsqueeze(1)
        norms: Sequence[nn.Module | None] = list(self.norms) or [None] * len(self.linears)
        layers = zip(self.linears, self.scales_in, self.scales_out, self.biases, norms, strict=True)
        for linear, scale_in_MD, scale_out_MD, bias_MD, norm in layers:
            h_BMD = torch.addcmul(bias_MD, linear(h_BMD * scale_in_MD), scale_out_MD)
            if norm is not None:
                h_BMD = norm(h_BMD.flatten(0, 1)).view_as(h_BMD)
            h_BMD = self.activate(h_BMD)
            if self.dropout and self.training:
                h_BMD = functional.dropout(h_BMD, self.dropout)
        return h_BMD


class MemberHead(nn.Module):
    """A linear head of each member's own: (B, M, D) -> (B, M, K)."""

    def __init__(self, members: int, width: int, num_scores: int) -> None:
        super().__init__()
        bound = width**-0.5
        self.weight_MDK = nn.Parameter(torch.empty(members, width, num_scores).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, num_scores))

    def forward(self, h_BMD: torch.Tensor) -> torch.Tensor:
        return torch.baddbmm(self.bias.unsqueeze(1), h_BMD.transpose(0, 1), self.weight_MDK).transpose(0, 1)
