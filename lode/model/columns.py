"""How numbers and codes of a table enter a network: periodic, piecewise-linear and token embeddings, vectors and ones of codes.

Shared by the encoders of columns. Shape letters: B batch, F columns, E frequencies or bins, D width, K codes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from lode.core.types import TensorSpec

_NARROWEST_BIN = 1e-6


class Periodic(nn.Module):
    """Each number to [itself, relu(linear(cos, sin of learned frequencies))]: (B, F) -> (B, F * (1 + width)).

    Gorishniy 2022, arXiv 2203.05556.
    """

    def __init__(self, num_numbers: int, frequencies: int, embedding_width: int, spread: float) -> None:
        super().__init__()
        self.frequency_FE = nn.Parameter(torch.randn(num_numbers, frequencies) * spread)
        bound = 1.0 / math.sqrt(2 * frequencies)
        self.weight_FED = nn.Parameter(torch.empty(num_numbers, 2 * frequencies, embedding_width).uniform_(-bound, bound))
        self.bias_FD = nn.Parameter(torch.zeros(num_numbers, embedding_width))
        self.width = num_numbers * (1 + embedding_width)

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        angle_BFE = (2 * math.pi) * x_BF.unsqueeze(2) * self.frequency_FE
        waves_FBE = torch.cat((angle_BFE.cos(), angle_BFE.sin()), dim=2).transpose(0, 1)
        h_FBD = functional.relu(torch.baddbmm(self.bias_FD.unsqueeze(1), waves_FBE, self.weight_FED))
        return torch.cat((x_BF, h_FBD.transpose(0, 1).flatten(1)), dim=1)


class Shifted(nn.Module):
    """Each number to [itself, linear(cos of learned frequencies and phases)]: (B, F) -> (B, F * (1 + width)).

    The PBLD embedding of RealMLP (Holzmueller 2024, arXiv 2407.04491); its parameters learn at a tenth of the rate, as there.
    """

    def __init__(self, num_numbers: int, frequencies: int, embedding_width: int, spread: float) -> None:
        super().__init__()
        self.frequency_FE = nn.Parameter(torch.randn(num_numbers, frequencies) * spread)
        self.phase_FE = nn.Parameter(torch.empty(num_numbers, frequencies).uniform_(-math.pi, math.pi))
        bound = 1.0 / math.sqrt(frequencies)
        self.weight_FED = nn.Parameter(torch.empty(num_numbers, frequencies, embedding_width).uniform_(-bound, bound))
        self.bias_FD = nn.Parameter(torch.empty(num_numbers, embedding_width).uniform_(-bound, bound))
        for parameter in self.parameters():
            parameter.rate_factor = 0.1  # type: ignore[attr-defined]
        for parameter in (self.phase_FE, self.bias_FD):
            parameter.decay_factor = 0.0  # type: ignore[attr-defined]
        self.width = num_numbers * (1 + embedding_width)

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        waves_BFE = torch.addcmul(self.phase_FE, x_BF.unsqueeze(2), self.frequency_FE, value=2 * math.pi).cos()
        h_FBD = torch.baddbmm(self.bias_FD.unsqueeze(1), waves_BFE.transpose(0, 1), self.weight_FED)
        return torch.cat((x_BF, h_FBD.transpose(0, 1).flatten(1)), dim=1)


class Piecewise(nn.Module):
    """Each number to [itself, a learned function that is linear between quantiles]: (B, F) -> (B, F * (1 + width)).

    Piecewise-linear encoding (Gorishniy 2022, arXiv 2203.05556, section 3.2) and a linear layer of each column's own, which starts at
    zero as in TabM. Bins end where the outermost training rows are; behind them the number itself is all that changes.
    Until `start_from` has seen rows, the edges are quantiles of the standard normal distribution.
    """

    lows: torch.Tensor  # (F, E)
    slopes: torch.Tensor  # (F, E)

    def __init__(self, num_numbers: int, bins: int, embedding_width: int) -> None:
        super().__init__()
        self.bins = bins
        self.register_buffer("lows", torch.zeros(num_numbers, bins))
        self.register_buffer("slopes", torch.zeros(num_numbers, bins))
        self.weight_FED = nn.Parameter(torch.zeros(num_numbers, bins, embedding_width))
        self.width = num_numbers * (1 + embedding_width)
        shares = torch.linspace(0.001, 0.999, bins + 1, dtype=torch.float64)
        self._set_edges(torch.special.ndtri(shares).float().expand(num_numbers, -1))

    def start_from(self, x_NF: torch.Tensor) -> None:
        """Put the edges at quantiles of rows; a column with fewer distinct quantiles has fewer bins, a constant one has none."""
        if not len(x_NF):
            return
        place = torch.linspace(0, len(x_NF) - 1, self.bins + 1, dtype=torch.float64, device=x_NF.device).round().long()
        self._set_edges(x_NF.sort(dim=0).values[place].T)

    def _set_edges(self, edges_FE: torch.Tensor) -> None:
        width_FE = edges_FE.diff(dim=1)
        alive_FE = width_FE > _NARROWEST_BIN
        self.lows.copy_(edges_FE[:, :-1])
        self.slopes.copy_(torch.where(alive_FE, 1.0 / width_FE.clamp_min(_NARROWEST_BIN), 0.0))

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        share_BFE = ((x_BF.unsqueeze(2) - self.lows) * self.slopes).clamp_(0.0, 1.0)
        h_FBD = torch.bmm(share_BFE.transpose(0, 1), self.weight_FED)
        return torch.cat((x_BF, h_FBD.transpose(0, 1).flatten(1)), dim=1)


class Ones(nn.Module):
    """Codes to ones and zeros, (B, F) int64 -> (B, sum of K - 1): one number for each known code, all zeros where it is unknown."""

    columns: torch.Tensor
    codes: torch.Tensor

    def __init__(self, cardinalities: Sequence[int]) -> None:
        super().__init__()
        pairs = [(column, code) for column, card in enumerate(cardinalities) for code in range(1, card)]
        self.register_buffer("columns", torch.tensor([column for column, _ in pairs], dtype=torch.int64), persistent=False)
        self.register_buffer("codes", torch.tensor([code for _, code in pairs], dtype=torch.int64), persistent=False)
        self.width = len(pairs)

    def forward(self, codes_BF: torch.Tensor) -> torch.Tensor:
        return (codes_BF.index_select(1, self.columns) == self.codes).float()


class Tokens(nn.Module):
    """Every column becomes a vector: numbers (B, F) and codes (B, G) -> (B, F + G, D).

    A number moves along a vector of its column's own, from a bias of its own; a code has a vector and its column a bias
    (the feature tokenizer of Gorishniy 2021, arXiv 2106.11959, section 3.3).
    """

    starts: torch.Tensor

    def __init__(self, num_numbers: int, cardinalities: Sequence[int], width: int) -> None:
        super().__init__()
        bound = width**-0.5
        columns = num_numbers + len(cardinalities)
        self.weight_FD = nn.Parameter(torch.empty(num_numbers, width).uniform_(-bound, bound)) if num_numbers else None
        rows = sum(cardinalities)
        self.table_KD = nn.Parameter(torch.empty(rows, width).uniform_(-bound, bound)) if rows else None
        self.bias_FD = nn.Parameter(torch.empty(columns, width).uniform_(-bound, bound))
        self.bias_FD.decay_factor = 0.0  # type: ignore[attr-defined]
        self.register_buffer("starts", torch.tensor([0, *cardinalities[:-1]] if rows else []).cumsum(0), persistent=False)

    def forward(self, x_BF: torch.Tensor | None, codes_BG: torch.Tensor | None) -> torch.Tensor:
        parts = []
        if x_BF is not None and self.weight_FD is not None:
            parts.append(x_BF.unsqueeze(2) * self.weight_FD)
        if codes_BG is not None and self.table_KD is not None:
            parts.append(functional.embedding(codes_BG + self.starts, self.table_KD))
        h_BFD = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return h_BFD + self.bias_FD


class Columns(nn.Module):
    """Takes inputs of numbers and of codes apart: -> (numbers (B, F) or None, codes (B, G) int64 or None).

    unknown: share of codes replaced by 0 in training, so that a category that is new at serving has a trained vector.
    """

    def __init__(self, specs: Sequence[TensorSpec], unknown: float) -> None:
        super().__init__()
        self.is_code = tuple(spec.cardinality is not None for spec in specs)
        self.num_numbers = sum(math.prod(spec.shape) for spec in specs if spec.cardinality is None)
        self.cardinalities = cardinalities(specs)
        self.unknown = unknown

    def forward(self, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        flat = [x.reshape(x.shape[0], -1) for x in inputs]
        numbers = [x.float() for x, is_code in zip(flat, self.is_code, strict=True) if not is_code]
        codes = [x for x, is_code in zip(flat, self.is_code, strict=True) if is_code]
        x_BF = torch.cat(numbers, dim=1) if numbers else None
        if not codes:
            return x_BF, None
        codes_BG = torch.cat(codes, dim=1).long()
        return x_BF, forget(codes_BG, self.unknown) if self.training else codes_BG


def forget(codes_BG: torch.Tensor, unknown: float) -> torch.Tensor:
    """A share of the codes becomes 0, which means unknown."""
    return codes_BG * (torch.rand(codes_BG.shape, device=codes_BG.device) >= unknown) if unknown else codes_BG


def cardinalities(specs: Sequence[TensorSpec]) -> list[int]:
    """Of every column of codes, those of an input with several in a row."""
    return [spec.cardinality for spec in specs if spec.cardinality is not None for _ in range(math.prod(spec.shape))]
