"""Rotary positions (Su 2021, arXiv 2104.09864), and the ways to stretch them over longer texts. K is the width of a head.

The arithmetic follows `transformers/modeling_rope_utils.py`, so that weights trained there mean the same here: the two halves of a head
are the two parts of each rotated pair. Angles are always float32: bfloat16 cannot tell position 257 from 256.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from lode.core.errors import ModelError, near_miss

KINDS = ("default", "linear", "dynamic", "yarn", "llama3")
"""Words of `rope_type` that lode builds."""


class Rotary(nn.Module):
    """Cosines and sines of positions, computed once for each forward pass and shared by all layers of one base.

    Args:
        head_width: K, even.
        base: Wavelengths go from 2 pi to about 2 pi * base positions.
        scaling: As Hugging Face's config has it; empty for none. Keys by `rope_type`: linear `factor`; dynamic `factor`; yarn `factor`,
            `original_max_position_embeddings`, `beta_fast`, `beta_slow`, `attention_factor`, `mscale`, `mscale_all_dim`, `truncate`; llama3
            `factor`, `low_freq_factor`, `high_freq_factor`, `original_max_position_embeddings`.
        context: Positions that the weights were trained with; dynamic stretches beyond them.
    """

    rates: torch.Tensor

    def __init__(self, head_width: int, base: float, scaling: Mapping[str, Any], context: int) -> None:
        super().__init__()
        if head_width % 2:
            raise ModelError(
                f"architecture: found head_width {head_width}, allowed with rotary positions is an even number. Change it."
            )
        self.head_width, self.base, self.context = head_width, base, context
        self.scaling = dict(scaling)
        self.kind = checked_kind(scaling)
        rate_K, self.magnitude = self._rates()
        self.register_buffer("rates", rate_K, persistent=False)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Rotary:
        """Moves with the decoder, but stays float32 and is made anew (a decoder may be built without memory first)."""
        super()._apply(fn, recurse)
        if self.rates.device.type != "meta":
            self.rates = self._rates()[0].to(self.rates.device)
        return self

    def forward(self, positions: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines (..., T, 1, K / 2). positions: (..., T) integers."""
        rate_K = self.rates if self.kind != "dynamic" else self._dynamic_rates(positions)
        angle = (positions[..., None].float() * rate_K).unsqueeze(-2)
        cos, sin = angle.cos(), angle.sin()
        if self.magnitude != 1.0:
            cos, sin = cos * self.magnitude, sin * self.magnitude
        return cos.to(dtype), sin.to(dtype)

    def _rates(self) -> tuple[torch.Tensor, float]:
        """Radians per position of each pair, float32 (K / 2,), and what cosines and sines are multiplied by."""
        with torch.device("cpu"):
            plain_K = _plain(self.base, self.head_width)
            if self.kind == "linear":
                return plain_K / self.scaling["factor"], 1.0
            if self.kind == "yarn":
                return _yarn(self.base, self.head_width, self.scaling, self.context)
            if self.kind == "llama3":
                return _llama3(plain_K, self.scaling, self.context), 1.0
            return plain_K, 1.0

    def _dynamic_rates(self, positions: torch.Tensor) -> torch.Tensor:
        """A larger base for texts longer than the context ("NTK-aware"); on the device, so that nobody waits for it."""
        length = torch.clamp(positions.max().float() + 1, min=float(self.context))
        factor, width = float(self.scaling["factor"]), self.head_width
        base = self.base * (factor * length / self.context - (factor - 1)) ** (width / (width - 2))
        exponent_K = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32) / width
        return 1.0 / base**exponent_K


def checked_kind(scaling: Mapping[str, Any]) -> str:
    """The `rope_type`. Errors: ModelError where lode does not build it, or a key that it needs is missing."""
    kind = str(scaling.get("rope_type", scaling.get("type", "default")))
    if kind not in KINDS:
        allowed = ", ".join(KINDS)
        raise ModelError(
            f'rotary_scaling.rope_type: found "{kind}", allowed: {allowed}.{near_miss(kind, KINDS)} Choose one of them.'
        )
    needed = {"llama3": ("factor", "low_freq_factor", "high_freq_factor"), "default": ()}.get(kind, ("factor",))
    for key in needed:
        if not isinstance(scaling.get(key), int | float):
            raise ModelError(
                f"rotary_scaling.{key}: found {scaling.get(key)!r} with rope_type: {kind}, allowed is a number. Write one."
            )
    return kind


def _plain(base: float, width: int) -> torch.Tensor:
    return 1.0 / (base ** (torch.arange(0, width, 2, dtype=torch.int64).float() / width))


def _llama3(plain_K: torch.Tensor, scaling: Mapping[str, Any], context: int) -> torch.Tensor:
    """Long waves divided by `factor`, short ones kept, between them a blend (Llama 3.1, Meta 2024)."""
    factor, low, high = (float(scaling[key]) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    old = float(scaling.get("original_max_position_embeddings", context))
    wave_K = 2 * math.pi / plain_K
    kept = (old / wave_K - low) / (high - low)
    blend_K = (1 - kept) * plain_K / factor + kept * plain_K
    made_K = torch.where(wave_K > old / low, plain_K / factor, plain_K)
    return torch.where((wave_K >= old / high) & (wave_K <= old / low), blend_K, made_K)


def _yarn(base: float, width: int, scaling: Mapping[str, Any], context: int) -> tuple[torch.Tensor, float]:
    """YaRN (Peng 2023, arXiv 2309.00071): pairs that turn often are kept, slow ones stretched; scores are made a little sharper."""
    factor = float(scaling["factor"])
    old = float(scaling.get("original_max_position_embeddings", context))
    ends = [
        width * math.log(old / (turns * 2 * math.pi)) / (2 * math.log(base))
        for turns in (float(scaling.get("beta_fast") or 32), float(scaling.get("beta_slow") or 1))
    ]
    if scaling.get("truncate", True):
        ends = [math.floor(ends[0]), math.ceil(ends[1])]
    low, high = max(ends[0], 0), min(ends[1], width - 1)
    high += 0.001 * (low == high)
    ramp_K = torch.clamp((torch.arange(width // 2, dtype=torch.float32) - low) / (high - low), 0, 1)
    period_K = base ** (torch.arange(0, width, 2).float() / width)
    rate_K = ramp_K / (factor * period_K) + (1 - ramp_K) / period_K
    return rate_K, _yarn_magnitude(scaling, factor)


def _yarn_magnitude(scaling: Mapping[str, Any], factor: float) -> float:
    def of(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    said, one, other = (scaling.get(key) for key in ("attention_factor", "mscale", "mscale_all_dim"))
    if said is not None:
        return float(said)
    return of(one) / of(other) if one and other else of(1)
