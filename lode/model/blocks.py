"""The layers that encoders and the network share: the only shared layers.

Shape letters: B batch, T tokens, D width, H W C image, K scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional

from lode.core.types import TensorSpec

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "selu": functional.selu,
    "mish": functional.mish,
    "softplus": functional.softplus,
    "hardswish": functional.hardswish,
}


def norm_layer(norm: str, width: int) -> nn.Module | None:
    """The normalisation of vectors (B, width), or None for "none". rms: Zhang and Sennrich 2019, arXiv 1910.07467."""
    makers: dict[str, Callable[[int], nn.Module]] = {"layer": nn.LayerNorm, "batch": nn.BatchNorm1d, "rms": nn.RMSNorm}
    return makers[norm](width) if norm in makers else None


class Mlp(nn.Module):
    """`depth` times linear, norm, activation, dropout. (B, D_in) -> (B, width), or the input itself where depth is 0."""

    def __init__(self, width_in: int, widths: Sequence[int], *, dropout: float, norm: str, activation: str) -> None:
        super().__init__()
        sizes = [width_in, *widths]
        self.linears = nn.ModuleList(nn.Linear(low, high) for low, high in zip(sizes, widths, strict=False))
        norms = [norm_layer(norm, width) for width in widths]
        self.norms = nn.ModuleList(layer for layer in norms if layer is not None)
        self.width = sizes[-1]
        self.dropout = dropout
        self.activate = ACTIVATIONS[activation]

    def forward(self, h_BD: torch.Tensor) -> torch.Tensor:
        norms: Sequence[nn.Module | None] = list(self.norms) or [None] * len(self.linears)
        for linear, norm in zip(self.linears, norms, strict=True):
            h_BD = linear(h_BD)
            if norm is not None:
                h_BD = norm(h_BD)
            h_BD = self.activate(h_BD)
            if self.dropout and self.training:
                h_BD = functional.dropout(h_BD, self.dropout)
        return h_BD


class Attention(nn.Module):
    """Pre-norm self-attention block with a feed-forward half (Vaswani 2017, arXiv 1706.03762; pre-norm: Xiong 2020, 2002.04745).

    (B, T, D) -> (B, T, D). mask_B11T: True where a token may be looked at.
    """

    def __init__(self, width: int, num_heads: int, *, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.norm_attention = nn.LayerNorm(width)
        self.norm_mlp = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.grow = nn.Linear(width, 4 * width)
        self.shrink = nn.Linear(4 * width, width)

    def forward(self, h_BTD: torch.Tensor, mask_B11T: torch.Tensor | None = None) -> torch.Tensor:
        h_BTD = h_BTD + self._drop(self._attend(self.norm_attention(h_BTD), mask_B11T))
        return h_BTD + self._drop(self.shrink(functional.gelu(self.grow(self.norm_mlp(h_BTD)))))

    def _attend(self, h_BTD: torch.Tensor, mask_B11T: torch.Tensor | None) -> torch.Tensor:
        batch, tokens, width = h_BTD.shape
        qkv = self.qkv(h_BTD).view(batch, tokens, 3, self.num_heads, width // self.num_heads)
        q_BHTE, k_BHTE, v_BHTE = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(q_BHTE, k_BHTE, v_BHTE, attn_mask=mask_B11T)
        return self.project(mixed.transpose(1, 2).reshape(batch, tokens, width))

    def _drop(self, h_BTD: torch.Tensor) -> torch.Tensor:
        return functional.dropout(h_BTD, self.dropout) if self.dropout and self.training else h_BTD


class Standardize(nn.Module):
    """(x - offset) * scale per channel, in float32, as the spec says. Holds no parameters and no saved state."""

    offset: torch.Tensor | None
    scale: torch.Tensor | None

    def __init__(self, spec: TensorSpec) -> None:
        super().__init__()
        self.register_buffer("offset", _numbers(spec.offset) if any(spec.offset) else None, persistent=False)
        self.register_buffer("scale", _numbers(spec.scale) if spec.scale else None, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.float() if x.dtype != torch.float32 else x
        if self.offset is not None:
            x = x - self.offset
        return x if self.scale is None else x * self.scale


def _numbers(of_channels: Sequence[float]) -> torch.Tensor:
    """One number where all channels have the same: torch multiplies three by three five times as slowly as all by one."""
    return torch.tensor(of_channels if len(set(of_channels)) > 1 else of_channels[:1])


def is_image(spec: TensorSpec) -> bool:
    """Whether rows are pictures (H, W, C), of bytes or floats."""
    return len(spec.shape) == 3 and spec.cardinality is None and spec.dtype in ("uint8", "float32")


def is_tokens(spec: TensorSpec) -> bool:
    """Whether rows are padded sequences of codes (L,)."""
    return spec.cardinality is not None and spec.ragged == (0,)


def is_codes(spec: TensorSpec) -> bool:
    """Whether rows are codes: one () or a fixed number of them (k,)."""
    return spec.cardinality is not None and not spec.ragged and len(spec.shape) <= 1


def is_waveform(spec: TensorSpec) -> bool:
    """Whether rows are recordings (L,) of 16-bit samples."""
    return spec.dtype == "int16" and len(spec.shape) == 1


def is_series(spec: TensorSpec) -> bool:
    """Whether rows are series (T, C) in their order, padded with NaN at the end."""
    return _is_steps(spec) and spec.ordered


def is_set(spec: TensorSpec) -> bool:
    """Whether rows are sets: of vectors (S, k), padded with NaN, or of codes (S,), padded with 0."""
    return not spec.ordered and (_is_steps(spec) or is_tokens(spec))


def _is_steps(spec: TensorSpec) -> bool:
    return spec.dtype == "float32" and spec.ragged == (0,) and len(spec.shape) == 2


def is_numbers(spec: TensorSpec) -> bool:
    """Whether rows are plain numbers."""
    return spec.dtype == "float32" and spec.cardinality is None and not spec.ragged
