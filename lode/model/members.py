"""A trunk that is several networks at once, sharing almost all weights; their mean predicts better than one network does.

TabM (Gorishniy 2025, arXiv 2410.24210), after BatchEnsemble (Wen 2020, arXiv 2002.06715): each member scales what goes into and comes
out of every shared linear layer by vectors of its own. Shape letters: B batch, M members, D width, K scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional

from lode.model.blocks import ACTIVATIONS, norm_layer
from lode.model.contracts import Task


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
        for parameter in (*self.scales_in, *self.scales_out, *self.biases):
            parameter.decay_factor = 0.0  # type: ignore[attr-defined]
        norms = [norm_layer(norm, width) for width in widths]
        self.norms = nn.ModuleList(layer for layer in norms if layer is not None)
        self.width = widths[-1]
        self.dropout = dropout
        self.activate = ACTIVATIONS[activation]

    def forward(self, h_BD: torch.Tensor) -> torch.Tensor:
        # Vectors in the dtype of the products: under autocast everything between two products would be float32, twice the memory
        dtype = _dtype(h_BD)
        h_BMD = h_BD.to(dtype).unsqueeze(1)
        norms: Sequence[nn.Module | None] = list(self.norms) or [None] * len(self.linears)
        layers = zip(self.linears, self.scales_in, self.scales_out, self.biases, norms, strict=True)
        for linear, scale_in_MD, scale_out_MD, bias_MD, norm in layers:
            z_BMD = linear(h_BMD * scale_in_MD.to(dtype))
            h_BMD = torch.addcmul(bias_MD.to(dtype), z_BMD, scale_out_MD.to(dtype))
            if norm is not None:
                h_BMD = norm(h_BMD.flatten(0, 1)).view_as(h_BMD)
            h_BMD = self.activate(h_BMD)
            if self.dropout and self.training:
                h_BMD = drop(h_BMD, self.dropout)
        return h_BMD


def drop(h: torch.Tensor, share: float) -> torch.Tensor:
    """Dropout with the share rounded to 1/256: on a processor, a random byte for each number costs a tenth of torch's draw."""
    if h.device.type != "cpu":
        return functional.dropout(h, share)
    dropped = min(255, round(share * 256))
    if not dropped:
        return h
    bits = torch.empty(-(-h.numel() // 8), dtype=torch.int64).random_(-(2**63), None).view(torch.uint8)
    keep = (bits[: h.numel()] >= dropped).view(h.shape).to(h.dtype)
    return h * keep.mul_(256.0 / (256 - dropped))


def _dtype(h: torch.Tensor) -> torch.dtype:
    kind = h.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else h.dtype


def averaged(scores_BMK: torch.Tensor, how: str) -> torch.Tensor:
    """The members' scores as one, (B, K).

    how: "scores", their mean; "softmax" and "sigmoid", the logits of the mean probability, which is what TabM's members vote with.
    """
    if how == "scores":
        return scores_BMK.mean(dim=1)
    num_members = math.log(scores_BMK.shape[1])
    if how == "softmax":
        return torch.logsumexp(functional.log_softmax(scores_BMK, dim=2), dim=1) - num_members
    # log(p / (1 - p)): both in logarithms, so that sure members stay finite
    yes_BK = torch.logsumexp(functional.logsigmoid(scores_BMK), dim=1)
    return yes_BK - torch.logsumexp(functional.logsigmoid(-scores_BMK), dim=1)


def averages(tasks: Mapping[str, Task]) -> dict[str, str]:
    """Per output, how members become one: probabilities where there are any."""
    found = {}
    for name, task in tasks.items():
        exclusive = task.kind == "classes" and task.num_scores != 1
        found[name] = "softmax" if exclusive else "sigmoid" if task.kind in ("classes", "labels") else "scores"
    return found


class MemberHead(nn.Module):
    """A linear head of each member's own: (B, M, D) -> (B, M, K)."""

    def __init__(self, members: int, width: int, num_scores: int) -> None:
        super().__init__()
        bound = width**-0.5
        self.weight_MDK = nn.Parameter(torch.empty(members, width, num_scores).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, num_scores))
        self.bias.decay_factor = 0.0  # type: ignore[attr-defined]

    def forward(self, h_BMD: torch.Tensor) -> torch.Tensor:
        return torch.baddbmm(self.bias.unsqueeze(1), h_BMD.transpose(0, 1), self.weight_MDK).transpose(0, 1)
