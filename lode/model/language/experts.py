"""A mixture of experts: each token goes through the few MLPs that a router chooses for it (Mixtral; Jiang 2024, arXiv 2401.04088).

Legend: N tokens, D width, E experts, U experts used by a token, F hidden width of an expert. No token is dropped, nothing waits for the
device: tokens are sorted by expert and multiplied group by group.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from lode.model.language.products import product_dtype

_ALIGNED = 8
"""Grouped products want rows of 16 bytes: 8 numbers of bfloat16."""


class Experts(nn.Module):
    """E gated MLPs side by side and the router in front of them.

    Args:
        width: D.
        hidden: F.
        experts: E.
        used: U, the experts of each token; their weights are the router's softmax over all, scaled to a sum of 1.
        activation: What the gate goes through.
    """

    def __init__(
        self, width: int, hidden: int, experts: int, used: int, activation: Callable[[torch.Tensor], torch.Tensor]
    ) -> None:
        super().__init__()
        self.num_experts, self.used, self.activation = experts, used, activation
        self.router = nn.Linear(width, experts, bias=False)
        self.gate_EFD = nn.Parameter(torch.empty(experts, hidden, width))
        self.up_EFD = nn.Parameter(torch.empty(experts, hidden, width))
        self.down_EDF = nn.Parameter(torch.empty(experts, width, hidden))
        self.balance: torch.Tensor | None = None
        """Load-balancing loss of the last forward pass in training, float32 (); see `balance_loss`."""

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        x_ND = x_BTD.reshape(-1, x_BTD.shape[-1])
        share_NE = functional.softmax(self.router(x_ND).float(), dim=-1)
        weight_NU, expert_NU = share_NE.topk(self.used, dim=-1)
        weight_NU = weight_NU / weight_NU.sum(dim=-1, keepdim=True)
        if self.training:
            self.balance = balance_loss(share_NE, expert_NU)
        dtype = product_dtype(x_ND)
        if self._goes_in_groups(dtype, x_ND.device):
            made_ND = self._in_groups(x_ND.to(dtype), weight_NU, expert_NU, dtype)
        else:
            made_ND = self._each_over_all(x_ND, weight_NU, expert_NU)
        return made_ND.to(x_BTD.dtype).view(x_BTD.shape)

    def _goes_in_groups(self, dtype: torch.dtype, device: torch.device) -> bool:
        aligned = not any(size % _ALIGNED for size in self.gate_EFD.shape[1:])
        # The compiler takes bfloat16 alone for grouped products (torch 2.13)
        whole = dtype == torch.float32 and device.type == "cpu" and not torch.compiler.is_compiling()
        return aligned and (dtype == torch.bfloat16 or whole)

    def _in_groups(self, x_ND: torch.Tensor, weight_NU: torch.Tensor, expert_NU: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Only the chosen products: tokens sorted by expert, one grouped product for each matrix."""
        order_M = expert_NU.flatten().argsort(stable=True)
        token_M = order_M // self.used
        count_E = functional.one_hot(expert_NU.flatten(), self.num_experts).sum(dim=0)
        ends_E = count_E.cumsum(0).to(torch.int32)
        x_MD = x_ND[token_M]
        gate_MF, up_MF = (_grouped(x_MD, weight.to(dtype), ends_E) for weight in (self.gate_EFD, self.up_EFD))
        made_MD = _grouped(self.activation(gate_MF) * up_MF, self.down_EDF.to(dtype), ends_E)
        made_MD = made_MD * weight_NU.flatten()[order_M, None].to(dtype)
        # Back to the order of the tokens, then added up: unlike index_add_ that repeats bit for bit on a GPU too
        back_M = torch.empty_like(order_M).scatter_(0, order_M, torch.arange(len(order_M), device=order_M.device))
        return made_MD[back_M].view(*expert_NU.shape, -1).sum(dim=1)

    def _each_over_all(self, x_ND: torch.Tensor, weight_NU: torch.Tensor, expert_NU: torch.Tensor) -> torch.Tensor:
        """Every expert over every token, most of it thrown away: for shapes and types that grouped products do not take."""
        made_ND = torch.zeros_like(x_ND)
        for expert in range(self.num_experts):
            weight_N = (weight_NU * (expert_NU == expert)).sum(dim=1)
            h_NF = self.activation(functional.linear(x_ND, self.gate_EFD[expert])) * functional.linear(x_ND, self.up_EFD[expert])
            made_ND = made_ND + functional.linear(h_NF, self.down_EDF[expert]) * weight_N[:, None]
        return made_ND


def balance_loss(share_NE: torch.Tensor, expert_NU: torch.Tensor) -> torch.Tensor:
    """E * sum over experts of (share of the choices) * (mean router probability) * U: U where all are used alike, more where not.

    Shazeer 2017 and Fedus 2021 (arXiv 2101.03961, eq. 4), scaled as in transformers' `load_balancing_loss_func`.
    """
    experts = share_NE.shape[1]
    chosen_E = functional.one_hot(expert_NU, experts).float().mean(dim=0).sum(dim=0)
    return experts * (chosen_E * share_NE.mean(dim=0)).sum()


def _grouped(x_MD: torch.Tensor, weight_EFD: torch.Tensor, ends_E: torch.Tensor) -> torch.Tensor:
    """Rows up to ends_E[e] times the transposed weight of expert e, (M, F)."""
    return functional.grouped_mm(x_MD.contiguous(), weight_EFD.transpose(1, 2), offs=ends_E)
